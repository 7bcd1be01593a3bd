// SPDX-License-Identifier: GPL-2.0-or-later
//! The wait queue on which the daemon polls.

use super::bindings;
use super::field::Struct;
use super::plain;
use kernel::prelude::*;
use kernel::types::Opaque;

/// Events that `poll` reports (include/uapi/linux/eventpoll.h).
pub(crate) const EPOLLIN: u32 = 0x0001;
/// Writable: here, culling is wanted.
pub(crate) const EPOLLOUT: u32 = 0x0004;

/// A wait queue head.
#[pin_data]
pub(crate) struct WaitQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
}

// SAFETY: the head has its own lock.
unsafe impl Send for WaitQueue {}
// SAFETY: as above.
unsafe impl Sync for WaitQueue {}

// SAFETY: part of this value, initialised by `new`, which is the only way to one.
unsafe impl Struct for WaitQueue {
    type C = bindings::wait_queue_head;

    fn raw(&self) -> *mut bindings::wait_queue_head {
        self.head.get()
    }
}

impl WaitQueue {
    /// An empty queue.
    pub(crate) fn new() -> impl PinInit<WaitQueue> {
        pin_init!(WaitQueue {
            // SAFETY: initialises the memory that it is given, in its final place.
            head <- Opaque::ffi_init(|slot| unsafe { bindings::cf_init_waitqueue(slot) }),
        })
    }

    /// Wakes those who poll for any of `events`.
    pub(crate) fn wake(&self, events: u32) {
        plain::cf_wake_up_poll(self, events);
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::wait_queue_head {
        self.head.get()
    }
}
