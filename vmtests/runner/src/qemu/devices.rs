// SPDX-License-Identifier: GPL-2.0-or-later
//! What is plugged into a machine: shares and disks, each in a PCIe port of its own. A folder may
//! also be offered by 9p: for a filesystem under test, never for the tests' own files.
//!
//! A machine always has the ports, also where nothing is in them: a memory snapshot is taken with
//! all of them empty, and what a run needs is plugged in after it was restored. The same
//! descriptions serve for QEMU's command line and for QMP.

use std::path::PathBuf;

use serde_json::Value;
use serde_json::json;

use super::line::comma_safe;
use crate::disk::DiskFile;

/// Ports come in such numbers: few different machines mean few different snapshots.
const PORT_GROUP: usize = 8;

/// No machine has more: the root bus has 32 places, some for other devices.
pub const MAX_PORTS: usize = 24;

/// Bytes to a sector, on every disk and in its log of writes.
pub const SECTOR: u64 = 512;

/// A folder of the host that the guest can mount by 9p over virtio. QEMU is the server, and must
/// know the folder from its start on.
#[derive(Debug, Clone)]
pub struct NinePFolder {
    /// The mount's source in the guest.
    pub tag: String,
    /// The folder.
    pub dir: PathBuf,
    /// Whether the guest may only read.
    pub read_only: bool,
}

impl NinePFolder {
    /// The argument for `-fsdev` of the folder `number`.
    pub fn backend(&self, number: usize) -> String {
        // Without a security model of its own: who runs the tests owns what the guest makes.
        format!(
            "local,id={},path={},security_model=none,readonly={}",
            folder_id(number),
            comma_safe(&self.dir),
            if self.read_only { "on" } else { "off" },
        )
    }
}

/// What a run plugs in: shares, then disks, then 9p folders.
#[derive(Debug, Clone, Copy)]
pub struct Equipment<'a> {
    /// virtiofs tags.
    pub tags: &'a [String],
    /// Disks.
    pub disks: &'a [DiskFile],
    /// 9p folders.
    pub folders: &'a [NinePFolder],
}

/// Nothing is plugged in.
pub const NOTHING: Equipment<'static> = Equipment {
    tags: &[],
    disks: &[],
    folders: &[],
};

impl Equipment<'_> {
    /// How many ports the machine must have; an error when there are not so many.
    pub fn ports(&self) -> Result<usize, String> {
        let needed = self.tags.len() + self.disks.len() + self.folders.len();
        let ports = needed.max(1).div_ceil(PORT_GROUP) * PORT_GROUP;
        match ports <= MAX_PORTS {
            true => Ok(ports),
            false => Err(format!(
                "{needed} shares and disks: a machine has room for {MAX_PORTS}"
            )),
        }
    }

    /// The block nodes of all disks, in the order in which they must be made.
    pub fn nodes(&self) -> Vec<Value> {
        let numbered = self.disks.iter().enumerate();
        numbered
            .flat_map(|(number, disk)| nodes(number, disk))
            .collect()
    }

    /// All devices: arguments for `-device` and `device_add` alike.
    pub fn devices(&self) -> Vec<Value> {
        let shares = self.tags.iter().enumerate().map(|(number, tag)| {
            json!({
                "driver": "vhost-user-fs-pci",
                "id": share_id(number),
                "chardev": chardev_id(number),
                "tag": tag,
                "bus": port_id(number),
            })
        });
        let disks = (0..self.disks.len()).map(|number| self.disk_device(number));
        let before = self.tags.len() + self.disks.len();
        let folders = self.folders.iter().enumerate().map(|(number, folder)| {
            json!({
                "driver": "virtio-9p-pci",
                "id": format!("ninep{number}"),
                "fsdev": folder_id(number),
                "mount_tag": folder.tag,
                "bus": port_id(before + number),
            })
        });
        shares.chain(disks).chain(folders).collect()
    }

    /// The device of one disk.
    pub fn disk_device(&self, number: usize) -> Value {
        let disk = &self.disks[number];
        json!({
            "driver": "virtio-blk-pci",
            "id": disk_id(number),
            "drive": top_node(number),
            "serial": disk.name,
            "bus": port_id(self.tags.len() + number),
            // The guest gets the error, instead of a machine that stands still.
            "werror": "report",
            "rerror": "report",
            // QEMU may put the zeros of two such requests in the wrong order into its log of
            // writes, and does not count them among the writes that are to fail. The guest writes
            // zeros as data then.
            "write-zeroes": false,
        })
    }
}

