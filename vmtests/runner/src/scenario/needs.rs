// SPDX-License-Identifier: GPL-2.0-or-later
//! What a scenario needs before its first step.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use vmtest_protocol::value::Bytes;
use vmtest_protocol::value::Count;
use vmtest_protocol::value::Size;

/// What must be there before the first step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Needs {
    /// On which kernels it makes sense; on others it is skipped, with the reason.
    #[serde(default)]
    pub kernel: KernelNeed,
    /// How the module under test is loaded.
    #[serde(default)]
    pub module: ModuleNeed,
    /// Images: names from the artifact index, or a prefix followed by `*`.
    #[serde(default)]
    pub images: Vec<String>,
    /// A distribution's own programs, by their names in the artifact index, such as `nfs`: they and
    /// their libraries are then at their usual paths.
    #[serde(default)]
    pub programs: Vec<String>,
    /// Disks, empty filesystems each time.
    #[serde(default)]
    pub disks: Vec<DiskNeed>,
    /// Folders of the run on the host, empty at first, that the guest sees through virtiofs.
    #[serde(default)]
    pub shares: Vec<ShareNeed>,
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
            kernel: KernelNeed::default(),
            module: ModuleNeed::default(),
            images: Vec::new(),
            programs: Vec::new(),
            disks: Vec::new(),
            shares: Vec::new(),
            memory: default_memory(),
            cpus: default_cpus(),
        }
    }
}

/// Kernels on which a scenario makes sense.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KernelNeed {
    /// The first version, such as "6.12".
    #[serde(default)]
    pub at_least: Option<String>,
    /// The first version on which it makes no sense any more, such as "7.2".
    #[serde(default)]
    pub before: Option<String>,
    /// Options that must be set (`y` or `m`), without `CONFIG_`.
    #[serde(default)]
    pub config: Vec<String>,
    /// Parameters for its command line, on top of those that every guest gets, such as
    /// `lsm=smack`. The guest then boots cold.
    #[serde(default)]
    pub args: String,
}

/// How the module under test is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModuleNeed {
    /// Its parameters, as for insmod, such as `debug=1`.
    #[serde(default)]
    pub params: String,
    /// Whether it is loaded before the first step, and erofs with it.
    #[serde(default = "yes")]
    pub load: bool,
}

fn yes() -> bool {
    true
}

impl Default for ModuleNeed {
    fn default() -> Self {
        ModuleNeed {
            params: String::new(),
            load: true,
        }
    }
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Whether it is mounted before the first step.
    #[serde(default = "yes")]
    pub mount: bool,
}

impl DiskNeed {
    /// Where it is mounted before the first step, if it is.
    pub fn mounted_at(&self) -> Option<String> {
        let at = || self.at.clone().unwrap_or(format!("/{}", self.name));
        (self.mount && self.fs != DiskFs::None).then(at)
    }
}

fn default_fs() -> DiskFs {
    DiskFs::Ext4
}

/// A filesystem for a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiskFs {
    /// ext4, which has what cachefiles needs.
    Ext4,
    /// ext2 with its own driver, for which a whole file is data: cachefiles sees no holes.
    Ext2,
    /// None: the disk stays raw and is not mounted.
    None,
}

impl DiskFs {
    /// The kernel's name for it.
    pub fn word(self) -> &'static str {
        match self {
            DiskFs::Ext4 => "ext4",
            DiskFs::Ext2 => "ext2",
            DiskFs::None => "none",
        }
    }
}

/// A folder on the host that the guest sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShareNeed {
    /// Its virtiofs tag, at most 36 letters, digits, `-` and `_`.
    pub tag: String,
    /// Where it is mounted; `/TAG` without it.
    #[serde(default)]
    pub at: Option<String>,
    /// Whether the guest may only read it.
    #[serde(default)]
    pub read_only: bool,
    /// Offer the same folder by 9p too, with the tag as the source of a `mount_fs` of `9p`: the
    /// server's own side of it is then the share.
    #[serde(default, rename = "9p")]
    pub nine_p: bool,
}

impl ShareNeed {
    /// Where it is mounted.
    pub fn mounted_at(&self) -> String {
        self.at.clone().unwrap_or(format!("/{}", self.tag))
    }
}
