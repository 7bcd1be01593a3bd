// SPDX-License-Identifier: GPL-2.0-or-later
//! A daemon played by hand: raw actions on /dev/cachefiles, in a process of its own.

use serde::Deserialize;
use serde::Serialize;

use crate::value::Count;
use crate::value::Errno;
use crate::value::Size;
use crate::value::Span;
use crate::value::seconds;

/// Does `actions` one after the other in the process called `name`, which is started when the
/// name is new and lives until `kill` or the run's end. What it reads from the device counts as
/// `requests.*`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Puppet {
    /// The process.
    #[serde(default = "default_puppet")]
    pub name: String,
    /// What it does.
    pub actions: Vec<PuppetAction>,
}

fn default_puppet() -> String {
    "puppet".to_owned()
}

/// One action. Written as a map with one key, or as the bare key where it has no fields.
#[derive(Debug, Clone, PartialEq)]
pub enum PuppetAction {
    /// Opens the device.
    Open(PuppetOpen),
    /// Writes a command to the device.
    Command(PuppetCommand),
    /// Reads one message and remembers it.
    ReadMessage(PuppetRead),
    /// Answers an OPEN.
    Copen(PuppetCopen),
    /// Writes to an object's descriptor.
    Write(PuppetWrite),
    /// Completes a READ.
    Complete(PuppetComplete),
    /// Begins to answer requests in the background.
    Serve(PuppetServe),
    /// Ends what `serve` began; what it has taken is answered first.
    StopServing(PuppetNothing),
    /// Waits until this many objects' descriptors are open.
    AwaitObjects(PuppetAwait),
    /// Closes the device.
    CloseDevice(PuppetNothing),
    /// Closes descriptors of objects.
    CloseObjects(PuppetClose),
    /// Ends the process with SIGKILL: the kernel closes whatever it held.
    Kill(PuppetNothing),
}

macro_rules! puppet_actions {
    ($($key:literal => $variant:ident),* $(,)?) => {
        impl Serialize for PuppetAction {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(Some(1))?;
                match self {
                    $(PuppetAction::$variant(fields) => map.serialize_entry($key, fields)?),*
                }
                map.end()
            }
        }

        impl<'de> Deserialize<'de> for PuppetAction {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use serde::de::Error;
                const KEYS: &[&str] = &[$($key),*];
                struct Visitor;
                impl<'de> serde::de::Visitor<'de> for Visitor {
                    type Value = PuppetAction;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(f, "one of the puppet's actions: {}", KEYS.join(", "))
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        mut map: A,
                    ) -> Result<PuppetAction, A::Error> {
                        let Some(key) = map.next_key::<String>()? else {
                            return Err(A::Error::custom("an action without a name"));
                        };
                        let action = match key.as_str() {
                            $($key => PuppetAction::$variant(map.next_value()?),)*
                            _ => return Err(A::Error::unknown_field(&key, KEYS)),
                        };
                        match map.next_key::<String>()? {
                            None => Ok(action),
                            Some(second) => Err(A::Error::custom(format!(
                                "an action has one key, this one has `{key}` and `{second}`"
                            ))),
                        }
                    }
                }
                deserializer.deserialize_map(Visitor)
            }
        }

        impl PuppetAction {
            /// The action's key.
            pub fn key(&self) -> &'static str {
                match self {
                    $(PuppetAction::$variant(_) => $key),*
                }
            }
        }
    };
}

puppet_actions! {
    "open" => Open,
    "command" => Command,
    "read_message" => ReadMessage,
    "copen" => Copen,
    "write" => Write,
    "complete" => Complete,
    "serve" => Serve,
    "stop_serving" => StopServing,
    "await_objects" => AwaitObjects,
    "close_device" => CloseDevice,
    "close_objects" => CloseObjects,
    "kill" => Kill,
}

/// No fields: written `{}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PuppetNothing {}

/// Opens /dev/cachefiles.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PuppetOpen {
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<Errno>,
    /// Try again on EBUSY for so long: the last holder may still be unbinding.
    #[serde(default)]
    pub retry_busy: Option<Span>,
}

/// Writes one command to the device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PuppetCommand {
    /// The bytes, such as `dir /cache`.
    pub text: String,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<Errno>,
}

/// Reads one message from the device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PuppetRead {
    /// Size of the buffer in bytes.
    #[serde(default = "message_size")]
    pub buffer: Count,
    /// Remember the message under this name.
    #[serde(default)]
    pub save: Option<String>,
    /// What it must be.
    #[serde(default)]
    pub expect: Option<MessageKind>,
    /// Wait for so long until there is one.
    #[serde(default)]
    pub within: Option<Span>,
    /// Reading must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<Errno>,
}

fn message_size() -> Count {
    1024.into()
}

/// Kinds of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// Answers an OPEN that was read before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PuppetCopen {
    /// The name under which it was saved.
    pub of: String,
    /// The size to answer, or a negative error number; any text goes out as it is.
    pub size: String,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<Errno>,
}

/// Writes zeros or a blob's bytes to an object's descriptor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PuppetWrite {
    /// The name under which the object's OPEN was saved.
    pub of: String,
    /// Where.
    pub offset: Size,
    /// How much.
    pub length: Size,
    /// The file whose bytes at that offset are written; zeros without it.
    #[serde(default)]
    pub blob: Option<String>,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<Errno>,
}

/// Completes a READ by the ioctl.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PuppetComplete {
    /// The name under which the READ was saved.
    pub of: String,
    /// Use the descriptor of this OPEN instead of the object's own.
    #[serde(default)]
    pub on: Option<String>,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<Errno>,
}

/// Answers requests in the background: OPENs with the blob's size, READs with exactly the range
/// asked for, rounded out to whole 4 KiB blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PuppetServe {
    /// The folder with the blobs.
    #[serde(default = "default_blobs")]
    pub blobs: String,
}

fn default_blobs() -> String {
    "/blobs".to_owned()
}

/// Waits for objects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PuppetAwait {
    /// How many descriptors must be open, exactly.
    pub count: Count,
    /// How long it may take.
    #[serde(default = "ten_seconds")]
    pub within: Span,
}

fn ten_seconds() -> Span {
    seconds(10)
}

/// Closes descriptors of objects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[serde(rename_all = "snake_case")]
pub enum CloseOrder {
    /// As they were opened.
    Opened,
    /// The last opened first.
    Reversed,
    /// From both ends and the middle, always the same way: every third, then the others.
    Interleaved,
}
