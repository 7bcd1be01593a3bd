// SPDX-License-Identifier: GPL-2.0-or-later
//! A machine as two files, its memory and the state of its devices: written out, and read in again.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use super::Trouble;
use super::Vm;
use crate::qmp::commands;
use crate::snapshot::pages;

/// The two files.
#[derive(Debug)]
pub struct Saved {
    /// The memory, see [`pages`].
    pub memory: File,
    /// What QEMU writes besides it.
    pub devices: File,
}

/// Name of the file's descriptor in QEMU.
const STATE: &str = "state";

/// Bytes a second at which the state is written: more than any disk has.
const SPEED: u64 = 1 << 40;

/// How often QEMU is asked how far it is.
const ASK: Duration = Duration::from_millis(4);

impl Vm {
    /// Stops the machine, writes it out, and lets it go on.
    pub fn save(&mut self, to: &Saved, limit: Duration) -> Result<(), Trouble> {
        let what = "saving the machine";
        self.stop()?;
        let saved = pages::pack(&self.memory, &to.memory)
            .map_err(|error| Trouble::Host(format!("{what}: cannot write its memory: {error}")))
            .and_then(|()| self.write_devices(what, &to.devices, limit));
        // Whether it was saved or not, the machine is as it was.
        self.go_on()?;
        saved
    }

    fn write_devices(&mut self, what: &str, file: &File, limit: Duration) -> Result<(), Trouble> {
        let speed = json!({"max-bandwidth": SPEED});
        self.execute(what, &commands::MigrateSetParameters(speed))?;
        self.leave_memory_out(what)?;
        self.with_control(what, |control| control.pass_fd(STATE, file.as_fd()))?;
        let to = json!({"uri": format!("fd:{STATE}")});
        self.execute(what, &commands::Migrate(to))?;
        self.migrated(what, limit)
    }

    /// QEMU's stream has no memory in it that others share.
    fn leave_memory_out(&mut self, what: &str) -> Result<(), Trouble> {
        let capability = json!({"capability": "x-ignore-shared", "state": true});
        let capabilities = json!({"capabilities": [capability]});
        self.execute(what, &commands::MigrateSetCapabilities(capabilities))
            .map(drop)
    }

    /// Reads the memory in, also while QEMU is still starting.
    pub fn load_memory(&mut self, from: &File) -> io::Result<()> {
        pages::unpack(from, &self.memory)
    }

    /// Reads the devices in, into a machine that was started as `incoming`. It does not run yet.
    pub fn load_devices(&mut self, from: &File, limit: Duration) -> Result<(), Trouble> {
        let what = "restoring the machine";
        self.leave_memory_out(what)?;
        self.with_control(what, |control| control.pass_fd(STATE, from.as_fd()))?;
        let uri = json!({"uri": format!("fd:{STATE}")});
        self.execute(what, &commands::MigrateIncoming(uri))?;
        self.migrated(what, limit)
    }

    fn migrated(&mut self, what: &str, limit: Duration) -> Result<(), Trouble> {
        let deadline = Instant::now() + limit;
        loop {
            let state = self.execute(
                what,
                &commands::QueryMigrate(Value::Object(Default::default())),
            )?;
            match state["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("failed") => {
                    let why = state["error-desc"]
                        .as_str()
                        .unwrap_or("QEMU does not say why");
                    return Err(Trouble::Host(format!("{what}: {why}")));
                }
                _ => {}
            }
            if Instant::now() >= deadline {
                return Err(Trouble::Host(format!(
                    "{what}: not done within {} s",
                    limit.as_secs()
                )));
            }
            self.listen(ASK)?;
        }
    }

    /// Stops the machine's CPUs.
    pub fn stop(&mut self) -> Result<(), Trouble> {
        self.execute("stopping the machine", &qapi::qmp::stop {})
            .map(drop)
    }

    /// Lets the CPUs run.
    pub fn go_on(&mut self) -> Result<(), Trouble> {
        self.execute("letting the machine run", &qapi::qmp::cont {})
            .map(drop)
    }
}
