// SPDX-License-Identifier: GPL-2.0-or-later
//! See `xattr` in ../src/oracles.rs.
#![no_main]

use cachefiles_core_fuzz::oracles;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| oracles::xattr(data));
