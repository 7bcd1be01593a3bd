// SPDX-License-Identifier: GPL-2.0-or-later
//! Dentries of the backing filesystem.

use super::bindings;
use super::errno::check;
use super::errno::check64;
use super::errno::check_ptr;
use super::errno::Result;
use super::errno::EINVAL;
use super::errno::ENOENT;
use super::errno::ENOTDIR;
use super::field::field;
use super::field::Struct;
use super::inode::Inode;
use super::inode::InodeLock;
use super::plain;
use super::text::c_ptr;
use super::text::c_text;
use core::ptr::NonNull;
use kernel::str::CStr;

/// A counted reference to a dentry, positive or negative.
///
/// It does not keep the superblock: an unmount takes the filesystem away from under it. Whoever has
/// one also has the mount, or an open file on it, and gives that up later.
pub(crate) struct Dentry(NonNull<bindings::dentry>);

// SAFETY: dentries are shared between tasks; count and fields are protected by the VFS.
unsafe impl Send for Dentry {}
// SAFETY: as above; everything that `&Dentry` offers may be called from many tasks at once.
unsafe impl Sync for Dentry {}

// SAFETY: this value holds a reference.
unsafe impl Struct for Dentry {
    type C = bindings::dentry;

    fn raw(&self) -> *mut bindings::dentry {
        self.0.as_ptr()
    }
}

