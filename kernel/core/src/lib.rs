// SPDX-License-Identifier: GPL-2.0-or-later
//! The pure part of the cachefiles port: what can be said about `/dev/cachefiles` without a kernel.
//!
//! Each file here but `text.rs` is compiled twice: by cargo, for the daemon and for host tests, and
//! inside the kernel module, by path, as children of a module named `pure`. So the files refer to
//! each other by `super::`, use nothing but `core`, allocate nothing and have no path that panics:
//! what userspace or a damaged disk hands in must end in an error, never in a BUG.
#![no_std]
#![forbid(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

pub mod chunks;
pub mod command;
pub mod dio;
mod host;
pub mod inject;
pub mod key;
pub mod limits;
pub mod number;
pub mod protocol;
pub mod requests;
pub mod slots;
pub mod status;
pub mod table;
mod text;
pub mod wire;
pub mod xattr;
