// SPDX-License-Identifier: GPL-2.0-or-later
//! Open files of the backing filesystem.

use super::bindings;
use super::dentry::Dentry;
use super::errno::check;
use super::errno::check64;
use super::errno::Errno;
use super::errno::Result;
use super::errno::EINVAL;
use super::errno::ENXIO;
use super::field::Struct;
use super::inode::Inode;
use super::plain;
use core::ptr::NonNull;

/// A counted reference to an open file.
#[repr(transparent)]
pub(crate) struct File(NonNull<bindings::file>);

// SAFETY: open files are shared between tasks; their count is atomic.
unsafe impl Send for File {}
// SAFETY: as above; what `&File` offers may be called from many tasks at once.
unsafe impl Sync for File {}

// SAFETY: this value holds a reference.
unsafe impl Struct for File {
    type C = bindings::file;

    fn raw(&self) -> *mut bindings::file {
        self.0.as_ptr()
    }
}

impl File {
    /// # Safety
    /// `ptr` is an open file, and one reference to it passes to the result.
    pub(super) unsafe fn from_owned(ptr: NonNull<bindings::file>) -> File {
        File(ptr)
    }

    /// # Safety
    /// `slot` points to null, or to a pointer to an open file that stays there and referenced for `'a`.
    pub(super) unsafe fn from_slot<'a>(slot: *const *mut core::ffi::c_void) -> Option<&'a File> {
        // SAFETY: the caller's promise; null is `None`, as `File` is transparent over a `NonNull`.
        unsafe { (*slot.cast::<Option<File>>()).as_ref() }
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::file {
        self.0.as_ptr()
    }

    pub(super) fn into_ptr(self) -> *mut bindings::file {
        let ptr = self.0.as_ptr();
        core::mem::forget(self);
        ptr
    }

    /// Another reference to the same open file.
    pub(crate) fn get(&self) -> File {
        let raw = plain::cf_get_file(self);
        File(NonNull::new(raw).unwrap_or(self.0))
    }

    /// The file's inode.
    pub(crate) fn inode(&self) -> &Inode {
        let raw = plain::cf_file_inode(self);
        // SAFETY: the open file pins it.
        unsafe { Inode::from_ptr(raw) }
    }

    /// A reference to the file's dentry.
    pub(crate) fn dentry(&self) -> Dentry {
        let raw = plain::cf_file_dentry(self);
        // SAFETY: the open file pins it.
        let raw = unsafe { bindings::cf_dget(raw) };
        // SAFETY: an open file's dentry is never null.
        let ptr = unsafe { NonNull::new_unchecked(raw) };
        // SAFETY: the reference was taken just now.
        unsafe { Dentry::from_owned(ptr) }
    }

    /// Whether the filesystem reads and writes by iterators.
    pub(crate) fn has_iter_ops(&self) -> bool {
        plain::cf_file_has_iter_ops(self)
    }

    /// Records an access, for culling by age.
    pub(crate) fn touch_atime(&self) {
        plain::cf_touch_atime(self);
    }

    /// Where the next data begins at or after `pos`; none when only a hole follows. Bytes.
    ///
    /// # Errors
    /// The filesystem's.
    pub(crate) fn seek_data(&self, pos: u64) -> Result<Option<u64>> {
        self.seek(pos, bindings::cf_consts_CF_SEEK_DATA)
    }

    /// Where the next hole begins at or after `pos`; none when `pos` is beyond the end. Bytes.
    ///
    /// # Errors
    /// The filesystem's.
    pub(crate) fn seek_hole(&self, pos: u64) -> Result<Option<u64>> {
        self.seek(pos, bindings::cf_consts_CF_SEEK_HOLE)
    }

    fn seek(&self, pos: u64, whence: u32) -> Result<Option<u64>> {
        let pos = i64::try_from(pos).map_err(|_| EINVAL)?;
        match self.llseek(pos, whence as i32) {
            Ok(found) => Ok(u64::try_from(found).ok()),
            Err(ENXIO) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Seeks, as the system call does; moves the position of this open file.
    ///
    /// # Errors
    /// The filesystem's.
    pub(crate) fn llseek(&self, pos: i64, whence: i32) -> Result<i64> {
        check64(plain::vfs_llseek(self, pos, whence))
    }

    /// Sets the size in bytes.
    ///
    /// # Errors
    /// The filesystem's.
    pub(crate) fn truncate(&self, size: u64) -> Result {
        let size = i64::try_from(size).map_err(|_| EINVAL)?;
        check(plain::cf_truncate(self, size))
    }

    /// Makes the range (bytes) a hole.
    ///
    /// # Errors
    /// The filesystem's.
    pub(crate) fn punch_hole(&self, pos: u64, len: u64) -> Result {
        self.fallocate(bindings::cf_consts_CF_FALLOC_PUNCH, pos, len)
    }

    /// Makes the range (bytes) read as zeros.
    ///
    /// # Errors
    /// The filesystem's.
    pub(crate) fn zero_range(&self, pos: u64, len: u64) -> Result {
        self.fallocate(bindings::cf_consts_CF_FALLOC_ZERO, pos, len)
    }

    fn fallocate(&self, mode: u32, pos: u64, len: u64) -> Result {
        let pos = i64::try_from(pos).map_err(|_| EINVAL)?;
        let len = i64::try_from(len).map_err(|_| EINVAL)?;
        let ret = plain::vfs_fallocate(self, mode as i32, pos, len);
        check(ret)
    }

    /// Gets write access to the file's mount until the guard is dropped.
    ///
    /// # Errors
    /// EROFS.
    pub(crate) fn want_write(&self) -> core::result::Result<FileWriteAccess<'_>, Errno> {
        check(plain::mnt_want_write_file(self))?;
        Ok(FileWriteAccess { file: self })
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: gives back the reference that this value owns.
        unsafe { bindings::fput(self.as_ptr()) };
    }
}

/// Write access to the mount of an open file.
#[must_use]
pub(crate) struct FileWriteAccess<'a> {
    file: &'a File,
}

impl Drop for FileWriteAccess<'_> {
    fn drop(&mut self) {
        // SAFETY: ends the access that `want_write` got.
        unsafe { bindings::mnt_drop_write_file(self.file.as_ptr()) };
    }
}
