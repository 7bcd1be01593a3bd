// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that change files and folders.
//!
//! Where a file must exist already, a `*` in its path stands for any part of one name, and the
//! pattern must match exactly one file: the names under which a cache keeps its objects are long,
//! and not the subject of most scenarios.

use serde::Deserialize;
use serde::Serialize;

use crate::value::Count;
use crate::value::ErrnoName;
use crate::value::Size;

/// Writes to a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// The file; a `*` stands for any part of a name.
    pub path: String,
    /// Where to begin; at the beginning without it.
    #[serde(default)]
    pub offset: Option<Size>,
    /// How many bytes, made from `seed` ...
    #[serde(default)]
    pub length: Option<Size>,
    /// ... or this text ...
    #[serde(default)]
    pub text: Option<String>,
    /// ... or these bytes, in hexadecimal digits.
    #[serde(default)]
    pub hex: Option<String>,
    /// From which the bytes of `length` are made: the same seed and the same place in the file
    /// give the same byte. 0 without it.
    #[serde(default)]
    pub seed: Option<Count>,
    /// Make the file if it is absent; it must be there already without it.
    #[serde(default)]
    pub create: bool,
    /// Wait until the disk has it.
    #[serde(default)]
    pub sync: bool,
    /// Opening or writing must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

impl Write {
    pub(super) fn check(&self) -> Result<(), String> {
        let given = [
            self.length.is_some(),
            self.text.is_some(),
            self.hex.is_some(),
        ];
        if given.iter().filter(|given| **given).count() != 1 {
            return Err("`write` wants one of `length`, `text` and `hex`".to_owned());
        }
        if self.seed.is_some() && self.length.is_none() {
            return Err("`seed` makes the bytes of `length`, which is not given".to_owned());
        }
        check_hex(self.hex.as_deref())?;
        no_star_in_new(&self.path, self.create)
    }
}

/// Changes a file's length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Truncate {
    /// The file; a `*` stands for any part of a name.
    pub path: String,
    /// Its new length: what is beyond is gone, what is missing is a hole.
    pub size: Size,
    /// Make the file if it is absent.
    #[serde(default)]
    pub create: bool,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

impl Truncate {
    pub(super) fn check(&self) -> Result<(), String> {
        no_star_in_new(&self.path, self.create)
    }
}

/// Makes a folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MakeDir {
    /// The folder.
    pub path: String,
    /// Make the folders above it too, and be content when it is there.
    #[serde(default)]
    pub parents: bool,
    /// Its permissions, in octal digits, such as `"700"`.
    #[serde(default)]
    pub mode: Option<String>,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

impl MakeDir {
    pub(super) fn check(&self) -> Result<(), String> {
        check_mode(self.mode.as_deref())
    }
}

/// Gives a file or folder another name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Rename {
    /// Its path; a `*` stands for any part of a name.
    pub from: String,
    /// Its new path.
    pub to: String,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// Removes a file, or a folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RemoveFile {
    /// Its path; a `*` stands for any part of a name.
    pub path: String,
    /// Remove a folder, with all that is in it.
    #[serde(default)]
    pub recursive: bool,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// Sets an extended attribute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SetXattr {
    /// The file or folder; a `*` stands for any part of a name.
    pub path: String,
    /// The attribute's name, such as `user.CacheFiles.cache`.
    pub name: String,
    /// Its value as a text ...
    #[serde(default)]
    pub text: Option<String>,
    /// ... or as bytes, in hexadecimal digits.
    #[serde(default)]
    pub hex: Option<String>,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

impl SetXattr {
    pub(super) fn check(&self) -> Result<(), String> {
        check_hex(self.hex.as_deref())?;
        match (&self.text, &self.hex) {
            (Some(_), None) | (None, Some(_)) => Ok(()),
            _ => Err("`set_xattr` wants one of `text` and `hex`".to_owned()),
        }
    }
}

/// Removes an extended attribute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RemoveXattr {
    /// The file or folder; a `*` stands for any part of a name.
    pub path: String,
    /// The attribute's name.
    pub name: String,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// Changes the flags that some filesystems keep for a file, as chattr does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SetFlags {
    /// The file or folder; a `*` stands for any part of a name.
    pub path: String,
    /// Whether nobody may change, rename or remove it, or anything in it; as it is without it.
    #[serde(default)]
    pub immutable: Option<bool>,
    /// Whether it may only grow; as it is without it.
    #[serde(default)]
    pub append_only: Option<bool>,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

impl SetFlags {
    pub(super) fn check(&self) -> Result<(), String> {
        match (self.immutable, self.append_only) {
            (None, None) => {
                Err("`set_flags` changes nothing: give `immutable` or `append_only`".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// Hexadecimal digits must be some, and pairs.
pub(super) fn check_hex(digits: Option<&str>) -> Result<(), String> {
    match digits {
        Some(digits) if !digits.contains("${") => hex::decode(digits)
            .map(|_| ())
            .map_err(|error| format!("`{digits}` are no bytes in hexadecimal digits: {error}")),
        _ => Ok(()),
    }
}

/// Permissions are written in octal digits.
pub(super) fn check_mode(mode: Option<&str>) -> Result<(), String> {
    match mode {
        Some(mode) if !mode.contains("${") => match u32::from_str_radix(mode, 8) {
            Ok(bits) if bits <= 0o7777 => Ok(()),
            _ => Err(format!(
                "`{mode}` are no permissions in octal digits, such as \"644\""
            )),
        },
        _ => Ok(()),
    }
}

fn no_star_in_new(path: &str, create: bool) -> Result<(), String> {
    match create && path.contains('*') {
        true => Err(format!(
            "`{path}`: a file that is made has a name, and a `*` stands for those that are there"
        )),
        false => Ok(()),
    }
}
