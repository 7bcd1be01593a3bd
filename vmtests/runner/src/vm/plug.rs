// SPDX-License-Identifier: GPL-2.0-or-later
//! Plugging devices in and out while the machine is there.

use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use super::Trouble;
use super::Vm;
use crate::qemu::devices::Equipment;
use crate::qmp::Event;
use crate::qmp::commands;

/// How often it is looked at whether a device has gone.
const LOOK: Duration = Duration::from_millis(10);

impl Vm {
    /// Plugs everything in.
    pub fn plug_all(&mut self, equipment: &Equipment<'_>) -> Result<(), Trouble> {
        for node in equipment.nodes() {
            self.execute("making a disk", &commands::BlockdevAdd(node))?;
        }
        for device in equipment.devices() {
            self.plug(device)?;
        }
        Ok(())
    }

    /// Plugs one device in.
    pub fn plug(&mut self, device: Value) -> Result<(), Trouble> {
        let what = format!(
            "plugging in {}",
            device["id"].as_str().unwrap_or("a device")
        );
        self.execute(&what, &commands::DeviceAdd(device)).map(drop)
    }

    /// Asks the guest to let the device `id` go, and waits until it has; false when it has not
    /// within the limit.
    pub fn unplug(&mut self, id: &str, limit: Duration) -> Result<bool, Trouble> {
        let deadline = Instant::now() + limit;
        self.gone.retain(|gone| gone != id);
        let asked = commands::DeviceDel(json!({"id": id}));
        self.execute(&format!("unplugging {id}"), &asked)?;
        loop {
            if self.gone.iter().any(|gone| gone == id) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            self.listen(LOOK)?;
        }
    }

    /// Remembers which devices have gone.
    pub(super) fn plug_event(&mut self, event: &Event) {
        if event.name != "DEVICE_DELETED" {
            return;
        }
        let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
        if let Some(id) = data["device"].as_str() {
            self.gone.push(id.to_owned());
        }
    }
}
