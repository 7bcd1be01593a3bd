// SPDX-License-Identifier: GPL-2.0-or-later
//! The artifact index: one JSON file that tells the runner where everything is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

/// The index's version; it changes when a reader of the old one would misread the new one.
pub const SCHEMA: u32 = 1;

/// Everything that a test run needs. All paths are absolute.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The kernel lock's name: `6.12`.
    pub kernel: String,
    /// What the kernel calls itself: `6.12.117`.
    pub release: String,
    /// Which profile it was built with: `release`.
    pub profile: String,
    /// What its guests need.
    pub guest: Guest,
    /// The mutant that `initramfs` holds, if it is one.
    pub mutant: Option<String>,
    /// The image to boot.
    pub bzimage: PathBuf,
    /// The ELF file with the kernel's symbols.
    pub vmlinux: PathBuf,
    /// The kernel's configuration: what a scenario's `needs` are compared with.
    pub config: PathBuf,
    /// The initramfs that holds the modules as they are.
    pub initramfs: PathBuf,
    /// The modules under test, by kind: `c`, `rust`. What was not built is not there.
    pub modules: BTreeMap<String, PathBuf>,
    /// By mutant, the initramfs that holds it instead of the Rust module.
    pub mutants: BTreeMap<String, PathBuf>,
    /// The erofs images, by name.
    pub images: BTreeMap<String, Image>,
    /// Programs of a distribution, by the name of their description: folders like a root.
    #[serde(default)]
    pub programs: BTreeMap<String, PathBuf>,
}

/// What a profile asks of the guests that boot its kernels. The runner reads it too, perhaps one that
/// knows fewer keys.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Guest {
    /// Further kernel parameters.
    pub append: String,
    /// The least memory in bytes.
    pub least_memory: u64,
    /// Every limit of a run is multiplied by this.
    pub limits: u32,
    /// Whether kmemleak looks for lost memory after each run.
    pub leak_scan: bool,
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            append: String::new(),
            least_memory: 0,
            limits: 1,
            leak_scan: false,
        }
    }
}

/// One erofs image.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The files that a daemon serves: the metadata first, then its device, if it has one.
    pub blobs: Vec<Blob>,
    /// What is in the image: see [`crate::erofs::manifest`].
    pub manifest: PathBuf,
    /// The fsid of the extra device, for the mount option `device=`.
    pub device: Option<String>,
}

/// A file that a daemon serves. As [`Guest`].
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Blob {
    /// The name it is asked for by.
    pub fsid: String,
    /// Where it is.
    pub path: PathBuf,
}
