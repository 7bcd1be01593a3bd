// SPDX-License-Identifier: GPL-2.0-or-later
//! The messages of both directions.
//!
//! The agent speaks first, with [`FromAgent::Hello`]. The runner then sends a [`Setup`] (or two: the
//! modules before a memory snapshot is taken, disks and shares after one was restored) and any
//! number of [`ToAgent::Run`]; several steps may be under way at once, told apart by their `id`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de;

use crate::step::Step;
use crate::template::Vars;

/// What the runner says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ToAgent {
    /// The guest was restored from a memory snapshot: its clock stands where the snapshot was
    /// taken, and its random numbers are those of every other guest of that snapshot. The agent
    /// sets the one and stirs the other, and answers with a fresh [`FromAgent::Hello`].
    Wake {
        /// Nanoseconds since 1970-01-01T00:00:00Z, for CLOCK_REALTIME.
        unix_ns: i64,
        /// Written to /dev/urandom; another one for each guest.
        seed: u64,
    },
    /// Prepare the guest; answered by [`FromAgent::SetupDone`]. May be sent again with what is to
    /// come on top.
    Setup(Setup),
    /// Carry out one step; answered by [`FromAgent::StepEnded`] with the same `id`, always.
    Run {
        /// Chosen by the runner, unique in this run.
        id: u64,
        /// What to do.
        step: Box<Step>,
        /// The scenario's parameters, for `${...}` in the step.
        #[serde(default)]
        vars: Vars,
        /// The agent ends the step after this many milliseconds.
        timeout_ms: u64,
    },
    /// End the step `id` now; it is answered as [`Outcome::Cancelled`].
    Cancel {
        /// The step's id.
        id: u64,
    },
    /// Say what was seen; answered by [`FromAgent::Collected`]. Logs in the guest's memory are
    /// written out to the artifact share before the answer.
    Collect,
    /// Look for what a debug kernel finds only when asked, which takes seconds; answered by
    /// [`FromAgent::Inspected`]. Lost objects are shown on the console before the answer.
    Inspect,
    /// Write each of these letters to `/proc/sysrq-trigger`: `w` shows blocked tasks, `l` the
    /// CPUs' stacks. The output appears on the console. Answered by [`FromAgent::Notice`].
    Sysrq {
        /// The letters.
        keys: String,
    },
    /// The answer to [`FromAgent::CountInstructions`].
    Instructions {
        /// The question's number.
        seq: u64,
        /// Instructions that the machine has executed; `None` when QEMU did not say.
        executed: Option<u64>,
    },
    /// Answered by [`FromAgent::Pong`] with the same number, also while steps are stuck.
    Ping {
        /// Any number.
        seq: u64,
    },
    /// Begin an interactive program on a terminal of its own, beside whatever else goes on;
    /// answered by any number of [`FromAgent::ShellOutput`] and one [`FromAgent::ShellEnded`].
    Shell {
        /// Chosen by the runner; no other shell that lives has it.
        id: u64,
        /// Height of the terminal in lines.
        rows: u16,
        /// Width of the terminal in characters.
        cols: u16,
        /// Program and arguments; an empty list means a shell.
        #[serde(default)]
        argv: Vec<String>,
    },
    /// What was typed to a shell.
    ShellInput {
        /// The shell.
        id: u64,
        /// The bytes as they came.
        data: Data,
    },
    /// The terminal in front of a shell has another size now.
    ShellResize {
        /// The shell.
        id: u64,
        /// Lines.
        rows: u16,
        /// Characters.
        cols: u16,
    },
    /// Nobody sits in front of a shell any more: it is hung up, and ends.
    ShellHangUp {
        /// The shell.
        id: u64,
    },
    /// Kill what runs, write logs out, sync, power off. The last message.
    PowerOff,
}

