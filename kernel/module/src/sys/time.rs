// SPDX-License-Identifier: GPL-2.0-or-later
//! The clock, and giving up the processor.

use super::bindings;

/// Seconds since 1970, their low 32 bits.
pub(crate) fn real_seconds() -> u32 {
    // SAFETY: reads the clock.
    unsafe { bindings::cf_real_seconds() }
}

/// Lets others run where they want to.
pub(crate) fn yield_now() {
    // SAFETY: called where sleeping is allowed: no caller holds a spinlock.
    unsafe { bindings::cf_cond_resched() };
}
