// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that wait for something, or compare what is seen with what is expected.
//!
//! What they can look at is in [`super::conditions`].

use serde::Deserialize;
use serde::Serialize;

use super::conditions::CounterIs;
use super::conditions::DevicePolls;
use super::conditions::FileMatches;
use super::conditions::LogHas;
use super::conditions::PathIs;
use super::conditions::RatioIs;
use super::conditions::StateIs;
use super::daemon::default_daemon;
use crate::value::Count;
use crate::value::Span;
use crate::value::seconds;

/// Waits until a condition holds: exactly one of the conditions is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WaitUntil {
    /// A counter is as wanted.
    #[serde(default)]
    pub counter: Option<CounterIs>,
    /// A text file matches.
    #[serde(default)]
    pub file: Option<FileMatches>,
    /// A kept device polls as wanted.
    #[serde(default)]
    pub poll: Option<DevicePolls>,
    /// A log has a line.
    #[serde(default)]
    pub log: Option<LogHas>,
    /// A program, daemon, puppet or branch is in a state.
    #[serde(default)]
    pub state: Option<StateIs>,
    /// A file or folder is as wanted.
    #[serde(default)]
    pub path: Option<PathIs>,
    /// How long to wait.
    #[serde(default = "ten_seconds")]
    pub within: Span,
}

fn ten_seconds() -> Span {
    seconds(10)
}

impl WaitUntil {
    pub(super) fn check(&self) -> Result<(), String> {
        let given = [
            self.counter.is_some(),
            self.file.is_some(),
            self.poll.is_some(),
            self.log.is_some(),
            self.state.is_some(),
            self.path.is_some(),
        ];
        if given.iter().filter(|given| **given).count() != 1 {
            return Err(
                "`wait_until` wants exactly one of `counter`, `file`, `poll`, `log`, `state` and \
                 `path`"
                    .to_owned(),
            );
        }
        self.path.as_ref().map_or(Ok(()), PathIs::check)
    }
}

/// Remembers all counters under a name, and how far each log goes, for `since`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The name; used again, it is overwritten.
    pub name: String,
}

/// Looks once at everything that is given, and reports all that does not hold, not only the first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Counters.
    #[serde(default)]
    pub counters: Vec<CounterIs>,
    /// Text files.
    #[serde(default)]
    pub files: Vec<FileMatches>,
    /// Kept devices.
    #[serde(default)]
    pub polls: Vec<DevicePolls>,
    /// Lines of logs.
    #[serde(default)]
    pub logs: Vec<LogHas>,
    /// States of programs, daemons, puppets and branches.
    #[serde(default)]
    pub states: Vec<StateIs>,
    /// Files and folders.
    #[serde(default)]
    pub paths: Vec<PathIs>,
    /// Ratios of what `measure` found earlier in this run.
    #[serde(default)]
    pub ratios: Vec<RatioIs>,
}

impl Expect {
    pub(super) fn check(&self) -> Result<(), String> {
        let some = [
            self.counters.len(),
            self.files.len(),
            self.polls.len(),
            self.logs.len(),
            self.states.len(),
            self.paths.len(),
            self.ratios.len(),
        ];
        if some.iter().all(|number| *number == 0) {
            return Err("`expect` without anything to expect".to_owned());
        }
        self.paths.iter().try_for_each(PathIs::check)?;
        self.ratios.iter().try_for_each(RatioIs::check)
    }
}

/// Starts recording trace events, with the clock of the daemons' event logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TraceEvent {
    /// `group/event`.
    pub event: String,
    /// Only records that match, in the kernel's filter language.
    #[serde(default)]
    pub filter: Option<String>,
}

/// Stops recording trace events; the text goes to `/artifacts/trace.txt`. Until then what has been
/// counted is in nobody's file: the kernel hands each event out once.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StopTrace {}

/// Checks that requests are handed out fairly: for each request, the deliveries between its
/// enqueueing and its own are no more than the requests pending at its enqueueing plus the
/// daemon's threads. Needs `start_trace` with the on-demand events and a daemon's event log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
