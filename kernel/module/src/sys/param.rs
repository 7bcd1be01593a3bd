// SPDX-License-Identifier: GPL-2.0-or-later
//! The module's parameters, which the shim declares.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering;

extern "C" {
    static mut cf_debug: u32;
}

fn mask() -> &'static AtomicU32 {
    let word = core::ptr::addr_of_mut!(cf_debug);
    // SAFETY: lives as long as the module; sysfs loads and stores it as a whole, too.
    unsafe { AtomicU32::from_ptr(word) }
}

/// The debugging mask: see `debug.rs` for its bits.
pub(crate) fn debug() -> u32 {
    mask().load(Ordering::Relaxed)
}

/// Sets the debugging mask, as the `debug` command does.
pub(crate) fn set_debug(value: u32) {
    mask().store(value, Ordering::Relaxed);
}
