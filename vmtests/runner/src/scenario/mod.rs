// SPDX-License-Identifier: GPL-2.0-or-later
//! Scenario files: what a scenario needs, which requests it must cause, and its steps.
//!
//! The steps themselves are [`vmtest_protocol::step`]: they travel to the guest as they stand in
//! the file. Around them:
//!
//! ```yaml
//! name: ondemand-read            # the file's name without .yaml
//! about: Files are read through the cache, and every digest is right.
//! rows: [1, 9]                   # rows of the failure catalogue that it covers
//! params: {mounts: 2000}         # for ${mounts}; --param mounts=200 overrides
//! needs:
//!   images: [small, "scale-*"]   # names, or a prefix with a star
//!   disks:
//!     - {name: cache, size: 512MiB, at: /cache}
//!   memory: 512MiB
//!   cpus: 2
//! requires_requests: {open: 1, read: 1, close: 1}
//! limit: 10m                     # for the whole scenario
//! steps:
//!   - start_daemon: {}
//!   - mount: {image: small, at: /mnt/small}
//! ```
//!
//! In the guest the images' blobs are in `/blobs` (a file per fsid or device), their manifests in
//! `/fixtures/NAME.manifest.json`, both read-only; `/artifacts` is the run's own folder on the host.

use serde::Deserialize;
use serde::Serialize;
use vmtest_protocol::Step;
use vmtest_protocol::template::Vars;
use vmtest_protocol::value::Bytes;
use vmtest_protocol::value::Count;
use vmtest_protocol::value::Size;
use vmtest_protocol::value::Span;
use vmtest_protocol::value::seconds;

mod check;
mod diagnose;
mod load;

pub use check::images_named;
pub use check::pattern_matches;
pub use diagnose::Diagnosis;
pub use diagnose::nearest;
pub use load::LoadError;
pub use load::Overrides;
pub use load::load_all;
pub use load::parse;

/// A scenario as its file says it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name; the file is called NAME.yaml.
    pub name: String,
    /// What it shows, in a sentence or a few.
    pub about: String,
    /// Rows of the failure catalogue that it covers.
    #[serde(default)]
    pub rows: Vec<u32>,
    /// Numbers and texts for `${...}`; `--param NAME=VALUE` changes one.
    #[serde(default)]
    pub params: Vars,
    /// What must be there before the first step.
    #[serde(default)]
    pub needs: Needs,
    /// Requests that the kernel must have handed out by the end: fewer, and the run has not
    /// reached its subject, which makes it an `error`.
    #[serde(default)]
    pub requires_requests: RequiredRequests,
    /// Time for the whole scenario, from the guest's first message to its last step.
    #[serde(default = "default_limit")]
    pub limit: Span,
    /// What to do.
    pub steps: Vec<Step>,
}

fn default_limit() -> Span {
    seconds(15 * 60)
}

/// What must be there before the first step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Needs {
    /// Images: names from the artifact index, or a prefix followed by `*`.
    #[serde(default)]
    pub images: Vec<String>,
    /// Disks, empty filesystems each time.
    #[serde(default)]
    pub disks: Vec<DiskNeed>,
    /// Memory of the guest.
    #[serde(default = "default_memory")]
    pub memory: Size,
    /// CPUs of the guest.
    #[serde(default = "default_cpus")]
    pub cpus: Count,
}

fn default_memory() -> Size {
    Size::Now(Bytes(512 << 20))
}

fn default_cpus() -> Count {
    2.into()
}

impl Default for Needs {
    fn default() -> Self {
        Needs {
            images: Vec::new(),
            disks: Vec::new(),
            memory: default_memory(),
            cpus: default_cpus(),
        }
    }
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskNeed {
    /// Its serial number in the guest, at most 20 letters, digits, `-` and `_`.
    pub name: String,
    /// Its size.
    pub size: Size,
    /// The filesystem that is made on it.
    #[serde(default = "default_fs")]
    pub fs: DiskFs,
    /// Further arguments for mkfs.
    #[serde(default)]
    pub mkfs: Vec<String>,
    /// Where it is mounted; `/NAME` without it.
    #[serde(default)]
    pub at: Option<String>,
    /// Mount options, comma separated.
    #[serde(default)]
    pub options: String,
}

fn default_fs() -> DiskFs {
    DiskFs::Ext4
}

/// A filesystem for a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskFs {
    /// ext4, which has what cachefiles needs.
    Ext4,
    /// None: the disk stays raw and is not mounted.
    None,
}

/// Lower bounds for the requests of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequiredRequests {
    /// OPEN requests.
    #[serde(default)]
    pub open: u64,
    /// READ requests.
    #[serde(default)]
    pub read: u64,
    /// CLOSE requests.
    #[serde(default)]
    pub close: u64,
}
