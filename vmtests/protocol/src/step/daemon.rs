// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that control `cachefilesd` in the guest.

use serde::Deserialize;
use serde::Serialize;

use super::programs::EndedBy;
use super::programs::Signal;
use super::programs::SignalName;
use crate::value::Count;
use crate::value::Late;
use crate::value::Scalar;
use crate::value::Size;
use crate::value::Span;
use crate::value::seconds;

pub(crate) fn default_daemon() -> String {
    "daemon".to_owned()
}

/// Starts `cachefilesd`. Its output and its event log go to the artifact share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

/// Sends a signal to a daemon. `stop` waits until every thread has stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SignalDaemon {
    /// Which daemon.
    #[serde(default = "default_daemon")]
    pub name: String,
    /// Which signal.
    pub signal: Signal,
}

/// Stops a daemon in its tracks, every thread of it: SIGSTOP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PauseDaemon {
    /// Which daemon.
    #[serde(default = "default_daemon")]
    pub name: String,
}

/// Lets a paused daemon go on: SIGCONT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ResumeDaemon {
    /// Which daemon.
    #[serde(default = "default_daemon")]
    pub name: String,
}

/// Ends a daemon at once, with SIGKILL, and waits until it is gone. `wait_daemon` may follow, and
/// need not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct KillDaemon {
    /// Which daemon.
    #[serde(default = "default_daemon")]
    pub name: String,
    /// How long it may take to be gone.
    #[serde(default = "default_ready")]
    pub within: Span,
}

/// Ends a daemon and starts it again, with the options it had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RestartDaemon {
    /// Which daemon.
    #[serde(default = "default_daemon")]
    pub name: String,
    /// `term`, after which it must end with exit code 0, or `kill`.
    #[serde(default = "default_restart")]
    pub signal: Signal,
    /// How long it may take to end.
    #[serde(default = "default_ready")]
    pub within: Span,
}

impl RestartDaemon {
    pub(super) fn check(&self) -> Result<(), String> {
        match &self.signal {
            Late::Now(SignalName::Term | SignalName::Kill) | Late::Template(_) => Ok(()),
            Late::Now(other) => Err(format!(
                "`restart_daemon` ends a daemon by `term` or `kill`, not by `{}`",
                other.to_text()
            )),
        }
    }
}

fn default_restart() -> Signal {
    SignalName::Term.into()
}

/// Rewrites a daemon's configuration file, sends SIGHUP, and waits until the daemon says in its
/// event log that it has read it. What is not given stays as it was. What a daemon cannot change
/// while it serves it refuses, and goes on with the old configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ReconfigureDaemon {
    /// Which daemon.
    #[serde(default = "default_daemon")]
    pub name: String,
    /// Culling limits in percent. The kernel takes none while a cache is bound.
    #[serde(default)]
    pub limits: Limits,
    /// Milliseconds that every fetch is delayed from now on.
    #[serde(default)]
    pub delay_ms: Option<Count>,
    /// How much is filled around a hole from now on.
    #[serde(default)]
    pub fill: Option<Size>,
    /// Threads that answer requests. A running daemon keeps those it has.
    #[serde(default)]
    pub threads: Option<Count>,
    /// The daemon must refuse the change and go on as it was.
    #[serde(default)]
    pub refused: bool,
    /// How long it may take.
    #[serde(default = "default_ready")]
    pub within: Span,
}

impl ReconfigureDaemon {
    pub(super) fn check(&self) -> Result<(), String> {
        let limits = self.limits.given().next().is_some();
        let other = [&self.delay_ms, &self.threads];
        match limits || self.fill.is_some() || other.iter().any(|given| given.is_some()) {
            true => Ok(()),
            false => Err(
                "`reconfigure_daemon` changes nothing: give `limits`, `delay_ms`, `fill` or \
                 `threads`"
                    .to_owned(),
            ),
        }
    }
}

/// Waits until a daemon has ended, and fails when it ended otherwise than expected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

/// Closes the device that a keeper holds: with the daemon gone, the cache dies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CloseKeeper {
    /// The name of the daemon for which it is held.
    #[serde(default = "default_daemon")]
    pub name: String,
}
