// SPDX-License-Identifier: GPL-2.0-or-later
//! A value that is set once and then read without a lock: what a cache is once it is bound.

use core::ptr::null_mut;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering;
use kernel::prelude::*;

/// Empty, then set for ever. Owns the value.
pub(crate) struct Once<T: Send + Sync>(AtomicPtr<T>);

impl<T: Send + Sync> Once<T> {
    /// An empty one.
    pub(crate) const fn new() -> Self {
        Once(AtomicPtr::new(null_mut()))
    }

    /// Sets the value; gives it back when there is one already.
    pub(crate) fn set(&self, value: KBox<T>) -> core::result::Result<&T, KBox<T>> {
        let raw = KBox::into_raw(value);
        match self
            .0
            .compare_exchange(null_mut(), raw, Ordering::AcqRel, Ordering::Acquire)
        {
            // SAFETY: owned by `self` from now on, and not changed or freed before `self` is.
            Ok(_) => Ok(unsafe { &*raw }),
            // SAFETY: not stored, so that the box is still ours alone.
            Err(_) => Err(unsafe { KBox::from_raw(raw) }),
        }
    }

    /// The value, once it is set.
    pub(crate) fn get(&self) -> Option<&T> {
        // SAFETY: null or a value that `self` owns; the load orders its contents.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }
}

impl<T: Send + Sync> Drop for Once<T> {
    fn drop(&mut self) {
        let raw = *self.0.get_mut();
        if !raw.is_null() {
            // SAFETY: made by `KBox::into_raw` in `set`, and nobody borrows it any more.
            drop(unsafe { KBox::from_raw(raw) });
        }
    }
}