impl Dentry {
    /// # Safety
    /// `ptr` is a dentry, and one reference to it passes to the result.
    pub(super) unsafe fn from_owned(ptr: NonNull<bindings::dentry>) -> Dentry {
        Dentry(ptr)
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::dentry {
        self.0.as_ptr()
    }

    /// Gives up the reference without dropping it: a C function consumes it.
    pub(super) fn into_ptr(self) -> *mut bindings::dentry {
        let ptr = self.0.as_ptr();
        core::mem::forget(self);
        ptr
    }

    /// The inode; none for a negative dentry. It stays pinned while the dentry is referenced.
    pub(crate) fn inode(&self) -> Option<&Inode> {
        let raw = plain::cf_dentry_inode(self);
        if raw.is_null() {
            return None;
        }
        // SAFETY: a positive dentry with a reference pins its inode: the VFS makes a dentry
        // negative only when nobody but who removes the name references it (`d_delete`).
        Some(unsafe { Inode::from_ptr(raw) })
    }

    /// Whether nothing has this name.
    pub(crate) fn is_negative(&self) -> bool {
        plain::cf_dentry_is_negative(self)
    }

    /// Whether this is a directory.
    pub(crate) fn is_dir(&self) -> bool {
        plain::cf_dentry_is_dir(self)
    }

    /// Whether this is a regular file.
    pub(crate) fn is_reg(&self) -> bool {
        plain::cf_dentry_is_reg(self)
    }

    /// Whether names can be looked up in it.
    pub(crate) fn can_lookup(&self) -> bool {
        plain::cf_dentry_can_lookup(self)
    }

    /// Whether the dentry has left the dentry cache's hash table.
    pub(crate) fn is_unhashed(&self) -> bool {
        plain::cf_dentry_unhashed(self)
    }

    /// Whether something is mounted on it.
    pub(crate) fn is_mountpoint(&self) -> bool {
        plain::cf_dentry_is_mountpoint(self)
    }

    /// Whether `dir` is the parent now. Meaningful while the parent is locked.
    pub(crate) fn is_child_of(&self, dir: &Dentry) -> bool {
        self.load(field!(dentry.d_parent)) == dir.as_ptr()
    }

    /// Whether this is `dir` or lies below it on the same filesystem.
    pub(crate) fn is_below(&self, dir: &Dentry) -> bool {
        plain::is_subdir(self, dir)
    }

    /// Whether the filesystem can hold a cache: lookup, mkdir, tmpfile, xattrs, statfs, sync_fs,
    /// and blocks no larger than a page. The dentry is positive.
    pub(crate) fn can_hold_cache(&self) -> bool {
        // SAFETY: a positive dentry's inode and superblock have their operation tables.
        !self.is_negative() && unsafe { bindings::cf_dir_can_hold_cache(self.as_ptr()) }
    }

    /// Whether this directory has the operations that live objects need.
    pub(crate) fn can_hold_objects(&self) -> bool {
        // SAFETY: as in `can_hold_cache`.
        !self.is_negative() && unsafe { bindings::cf_dir_can_hold_objects(self.as_ptr()) }
    }

    /// Whether the filesystem is read-only.
    pub(crate) fn is_read_only(&self) -> bool {
        plain::cf_sb_is_read_only(self)
    }

    /// Whether the security modules let the credentials in force make files and directories here.
    ///
    /// # Errors
    /// Theirs.
    pub(crate) fn may_create(&self) -> Result {
        if self.is_negative() {
            return Err(ENOENT);
        }
        // SAFETY: the dentry is positive and referenced.
        check(unsafe { bindings::cf_security_create(self.as_ptr()) })
    }

    /// Looks up an existing name below this directory without its lock held.
    ///
    /// # Errors
    /// ENOENT when nothing has the name, or what the filesystem says.
    pub(crate) fn lookup_positive_unlocked(&self, name: &CStr) -> Result<Dentry> {
        if !self.can_lookup() {
            return Err(ENOTDIR);
        }
        let (name, len) = c_text(name);
        // SAFETY: the directory is referenced; the name outlives the call, `len` excludes its NUL.
        let raw = unsafe { bindings::cf_lookup_positive_unlocked(name, len, self.as_ptr()) };
        check_ptr(raw).map(Dentry)
    }

    /// Reads the extended attribute `name` into `buf`; returns its length in bytes.
    ///
    /// # Errors
    /// ENODATA when there is none, ERANGE when it is longer than `buf`, or the filesystem's.
    pub(crate) fn get_xattr(&self, name: &CStr, buf: &mut [u8]) -> Result<usize> {
        self.inode().ok_or(ENOENT)?;
        // SAFETY: the dentry is positive and referenced; the buffer has that length.
        let ret = unsafe {
            bindings::cf_getxattr(
                self.as_ptr(),
                c_ptr(name),
                buf.as_mut_ptr().cast(),
                buf.len(),
            )
        };
        check64(ret as i64).map(|n| n as usize)
    }

    /// Sets the extended attribute `name`. The caller has write access to the mount.
    ///
    /// # Errors
    /// The filesystem's.
    pub(crate) fn set_xattr(&self, name: &CStr, value: &[u8]) -> Result {
        self.inode().ok_or(ENOENT)?;
        // SAFETY: as in `get_xattr`; the value is only read.
        let ret = unsafe {
            bindings::cf_setxattr(
                self.as_ptr(),
                c_ptr(name),
                value.as_ptr().cast(),
                value.len(),
            )
        };
        check(ret)
    }

    /// Removes the extended attribute `name`. The caller has write access to the mount.
    ///
    /// # Errors
    /// ENODATA when there is none, or the filesystem's.
    pub(crate) fn remove_xattr(&self, name: &CStr) -> Result {
        self.inode().ok_or(ENOENT)?;
        // SAFETY: as in `get_xattr`.
        check(unsafe { bindings::cf_removexattr(self.as_ptr(), c_ptr(name)) })
    }

    /// Sets the size of the file in bytes, through the filesystem.
    ///
    /// # Errors
    /// The filesystem's.
    pub(crate) fn set_size(&self, locked: &InodeLock<'_>, size: u64) -> Result {
        let size = i64::try_from(size).map_err(|_| EINVAL)?;
        if !self.inode().is_some_and(|inode| locked.is_of(inode)) {
            return Err(EINVAL);
        }
        // SAFETY: the dentry is positive and the guard shows that its inode is locked.
        check(unsafe { bindings::cf_set_size(self.as_ptr(), size) })
    }
}

impl Drop for Dentry {
    fn drop(&mut self) {
        // SAFETY: gives back the reference that this value owns.
        unsafe { bindings::dput(self.as_ptr()) };
    }
}
