// SPDX-License-Identifier: GPL-2.0-or-later
//! Inodes of the backing filesystem: size, lock, and the mark that keeps them from being culled.

use super::bindings;
use kernel::types::Opaque;

/// An inode, borrowed from the dentry or file that pins it.
#[repr(transparent)]
pub(crate) struct Inode(Opaque<bindings::inode>);

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
        // SAFETY: the inode is pinned by what `self` was borrowed from.
        unsafe { bindings::cf_inode_ino(self.as_ptr()) }
    }

    /// File size in bytes.
    pub(crate) fn size(&self) -> u64 {
        // SAFETY: as in `ino`.
        let size = unsafe { bindings::cf_inode_size(self.as_ptr()) };
        u64::try_from(size).unwrap_or(0)
    }

    /// Space used, in units of 512 bytes.
    pub(crate) fn blocks(&self) -> u64 {
        // SAFETY: as in `ino`.
        unsafe { bindings::cf_inode_blocks(self.as_ptr()) }
    }

    /// Whether this directory has been removed while it was still referenced.
    pub(crate) fn is_dead_dir(&self) -> bool {
        // SAFETY: as in `ino`.
        unsafe { bindings::cf_inode_is_dead_dir(self.as_ptr()) }
    }

    /// Whether the inode is marked as in use by a cache. Without the inode's lock the answer may
    /// be out of date when it arrives.
    pub(crate) fn is_marked(&self) -> bool {
        let inode = self.as_ptr();
        // SAFETY: the inode is pinned; the field is read with one volatile load, as others change
        // it under the inode's lock.
        let flags = unsafe { core::ptr::addr_of!((*inode).i_flags).read_volatile() };
        flags & bindings::cf_consts_CF_S_KERNEL_FILE != 0
    }

    /// Takes the inode's lock.
    pub(crate) fn lock(&self) -> InodeLock<'_> {
        // SAFETY: the inode is pinned; the guard unlocks.
        unsafe { bindings::cf_inode_lock(self.as_ptr()) };
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
        let inode = self.inode.as_ptr();
        // SAFETY: the inode is pinned, so that the address is valid.
        let flags = unsafe { core::ptr::addr_of_mut!((*inode).i_flags) };
        // SAFETY: the inode's lock, which is held, keeps others from changing the field.
        let now = unsafe { flags.read_volatile() };
        // SAFETY: as just said; those who read it without the lock see the old or the new value.
        unsafe { flags.write_volatile(change(now)) };
    }
}

impl Drop for InodeLock<'_> {
    fn drop(&mut self) {
        // SAFETY: the guard proves that this task holds the lock.
        unsafe { bindings::cf_inode_unlock(self.inode.as_ptr()) };
    }
}
