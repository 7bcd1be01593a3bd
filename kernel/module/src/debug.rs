// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! Lines for developers in the kernel's log, chosen by the bits of the parameter `debug`. The bits
//! are those of the C module, which has such lines when it is built with CONFIG_CACHEFILES_DEBUG;
//! ours are always there, and cost a load where they are not wanted.

use crate::sys::param;

/// An operation begins.
pub(crate) const ENTER: u32 = 1;
/// An operation ends.
pub(crate) const LEAVE: u32 = 2;
/// Something on the way.
pub(crate) const INSIDE: u32 = 4;

/// Whether lines of this kind are wanted.
pub(crate) fn wanted(kind: u32) -> bool {
    param::debug() & kind != 0
}

/// Logs a line if lines of its kind are wanted.
macro_rules! debug {
    ($kind:ident, $($arg:tt)*) => {
        if crate::debug::wanted(crate::debug::$kind) {
            kernel::prelude::pr_info!($($arg)*);
        }
    };
}
pub(crate) use debug;
