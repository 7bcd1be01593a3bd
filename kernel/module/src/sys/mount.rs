// SPDX-License-Identifier: GPL-2.0-or-later
//! The mount of the backing filesystem, and paths on it.

use super::bindings;
use super::cred::Cred;
use super::dentry::Dentry;
use super::errno::check;
use super::errno::check_ptr;
use super::errno::Result;
use super::errno::EINVAL;
use super::errno::ENOENT;
use super::errno::ENOTDIR;
use super::field::Struct;
use super::file::File;
use super::plain;
use super::text::c_ptr;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use kernel::str::CStr;

/// A counted reference to a mount.
pub(crate) struct Mount(NonNull<bindings::vfsmount>);

// SAFETY: mounts are shared between tasks; their count is per CPU and their fields are protected.
unsafe impl Send for Mount {}
// SAFETY: as above.
unsafe impl Sync for Mount {}

/// What statfs tells about space, in the filesystem's own blocks and inodes.
pub(crate) struct Space {
    /// Size of a block in bytes.
    pub(crate) block_size: i64,
    /// Blocks in all.
    pub(crate) blocks: u64,
    /// Blocks free for unprivileged users.
    pub(crate) blocks_avail: u64,
    /// Inodes in all.
    pub(crate) files: u64,
    /// Inodes free.
    pub(crate) files_free: u64,
}

// SAFETY: this value holds a reference.
unsafe impl Struct for Mount {
    type C = bindings::vfsmount;

    fn raw(&self) -> *mut bindings::vfsmount {
        self.0.as_ptr()
    }
}

impl Mount {
    pub(super) fn as_ptr(&self) -> *mut bindings::vfsmount {
        self.0.as_ptr()
    }

    /// Opens the directory `path` as the current task sees it.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR and the others of a path walk.
    pub(crate) fn look_up_dir(path: &CStr) -> Result<(Mount, Dentry)> {
        let mut found = MaybeUninit::<bindings::path>::zeroed();
        // SAFETY: the path is a string that outlives the call; the result is written on success.
        let ret = unsafe {
            bindings::kern_path(
                c_ptr(path),
                bindings::cf_consts_CF_LOOKUP_DIRECTORY,
                found.as_mut_ptr(),
            )
        };
        check(ret)?;
        // SAFETY: on success both references of the path are ours.
        unsafe { Mount::from_path(found) }
    }

    /// The working directory of the current task.
    ///
    /// # Errors
    /// ENOENT when the task has none any more.
    pub(crate) fn current_dir() -> Result<(Mount, Dentry)> {
        let mut found = MaybeUninit::<bindings::path>::zeroed();
        // SAFETY: writes the path and takes a reference of both its parts.
        unsafe { bindings::cf_current_dir(found.as_mut_ptr()) };
        // SAFETY: as just said.
        unsafe { Mount::from_path(found) }
    }

    /// # Safety
    /// `path` is initialised and its two references pass to the result.
    unsafe fn from_path(path: MaybeUninit<bindings::path>) -> Result<(Mount, Dentry)> {
        // SAFETY: the caller's promise.
        let path = unsafe { path.assume_init() };
        let mount = NonNull::new(path.mnt).ok_or(ENOENT)?;
        let dentry = NonNull::new(path.dentry).ok_or(ENOENT)?;
        // SAFETY: the caller's promise.
        Ok((Mount(mount), unsafe { Dentry::from_owned(dentry) }))
    }

    /// Whether user and group ids are mapped on this mount.
    pub(crate) fn is_idmapped(&self) -> bool {
        plain::cf_mnt_is_idmapped(self)
    }

    /// Asks the filesystem for its free space.
    ///
    /// # Errors
    /// The filesystem's.
    pub(crate) fn statfs(&self) -> Result<Space> {
        let mut st = MaybeUninit::<bindings::kstatfs>::zeroed();
        // SAFETY: `self` holds a reference; the result is written on success.
        check(unsafe { bindings::cf_statfs(self.as_ptr(), st.as_mut_ptr()) })?;
        // SAFETY: zeroed to begin with, a valid value of this plain struct, and now filled.
        let st = unsafe { st.assume_init() };
        Ok(Space {
            block_size: st.f_bsize as i64,
            blocks: st.f_blocks,
            blocks_avail: st.f_bavail,
            files: st.f_files,
            files_free: st.f_ffree,
        })
    }

    /// Writes everything that is dirty on the filesystem to its device.
    ///
    /// # Errors
    /// EIO and the filesystem's.
    pub(crate) fn sync_fs(&self) -> Result {
        check(plain::cf_sync_fs(self))
    }

    /// Gets write access to the mount until the guard is dropped.
    ///
    /// # Errors
    /// EROFS.
    pub(crate) fn want_write(&self) -> Result<WriteAccess<'_>> {
        check(plain::mnt_want_write(self))?;
        Ok(WriteAccess { mount: self })
    }

    /// Makes a file without a name in `dir`, opened for direct I/O both ways.
    ///
    /// # Errors
    /// ENOTDIR when `dir` is no directory, or the filesystem's.
    pub(crate) fn open_tmpfile(&self, dir: &Dentry, cred: &Cred) -> Result<File> {
        if !dir.can_lookup() {
            return Err(ENOTDIR);
        }
        // SAFETY: all three are referenced for the call, and the directory has an inode, which C does
        // not check; a new reference comes back.
        let raw = unsafe { bindings::cf_tmpfile_open(self.as_ptr(), dir.as_ptr(), cred.as_ptr()) };
        let ptr = check_ptr(raw)?;
        // SAFETY: as just said.
        Ok(unsafe { File::from_owned(ptr) })
    }

    /// Opens an existing regular file for direct I/O both ways.
    ///
    /// # Errors
    /// EINVAL when it is no regular file, or the filesystem's.
    pub(crate) fn open_file(&self, dentry: &Dentry, cred: &Cred) -> Result<File> {
        if !dentry.is_reg() {
            return Err(EINVAL);
        }
        // SAFETY: as in `open_tmpfile`.
        let raw = unsafe { bindings::cf_file_open(self.as_ptr(), dentry.as_ptr(), cred.as_ptr()) };
        let ptr = check_ptr(raw)?;
        // SAFETY: as in `open_tmpfile`.
        Ok(unsafe { File::from_owned(ptr) })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // SAFETY: gives back the reference that this value owns.
        unsafe { bindings::mntput(self.as_ptr()) };
    }
}

/// Write access to a mount.
#[must_use]
pub(crate) struct WriteAccess<'a> {
    mount: &'a Mount,
}

impl Drop for WriteAccess<'_> {
    fn drop(&mut self) {
        // SAFETY: ends the access that `want_write` got.
        unsafe { bindings::mnt_drop_write(self.mount.as_ptr()) };
    }
}
