// SPDX-License-Identifier: GPL-2.0-or-later
//! The counters of /proc/fs/fscache/stats that a cache moves.

use super::plain;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident => $helper:ident;)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name() {
            plain::$helper();
        }
    )*};
}

counters! {
    /// A read of the cache was begun.
    count_read => cf_count_read;
    /// A write to the cache was begun.
    count_write => cf_count_write;
    /// A write found no space (`nwr`).
    count_no_write_space => cf_count_no_write_space;
    /// A creation found no space (`ncr`).
    count_no_create_space => cf_count_no_create_space;
    /// An object was culled.
    count_culled => cf_count_culled;
    /// A transfer did not fit direct I/O (`mis`).
    count_dio_misfit => cf_count_dio_misfit;
}
