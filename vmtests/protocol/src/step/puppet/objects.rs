// SPDX-License-Identifier: GPL-2.0-or-later
//! Actions on objects: answers, and what is done with their descriptors.

use serde::Deserialize;
use serde::Serialize;

use super::exactly_one;
use crate::value::Count;
use crate::value::ErrnoName;
use crate::value::Number;
use crate::value::Position;
use crate::value::Raw;
use crate::value::Size;

/// Answers an OPEN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetCopen {
    /// The name under which the OPEN was saved ...
    #[serde(default)]
    pub of: Option<String>,
    /// ... or any text in place of its id.
    #[serde(default)]
    pub id: Option<String>,
    /// How the id of `of` is written.
    #[serde(default)]
    pub form: IdForm,
    /// The size to answer, or a negative error number; any text goes out as it is ...
    #[serde(default)]
    pub size: Option<String>,
    /// ... or the file whose length is the size, such as `/blobs/small`.
    #[serde(default)]
    pub blob: Option<String>,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

impl PuppetCopen {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.id.is_some() && self.form != IdForm::Decimal {
            return Err("`form` is for the id of `of`: write `id` as it is to go out".to_owned());
        }
        exactly_one(
            "copen",
            &[("size", self.size.is_some()), ("blob", self.blob.is_some())],
        )?;
        exactly_one(
            "copen",
            &[("of", self.of.is_some()), ("id", self.id.is_some())],
        )
    }
}

/// How a number is written in a command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum IdForm {
    /// `26`.
    #[default]
    Decimal,
    /// `0x1a`.
    Hex,
    /// `032`.
    Octal,
}

/// Writes zeros or a blob's bytes to an object's descriptor: all of them, rounded out to whole
/// blocks of 4 KiB, in as many system calls as it takes. With `exact`, `position`, `misalign` or
/// `expect_written` it is one system call of exactly these bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetWrite {
    /// The name under which the object's OPEN was saved.
    pub of: String,
    /// Where; not given with `position`.
    #[serde(default)]
    pub offset: Option<Size>,
    /// How much.
    pub length: Size,
    /// The file whose bytes at that offset are written; zeros without it.
    #[serde(default)]
    pub blob: Option<String>,
    /// One system call of exactly these bytes, neither rounded out nor repeated.
    #[serde(default)]
    pub exact: bool,
    /// Write at the descriptor's own position, and move it, by write(2).
    #[serde(default)]
    pub position: bool,
    /// From memory that begins so many bytes behind a block's edge.
    #[serde(default)]
    pub misalign: Option<Size>,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
    /// How many bytes the call must say that it took.
    #[serde(default)]
    pub expect_written: Option<Size>,
}

impl PuppetWrite {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.expect_errno.is_some() && self.expect_written.is_some() {
            return Err("a write that must fail takes no bytes".to_owned());
        }
        exactly_one(
            "write",
            &[
                ("offset", self.offset.is_some()),
                ("position", self.position),
            ],
        )
    }

    /// Whether it is one system call of exactly these bytes.
    pub fn is_exact(&self) -> bool {
        self.exact || self.position || self.misalign.is_some() || self.expect_written.is_some()
    }
}

/// Calls lseek on an object's descriptor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetSeek {
    /// The name under which the object's OPEN was saved.
    pub of: String,
    /// From where.
    #[serde(default)]
    pub whence: Whence,
    /// How far.
    pub offset: Position,
    /// Where it must lead.
    #[serde(default)]
    pub expect: Option<Size>,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// From where a seek counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Whence {
    /// From the beginning.
    #[default]
    Set,
    /// From the position of now.
    Cur,
    /// From the end.
    End,
    /// To the next data.
    Data,
    /// To the next hole.
    Hole,
}

/// Completes a READ by the ioctl.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetComplete {
    /// The name under which the READ was saved ...
    #[serde(default)]
    pub of: Option<String>,
    /// ... or any number in place of its id; `on` must then be given.
    #[serde(default)]
    pub id: Option<Raw>,
    /// Added to the id of `of`: a READ that nobody has read yet usually has the next one.
    #[serde(default)]
    pub plus: Option<Number>,
    /// Use the descriptor of this OPEN instead of the object's own.
    #[serde(default)]
    pub on: Option<String>,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

impl PuppetComplete {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.id.is_some() && (self.on.is_none() || self.plus.is_some()) {
            return Err(
                "`complete` with an `id` wants `on`: whose descriptor? And no `plus`".to_owned(),
            );
        }
        exactly_one(
            "complete",
            &[("of", self.of.is_some()), ("id", self.id.is_some())],
        )
    }
}

/// Closes one descriptor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetCloseOne {
    /// The name under which it was saved: by `read_message`, `dup` or `take`. The message itself
    /// stays known, so that it can still be answered, too late.
    pub of: String,
}

/// Closes descriptors of objects. The messages stay known, and what `dup` and `take` made stays
/// open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetClose {
    /// In which order.
    pub order: CloseOrder,
    /// At most so many; all without it.
    #[serde(default)]
    pub count: Option<Count>,
}

/// An order of descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CloseOrder {
    /// As they were opened.
    Opened,
    /// The last opened first.
    Reversed,
    /// From both ends and the middle, always the same way: every third, then the others.
    Interleaved,
}

/// Duplicates a descriptor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetDup {
    /// `device`, or the name under which a descriptor was saved.
    pub of: String,
    /// The name under which the second one is saved.
    #[serde(rename = "as")]
    pub name: String,
}

/// Takes a descriptor of another puppet, by pidfd_getfd(2). The other may serve meanwhile, but not
/// act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetTake {
    /// The other puppet.
    pub from: String,
    /// `device`, or the name under which the other has saved a descriptor.
    pub of: String,
    /// The name under which it is saved here. A device that is taken without it is this puppet's
    /// device from now on.
    #[serde(default, rename = "as")]
    pub name: Option<String>,
}

impl PuppetTake {
    pub(super) fn check(&self) -> Result<(), String> {
        match self.name.is_none() && self.of != super::DEVICE {
            true => Err("`take` wants `as`: under which name is it saved here?".to_owned()),
            false => Ok(()),
        }
    }
}
