// SPDX-License-Identifier: GPL-2.0-or-later
//! A machine's memory as a file: written out, and read in again.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use super::Trouble;
use super::Vm;
use crate::qmp::commands;

/// Name of the file's descriptor in QEMU.
const STATE: &str = "state";

/// Bytes a second at which the state is written: more than any disk has.
const SPEED: u64 = 1 << 40;

/// How often QEMU is asked how far it is.
const ASK: Duration = Duration::from_millis(4);

impl Vm {
    /// Stops the machine, writes its whole state to `file`, and lets it go on.
    pub fn save(&mut self, file: &File, limit: Duration) -> Result<(), Trouble> {
        let what = "saving the machine's memory";
        self.stop()?;
        let saved = self.write_state(what, file, limit);
        // Whether it was saved or not, the machine is as it was.
        self.go_on()?;
        saved
    }

    fn write_state(&mut self, what: &str, file: &File, limit: Duration) -> Result<(), Trouble> {
        let speed = json!({"max-bandwidth": SPEED});
        self.execute(what, &commands::MigrateSetParameters(speed))?;
        self.with_control(what, |control| control.pass_fd(STATE, file.as_fd()))?;
        let to = json!({"uri": format!("fd:{STATE}")});
        self.execute(what, &commands::Migrate(to))?;
        self.migrated(what, limit)
    }

    /// Reads a state in, into a machine that was started as `incoming`. It does not run yet.
    pub fn load(&mut self, file: &File, limit: Duration) -> Result<(), Trouble> {
        let what = "restoring the machine's memory";
        self.with_control(what, |control| control.pass_fd(STATE, file.as_fd()))?;
        let from = json!({"uri": format!("fd:{STATE}")});
        self.execute(what, &commands::MigrateIncoming(from))?;
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
