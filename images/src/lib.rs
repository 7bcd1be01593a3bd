// SPDX-License-Identifier: GPL-2.0-or-later
//! Builds what a test run boots: kernels, the Rust module and its C reference, the guest's
//! initramfs and erofs test images.
//!
//! Everything lands in a content-addressed [`cache`]: a thing's name is the digest of all that
//! went into it, so what did not change is never built again, and what changed is never taken
//! for what it was. [`Builder`] carries what every build step needs.

#![forbid(unsafe_code)]

pub mod cache;
pub mod cli;
pub mod command;
pub mod cpio;
pub mod digest;
pub mod erofs;
pub mod filelock;
pub mod foreign;
pub mod guest;
pub mod index;
pub mod initramfs;
pub mod kernel;
pub mod module;
pub mod profile;
pub mod programs;
pub mod progress;
pub mod project;
pub mod toolchain;

use cache::Cache;
use progress::Progress;
use project::Project;

/// What every build step works with.
#[derive(Debug)]
pub struct Builder {
    /// The checkout that sources and configurations are read from.
    pub project: Project,
    /// Where results are kept.
    pub cache: Cache,
    /// Where the developer sees what is going on.
    pub progress: Progress,
}
