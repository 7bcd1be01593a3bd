// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that control `cachefilesd` in the guest.

use serde::Deserialize;
use serde::Serialize;

use crate::value::Count;
use crate::value::Size;
use crate::value::Span;
use crate::value::seconds;

pub(crate) fn default_daemon() -> String {
    "daemon".to_owned()
}

/// Starts `cachefilesd`. Its output and its event log go to the artifact share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartDaemon {
    /// What other steps call it. A name may be used again when its daemon has ended.
    #[serde(default = "default_daemon")]
    pub name: String,
    /// The cache directory, on a mounted disk.
    #[serde(default = "default_dir")]
    pub dir: String,
    /// The folder with the blobs.
    #[serde(default = "default_blobs")]
    pub blobs: String,
    /// The cache's tag; the kernel's own default without it.
    #[serde(default)]
    pub tag: Option<String>,
    /// Threads that answer requests.
    #[serde(default = "default_threads")]
    pub threads: Count,
    /// Culling limits in percent; the kernel's defaults without them.
    #[serde(default)]
    pub limits: Limits,
    /// The agent opens the device first, keeps it open, and hands it on: it outlives the daemon.
    /// A later daemon with the same `name` takes the same device over and restores.
    #[serde(default)]
    pub keeper: bool,
    /// Milliseconds that every fetch is delayed, as by a slow network.
    #[serde(default)]
    pub delay_ms: Option<Count>,
    /// How much is filled around a hole; the daemon's default without it.
    #[serde(default)]
    pub fill: Option<Size>,
    /// Further arguments, as they are.
    #[serde(default)]
    pub args: Vec<String>,
    /// How long it may take until it serves.
    #[serde(default = "default_ready")]
    pub ready_within: Span,
}

fn default_dir() -> String {
    "/cache".to_owned()
}

fn default_blobs() -> String {
    "/blobs".to_owned()
}

fn default_threads() -> Count {
    4.into()
}

fn default_ready() -> Span {
    seconds(20)
}

/// Culling limits in percent of the cache disk: free blocks (`b`) and free files (`f`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Culling stops above this.
    #[serde(default)]
    pub brun: Option<Count>,
    /// Culling begins below this.
    #[serde(default)]
    pub bcull: Option<Count>,
    /// Nothing is allocated below this.
    #[serde(default)]
    pub bstop: Option<Count>,
    /// As `brun`, for files.
    #[serde(default)]
    pub frun: Option<Count>,
    /// As `bcull`, for files.
    #[serde(default)]
    pub fcull: Option<Count>,
    /// As `bstop`, for files.
    #[serde(default)]
    pub fstop: Option<Count>,
}

impl Limits {
    /// Name and value of each limit that is given.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, &Count)> {
        [
            ("brun", &self.brun),
            ("bcull", &self.bcull),
            ("bstop", &self.bstop),
            ("frun", &self.frun),
            ("fcull", &self.fcull),
            ("fstop", &self.fstop),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| (name, value)))
    }
}

/// A signal by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignalName {
    /// Ask to end.
    Term,
    /// As Ctrl-C.
    Int,
    /// End at once.
    Kill,
    /// Reload, by convention.
    Hup,
    /// Pause.
    Stop,
    /// Go on after a pause.
    Cont,
}

/// Sends a signal to a daemon. `stop` waits until every thread has stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalDaemon {
    /// Which daemon.
    #[serde(default = "default_daemon")]
    pub name: String,
    /// Which signal.
    pub signal: SignalName,
}

/// Waits until a daemon has ended, and fails when it ended otherwise than expected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitDaemon {
    /// Which daemon.
    #[serde(default = "default_daemon")]
    pub name: String,
    /// How it must have ended; exit code 0 without it.
    #[serde(default)]
    pub ended_by: EndedBy,
    /// How long it may take.
    #[serde(default = "default_ready")]
    pub within: Span,
}

/// How a program must have ended: `{exit_code: 0}` or `{signal: kill}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "EndedByFields", into = "EndedByFields")]
pub enum EndedBy {
    /// With this exit code.
    ExitCode(i32),
    /// By this signal.
    Signal(SignalName),
}

/// [`EndedBy`] as it is written: YAML has no other plain form for an enum with values.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndedByFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signal: Option<SignalName>,
}

impl TryFrom<EndedByFields> for EndedBy {
    type Error = String;

    fn try_from(fields: EndedByFields) -> Result<Self, String> {
        match (fields.exit_code, fields.signal) {
            (Some(code), None) => Ok(EndedBy::ExitCode(code)),
            (None, Some(signal)) => Ok(EndedBy::Signal(signal)),
            _ => Err("write either `exit_code` or `signal`".to_owned()),
        }
    }
}

impl From<EndedBy> for EndedByFields {
    fn from(ended: EndedBy) -> Self {
        match ended {
            EndedBy::ExitCode(code) => EndedByFields {
                exit_code: Some(code),
                signal: None,
            },
            EndedBy::Signal(signal) => EndedByFields {
                exit_code: None,
                signal: Some(signal),
            },
        }
    }
}

impl Default for EndedBy {
    fn default() -> Self {
        EndedBy::ExitCode(0)
    }
}

/// Closes the device that a keeper holds: with the daemon gone, the cache dies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseKeeper {
    /// The name of the daemon for which it is held.
    #[serde(default = "default_daemon")]
    pub name: String,
}
