// SPDX-License-Identifier: GPL-2.0-or-later
//! cachefiles in Rust: a cache for network and on-demand filesystems on a local filesystem.
//!
//! A port of Linux's fs/cachefiles (Copyright (C) 2007, 2021 Red Hat, Inc., written by David
//! Howells; on-demand mode by Jeffle Xu and others). The logic is in `src/*.rs`, under the names of
//! the C files, without unsafe code; `src/sys/` wraps the kernel; `src/pure.rs` is the crate in
//! `kernel/core`, which runs on the host too; `shim/` is C.
#![recursion_limit = "2048"]
#![allow(clippy::too_many_arguments)]
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use kernel::prelude::*;

#[path = "src/cache.rs"]
mod cache;
#[path = "src/chunked.rs"]
mod chunked;
#[path = "src/compat.rs"]
mod compat;
#[path = "src/daemon.rs"]
mod daemon;
#[path = "src/debug.rs"]
mod debug;
#[path = "src/error_inject.rs"]
mod error_inject;
#[path = "src/interface.rs"]
mod interface;
#[path = "src/io.rs"]
mod io;
#[path = "src/lookup.rs"]
mod lookup;
#[path = "src/name.rs"]
mod name;
#[path = "src/namei.rs"]
mod namei;
#[path = "src/ondemand.rs"]
mod ondemand;
#[path = "src/ondemand_fd.rs"]
mod ondemand_fd;
#[path = "src/prelude.rs"]
mod prelude;
#[path = "src/pure.rs"]
#[allow(dead_code, unreachable_pub)]
mod pure;
#[path = "src/requests.rs"]
mod requests;
#[path = "src/space.rs"]
mod space;
#[path = "src/sys/mod.rs"]
mod sys;
#[path = "src/volume.rs"]
mod volume;
#[path = "src/xattr.rs"]
mod xattr;

module! {
    type: CacheFiles,
    name: "cachefiles_rs",
    description: "Mounted-filesystem based cache, in Rust",
    license: "GPL",
}

/// The loaded module: the device, for as long as it is there, and the sysctl for tests.
struct CacheFiles {
    _device: sys::device::Registration,
    _error_injection: Option<sys::sysctl::Registration>,
}

impl kernel::Module for CacheFiles {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let device = sys::device::Registration::new()?;
        // The device is taken when the C module is there, so that this comes second; without it only
        // tests lack something.
        let error_injection = sys::sysctl::Registration::new();
        if error_injection.is_none() {
            pr_warn!("Cannot make the sysctl cachefiles.error_injection\n");
        }
        pr_info!("Loaded\n");
        Ok(CacheFiles {
            _device: device,
            _error_injection: error_injection,
        })
    }
}

impl Drop for CacheFiles {
    fn drop(&mut self) {
        pr_info!("Unloading\n");
    }
}
