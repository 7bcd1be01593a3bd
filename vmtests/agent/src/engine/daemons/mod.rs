// SPDX-License-Identifier: GPL-2.0-or-later
//! Daemons under the scenario's control, and the devices that are kept for them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use vmtest_protocol::step::StartDaemon;

mod config;
mod control;
mod start;

/// Daemons that were started, and devices that are kept.
#[derive(Default)]
pub struct Daemons {
    running: BTreeMap<String, Daemon>,
    kept: BTreeMap<String, File>,
}

/// A daemon that was started and not waited for.
#[derive(Clone)]
struct Daemon {
    pid: u32,
    events: PathBuf,
    /// How it was started, with what has been changed since.
    options: StartDaemon,
    /// It was told to end.
    told: bool,
}

impl Daemons {
    /// Process ids and names.
    pub fn list(&self) -> Vec<(String, u32)> {
        self.running
            .iter()
            .map(|(name, daemon)| (name.clone(), daemon.pid))
            .collect()
    }

    /// The device kept for `name`.
    pub fn kept(&self, name: &str) -> Option<&File> {
        self.kept.get(name)
    }
}
