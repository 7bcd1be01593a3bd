// SPDX-License-Identifier: GPL-2.0-or-later
//! Actions on the process itself, and those that go on for a while.

use serde::Deserialize;
use serde::Serialize;

use super::PuppetAction;
use crate::value::Count;
use crate::value::ErrnoName;
use crate::value::Size;
use crate::value::Span;
use crate::value::seconds;

/// Answers requests in the background: OPENs with the blob's size, READs with exactly the range
/// asked for, rounded out to whole 4 KiB blocks. With `content` it has no blobs: every object is of
/// one size, and its bytes are those that a probe expects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetServe {
    /// The folder with the blobs.
    #[serde(default = "default_blobs")]
    pub blobs: String,
    /// Content made from keys, in place of the blobs.
    #[serde(default)]
    pub content: Option<ServedContent>,
    /// Goes on after an error of the device or of an object: a READ is then completed without its
    /// data, and an OPEN whose answer was refused loses its descriptor, so that it is new again.
    #[serde(default)]
    pub ignore_errors: bool,
}

/// What every object of a probe has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ServedContent {
    /// Its size.
    pub size: Size,
    /// The generation of its bytes.
    #[serde(default = "no_generation")]
    pub generation: Count,
}

fn no_generation() -> Count {
    0.into()
}

fn default_blobs() -> String {
    "/blobs".to_owned()
}

/// Waits for objects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

/// Opens a file and keeps it open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetOpenFile {
    /// The file, or folder.
    pub path: String,
    /// What `close_file` calls it.
    #[serde(rename = "as")]
    pub name: String,
    /// Open it for writing too.
    #[serde(default)]
    pub write: bool,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// Closes a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetCloseFile {
    /// The name given to `open_file`.
    pub name: String,
}

/// Reads a file from its beginning to its end, in the background and for nothing: a daemon that reads
/// its own mount. How it ends is nobody's business.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetStartReading {
    /// The file.
    pub path: String,
}

/// Limits open files, by RLIMIT_NOFILE.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetLimitFiles {
    /// How many more descriptors than now may be open; no limit of its own without it.
    #[serde(default)]
    pub to: Option<Count>,
}

/// Changes the working directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetChangeDir {
    /// The folder; a `*` stands for any part of a name, and a `..` behind it for the folder in
    /// which that name is.
    pub path: String,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// Threads that do the same actions over and over. What they did is measured as
/// `storm.rounds` and, for each kind of action, `storm.ACTION.done` and `storm.ACTION.refused`. A
/// storm in which nothing was done at all is an error: it proves nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetStorm {
    /// How many threads.
    pub threads: Count,
    /// For how long; at most 10 minutes ...
    #[serde(default, rename = "for")]
    pub span: Option<Span>,
    /// ... or how many rounds each thread does.
    #[serde(default)]
    pub times: Option<Count>,
    /// A round. Names under which messages are saved are each thread's own, on top of those that
    /// were saved before the storm.
    pub actions: Vec<PuppetAction>,
    /// Go on whatever an action says; otherwise the first that does not pass ends the storm.
    #[serde(default)]
    pub ignore_errors: bool,
    /// So many actions must have been done without an error, by all threads together.
    #[serde(default = "one")]
    pub at_least: Count,
}

fn one() -> Count {
    1.into()
}

impl PuppetStorm {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.actions.is_empty() {
            return Err("a storm without actions".to_owned());
        }
        for action in &self.actions {
            if matches!(
                action,
                PuppetAction::Kill(_)
                    | PuppetAction::Storm(_)
                    | PuppetAction::Take(_)
                    | PuppetAction::StartReading(_)
            ) {
                return Err(format!("`{}` cannot be a part of a storm", action.key()));
            }
        }
        super::exactly_one(
            "storm",
            &[
                ("for", self.span.is_some()),
                ("times", self.times.is_some()),
            ],
        )
    }
}
