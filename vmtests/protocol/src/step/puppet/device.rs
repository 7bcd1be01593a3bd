// SPDX-License-Identifier: GPL-2.0-or-later
//! Actions on the device itself, and raw system calls.

use serde::Deserialize;
use serde::Serialize;

use super::exactly_one;
use crate::step::paths::check_hex;
use crate::value::Count;
use crate::value::ErrnoName;
use crate::value::Raw;
use crate::value::Size;
use crate::value::Span;

/// The name by which actions mean the device, where they may also mean a saved descriptor.
pub const DEVICE: &str = "device";

pub(super) fn device() -> String {
    DEVICE.to_owned()
}

/// Opens /dev/cachefiles.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetOpen {
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
    /// Try again on EBUSY for so long: the last holder may still be unbinding.
    #[serde(default)]
    pub retry_busy: Option<Span>,
}

/// Writes one command to the device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetCommand {
    /// The bytes, such as `dir /cache`.
    pub text: String,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// Writes exact bytes in one system call. They may be none, and may be anything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetWriteRaw {
    /// The bytes as a text ...
    #[serde(default)]
    pub text: Option<String>,
    /// ... or in hexadecimal digits ...
    #[serde(default)]
    pub hex: Option<String>,
    /// ... or the same one many times.
    #[serde(default)]
    pub repeat: Option<RepeatedByte>,
    /// `device`, or the name under which a descriptor was saved.
    #[serde(default = "device")]
    pub on: String,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
    /// How many bytes the call must say that it took; all of them without it.
    #[serde(default)]
    pub expect_written: Option<Size>,
}

impl PuppetWriteRaw {
    pub(super) fn check(&self) -> Result<(), String> {
        check_hex(self.hex.as_deref())?;
        exactly_one(
            "write_raw",
            &[
                ("text", self.text.is_some()),
                ("hex", self.hex.is_some()),
                ("repeat", self.repeat.is_some()),
            ],
        )
    }
}

/// One byte, many times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RepeatedByte {
    /// The byte, as a number up to 255.
    pub byte: Raw,
    /// How many; at most 16 MiB.
    pub count: Size,
}

/// Reads one message from the device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetRead {
    /// Size of the buffer in bytes.
    #[serde(default = "message_size")]
    pub buffer: Count,
    /// Hand the kernel an address at which there is no memory. The buffer is then at most 4032
    /// bytes.
    #[serde(default)]
    pub bad_pointer: bool,
    /// Remember the message, and its descriptor, under this name; there must be one, unless
    /// `expect: none` says otherwise.
    #[serde(default)]
    pub save: Option<String>,
    /// What it must be.
    #[serde(default)]
    pub expect: Option<MessageKind>,
    /// What must be in it.
    #[serde(default)]
    pub expect_fields: Option<MessageFields>,
    /// Wait for so long until there is one.
    #[serde(default)]
    pub within: Option<Span>,
    /// Reading must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

impl PuppetRead {
    pub(super) fn check(&self) -> Result<(), String> {
        let looks = self.expect.is_some() || self.expect_fields.is_some() || self.save.is_some();
        if self.expect_errno.is_some() && looks {
            return Err("a read that must fail brings no message to look at".to_owned());
        }
        if self.bad_pointer && self.expect_errno.is_none() {
            return Err(
                "`bad_pointer` brings no message: say with `expect_errno` how reading must fail"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

fn message_size() -> Count {
    1024.into()
}

/// Reads the line by which a cache in classic mode tells its state, which acknowledges it: what was
/// released counts from there anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetReadState {
    /// Size of the buffer in bytes.
    #[serde(default = "message_size")]
    pub buffer: Count,
    /// A regular expression that the line must match somewhere. It is
    /// `cull=0 frun=5b fcull=41 fstop=d brun=.. bcull=.. bstop=.. freleased=.. breleased=..`, in
    /// hexadecimal digits and without a newline.
    #[serde(default)]
    pub regex: Option<String>,
    /// Reading must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// Kinds of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// An object is opened.
    Open,
    /// An object is closed.
    Close,
    /// A range is wanted.
    Read,
    /// Nothing is pending: read returned 0.
    None,
}

/// What must be in a message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MessageFields {
    /// The object's key in an OPEN: an image's fsid or the name of its device.
    #[serde(default)]
    pub fsid: Option<String>,
    /// The volume's key in an OPEN, without its final NUL, such as `erofs,domain`.
    #[serde(default)]
    pub volume: Option<String>,
    /// Where the range of a READ begins.
    #[serde(default)]
    pub off: Option<Size>,
    /// How long the range of a READ is.
    #[serde(default)]
    pub len: Option<Size>,
    /// Its id must be another one than that of the message saved under this name ...
    #[serde(default)]
    pub new_id_of: Option<String>,
    /// ... or the same.
    #[serde(default)]
    pub same_id_of: Option<String>,
    /// The id of its object must be another one than in the message saved under this name ...
    #[serde(default)]
    pub new_object_of: Option<String>,
    /// ... or the same.
    #[serde(default)]
    pub same_object_of: Option<String>,
}

/// An ioctl by its numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetIoctl {
    /// `device`, or the name under which a descriptor was saved.
    #[serde(default = "device")]
    pub on: String,
    /// The request, such as `0x40049801`.
    pub request: Raw,
    /// The argument, by value. Requests other than that which completes a READ may take it for an
    /// address: it must then be below 4096, where there is no memory.
    pub argument: Raw,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// Polls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetPoll {
    /// `device`, or the name under which a descriptor was saved.
    #[serde(default = "device")]
    pub on: String,
    /// POLLIN: on the device, a request waits to be read.
    #[serde(default)]
    pub readable: Option<bool>,
    /// POLLOUT: on the device, culling is wanted.
    #[serde(default)]
    pub writable: Option<bool>,
    /// Look again and again for so long until it is so; once without it.
    #[serde(default)]
    pub within: Option<Span>,
}

impl PuppetPoll {
    pub(super) fn check(&self) -> Result<(), String> {
        match (self.readable, self.writable) {
            (None, None) => Err("`poll` wants `readable`, `writable` or both".to_owned()),
            _ => Ok(()),
        }
    }
}
