// SPDX-License-Identifier: GPL-2.0-or-later
//! Inodes of the backing filesystem: size, lock, and the mark that keeps them from being culled.

use super::bindings;
use super::field::field;
use super::field::Struct;
use super::plain;
use kernel::types::Opaque;

/// An inode, borrowed from the dentry or file that pins it.
#[repr(transparent)]
pub(crate) struct Inode(Opaque<bindings::inode>);

// SAFETY: what it was borrowed from pins it (`from_ptr`).
unsafe impl Struct for Inode {
    type C = bindings::inode;

    fn raw(&self) -> *mut bindings::inode {
        self.0.get()
    }
}

impl Inode {
    /// # Safety
    /// `ptr` is an inode that stays pinned for `'a`.
    pub(super) unsafe fn from_ptr<'a>(ptr: *mut bindings::inode) -> &'a Inode {
        // SAFETY: the caller's promise; the type is transparent over the C struct.
        unsafe { &*ptr.cast() }
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::inode {
        self.0.get()
    }

    /// Inode number.
    pub(crate) fn ino(&self) -> u64 {
        plain::cf_inode_ino(self)
    }

    /// File size in bytes.
    pub(crate) fn size(&self) -> u64 {
        let size = plain::cf_inode_size(self);
        u64::try_from(size).unwrap_or(0)
    }

    /// Space used, in units of 512 bytes.
    pub(crate) fn blocks(&self) -> u64 {
        plain::cf_inode_blocks(self)
    }

    /// Whether this directory has been removed while it was still referenced.
    pub(crate) fn is_dead_dir(&self) -> bool {
        plain::cf_inode_is_dead_dir(self)
    }

    /// Whether the inode is marked as in use by a cache. Without the inode's lock the answer may
    /// be out of date when it arrives.
    pub(crate) fn is_marked(&self) -> bool {
        self.load(field!(inode.i_flags)) & bindings::cf_consts_CF_S_KERNEL_FILE != 0
    }

    /// Takes the inode's lock.
    pub(crate) fn lock(&self) -> InodeLock<'_> {
        plain::cf_inode_lock(self);
        InodeLock { inode: self }
    }
}

/// The lock of an inode that is not a parent in the current operation.
#[must_use]
pub(crate) struct InodeLock<'a> {
    inode: &'a Inode,
}

impl InodeLock<'_> {
    /// Marks the inode as in use by a cache; false when it already was.
    pub(crate) fn mark(&self) -> bool {
        if self.inode.is_marked() {
            return false;
        }
        self.set_flags(|flags| flags | bindings::cf_consts_CF_S_KERNEL_FILE);
        true
    }

    /// Whether this is the lock of `inode`.
    pub(super) fn is_of(&self, inode: &Inode) -> bool {
        self.inode.as_ptr() == inode.as_ptr()
    }

    /// Takes the mark away.
    pub(crate) fn unmark(&self) {
        self.set_flags(|flags| flags & !bindings::cf_consts_CF_S_KERNEL_FILE);
    }

    fn set_flags(&self, change: impl FnOnce(u32) -> u32) {
        let now = self.inode.load(field!(inode.i_flags));
        let flags = self.inode.place(field!(inode.i_flags));
        // SAFETY: the inode is pinned. Its lock, which is held, keeps others from changing the field;
        // those who read it without the lock see the old or the new value.
        unsafe { flags.write_volatile(change(now)) };
    }
}

impl Drop for InodeLock<'_> {
    fn drop(&mut self) {
        // SAFETY: the guard proves that this task holds the lock.
        unsafe { bindings::cf_inode_unlock(self.inode.as_ptr()) };
    }
}
