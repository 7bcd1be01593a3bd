// SPDX-License-Identifier: GPL-2.0-or-later
//! What `expect` and `wait_until` can look at.

use serde::Deserialize;
use serde::Serialize;

use super::daemon::default_daemon;
use super::paths::check_hex;
use super::paths::check_mode;
use crate::value::Count;
use crate::value::Factor;
use crate::value::Number;
use crate::value::Size;

/// What a counter must be. Counters have names:
///
/// - `requests.open`, `.read`, `.close`: requests that anyone read from the device in this run;
///   `requests.replied`; `requests.outstanding`: read, and not yet replied to.
/// - `daemon.fill`, `daemon.cull`, ...: lines of the daemons' event logs by their `ev`.
/// - `trace.EVENT`: how often each of the events came that `start_trace` records, until `stop_trace`;
///   `trace.cachefiles_ondemand_read` counts requests whoever reads them, a foreign daemon, too.
/// - `fscache.SECTION.FIELD`: /proc/fs/fscache/stats in lower case, such as `fscache.nospace.nwr`;
///   `fscache.downops.dl` counts what network filesystems asked their servers for.
/// - `caches.vols`, `.objs`, `.access`, `.count`: /proc/fs/fscache/caches, summed over all caches.
/// - `nfsd.read`, `.write`, `.open`, `.getattr`, `.setattr`, `.commit`: NFS 4 operations that the
///   guest's own server was asked for, once `nfsd` is loaded.
/// - `memory.FIELD`: /proc/meminfo in bytes, such as `memory.slab`.
/// - `free_percent:PATH`, `free_bytes:PATH`: room on the filesystem that a disk or `mount_fs` has
///   at PATH.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CounterIs {
    /// The counter's name.
    pub of: String,
    /// Compare the change since this snapshot instead of the number itself.
    #[serde(default)]
    pub since: Option<String>,
    /// How to compare.
    pub is: Comparison,
    /// With what; may be negative.
    pub than: Number,
}

/// How two numbers compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// The same.
    Equal,
    /// Not the same.
    NotEqual,
    /// The same or more.
    AtLeast,
    /// The same or less.
    AtMost,
    /// More.
    More,
    /// Less.
    Less,
}

impl Comparison {
    /// Whether `left` compares so with `right`.
    pub fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Comparison::Equal => left == right,
            Comparison::NotEqual => left != right,
            Comparison::AtLeast => left >= right,
            Comparison::AtMost => left <= right,
            Comparison::More => left > right,
            Comparison::Less => left < right,
        }
    }

    /// For messages: `at least`.
    pub fn words(self) -> &'static str {
        match self {
            Comparison::Equal => "equal to",
            Comparison::NotEqual => "different from",
            Comparison::AtLeast => "at least",
            Comparison::AtMost => "at most",
            Comparison::More => "more than",
            Comparison::Less => "less than",
        }
    }
}

/// What a text file must contain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FileMatches {
    /// The file, such as /proc/fs/fscache/caches.
    pub path: String,
    /// A regular expression that must (or must not) match somewhere.
    pub regex: String,
    /// Whether it must not match.
    #[serde(default)]
    pub absent: bool,
}

/// What poll on the device that a keeper holds must say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DevicePolls {
    /// The daemon for which it is kept.
    #[serde(default = "default_daemon")]
    pub name: String,
    /// POLLIN: a request waits to be read.
    #[serde(default)]
    pub readable: Option<bool>,
    /// POLLOUT: culling is wanted.
    #[serde(default)]
    pub writable: Option<bool>,
}

/// What a log must have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LogHas {
    /// Whose: `kernel`, or the name of a daemon or program that was started in this run.
    #[serde(default = "default_daemon")]
    pub of: String,
    /// A regular expression for one line.
    pub regex: String,
    /// How many lines must match; at least one without it.
    #[serde(default)]
    pub count: Option<CountIs>,
    /// Only lines that came after this snapshot.
    #[serde(default)]
    pub since: Option<String>,
}

/// How often something must be there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CountIs {
    /// How to compare.
    pub is: Comparison,
    /// With what.
    pub than: Count,
}

/// What a program, daemon, puppet or branch must be doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StateIs {
    /// Its name. The state of a branch is that of the process which carries out its step.
    pub of: String,
    /// The state.
    pub is: TaskState,
}

