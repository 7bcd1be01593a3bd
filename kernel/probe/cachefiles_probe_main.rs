// SPDX-License-Identifier: GPL-2.0-or-later
//! A test client of fscache: whatever a filesystem may ask of a cache, asked from userspace through
//! `/dev/cachefiles-probe`. For tests only: it does what it is told, with keys, sizes and ranges that
//! no filesystem would choose.
//!
//! `abi/` is what the device's users share with it, `src/sys/` wraps the kernel, `src/*.rs` is logic
//! without unsafe code, `shim/` is C. It works with either cache module; it needs neither to load.
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

#[path = "src/abi.rs"]
#[allow(dead_code, unreachable_pub)]
mod abi;
#[path = "src/batch.rs"]
mod batch;
#[path = "src/input.rs"]
mod input;
#[path = "src/io.rs"]
mod io;
#[path = "src/objects.rs"]
mod objects;
#[path = "../module/src/prelude.rs"]
#[allow(unused_imports)]
mod prelude;
#[path = "src/session.rs"]
mod session;
#[path = "src/sys/mod.rs"]
mod sys;
#[path = "src/vectors.rs"]
mod vectors;

module! {
    type: Probe,
    name: "cachefiles_probe",
    description: "A client of fscache for tests, driven from userspace",
    license: "GPL",
}

/// The loaded module: the device, for as long as it is there.
struct Probe {
    device: Option<sys::device::Registration>,
}

impl kernel::Module for Probe {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let device = Some(sys::device::Registration::new()?);
        Ok(Probe { device })
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // Without a device nobody starts threads any more.
        self.device = None;
        sys::thread::wait_for_all();
    }
}
