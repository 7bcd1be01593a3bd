// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that the host carries out: faults of the machine under the guest.
//!
//! They stand at the top level of a scenario, or in a `group` or a sequential `repeat`. The guest
//! knows nothing of them.

use serde::Deserialize;
use serde::Serialize;

use crate::value::Bare;
use crate::value::Bytes;
use crate::value::Count;
use crate::value::Late;
use crate::value::Scalar;
use crate::value::Size;
use crate::value::Span;

/// Each bad sector is a rule that every request is compared with.
pub const MAX_SECTORS: u64 = 4096;

/// A guest with less memory does not answer any more.
pub const LEAST_MEMORY: Bytes = Bytes(64 << 20);

/// Cuts the power: the machine is gone at once, in the middle of whatever it did. Until `boot`
/// only steps of the host may follow.
///
/// A disk keeps what it had been told to keep: everything up to the last flush that it was sent,
/// and nothing after that, unless `keep` says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PowerCut {
    /// Which writes the disks keep.
    #[serde(default = "flushed")]
    pub keep: Late<Keep>,
    /// For `keep: some`: chooses the writes that survive. Without it, one that belongs to the run.
    #[serde(default)]
    pub seed: Option<Count>,
}

impl PowerCut {
    pub(super) fn check(&self) -> Result<(), String> {
        match (&self.keep, &self.seed) {
            (Late::Now(Keep::Flushed | Keep::Written), Some(_)) => {
                Err("`seed` chooses among writes: only `keep: some` has a choice".to_owned())
            }
            _ => Ok(()),
        }
    }
}

fn flushed() -> Late<Keep> {
    Keep::Flushed.into()
}

/// What a disk keeps when the power is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// What was written before the last flush, and what was written with "force unit access".
    Flushed,
    /// Everything that the disk was sent.
    Written,
    /// What `flushed` keeps, and of the later writes some.
    Some,
}

impl Scalar for Keep {
    const NAME: &'static str = "Keep";
    const EXPECTED: &'static str = "what the disks keep: `flushed`, `written` or `some`";
    const PATTERN: &'static str = "flushed|written|some";
    const WORDS: &'static [(&'static str, &'static str)] = &[
        (
            "flushed",
            "what was written before the last flush, and what was written with FUA",
        ),
        ("written", "everything that the disk was sent"),
        (
            "some",
            "what `flushed` keeps; each later write survives with a chance of a half, and those \
             that do keep their order",
        ),
    ];
    const BARE: Bare = Bare::None;
    fn from_number(_number: i128) -> Option<Self> {
        None
    }
    fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "flushed" => Some(Keep::Flushed),
            "written" => Some(Keep::Written),
            "some" => Some(Keep::Some),
            _ => None,
        }
    }
    fn to_text(&self) -> String {
        match self {
            Keep::Flushed => "flushed".to_owned(),
            Keep::Written => "written".to_owned(),
            Keep::Some => "some".to_owned(),
        }
    }
}

/// Switches the power on again after `power_cut`: the same disks, the same shares. Counters,
/// programs and daemons of the guest begin anew.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

impl DiskErrors {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.on.is_empty() {
            return Err("`on` is empty: nothing would fail".to_owned());
        }
        match &self.sectors {
            Some(_) if self.times.is_some() => {
                Err("`times` cannot be counted for `sectors`: `heal_disk` ends it".to_owned())
            }
            Some(sectors) => sectors.check(),
            None => Ok(()),
        }
    }
}

fn reads_and_writes() -> Vec<DiskRequest> {
    vec![DiskRequest::Read, DiskRequest::Write]
}

/// A kind of request to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Sectors {
    /// The first one.
    pub from: Count,
    /// How many, at most 4096.
    #[serde(default = "one")]
    pub count: Count,
}

impl Sectors {
    fn check(&self) -> Result<(), String> {
        match self.count {
            Late::Now(count) if !(1..=MAX_SECTORS).contains(&count) => Err(format!(
                "{count} sectors: from 1 to {MAX_SECTORS} is possible"
            )),
            _ => Ok(()),
        }
    }
}

fn one() -> Count {
    1.into()
}

/// Ends the errors of a disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HealDisk {
    /// The disk's name.
    pub disk: String,
}

/// Makes a disk slow. What is absent is not limited: with the disk's name alone it is fast again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GrowDisk {
    /// The disk's name.
    pub disk: String,
    /// Its new size.
    pub to: Size,
}

/// Stops the whole machine for a while. For the guest no time passes, but its clocks may jump.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PauseVm {
    /// How long.
    #[serde(rename = "for")]
    pub span: Span,
}

/// Takes a disk out of the running machine, and waits until the guest has let it go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct UnplugDisk {
    /// The disk's name.
    pub disk: String,
}

/// Puts a disk in again that `unplug_disk` took out, with what is on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PlugDisk {
    /// The disk's name.
    pub disk: String,
}

/// Takes memory away from the guest, and waits until it has given it up; without `leave` it gets
/// all of it back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MemoryPressure {
    /// How much of its memory the guest keeps.
    #[serde(default)]
    pub leave: Option<Size>,
}

impl MemoryPressure {
    pub(super) fn check(&self) -> Result<(), String> {
        match self.leave {
            Some(Late::Now(leave)) if leave < LEAST_MEMORY => Err(format!(
                "a guest with {} bytes of memory does not answer any more: leave it at least {}",
                leave.0,
                LEAST_MEMORY.to_text()
            )),
            _ => Ok(()),
        }
    }
}
