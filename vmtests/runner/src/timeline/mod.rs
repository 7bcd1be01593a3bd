// SPDX-License-Identifier: GPL-2.0-or-later
//! `timeline.jsonl`: everything that happened in a run, in one order, a JSON object a line.
//!
//! Steps, the kernel's console, daemons, programs, the agent, QEMU's events and the runner itself
//! all write into it as things arrive (the host's monotonic clock), so that a run that is killed
//! keeps what it had. When the run has ended, the event logs of daemons and puppets are sorted in:
//! they carry the guest's clock, which [`clock`] converts.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;
use serde::Serialize;

pub mod clean;
pub mod clock;
pub mod events;
mod inner;
pub mod recorder;

pub use recorder::Recorder;

/// Name of the file in a run's folder.
pub const FILE: &str = "timeline.jsonl";

/// Who said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A step began or ended.
    Step,
    /// The kernel's console.
    Console,
    /// A program that outlives its step, such as the daemon: what it wrote, and its event log.
    Daemon,
    /// The guest's agent.
    Agent,
    /// QEMU.
    Qemu,
    /// The runner.
    Host,
    /// The program of a step.
    Program,
}

impl Source {
    /// The word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Source::Step => "step",
            Source::Console => "console",
            Source::Daemon => "daemon",
            Source::Agent => "agent",
            Source::Qemu => "qemu",
            Source::Host => "host",
            Source::Program => "program",
        }
    }
}

/// How much it matters.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For whoever looks closely.
    Debug,
    /// Normal progress.
    #[default]
    Info,
    /// Unexpected.
    Warn,
    /// What a failure is about.
    Error,
}

impl Level {
    /// The word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }

    fn is_info(&self) -> bool {
        *self == Level::Info
    }
}

/// Whether a step begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// A step of the scenario begins.
    Begins,
    /// It ended.
    Ended,
    /// A step inside that step begins.
    InnerBegins,
    /// It ended.
    InnerEnded,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Seconds from the start of the run.
    pub t_s: f64,
    /// Who said it.
    pub source: Source,
    /// How much it matters.
    #[serde(default, skip_serializing_if = "Level::is_info")]
    pub level: Level,
    /// The step that was under way, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// On entries about a step: whether it begins or ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// What happened, in one line.
    pub text: String,
}

/// Reads a run's timeline and hands out entry by entry; lines that are none (the last one of a run
/// that was killed) are passed over.
pub fn read(file: &Path, mut hand_out: impl FnMut(Entry)) -> anyhow::Result<()> {
    let opened = fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut reader = BufReader::new(opened);
    let mut line = Vec::new();
    loop {
        line.clear();
        let got = reader
            .read_until(b'\n', &mut line)
            .with_context(|| format!("cannot read {}", file.display()))?;
        if got == 0 {
            return Ok(());
        }
        if let Ok(entry) = serde_json::from_slice(&line) {
            hand_out(entry);
        }
    }
}
