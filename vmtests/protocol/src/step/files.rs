// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that mount images and read them.

use serde::Deserialize;
use serde::Serialize;

use crate::value::Count;
use crate::value::Errno;
use crate::value::Size;

/// Mounts an erofs image over fscache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    pub expect_errno: Option<Errno>,
}

/// Unmounts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Umount {
    /// The mount point.
    pub at: String,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<Errno>,
}

/// Reads an image's files and compares them with its manifest: kind, size, mode, SHA-256 of the
/// content, targets of symbolic links, extended attributes, and that nothing else is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// Whose manifest.
    pub image: String,
    /// Where the image is mounted.
    pub at: String,
    /// Files that are read at once.
    #[serde(default = "one")]
    pub threads: Count,
    /// Only a part of the regular files; all entries without it.
    #[serde(default)]
    pub select: Option<Select>,
    /// Every selected file must fail to be read with this error; opening them must succeed.
    #[serde(default)]
    pub expect_errno: Option<Errno>,
}

/// Some of an image's regular files, in the manifest's order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Select {
    /// Only files of at least this size.
    #[serde(default)]
    pub min_size: Option<Size>,
    /// Of those, every n-th ...
    #[serde(default = "one")]
    pub every: Count,
    /// ... beginning with this one, counted from 0.
    #[serde(default = "zero")]
    pub from: Count,
    /// At most this many.
    #[serde(default)]
    pub count: Option<Count>,
}

fn one() -> Count {
    1.into()
}

fn zero() -> Count {
    0.into()
}

/// Reads a part of one file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// The file.
    pub path: String,
    /// Where to begin.
    #[serde(default)]
    pub offset: Option<Size>,
    /// How much; to the end without it.
    #[serde(default)]
    pub length: Option<Size>,
    /// The SHA-256 of what is read, in hexadecimal digits.
    #[serde(default)]
    pub sha256: Option<String>,
    /// Reading must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<Errno>,
}

/// Keeps a file open for reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldOpen {
    /// What `close_held` calls it.
    pub name: String,
    /// The file.
    pub path: String,
}

/// Closes a file kept open by `hold_open`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseHeld {
    /// The name given to `hold_open`.
    pub name: String,
}

/// Makes a file whose blocks are allocated, so that the disk has less room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FillFile {
    /// The file; it must not exist.
    pub path: String,
    /// Its size ...
    #[serde(default)]
    pub size: Option<Size>,
    /// ... or the percentage of the disk's blocks that shall be left free, as `statfs` counts
    /// them for everybody (`bavail`).
    #[serde(default)]
    pub leave_percent: Option<Count>,
}

/// Removes a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveFile {
    /// The file.
    pub path: String,
}
