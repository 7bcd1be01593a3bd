// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that mount.

use serde::Deserialize;
use serde::Serialize;

use crate::value::ErrnoName;
use crate::value::Size;

/// Mounts an erofs image over fscache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// The image's name, as in the scenario's `needs`.
    pub image: String,
    /// Where; made if absent.
    pub at: String,
    /// The `fsid` option; the image's name without it.
    #[serde(default)]
    pub fsid: Option<String>,
    /// The `domain_id` option: images of one domain share a cache volume and blobs.
    #[serde(default)]
    pub domain_id: Option<String>,
    /// The `device` options: names of the blobs that hold an image's data.
    #[serde(default)]
    pub devices: Vec<String>,
    /// Further mount options, comma separated.
    #[serde(default)]
    pub options: Option<String>,
    /// The mount must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// Unmounts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Umount {
    /// The mount point.
    pub at: String,
    /// Take it out of the tree now, and end the mount when nobody uses it any more.
    #[serde(default)]
    pub lazy: bool,
    /// Do not wait for a server that does not answer; only some filesystems know it.
    #[serde(default)]
    pub force: bool,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// Mounts any filesystem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MountFs {
    /// Its type, such as `ext4` or `tmpfs`. A filesystem that is a module is loaded first, by `load_module`.
    pub fs: String,
    /// What is mounted, for the kernel to understand: a device's path, or any word ...
    #[serde(default)]
    pub source: Option<String>,
    /// ... or the name of a disk in the scenario's `needs`.
    #[serde(default)]
    pub disk: Option<String>,
    /// Where; made if absent.
    pub at: String,
    /// Mount options, comma separated.
    #[serde(default)]
    pub options: Option<String>,
    /// Whether to mount it read-only.
    #[serde(default)]
    pub read_only: bool,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

impl MountFs {
    pub(super) fn check(&self) -> Result<(), String> {
        match (&self.source, &self.disk) {
            (Some(_), Some(_)) => {
                Err("`mount_fs` wants `source` or `disk`, and not both".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// Changes a mounted filesystem's options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Remount {
    /// The mount point.
    pub at: String,
    /// Whether it is to be read-only; as it is without it.
    #[serde(default)]
    pub read_only: Option<bool>,
    /// Mount options, comma separated.
    #[serde(default)]
    pub options: Option<String>,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

impl Remount {
    pub(super) fn check(&self) -> Result<(), String> {
        match (&self.read_only, &self.options) {
            (None, None) => {
                Err("`remount` changes nothing: give `read_only` or `options`".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// Shows a folder in a second place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BindMount {
    /// The folder.
    pub from: String,
    /// Where; made if absent.
    pub at: String,
    /// Whether the second place is read-only.
    #[serde(default)]
    pub read_only: bool,
    /// Whether users have other numbers there: an idmapped mount, in which user 0 is user 100000.
    #[serde(default)]
    pub idmapped: bool,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// Makes a mounted ext4 as large as its disk has become, or as large as wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GrowFs {
    /// The mount point.
    pub at: String,
    /// How large; as the disk without it.
    #[serde(default)]
    pub to: Option<Size>,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}
