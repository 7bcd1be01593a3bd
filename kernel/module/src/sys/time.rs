// SPDX-License-Identifier: GPL-2.0-or-later
//! The clock, and giving up the processor.

use super::plain;

/// Seconds since 1970, their low 32 bits.
pub(crate) fn real_seconds() -> u32 {
    plain::cf_real_seconds()
}

/// Lets others run where they want to.
pub(crate) fn yield_now() {
    plain::cf_cond_resched();
}
