// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that wait for something and compare what is seen with what is expected.
//!
//! Counters have names:
//! - `requests.open`, `.read`, `.close`: requests that anyone read from the device in this run;
//!   `requests.replied`; `requests.outstanding`: read, and not yet replied to.
//! - `daemon.fill`, `daemon.cull`, ...: lines of the daemons' event logs by their `ev`.
//! - `fscache.SECTION.FIELD`: /proc/fs/fscache/stats in lower case, such as `fscache.nospace.nwr`.
//! - `caches.vols`, `.objs`, `.access`, `.count`: /proc/fs/fscache/caches, summed over all caches.
//! - `memory.FIELD`: /proc/meminfo in bytes, such as `memory.slab`.
//! - `free_percent:PATH`, `free_bytes:PATH`: room on the filesystem at PATH.

use serde::Deserialize;
use serde::Serialize;

use super::daemon::default_daemon;
use crate::value::Count;
use crate::value::Span;
use crate::value::seconds;

/// Waits until a condition holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitUntil {
    /// A counter is as wanted ...
    #[serde(default)]
    pub counter: Option<CounterIs>,
    /// ... or a file matches ...
    #[serde(default)]
    pub file: Option<FileMatches>,
    /// ... or a kept device polls as wanted. Exactly one of the three is given.
    #[serde(default)]
    pub poll: Option<DevicePolls>,
    /// How long to wait.
    #[serde(default = "ten_seconds")]
    pub within: Span,
}

fn ten_seconds() -> Span {
    seconds(10)
}

/// What a counter must be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CounterIs {
    /// The counter's name, see the module's head.
    pub of: String,
    /// Compare the change since this snapshot instead of the number itself.
    #[serde(default)]
    pub since: Option<String>,
    /// How to compare.
    pub is: Comparison,
    /// With what; may be negative.
    pub than: Number,
}

/// A whole number that may be negative, or a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Number {
    /// Known now.
    Now(i64),
    /// A template, or a number written as a text.
    Text(String),
}

impl Number {
    /// The number; an error shows what is none.
    pub fn get(&self) -> Result<i64, String> {
        match self {
            Number::Now(number) => Ok(*number),
            Number::Text(text) => text
                .trim()
                .parse()
                .map_err(|_| format!("`{text}` is not a whole number")),
        }
    }
}

/// How two numbers compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// Remembers all counters under a name, for `since`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The name; used again, it is overwritten.
    pub name: String,
}

/// Compares counters, files and polls once. All that does not hold is reported, not only the first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Counters.
    #[serde(default)]
    pub counters: Vec<CounterIs>,
    /// Files.
    #[serde(default)]
    pub files: Vec<FileMatches>,
    /// Kept devices.
    #[serde(default)]
    pub polls: Vec<DevicePolls>,
}

/// Starts recording trace events, with the clock of the daemons' event logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartTrace {
    /// Events as `group/event`, such as `cachefiles/cachefiles_ondemand_read`.
    pub events: Vec<TraceEvent>,
    /// Buffer for each CPU in KiB; lost events are an error of whoever reads the trace.
    #[serde(default = "default_buffer")]
    pub buffer_kib: Count,
}

fn default_buffer() -> Count {
    4096.into()
}

/// A trace event to record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceEvent {
    /// `group/event`.
    pub event: String,
    /// Only records that match, in the kernel's filter language.
    #[serde(default)]
    pub filter: Option<String>,
}

/// Stops recording trace events; the text goes to the artifact share.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopTrace {}

/// Checks that requests are handed out fairly: for each request, the deliveries between its
/// enqueueing and its own are no more than the requests pending at its enqueueing plus the
/// daemon's threads. Needs `start_trace` with the on-demand events and a daemon's event log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckFairness {
    /// Whose event log.
    #[serde(default = "default_daemon")]
    pub daemon: String,
    /// The daemon's threads.
    pub threads: Count,
    /// At least this many requests must have been judged, else the check says nothing.
    pub min_requests: Count,
    /// At least this many must have been pending at once at some time, else nothing competed.
    pub min_pending: Count,
}
