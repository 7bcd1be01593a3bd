// SPDX-License-Identifier: GPL-2.0-or-later
//! Faults of the machine under the guest: disks that fail, grow, crawl or go; a machine that stands
//! still; memory that is taken away. Power cuts are in [`power`].

use std::time::Duration;
use std::time::Instant;

use serde_json::json;
use vmtest_protocol::step::DiskErrors;
use vmtest_protocol::step::ThrottleDisk;

use crate::disk::DiskFile;
use crate::qemu;
use crate::qemu::devices;
use crate::qemu::devices::Equipment;
use crate::qmp::commands;
use crate::vm::Trouble;
use crate::vm::Vm;

pub mod power;
mod rules;

/// How often it is looked at how much memory the guest has given up.
const LOOK: Duration = Duration::from_millis(50);

/// Why a fault was not brought about.
#[derive(Debug)]
pub enum NotDone {
    /// Something happened to the machine.
    Trouble(Trouble),
    /// It cannot be done; what is wrong with the step or the host.
    Impossible(String),
    /// The guest did not go along in time.
    Late(String),
}

impl From<Trouble> for NotDone {
    fn from(trouble: Trouble) -> Self {
        NotDone::Trouble(trouble)
    }
}

impl From<String> for NotDone {
    fn from(why: String) -> Self {
        NotDone::Impossible(why)
    }
}

/// What is wrong with a machine's disks just now.
#[derive(Debug, Default)]
pub struct Faults {
    /// The node that makes a disk fail, by the disk's number.
    failing: Vec<(usize, String)>,
    /// Disks that are out.
    out: Vec<usize>,
    /// How many such nodes there have been: names are not used twice.
    made: u64,
}

impl Faults {
    /// Requests to a disk fail from now on; this takes the place of what failed before.
    pub fn disk_errors(
        &mut self,
        vm: &mut Vm,
        disks: &[DiskFile],
        step: &DiskErrors,
    ) -> Result<(), NotDone> {
        let number = find(disks, &step.disk)?;
        let rules = rules::rules(step)?;
        self.made += 1;
        let name = format!("disk{number}-fault{}", self.made);
        let mut node = json!({
            "driver": "blkdebug",
            "node-name": name,
            "image": devices::lower_node(number, &disks[number]),
            "discard": "unmap",
            "inject-error": rules.inject,
        });
        // QEMU 7.2 takes an empty list for an option that it does not know.
        if !rules.states.is_empty() {
            node["set-state"] = rules.states.into();
        }
        let what = format!("making the disk `{}` fail", step.disk);
        vm.execute(&what, &commands::BlockdevAdd(node))?;
        self.put_below(vm, number, &name, &what)?;
        self.failing.push((number, name));
        Ok(())
    }

    /// A disk is well again.
    pub fn heal_disk(
        &mut self,
        vm: &mut Vm,
        disks: &[DiskFile],
        name: &str,
    ) -> Result<(), NotDone> {
        let number = find(disks, name)?;
        let below = devices::lower_node(number, &disks[number]);
        let what = format!("healing the disk `{name}`");
        self.put_below(vm, number, &below, &what)
    }

    /// Puts another node below a disk's top one, and removes the one that failed until now.
    fn put_below(
        &mut self,
        vm: &mut Vm,
        number: usize,
        below: &str,
        what: &str,
    ) -> Result<(), NotDone> {
        let options = json!({"options": [devices::top(number, below)]});
        vm.execute(what, &commands::BlockdevReopen(options))?;
        let failing = std::mem::take(&mut self.failing);
        let (old, left) = failing.into_iter().partition(|(of, _)| *of == number);
        self.failing = left;
        let old: Vec<(usize, String)> = old;
        for (_, name) in old {
            let node = json!({"node-name": name});
            vm.execute(what, &commands::BlockdevDel(node))?;
        }
        Ok(())
    }

    /// Takes a disk out.
    pub fn unplug_disk(
        &mut self,
        vm: &mut Vm,
        disks: &[DiskFile],
        name: &str,
        limit: Duration,
    ) -> Result<(), NotDone> {
        let number = find(disks, name)?;
        if self.out.contains(&number) {
            return Err(format!("the disk `{name}` is out already").into());
        }
        match vm.unplug(&devices::disk_id(number), limit)? {
            true => {
                self.out.push(number);
                Ok(())
            }
            false => Err(NotDone::Late(format!(
                "the guest did not let the disk `{name}` go within {} s",
                limit.as_secs()
            ))),
        }
    }

