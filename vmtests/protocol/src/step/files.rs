// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that read files, hold them open, and take room away.

use serde::Deserialize;
use serde::Serialize;

use crate::value::Count;
use crate::value::ErrnoName;
use crate::value::Size;

/// Reads an image's files and compares them with its manifest: kind, size, mode, SHA-256 of the
/// content, targets of symbolic links, extended attributes, and that nothing else is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    pub expect_errno: Option<ErrnoName>,
}

impl Verify {
    pub(super) fn check(&self) -> Result<(), String> {
        match self.expect_errno.is_some() && self.select.is_none() {
            true => Err("`expect_errno` needs `select`: which files must fail?".to_owned()),
            false => Ok(()),
        }
    }
}

/// Some of an image's regular files, in the manifest's order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// The bytes that are read must be these.
    #[serde(default)]
    pub equals: Option<EqualsTo>,
    /// Reading must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

impl Read {
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(equals) = &self.equals {
            equals.check()?;
        }
        let compared = self.sha256.is_some() || self.equals.is_some();
        match compared && self.expect_errno.is_some() {
            true => Err("a `read` that must fail has no bytes to compare".to_owned()),
            false => Ok(()),
        }
    }
}

/// Bytes that others must be equal to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EqualsTo {
    /// Those of a blob in /blobs, by its name ...
    #[serde(default)]
    pub blob: Option<String>,
    /// ... or those that `write` makes from this seed ...
    #[serde(default)]
    pub seed: Option<Count>,
    /// ... or nothing but zeros.
    #[serde(default)]
    pub zeros: bool,
    /// Where they begin in the blob, or in what the seed makes; as in the file without it.
    #[serde(default)]
    pub offset: Option<Size>,
}

impl EqualsTo {
    fn check(&self) -> Result<(), String> {
        let given = [self.blob.is_some(), self.seed.is_some(), self.zeros];
        match given.iter().filter(|given| **given).count() {
            1 => Ok(()),
            _ => Err("`equals` wants one of `blob`, `seed` and `zeros`".to_owned()),
        }
    }
}

/// Keeps a file open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HoldOpen {
    /// What `close_held` calls it.
    pub name: String,
    /// The file.
    pub path: String,
    /// Open it for writing too.
    #[serde(default)]
    pub write: bool,
    /// Map the whole of it into memory too, shared.
    #[serde(default)]
    pub mmap: bool,
    /// Read a byte of every page that `mmap` has mapped. A page whose data cannot be had ends the
    /// process that holds it by SIGBUS, and fails the step.
    #[serde(default)]
    pub touch: bool,
    /// Opening it must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

impl HoldOpen {
    pub(super) fn check(&self) -> Result<(), String> {
        match self.touch && !self.mmap {
            true => Err("`touch` touches what `mmap` maps: give `mmap: true` too".to_owned()),
            false => Ok(()),
        }
    }
}

/// Closes a file kept open by `hold_open`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CloseHeld {
    /// The name given to `hold_open`.
    pub name: String,
}

/// Makes a file whose blocks are allocated, so that the disk has less room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

impl FillFile {
    pub(super) fn check(&self) -> Result<(), String> {
        match (&self.size, &self.leave_percent) {
            (Some(_), None) | (None, Some(_)) => Ok(()),
            _ => Err("`fill_file` wants exactly one of `size` and `leave_percent`".to_owned()),
        }
    }
}
