// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! The crate `cachefiles-probe-abi`, compiled into the module.

#[path = "../abi/src/call.rs"]
pub(crate) mod call;
#[path = "../abi/src/content.rs"]
pub(crate) mod content;
