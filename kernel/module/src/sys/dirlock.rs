// SPDX-License-Identifier: GPL-2.0-or-later
//! Directories under their lock: the operations of the VFS that need it, and the two-directory lock
//! of a rename. Dropping a guard unlocks.

use super::bindings;
use super::dentry::Dentry;
use super::errno::check;
use super::errno::check_ptr;
use super::errno::Result;
use super::errno::EEXIST;
use super::errno::ENOENT;
use super::errno::ENOTDIR;
use super::inode::Inode;
use super::mount::Mount;
use kernel::str::CStr;

/// A directory whose lock this task holds, with the lock class of a parent.
#[must_use]
pub(crate) struct DirLock<'a> {
    dir: &'a Dentry,
    inode: &'a Inode,
}

impl Dentry {
    /// Takes the directory's lock.
    ///
    /// # Errors
    /// ENOENT for a negative dentry, ENOTDIR for one that is no directory.
    pub(crate) fn lock_dir(&self) -> Result<DirLock<'_>> {
        let inode = self.inode().ok_or(ENOENT)?;
        if !self.can_lookup() {
            return Err(ENOTDIR);
        }
        // SAFETY: the inode is pinned by the dentry, which outlives the guard.
        unsafe { bindings::cf_inode_lock_parent(inode.as_ptr()) };
        Ok(DirLock { dir: self, inode })
    }
}

impl DirLock<'_> {
    /// The directory.
    pub(crate) fn dir(&self) -> &Dentry {
        self.dir
    }

    /// Looks up `name`; the dentry is negative when nothing has it.
    ///
    /// # Errors
    /// EACCES for a name that cannot be one (empty, `.`, `..`, with a slash), or the filesystem's.
    pub(crate) fn lookup(&self, name: &CStr) -> Result<Dentry> {
        lookup_locked(self.dir, name)
    }

    /// Makes the directory that `child`, a negative dentry of this directory, names. The dentry
    /// that comes back may be another one than `child`.
    ///
    /// # Errors
    /// The security module's or the filesystem's.
    pub(crate) fn mkdir(&self, mnt: &Mount, child: Dentry, mode: u16) -> Result<Dentry> {
        self.is_free(&child)?;
        // SAFETY: the parent is locked; the reference to `child` is consumed by the call.
        let raw =
            unsafe { bindings::cf_mkdir(mnt.as_ptr(), self.dir.as_ptr(), child.into_ptr(), mode) };
        let ptr = check_ptr(raw)?;
        // SAFETY: on success one reference comes back.
        Ok(unsafe { Dentry::from_owned(ptr) })
    }

    /// Whether `child` is a name of this directory that nothing has.
    fn is_free(&self, child: &Dentry) -> Result {
        if !child.is_child_of(self.dir) {
            Err(ENOENT)
        } else if !child.is_negative() {
            Err(EEXIST)
        } else {
            Ok(())
        }
    }

    /// Whether the security module lets `victim` be unlinked from here.
    ///
    /// # Errors
    /// The security module's.
    pub(crate) fn may_unlink(&self, mnt: &Mount, victim: &Dentry) -> Result {
        // SAFETY: all three are referenced and the parent is locked.
        let ret = unsafe {
            bindings::cf_security_unlink(mnt.as_ptr(), self.dir.as_ptr(), victim.as_ptr())
        };
        check(ret).map(|_| ())
    }

    /// Unlinks `victim`, a positive dentry, from this directory.
    ///
    /// # Errors
    /// ENOENT when it is no child of this directory any more, or the filesystem's.
    pub(crate) fn unlink(&self, victim: &Dentry) -> Result {
        // One that is unhashed has lost its name already: XFS shuts down when told to take it again.
        if victim.is_negative() || victim.is_unhashed() || !victim.is_child_of(self.dir) {
            return Err(ENOENT);
        }
        // SAFETY: the parent is locked, and it is `victim`'s parent.
        check(unsafe { bindings::cf_unlink(self.dir.as_ptr(), victim.as_ptr()) }).map(|_| ())
    }

    /// Gives the file of `old` the name of `new`, a negative dentry of this directory.
    ///
    /// # Errors
    /// The filesystem's.
    pub(crate) fn link(&self, old: &Dentry, new: &Dentry) -> Result {
        self.is_free(new)?;
        if old.is_negative() {
            return Err(ENOENT);
        }
        // SAFETY: all three are referenced and the parent of `new` is locked.
        let ret = unsafe { bindings::cf_link(old.as_ptr(), self.dir.as_ptr(), new.as_ptr()) };
        check(ret).map(|_| ())
    }
}

