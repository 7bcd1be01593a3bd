// SPDX-License-Identifier: GPL-2.0-or-later
//! Object ids: positive, unique among the anonymous fds that are open, handed out in a cycle so that
//! none comes back early.

use super::bindings;
use super::errno::check;
use super::errno::Result;
use core::cell::UnsafeCell;
use kernel::prelude::*;
use kernel::types::Opaque;

/// The ids in use: entries without a value in an xarray.
#[pin_data(PinnedDrop)]
pub(crate) struct IdSpace {
    #[pin]
    ids: Opaque<bindings::xarray>,
    /// Where the cycle stands; changed by the xarray's functions under the xarray's lock only.
    next: UnsafeCell<u32>,
}

// SAFETY: the xarray has its own lock, under which `next` changes too, and holds no pointers.
unsafe impl Send for IdSpace {}
// SAFETY: as above.
unsafe impl Sync for IdSpace {}

impl IdSpace {
    /// No id in use.
    pub(crate) fn new() -> impl PinInit<IdSpace> {
        pin_init!(IdSpace {
            // SAFETY: initialises the memory that it is given, in its final place.
            ids <- Opaque::ffi_init(|slot| unsafe { bindings::cf_xa_init_ids(slot) }),
            next: UnsafeCell::new(1),
        })
    }

    /// Takes the next id that is free, between 1 and `i32::MAX`. May sleep.
    ///
    /// # Errors
    /// ENOMEM; EBUSY when all are in use.
    pub(crate) fn take(&self) -> Result<u32> {
        let mut id = 0;
        // SAFETY: initialised; the results outlive the call, and `next` is protected as said.
        let ret = unsafe { bindings::cf_xa_alloc_cyclic(self.ids.get(), &mut id, self.next.get()) };
        check(ret)?;
        Ok(id)
    }

    /// Gives an id back.
    pub(crate) fn give_back(&self, id: u32) {
        // SAFETY: initialised; the index need not be in use.
        unsafe { bindings::xa_erase(self.ids.get(), id as usize) };
    }
}

#[pinned_drop]
impl PinnedDrop for IdSpace {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: initialised, and used by nobody any more.
        unsafe { bindings::xa_destroy(self.ids.get()) };
    }
}