/// What a process does. The first that is true of one of its threads, in this order: blocked,
/// running, sleeping; stopped when all of them are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// A thread waits in the kernel for something that no ordinary signal interrupts: `D`.
    Blocked,
    /// A thread runs, or could: `R`.
    Running,
    /// All wait for something and can be interrupted: `S`.
    Sleeping,
    /// All are stopped by a signal: `T`.
    Stopped,
    /// It has ended.
    Gone,
}

impl TaskState {
    /// For messages.
    pub fn words(self) -> &'static str {
        match self {
            TaskState::Blocked => "blocked",
            TaskState::Running => "running",
            TaskState::Sleeping => "sleeping",
            TaskState::Stopped => "stopped",
            TaskState::Gone => "gone",
        }
    }
}

/// What a file or folder must be like. A `*` in the path stands for any part of one name; what is
/// said must then be true of each that matches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PathIs {
    /// Its path.
    pub path: String,
    /// Whether it must be there. `false` stands alone.
    #[serde(default = "yes")]
    pub exists: bool,
    /// How many must match the path; exactly one without it.
    #[serde(default)]
    pub count: Option<CountIs>,
    /// What kind of file it must be.
    #[serde(default)]
    pub kind: Option<FileKind>,
    /// Its length.
    #[serde(default)]
    pub size: Option<Size>,
    /// Its permissions, in octal digits, such as `"644"`.
    #[serde(default)]
    pub mode: Option<String>,
    /// The room that it takes on the disk.
    #[serde(default)]
    pub allocated: Option<SizeIs>,
    /// The SHA-256 of its content, in hexadecimal digits.
    #[serde(default)]
    pub sha256: Option<String>,
    /// Extended attributes.
    #[serde(default)]
    pub xattrs: Vec<XattrIs>,
}

fn yes() -> bool {
    true
}

impl PathIs {
    pub(super) fn check(&self) -> Result<(), String> {
        let more = self.count.is_some()
            || self.kind.is_some()
            || self.size.is_some()
            || self.mode.is_some()
            || self.allocated.is_some()
            || self.sha256.is_some()
            || !self.xattrs.is_empty();
        if !self.exists && more {
            return Err(format!(
                "`{}` cannot be absent and be like something",
                self.path
            ));
        }
        check_mode(self.mode.as_deref())?;
        self.xattrs.iter().try_for_each(XattrIs::check)
    }
}

/// Kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A device, a pipe or a socket.
    Other,
}

/// What a number of bytes must be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SizeIs {
    /// How to compare.
    pub is: Comparison,
    /// With what.
    pub than: Size,
}

/// What an extended attribute must be: there, unless more is said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct XattrIs {
    /// Its name.
    pub name: String,
    /// Its value as a text.
    #[serde(default)]
    pub text: Option<String>,
    /// Its value in hexadecimal digits.
    #[serde(default)]
    pub hex: Option<String>,
    /// It must not be there.
    #[serde(default)]
    pub absent: bool,
}

impl XattrIs {
    fn check(&self) -> Result<(), String> {
        check_hex(self.hex.as_deref())?;
        let given = [self.text.is_some(), self.hex.is_some(), self.absent];
        match given.iter().filter(|given| **given).count() {
            0 | 1 => Ok(()),
            _ => Err(format!(
                "the attribute `{}` can be `text`, `hex` or `absent`, and only one of them",
                self.name
            )),
        }
    }
}

/// How two things that `measure` found must compare. Bounds of time are ratios, because machines
/// differ: a second pass that takes at most a third of the first says more than one in 0.4 s.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RatioIs {
    /// The measurement that is divided, such as `cold.seconds`.
    pub of: String,
    /// The measurement that divides, such as `warm.seconds`.
    pub to: String,
    /// The ratio may not be larger.
    #[serde(default)]
    pub at_most: Option<Factor>,
    /// The ratio may not be smaller.
    #[serde(default)]
    pub at_least: Option<Factor>,
}

impl RatioIs {
    pub(super) fn check(&self) -> Result<(), String> {
        match (&self.at_most, &self.at_least) {
            (None, None) => Err(format!(
                "the ratio of `{}` to `{}` has no bound: give `at_most` or `at_least`",
                self.of, self.to
            )),
            _ => Ok(()),
        }
    }
}
