// SPDX-License-Identifier: GPL-2.0-or-later
//! A completion with a result: what the sender of a request waits on.

use super::bindings;
use super::errno::check;
use super::errno::Errno;
use super::errno::Result;
use core::sync::atomic::AtomicI32;
use core::sync::atomic::Ordering;
use kernel::prelude::*;
use kernel::types::Opaque;

/// Done or not, and how it ended.
#[pin_data]
pub(crate) struct Completion {
    #[pin]
    done: Opaque<bindings::completion>,
    result: AtomicI32,
}

// SAFETY: a completion has its own lock.
unsafe impl Send for Completion {}
// SAFETY: as above.
unsafe impl Sync for Completion {}

impl Completion {
    /// Not done.
    pub(crate) fn new() -> impl PinInit<Completion> {
        pin_init!(Completion {
            // SAFETY: initialises the memory that it is given, in its final place.
            done <- Opaque::ffi_init(|slot| unsafe { bindings::cf_init_completion(slot) }),
            result: AtomicI32::new(0),
        })
    }

    /// Ends the wait with `result`. To be called once.
    pub(crate) fn complete(&self, result: Result) {
        self.result
            .store(super::errno::to_ret(result), Ordering::Relaxed);
        // SAFETY: initialised; its lock orders the store before the waiter's load.
        unsafe { bindings::complete(self.done.get()) };
    }

    /// Waits; `Err(())` when a fatal signal comes first.
    pub(crate) fn wait_killable(&self) -> core::result::Result<Result, ()> {
        // SAFETY: initialised.
        if unsafe { bindings::wait_for_completion_killable(self.done.get()) } != 0 {
            return Err(());
        }
        Ok(self.result())
    }

    /// Waits for an end that is known to be coming.
    pub(crate) fn wait(&self) -> Result {
        // SAFETY: initialised.
        unsafe { bindings::wait_for_completion(self.done.get()) };
        self.result()
    }

    fn result(&self) -> core::result::Result<(), Errno> {
        check(self.result.load(Ordering::Relaxed))
    }
}
