// SPDX-License-Identifier: GPL-2.0-or-later
//! Kernel threads that make one transfer each.

use super::bindings;
use super::errno::check;
use super::errno::Result;
use crate::batch::Transfer;
use core::ffi::c_void;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;
use kernel::prelude::*;

/// How many were started and have not been waited for.
static STARTED: AtomicU64 = AtomicU64::new(0);

/// Starts a thread.
///
/// # Errors
/// What starting it says; the transfer is dropped then.
pub(crate) fn start(transfer: Transfer) -> Result {
    let transfer = KBox::into_raw(KBox::new(transfer, GFP_KERNEL)?);
    // SAFETY: the thread calls `cp_thread_run` with the box, once.
    let started = check(unsafe { bindings::cp_start_thread(transfer.cast()) });
    if let Err(e) = started {
        // SAFETY: no thread has got it.
        drop(unsafe { KBox::from_raw(transfer) });
        return Err(e);
    }
    STARTED.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// What a thread does; it ends in C, where no text of the module is left to run.
///
/// # Safety
/// `data` is what `cp_start_thread` was given; called once for it.
#[no_mangle]
unsafe extern "C" fn cp_thread_run(data: *mut c_void) {
    // SAFETY: the box that `start` made; the caller's promise.
    let transfer = unsafe { KBox::from_raw(data.cast::<Transfer>()) };
    KBox::into_inner(transfer).run();
}

/// Waits until all have ended, and no text of the module is needed any more. To be called when
/// nobody starts any.
pub(crate) fn wait_for_all() {
    while STARTED.load(Ordering::Relaxed) > 0 {
        // SAFETY: each thread that was started ends, and is waited for once.
        unsafe { bindings::cp_wait_thread_end() };
        STARTED.fetch_sub(1, Ordering::Relaxed);
    }
}
