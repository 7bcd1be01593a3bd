// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that the host carries out: faults of the machine under the guest.
//!
//! They stand at the top level of a scenario, or in a `group` or a sequential `repeat`. The guest
//! knows nothing of them.

use serde::Deserialize;
use serde::Serialize;

use crate::value::Count;
use crate::value::Size;
use crate::value::Span;

/// Cuts the power: the machine is gone at once, in the middle of whatever it did. Until `boot`
/// only steps of the host may follow.
///
/// A disk keeps what it had been told to keep: everything up to the last flush that it was sent,
/// and nothing after that, unless `keep` says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerCut {
    /// Which writes the disks keep.
    #[serde(default)]
    pub keep: Keep,
    /// For `keep: some`: chooses the writes that survive. Without it, one that belongs to the run.
    #[serde(default)]
    pub seed: Option<Count>,
}

/// What a disk keeps when the power is cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// What was written before the last flush, and what was written with "force unit access".
    #[default]
    Flushed,
    /// Everything that the disk was sent.
    Written,
    /// What `flushed` keeps, and of the later writes some: each survives with a chance of a half,
    /// in their old order.
    Some,
}

/// Switches the power on again after `power_cut`: the same disks, the same shares. Counters,
/// programs and daemons of the guest begin anew.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// Disks to mount, by their names; without it those that were mounted before the first step.
    #[serde(default)]
    pub mount: Option<Vec<String>>,
    /// Whether the module under test is loaded; without it as before the first step.
    #[serde(default)]
    pub modules: Option<bool>,
}

/// From now on requests to a disk fail with an I/O error.
///
/// A virtio disk has one word for all errors: the guest sees EIO, whatever the reason is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskErrors {
    /// The disk's name.
    pub disk: String,
    /// Which requests fail.
    #[serde(default = "reads_and_writes")]
    pub on: Vec<DiskRequest>,
    /// The error.
    #[serde(default)]
    pub errno: DiskErrno,
    /// Only requests that touch one of these sectors; all without it.
    #[serde(default)]
    pub sectors: Option<Sectors>,
    /// So many requests of these kinds, to wherever, are let through first.
    #[serde(default)]
    pub after: Option<Count>,
    /// So many requests fail, and the disk is well again; without it all fail until `heal_disk`.
    /// Not together with `sectors`.
    #[serde(default)]
    pub times: Option<Count>,
}

fn reads_and_writes() -> Vec<DiskRequest> {
    vec![DiskRequest::Read, DiskRequest::Write]
}

/// A kind of request to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskRequest {
    /// Reading.
    Read,
    /// Writing, also of zeros.
    Write,
    /// The demand that all that was written is kept.
    Flush,
}

/// An error of a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskErrno {
    /// The medium is broken.
    #[default]
    #[serde(rename = "EIO")]
    Io,
    /// The host has no room left. The guest sees EIO.
    #[serde(rename = "ENOSPC")]
    NoSpace,
}

/// A range of sectors of 512 bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sectors {
    /// The first one.
    pub from: Count,
    /// How many, at most 4096.
    #[serde(default = "one")]
    pub count: Count,
}

fn one() -> Count {
    1.into()
}

/// Ends the errors of a disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealDisk {
    /// The disk's name.
    pub disk: String,
}

/// Makes a disk slow. What is absent is not limited: with the disk's name alone it is fast again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThrottleDisk {
    /// The disk's name.
    pub disk: String,
    /// Bytes read and written in a second.
    #[serde(default)]
    pub bytes_per_second: Option<Size>,
    /// Requests in a second.
    #[serde(default)]
    pub operations_per_second: Option<Count>,
}

/// Makes a disk larger under the guest. What is on it learns nothing of that by itself: `grow_fs`
/// makes a filesystem use it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrowDisk {
    /// The disk's name.
    pub disk: String,
    /// Its new size.
    pub to: Size,
}

/// Stops the whole machine for a while. For the guest no time passes, but its clocks may jump.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PauseVm {
    /// How long.
    #[serde(rename = "for")]
    pub span: Span,
}

/// Takes a disk out of the running machine, and waits until the guest has let it go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnplugDisk {
    /// The disk's name.
    pub disk: String,
}

/// Puts a disk in again that `unplug_disk` took out, with what is on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlugDisk {
    /// The disk's name.
    pub disk: String,
}

/// Takes memory away from the guest, and waits until it has given it up; without `leave` it gets
/// all of it back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryPressure {
    /// How much of its memory the guest keeps.
    #[serde(default)]
    pub leave: Option<Size>,
}