/// Name of the port `number`.
pub fn port_id(number: usize) -> String {
    format!("port{number}")
}

/// Name of the character device of the share `number`.
pub fn chardev_id(number: usize) -> String {
    format!("share{number}")
}

/// Name of the backend of the 9p folder `number`.
fn folder_id(number: usize) -> String {
    format!("folder{number}")
}

fn share_id(number: usize) -> String {
    format!("fs{number}")
}

/// Name of the device of the disk `number`.
pub fn disk_id(number: usize) -> String {
    format!("blk{number}")
}

/// The node from which a disk's device reads.
pub fn top_node(number: usize) -> String {
    format!("disk{number}")
}

/// The node of a disk's file.
pub fn file_node(number: usize) -> String {
    format!("disk{number}-file")
}

/// The node below the top one when no fault is injected.
pub fn lower_node(number: usize, disk: &DiskFile) -> String {
    match disk.writes {
        Some(_) => format!("disk{number}-log"),
        None => file_node(number),
    }
}

/// The top node as it is made, and as it is made again on another one below: `below`.
pub fn top(number: usize, below: &str) -> Value {
    json!({
        "driver": "raw",
        "node-name": top_node(number),
        "discard": "unmap",
        "file": below,
    })
}

/// The nodes of a disk. Nothing on a test's disk has to survive the host: flushes end at the files.
fn nodes(number: usize, disk: &DiskFile) -> Vec<Value> {
    let file = |name: String, path: &std::path::Path| {
        json!({
            "driver": "file",
            "node-name": name,
            "filename": path,
            "cache": {"direct": false, "no-flush": true},
            "discard": "unmap",
        })
    };
    let mut nodes = vec![file(file_node(number), &disk.file)];
    if let Some(writes) = &disk.writes {
        let log = format!("disk{number}-writes");
        nodes.push(file(log.clone(), writes));
        nodes.push(json!({
            "driver": "blklogwrites",
            "node-name": lower_node(number, disk),
            "file": file_node(number),
            "log": log,
            "log-sector-size": SECTOR,
            "discard": "unmap",
        }));
    }
    nodes.push(top(number, &lower_node(number, disk)));
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str, logged: bool) -> DiskFile {
        DiskFile {
            name: name.to_owned(),
            file: format!("/run/{name}.img").into(),
            writes: logged.then(|| format!("/run/{name}.writes.img").into()),
        }
    }

    #[test]
    fn every_device_has_a_port_of_its_own_and_ports_come_in_groups() {
        let tags = ["a".to_owned(), "b".to_owned()];
        let disks = [disk("cache", false), disk("other", true)];
        let folders = [NinePFolder {
            tag: "remote".to_owned(),
            dir: "/run/a,b".into(),
            read_only: true,
        }];
        assert_eq!(
            folders[0].backend(0),
            "local,id=folder0,path=/run/a,,b,security_model=none,readonly=on"
        );
        let equipment = Equipment {
            tags: &tags,
            disks: &disks,
            folders: &folders,
        };
        assert_eq!(NOTHING.ports(), Ok(8));
        assert_eq!(equipment.ports(), Ok(8));
        let buses: Vec<_> = equipment
            .devices()
            .iter()
            .map(|device| device["bus"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(buses, ["port0", "port1", "port2", "port3", "port4"]);
        let many = vec![disk("d", false); 23];
        let equipment = |count: usize| Equipment {
            tags: &tags,
            disks: &many[..count],
            folders: &[],
        };
        assert_eq!(equipment(7).ports(), Ok(16));
        assert_eq!(equipment(22).ports(), Ok(24));
        assert!(
            equipment(23)
                .ports()
                .unwrap_err()
                .contains("25 shares and disks")
        );
    }

    #[test]
    fn a_logged_disk_has_its_log_between_the_file_and_the_device() {
        let disks = [disk("cache", true)];
        let equipment = Equipment {
            tags: &[],
            disks: &disks,
            folders: &[],
        };
        let names: Vec<_> = equipment
            .nodes()
            .iter()
            .map(|node| node["node-name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["disk0-file", "disk0-writes", "disk0-log", "disk0"]);
        assert_eq!(equipment.nodes()[3]["file"], "disk0-log");
        assert_eq!(equipment.devices()[0]["write-zeroes"], false);
    }
}