impl Drop for DirLock<'_> {
    fn drop(&mut self) {
        // SAFETY: the guard proves that this task holds the lock.
        unsafe { bindings::cf_inode_unlock(self.inode.as_ptr()) };
    }
}

fn lookup_locked(dir: &Dentry, name: &CStr) -> Result<Dentry> {
    let len = u32::try_from(name.len()).unwrap_or(u32::MAX);
    // SAFETY: both callers hold the directory's lock; the name outlives the call.
    let raw = unsafe { bindings::cf_lookup(name.as_char_ptr(), len, dir.as_ptr()) };
    let ptr = check_ptr(raw)?;
    // SAFETY: on success one reference comes back.
    Ok(unsafe { Dentry::from_owned(ptr) })
}

/// Two directories locked for a rename from `from` to `to`, with the filesystem's rename mutex.
#[must_use]
pub(crate) struct RenameLock<'a> {
    from: &'a Dentry,
    to: &'a Dentry,
    trap: *mut bindings::dentry,
}

impl<'a> RenameLock<'a> {
    /// Locks both directories in the order that the VFS wants.
    ///
    /// # Errors
    /// EXDEV when no directory of the two can be reached from the other's filesystem.
    pub(crate) fn take(from: &'a Dentry, to: &'a Dentry) -> Result<RenameLock<'a>> {
        // SAFETY: both are directories with a reference held for the life of the guard.
        let trap = unsafe { bindings::lock_rename(to.as_ptr(), from.as_ptr()) };
        if !trap.is_null() {
            check_ptr(trap)?;
        }
        Ok(RenameLock { from, to, trap })
    }

    /// Whether `dentry` is an ancestor of the other directory, so that the rename would make a loop.
    pub(crate) fn is_trap(&self, dentry: &Dentry) -> bool {
        self.trap == dentry.as_ptr()
    }

    /// Looks up `name` in the target directory.
    ///
    /// # Errors
    /// As [`DirLock::lookup`].
    pub(crate) fn lookup_target(&self, name: &CStr) -> Result<Dentry> {
        lookup_locked(self.to, name)
    }

    /// Whether the security module allows the rename.
    ///
    /// # Errors
    /// The security module's.
    pub(crate) fn may_rename(&self, mnt: &Mount, old: &Dentry, new: &Dentry) -> Result {
        // SAFETY: all are referenced and both parents are locked.
        let ret = unsafe {
            bindings::cf_security_rename(
                mnt.as_ptr(),
                self.from.as_ptr(),
                old.as_ptr(),
                self.to.as_ptr(),
                new.as_ptr(),
            )
        };
        check(ret).map(|_| ())
    }

    /// Moves `old`, a child of `from`, to the name of `new`, a negative child of `to`.
    ///
    /// # Errors
    /// ENOENT when `old` is no child of `from` any more, or the filesystem's.
    pub(crate) fn rename(&self, old: &Dentry, new: &Dentry) -> Result {
        if old.is_negative() || !old.is_child_of(self.from) || !new.is_child_of(self.to) {
            return Err(ENOENT);
        }
        if !new.is_negative() {
            return Err(EEXIST);
        }
        // SAFETY: all are referenced, both parents are locked and are the parents, as checked.
        let ret = unsafe {
            bindings::cf_rename(
                self.from.as_ptr(),
                old.as_ptr(),
                self.to.as_ptr(),
                new.as_ptr(),
            )
        };
        check(ret).map(|_| ())
    }
}

impl Drop for RenameLock<'_> {
    fn drop(&mut self) {
        // SAFETY: the guard proves that both locks are held, taken with the same two directories.
        unsafe { bindings::unlock_rename(self.to.as_ptr(), self.from.as_ptr()) };
    }
}
