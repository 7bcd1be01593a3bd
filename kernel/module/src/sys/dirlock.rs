// SPDX-License-Identifier: GPL-2.0-or-later
//! Directories under their lock: the operations of the VFS that need it, and renames, which
//! need two. Dropping a guard unlocks.

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
use super::plain;
use super::text::c_text;
use core::mem::ManuallyDrop;
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
        plain::cf_inode_lock_parent(inode);
        Ok(DirLock { dir: self, inode })
    }
}

impl<'a> DirLock<'a> {
    /// The directory.
    pub(crate) fn dir(&self) -> &'a Dentry {
        self.dir
    }

    /// Looks up `name`; the dentry is negative when nothing has it.
    ///
    /// # Errors
    /// EACCES for a name that cannot be one (empty, `.`, `..`, with a slash), or the filesystem's.
    pub(crate) fn lookup(&self, name: &CStr) -> Result<Dentry> {
        let (name, len) = c_text(name);
        // SAFETY: the guard proves that the directory is locked; the name outlives the call.
        let raw = unsafe { bindings::cf_lookup(name, len, self.dir.as_ptr()) };
        let ptr = check_ptr(raw)?;
        // SAFETY: on success one reference comes back.
        Ok(unsafe { Dentry::from_owned(ptr) })
    }

    /// Makes the directory that `child`, a negative dentry of this directory, names. The dentry
    /// that comes back may be another one than `child`. When it fails the lock is given up.
    ///
    /// # Errors
    /// The security module's or the filesystem's.
    pub(crate) fn mkdir(self, mnt: &Mount, child: Dentry, mode: u16) -> Result<(Self, Dentry)> {
        self.is_free(&child)?;
        let (mnt, dir) = (mnt.as_ptr(), self.dir.as_ptr());
        // SAFETY: the parent is locked; the reference to `child` is consumed by the call.
        let raw = unsafe { bindings::cf_mkdir(mnt, dir, child.into_ptr(), mode) };
        match check_ptr(raw) {
            // SAFETY: on success one reference comes back.
            Ok(ptr) => Ok((self, unsafe { Dentry::from_owned(ptr) })),
            Err(e) => {
                // The call has unlocked.
                core::mem::forget(self);
                Err(e)
            }
        }
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
        check(ret)
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
        check(unsafe { bindings::cf_unlink(self.dir.as_ptr(), victim.as_ptr()) })
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
        check(ret)
    }
}

impl Drop for DirLock<'_> {
    fn drop(&mut self) {
        // SAFETY: the guard proves that this task holds the lock.
        unsafe { bindings::cf_inode_unlock(self.inode.as_ptr()) };
    }
}

/// A rename that is under way: both directories are locked.
#[must_use]
pub(crate) struct Renaming<'a> {
    raw: bindings::cf_renaming,
    /// The reference is `raw`'s.
    grave: ManuallyDrop<Dentry>,
    from: &'a Dentry,
    old: &'a Dentry,
}

impl<'a> Renaming<'a> {
    /// Locks `from` and `to` in the order that the VFS wants, and looks up `name` in `to`, for
    /// moving `old`, a child of `from`, there.
    ///
    /// # Errors
    /// ENOENT when nothing has the name of `old`; EXDEV when no directory of the two can be reached
    /// from the other's filesystem; EINVAL when `old` is no longer in `from`; EINVAL or ENOTEMPTY when the move would make a loop; or the
    /// filesystem's.
    pub(crate) fn start(
        from: &'a Dentry,
        old: &'a Dentry,
        to: &'a Dentry,
        name: &CStr,
    ) -> Result<Renaming<'a>> {
        // The security modules look into the inode of what is to be moved.
        if old.is_negative() {
            return Err(ENOENT);
        }
        let mut raw = bindings::cf_renaming::default();
        let (name, len) = c_text(name);
        // SAFETY: all are referenced for the life of the guard, and the name outlives the call.
        let ret = unsafe {
            bindings::cf_start_renaming(
                &mut raw,
                from.as_ptr(),
                old.as_ptr(),
                to.as_ptr(),
                name,
                len,
            )
        };
        check(ret)?;
        let grave = check_ptr(raw.grave)?;
        // SAFETY: `raw` has a reference until the rename ends, and this one is not given back.
        let grave = unsafe { Dentry::from_owned(grave) };
        Ok(Renaming {
            raw,
            grave: ManuallyDrop::new(grave),
            from,
            old,
        })
    }

    /// What the target directory has under the name: negative when nothing.
    pub(crate) fn target(&self) -> &Dentry {
        &self.grave
    }

    /// Whether the security module allows the rename.
    ///
    /// # Errors
    /// The security module's.
    pub(crate) fn is_allowed(&self, mnt: &Mount) -> Result {
        // SAFETY: all are referenced and both parents are locked until this guard is dropped.
        check(unsafe { bindings::cf_security_rename(mnt.as_ptr(), &self.raw) })
    }

    /// Renames.
    ///
    /// # Errors
    /// ENOENT when there is nothing to rename, EEXIST when the target is there; or the
    /// filesystem's.
    pub(crate) fn rename(&self) -> Result {
        // Only this can have moved it, and C stops the machine when it is told to do so again.
        if !self.old.is_child_of(self.from) {
            return Err(ENOENT);
        }
        if !self.grave.is_negative() {
            return Err(EEXIST);
        }
        // SAFETY: both parents are locked, which keeps others from changing anything before this guard
        // is dropped; they are the parents, as `start` has seen and as was just checked.
        check(unsafe { bindings::cf_rename(&self.raw) })
    }
}

impl Drop for Renaming<'_> {
    fn drop(&mut self) {
        // SAFETY: ends what `start` began, once.
        unsafe { bindings::cf_end_renaming(&self.raw) };
    }
}
