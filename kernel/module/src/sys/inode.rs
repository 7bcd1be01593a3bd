// SPDX-License-Identifier: GPL-2.0-or-later
//! Inodes of the backing filesystem: size, lock, and the mark that keeps them from being culled.

use super::bindings;
use super::field::field;
use super::field::Struct;
use super::plain;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering;
use kernel::types::Opaque;

/// The bit of an inode's flags that marks it as in use by the kernel.
const MARK: u32 = bindings::cf_consts_CF_S_KERNEL_FILE;

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
        self.flags().load(Ordering::Relaxed) & MARK != 0
    }

    fn flags(&self) -> &AtomicU32 {
        let word = self.place(field!(inode.i_flags));
        // SAFETY: the inode is pinned. Filesystems change their bits of the word with or without the
        // inode's lock, atomically where it is without (`inode_set_flags`).
        unsafe { AtomicU32::from_ptr(word) }
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
        self.inode.flags().fetch_or(MARK, Ordering::Relaxed) & MARK == 0
    }

    /// Whether this is the lock of `inode`.
    pub(super) fn is_of(&self, inode: &Inode) -> bool {
        self.inode.as_ptr() == inode.as_ptr()
    }

    /// Takes the mark away.
    pub(crate) fn unmark(&self) {
        self.inode.flags().fetch_and(!MARK, Ordering::Relaxed);
    }
}

impl Drop for InodeLock<'_> {
    fn drop(&mut self) {
        // SAFETY: the guard proves that this task holds the lock.
        unsafe { bindings::cf_inode_unlock(self.inode.as_ptr()) };
    }
}