/// What the agent says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FromAgent {
    /// The first message, sent as soon as the port is open.
    Hello(Hello),
    /// The answer to [`ToAgent::Setup`].
    SetupDone {
        /// `None` when all is ready; otherwise what failed, on what, and what to do.
        error: Option<String>,
    },
    /// A line for the agent's log.
    Log {
        /// How much it matters.
        level: Level,
        /// Guest uptime in milliseconds.
        uptime_ms: u64,
        /// One line.
        text: String,
    },
    /// A program of step `id` wrote this.
    Output {
        /// The step, or 0 for programs that outlive a step, such as the daemon.
        id: u64,
        /// Which program: a daemon's name or the program's path.
        source: String,
        /// Which stream.
        stream: Stream,
        /// The bytes as text; what is not UTF-8 is replaced.
        text: String,
    },
    /// A step inside the step `id` (in a group, repeat or branch) began or ended.
    Inner {
        /// The outer step.
        id: u64,
        /// Where it is, for people: `repeat[i=3] / mount`.
        path: String,
        /// `None` when it begins.
        outcome: Option<Outcome>,
    },
    /// The end of step `id`.
    StepEnded {
        /// The step.
        id: u64,
        /// How it ended.
        outcome: Outcome,
        /// How the program of the step ended, if it was one.
        exit: Option<Exit>,
        /// Duration in seconds, by the guest's monotonic clock.
        seconds: f64,
        /// What the step measured.
        measurements: Vec<Measurement>,
    },
    /// The answer to [`ToAgent::Collect`].
    Collected(Collected),
    /// The answer to [`ToAgent::Inspect`].
    Inspected(Inspected),
    /// How many instructions has the machine executed? Answered at once, by
    /// [`ToAgent::Instructions`].
    CountInstructions {
        /// Chosen by the agent.
        seq: u64,
    },
    /// The answer to [`ToAgent::Ping`].
    Pong {
        /// The number of the ping.
        seq: u64,
    },
    /// A shell wrote this.
    ShellOutput {
        /// The shell.
        id: u64,
        /// The bytes as they came.
        data: Data,
    },
    /// A shell has ended, or could not be started; nothing more comes from it.
    ShellEnded {
        /// The shell.
        id: u64,
        /// How its program ended; `None` when it could not be started.
        exit: Option<Exit>,
        /// Why it could not be started, or what else went wrong.
        error: Option<String>,
    },
    /// Something worth telling that no request asked for, or that a request without an answer of
    /// its own was carried out.
    Notice {
        /// One or more lines.
        text: String,
    },
}

/// Who the agent is and where it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// [`crate::PROTOCOL_VERSION`] of the agent; the runner refuses another than its own.
    pub protocol: u32,
    /// `uname -r`.
    pub release: String,
    /// Milliseconds from the kernel's start to this message.
    pub uptime_ms: u64,
    /// Online CPUs.
    pub cpus: u32,
    /// Memory of the guest in bytes.
    pub memory: u64,
}

/// What the guest needs before the first step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// Which boot of the run this is, 0 first: in the names of files on the artifact share, so
    /// that a later boot does not write over what an earlier one left.
    #[serde(default)]
    pub boot: u32,
    /// Kernel modules, loaded in this order; a failure is the answer's error.
    #[serde(default)]
    pub modules: Vec<ModuleFile>,
    /// Disks to mount.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// virtiofs shares to mount, before anything else is done.
    #[serde(default)]
    pub shares: Vec<Share>,
    /// Who mounts images.
    #[serde(default)]
    pub client: Client,
    /// Whether the machine counts the instructions that it executes.
    #[serde(default)]
    pub counted: bool,
}

/// Who mounts images on demand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Client {
    /// The kernel's erofs.
    #[default]
    Erofs,
    /// The probe, which acquires and reads an image's objects as erofs would.
    Probe,
}

/// A module to load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleFile {
    /// Path in the guest, such as `/lib/modules/cachefiles.ko`.
    pub path: String,
    /// Parameters as for insmod, such as `debug=1`.
    #[serde(default)]
    pub params: String,
    /// Whether to load it now. Otherwise it is only remembered: `load_module: {name: cachefiles}`
    /// finds the module of this run so.
    #[serde(default = "yes")]
    pub load: bool,
}

fn yes() -> bool {
    true
}

/// A disk to mount.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Serial number of the virtio-blk device (at most 20 characters): how it is found.
    pub serial: String,
    /// Where to mount it; made if absent. `None` leaves it unmounted.
    pub at: Option<String>,
    /// Whether to mount it now; otherwise it only must be there.
    #[serde(default = "yes")]
    pub mount: bool,
    /// Filesystem type, such as `ext4` or `ext2`.
    pub fs: String,
    /// Mount options, comma separated.
    #[serde(default)]
    pub options: String,
}