    /// Puts a disk in again.
    pub fn plug_disk(
        &mut self,
        vm: &mut Vm,
        equipment: &Equipment<'_>,
        name: &str,
    ) -> Result<(), NotDone> {
        let number = find(equipment.disks, name)?;
        if !self.out.contains(&number) {
            return Err(format!("the disk `{name}` is in: `unplug_disk` takes it out").into());
        }
        vm.plug(equipment.disk_device(number))?;
        self.out.retain(|out| *out != number);
        Ok(())
    }
}

/// The number of a disk.
pub fn find(disks: &[DiskFile], name: &str) -> Result<usize, String> {
    disks.iter().position(|disk| disk.is(name)).ok_or_else(|| {
        let all: Vec<&str> = disks.iter().map(|disk| disk.name.as_str()).collect();
        match all.is_empty() {
            true => format!("no disk `{name}`: the scenario needs none"),
            false => format!("no disk `{name}`; there are: {}", all.join(", ")),
        }
    })
}

/// Makes a disk slow, or fast again.
pub fn throttle_disk(vm: &mut Vm, disks: &[DiskFile], step: &ThrottleDisk) -> Result<(), NotDone> {
    let number = find(disks, &step.disk)?;
    let bytes = match &step.bytes_per_second {
        Some(bytes) => bytes.get()?.0,
        None => 0,
    };
    let operations = match &step.operations_per_second {
        Some(operations) => operations.get()?,
        None => 0,
    };
    let limits = json!({
        "id": format!("/machine/peripheral/{}/virtio-backend", devices::disk_id(number)),
        "bps": bytes, "bps_rd": 0, "bps_wr": 0,
        "iops": operations, "iops_rd": 0, "iops_wr": 0,
    });
    let what = format!("limiting the speed of the disk `{}`", step.disk);
    vm.execute(&what, &commands::BlockSetIoThrottle(limits))?;
    Ok(())
}

/// Makes a disk larger while the machine runs.
pub fn grow_disk(vm: &mut Vm, disks: &[DiskFile], name: &str, to: u64) -> Result<(), NotDone> {
    let number = find(disks, name)?;
    check_growth(&disks[number], to)?;
    let what = format!("making the disk `{name}` larger");
    let mut nodes = vec![devices::file_node(number)];
    if disks[number].writes.is_some() {
        nodes.push(devices::lower_node(number, &disks[number]));
    }
    nodes.push(devices::top_node(number));
    for node in nodes {
        let size = json!({"node-name": node, "size": to});
        vm.execute(&what, &commands::BlockResize(size))?;
    }
    Ok(())
}

/// Disks only grow, and QEMU counts in sectors.
pub fn check_growth(disk: &DiskFile, to: u64) -> Result<(), String> {
    let now = std::fs::metadata(&disk.file)
        .map_err(|error| format!("cannot look at {}: {error}", disk.file.display()))?
        .len();
    match to > now && to % devices::SECTOR == 0 {
        true => Ok(()),
        false => Err(format!(
            "the disk `{}` has {now} bytes and cannot grow to {to}: that must be more, and a \
             multiple of {}",
            disk.name,
            devices::SECTOR
        )),
    }
}

/// Stops the machine for a while.
pub fn pause(vm: &mut Vm, span: Duration) -> Result<(), NotDone> {
    vm.stop()?;
    let listened = vm.listen(span);
    vm.go_on()?;
    Ok(listened?)
}

/// Leaves the guest so much memory, and waits until it is so.
pub fn memory(vm: &mut Vm, bytes: u64, limit: Duration) -> Result<(), NotDone> {
    let what = "changing the guest's memory";
    vm.execute(what, &commands::Balloon(json!({"value": bytes})))?;
    let deadline = Instant::now() + limit;
    loop {
        let answer = vm.execute(what, &commands::QueryBalloon(json!({})))?;
        let now = answer["actual"].as_u64().unwrap_or(0);
        if now == bytes {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(NotDone::Late(format!(
                "the guest has {now} bytes of memory after {} s, {bytes} were asked for (its \
                 balloon, `{}`, gets no more)",
                limit.as_secs(),
                qemu::BALLOON_ID
            )));
        }
        vm.listen(LOOK)?;
    }
}
