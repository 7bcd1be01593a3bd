// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! Where the kernels' Rust differs. Their C differs in shim/drift.h, and in two places that C and Rust
//! share: the end of a transfer (sys/netfs.rs) and a slot of a table (sys/ops.rs). The logic knows
//! nothing of it.

use kernel::str::CStr;

/// The bytes of a C string with its NUL. From 7.x on the kernel's strings are those of Rust's own
/// library, whose functions have other names.
#[cfg(not(kernel_ge_7002))]
pub(crate) fn with_nul(text: &CStr) -> &[u8] {
    text.as_bytes_with_nul()
}

/// As above.
#[cfg(kernel_ge_7002)]
pub(crate) fn with_nul(text: &CStr) -> &[u8] {
    text.to_bytes_with_nul()
}