/// A virtiofs share to mount.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The virtiofs tag.
    pub tag: String,
    /// Where to mount it; made if absent.
    pub at: String,
    /// Whether to mount it read-only.
    #[serde(default)]
    pub read_only: bool,
    /// Whether the guest's root gets a symbolic link to each of its files, at the same path as in
    /// the share. What is there already stays.
    #[serde(default)]
    pub at_root: bool,
}

/// Bytes that need not be text. Written as hexadecimal digits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Data(pub Vec<u8>);

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        hex::decode(&digits).map(Data).map_err(|error| {
            de::Error::custom(format!("bytes are written as hexadecimal digits: {error}"))
        })
    }
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For whoever debugs the agent.
    Debug,
    /// Normal progress.
    Info,
    /// Unexpected, but the run goes on.
    Warn,
    /// Something that ends a step or the run.
    Error,
}

/// A program's output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// All that was expected was seen.
    Passed,
    /// What was seen is not what was expected.
    Failed {
        /// What was being done, with what, what was expected and what was seen.
        reason: String,
    },
    /// The step's time was up. What hung is killed where it can be, and abandoned where not.
    TimedOut {
        /// The limit in milliseconds.
        after_ms: u64,
        /// What was under way and where its tasks hang.
        reason: String,
        /// The step's tasks that were still there.
        blocked: Vec<BlockedTask>,
    },
    /// Ended by [`ToAgent::Cancel`].
    Cancelled,
    /// The step could not be carried out: nothing is said about the subject of the test.
    Error {
        /// What was being done, with what, and what to do about it.
        reason: String,
    },
}

impl Outcome {
    /// Whether the step passed.
    pub fn passed(&self) -> bool {
        matches!(self, Outcome::Passed)
    }

    /// What went wrong, for people; `None` when it passed.
    pub fn reason(&self) -> Option<String> {
        match self {
            Outcome::Passed => None,
            Outcome::Failed { reason } | Outcome::Error { reason } => Some(reason.clone()),
            Outcome::TimedOut {
                after_ms, reason, ..
            } => Some(format!("not done within {after_ms} ms: {reason}")),
            Outcome::Cancelled => Some("cancelled".to_owned()),
        }
    }
}

/// A task that was still there when its step's time was up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BlockedTask {
    /// Thread id.
    pub tid: u32,
    /// The thread's name.
    pub comm: String,
    /// One letter from /proc/TID/stat: `D` cannot be interrupted, `S` sleeps, `R` runs.
    pub state: char,
    /// The kernel function in which it waits.
    pub wchan: String,
    /// Its kernel stack, a line per frame; empty where the kernel does not show it.
    pub stack: String,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal ended it. Never a pass, unless the step itself sent the signal.
    Signal(i32),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// A number that a step found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Measurement {
    /// What it is, such as `mount.seconds_per_object`.
    pub name: String,
    /// The number.
    pub value: f64,
    /// Its unit: `s`, `bytes`, `count`, `percent`.
    pub unit: String,
}

/// What a run has touched so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collected {
    /// Names under /sys/module that matter here, such as `cachefiles_rs`, `erofs`.
    pub modules: Vec<String>,
    /// Requests that the kernel handed out, whoever read them.
    pub requests: Requests,
    /// Every counter the agent can read, by its name in the step language.
    pub counters: BTreeMap<String, i64>,
    /// Programs and branches that were started and not ended by a step.
    pub leftovers: Vec<String>,
}

/// What a debug kernel found when it was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inspected {
    /// Objects to which nothing points.
    pub lost: u64,
    /// Whether lockdep is at work; absent where the kernel has none.
    #[serde(default)]
    pub lockdep: Option<bool>,
    /// Why the kernel could not be asked for lost memory.
    #[serde(default)]
    pub error: Option<String>,
}

/// Requests read from /dev/cachefiles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Requests {
    /// OPEN requests.
    pub open: u64,
    /// READ requests.
    pub read: u64,
    /// CLOSE requests.
    pub close: u64,
}
