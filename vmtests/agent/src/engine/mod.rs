// SPDX-License-Identifier: GPL-2.0-or-later
//! Carries out steps.
//!
//! Every step has a deadline and a cancel flag; whatever waits looks at both. What touches the
//! filesystem under test is handed to a worker process, so that this process never hangs there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use vmtest_protocol::Action;
use vmtest_protocol::FromAgent;
use vmtest_protocol::Step;
use vmtest_protocol::message::BlockedTask;
use vmtest_protocol::message::Exit;
use vmtest_protocol::message::Measurement;
use vmtest_protocol::message::ModuleFile;
use vmtest_protocol::message::Outcome;
use vmtest_protocol::step::SignalName;
use vmtest_protocol::template::Vars;

use crate::channel::Sender;
use crate::children::Children;
use crate::counters::Counters;
use crate::events::EventLogs;
use crate::logs::Logs;
use crate::logs::Positions;
use crate::puppet::Puppets;
use crate::shell::Shells;
use crate::trace::Tracer;
use crate::worker::Answer;
use crate::worker::Pool;
use crate::worker::Task;
use crate::worker::Worker;

mod acting;
mod branches;
mod daemons;
mod ending;
mod executed;
mod flow;
mod held;
mod observe;
mod output;
mod probes;
mod programs;

pub use acting::Actors;
pub use branches::Branches;
pub use daemons::Daemons;
pub use executed::Executed;
pub use programs::Programs;

/// Everything that steps share.
pub struct Agent {
    /// To the runner.
    pub sender: Arc<Sender>,
    /// Child processes.
    pub children: Arc<Children>,
    /// Worker processes.
    pub workers: Pool,
    /// Event logs.
    pub events: EventLogs,
    /// Daemons, and devices kept for them.
    pub daemons: Mutex<Daemons>,
    /// Puppets.
    pub puppets: Mutex<Puppets>,
    /// Workers that hold files open, by name.
    pub held: Mutex<BTreeMap<String, Worker>>,
    /// Processes that have the probe's device open, by name; those that act are away.
    pub probes: Mutex<BTreeMap<String, Option<Worker>>>,
    /// Programs that go on beside the steps.
    pub programs: Programs,
    /// What the kernel, daemons and programs said.
    pub logs: Arc<Logs>,
    /// What `snapshot` remembered.
    pub snapshots: Mutex<BTreeMap<String, Moment>>,
    /// What steps measured in this run, for ratios.
    pub measured: Mutex<BTreeMap<String, f64>>,
    /// Which process acts for which branch.
    pub actors: Actors,
    /// Branches started by `spawn`.
    pub branches: Branches,
    /// Interactive programs.
    pub shells: Arc<Shells>,
    /// Instructions that the machine has executed.
    pub executed: Executed,
    /// Trace events.
    pub tracer: Mutex<Tracer>,
    /// Paths whose room is a counter: the mount points of the disks.
    pub room_paths: Mutex<Vec<String>>,
    /// Modules that `load_module` finds by their names.
    pub modules: Mutex<Vec<ModuleFile>>,
}

/// What `snapshot` remembers.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    /// All counters.
    pub counters: Counters,
    /// How far each log went.
    pub logs: Positions,
}

/// Locks; a panic elsewhere does not matter here, since panics end the agent.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says that a step is to end. Set for a step, it is set for all steps inside.
#[derive(Debug, Default)]
pub struct Cancel {
    set: AtomicBool,
    parent: Option<Arc<Cancel>>,
}

impl Cancel {
    /// A flag of its own that is also set when `parent` is.
    pub fn below(parent: &Arc<Cancel>) -> Arc<Cancel> {
        Arc::new(Cancel {
            set: AtomicBool::new(false),
            parent: Some(Arc::clone(parent)),
        })
    }

    /// Sets it.
    pub fn set(&self) {
        self.set.store(true, Ordering::Release);
    }

    /// Whether it, or one above it, is set.
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire) || self.parent.as_ref().is_some_and(|p| p.is_set())
    }
}

/// Why a step did not pass.
#[derive(Debug, Clone)]
pub enum Stop {
    /// Seen: something else than was expected.
    Failed(String),
    /// The step could not be carried out.
    Error(String),
    /// Time was up.
    TimedOut {
        /// What was under way.
        reason: String,
        /// Tasks that were still there.
        blocked: Vec<BlockedTask>,
    },
    /// Ended from outside.
    Cancelled,
}

impl Stop {
    /// The same, inside of `where_`.
    pub fn inside(self, where_: &str) -> Stop {
        match self {
            Stop::Failed(reason) => Stop::Failed(format!("{where_}: {reason}")),
            Stop::Error(reason) => Stop::Error(format!("{where_}: {reason}")),
            Stop::TimedOut { reason, blocked } => Stop::TimedOut {
                reason: format!("{where_}: {reason}"),
                blocked,
            },
            Stop::Cancelled => Stop::Cancelled,
        }
    }

    /// As the runner is told.
    pub fn outcome(self, limit: Duration) -> Outcome {
        match self {
            Stop::Failed(reason) => Outcome::Failed { reason },
            Stop::Error(reason) => Outcome::Error { reason },
            Stop::TimedOut { reason, blocked } => Outcome::TimedOut {
                after_ms: limit.as_millis() as u64,
                reason,
                blocked,
            },
            Stop::Cancelled => Outcome::Cancelled,
        }
    }
}

/// For errors of values: a template that nobody filled in, and the like.
pub fn wrong(why: impl std::fmt::Display) -> Stop {
    Stop::Error(why.to_string())
}

/// A regular expression of a step: `^` and `$` are the edges of lines.
pub fn pattern(text: &str) -> Result<regex_lite::Regex, Stop> {
    regex_lite::RegexBuilder::new(text)
        .multi_line(true)
        .build()
        .map_err(|error| wrong(format!("`{text}` is no regular expression: {error}")))
}

/// What a step that passed leaves behind.
#[derive(Debug, Default)]
pub struct Done {
    /// What it measured.
    pub measurements: Vec<Measurement>,
    /// How its program ended.
    pub exit: Option<Exit>,
}

/// One step under way.
#[derive(Clone)]
pub struct Context {
    /// What steps share.
    pub agent: Arc<Agent>,
    /// The runner's id of the outermost step.
    pub id: u64,
    /// Where this step is, for people; empty for the outermost.
    pub path: String,
    /// The branch that this step is a part of, if any.
    pub branch: Option<String>,
    /// Variables for `${...}`.
    pub vars: Vars,
    /// When it must be done.
    pub deadline: Instant,
    /// Whether it is to end.
    pub cancel: Arc<Cancel>,
}

impl Context {
    /// Carries out one step within this context.
    pub fn step(&self, step: &Step) -> Result<Done, Stop> {
        let step = step
            .resolve(&self.vars)
            .map_err(|error| wrong(error).inside(step.title()))?;
        let limit = step.limit().map_err(wrong)?;
        let mut inner = self.clone();
        inner.deadline = self.deadline.min(Instant::now() + limit);
        inner.check()?;
        inner.action(&step)
    }

    /// Carries out steps one after the other. Their measurements are added up under `done`.
    pub fn sequence(&self, steps: &[Step], done: &mut Done) -> Result<(), Stop> {
        for step in steps {
            let path = self.inside(step.title());
            let mut inner = self.clone();
            inner.path = path.clone();
            match inner.step(step) {
                Ok(more) => merge(&mut done.measurements, more.measurements),
                Err(stop) => {
                    let stop = stop.inside(step.title());
                    self.agent.sender.send(&FromAgent::Inner {
                        id: self.id,
                        path,
                        outcome: Some(stop.clone().outcome(Duration::ZERO)),
                    });
                    return Err(stop);
                }
            }
        }
        Ok(())
    }

    /// Where something inside of this step is, for people.
    fn inside(&self, what: &str) -> String {
        match self.path.as_str() {
            "" => what.to_owned(),
            path => format!("{path} / {what}"),
        }
    }

    /// Whether there is time left and nobody has cancelled.
    pub fn check(&self) -> Result<(), Stop> {
        if self.cancel.is_set() {
            return Err(Stop::Cancelled);
        }
        if Instant::now() >= self.deadline {
            return Err(Stop::TimedOut {
                reason: "the time was used up before this step".to_owned(),
                blocked: Vec::new(),
            });
        }
        Ok(())
    }

    /// Looks again and again until `seen` has something, at most until `until` or the deadline.
    /// `None` when that time is up.
    pub fn poll<T>(
        &self,
        until: Instant,
        mut seen: impl FnMut() -> Result<Option<T>, Stop>,
    ) -> Result<Option<T>, Stop> {
        let until = until.min(self.deadline);
        let mut pause = Duration::from_millis(2);
        loop {
            if let Some(value) = seen()? {
                return Ok(Some(value));
            }
            if self.cancel.is_set() {
                return Err(Stop::Cancelled);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Hands a task to a worker.
    pub fn in_worker(&self, task: &Task, what: &str) -> Result<Done, Stop> {
        judge(self.ask_worker(task, what)?)
    }

    /// Hands a task to a worker, for its answer.
    pub fn ask_worker(&self, task: &Task, what: &str) -> Result<Answer, Stop> {
        let agent = &self.agent;
        let mut worker = agent.workers.take(&agent.children)?;
        let acting = self.acting(worker.pid());
        let answer = worker.carry_out(task, what, self.deadline, &self.cancel, &agent.children)?;
        drop(acting);
        agent.workers.give_back(worker);
        Ok(answer)
    }

    fn action(&self, step: &Step) -> Result<Done, Stop> {
        match &step.action {
            Action::StartDaemon(start) => self.start_daemon(start),
            Action::SignalDaemon(step) => {
                self.signal_daemon(&step.name, step.signal.get().map_err(wrong)?)
            }
            Action::PauseDaemon(step) => self.signal_daemon(&step.name, SignalName::Stop),
            Action::ResumeDaemon(step) => self.signal_daemon(&step.name, SignalName::Cont),
            Action::KillDaemon(kill) => self.kill_daemon(kill),
            Action::RestartDaemon(restart) => self.restart_daemon(restart),
            Action::ReconfigureDaemon(change) => self.reconfigure_daemon(change),
            Action::WaitDaemon(wait) => self.wait_daemon(wait),
            Action::CloseKeeper(close) => self.close_keeper(close),
            Action::Puppet(puppet) => {
                let done = self.puppet(puppet)?;
                self.remember(&done.measurements);
                Ok(done)
            }
            Action::Probe(probe) => self.probe(probe),
            Action::HoldOpen(hold) => self.hold_open(step, hold),
            Action::CloseHeld(held) => self.close_held(step, held),
            Action::Sleep(sleep) => self.sleep(sleep),
            Action::WaitUntil(wait) => self.wait_until(wait),
            Action::Snapshot(snapshot) => self.snapshot(snapshot),
            Action::Expect(expect) => self.expect(expect),
            Action::StartTrace(start) => self.start_trace(start),
            Action::StopTrace(_) => self.stop_trace(),
            Action::CheckFairness(check) => self.check_fairness(check),
            Action::Group(group) => self.group(group),
            Action::Parallel(parallel) => self.parallel(parallel),
            Action::Repeat(repeat) => self.repeat(repeat),
            Action::Measure(measure) => self.measure(measure),
            Action::Spawn(spawn) => self.spawn(step, spawn),
            Action::Join(join) => self.join(join),
            Action::Run(run) => self.run(run),
            Action::StartProgram(start) => self.start_program(start),
            Action::SignalProgram(signal) => self.signal_program(signal),
            Action::WaitProgram(wait) => self.wait_program(wait),
            Action::PowerCut(_)
            | Action::Boot(_)
            | Action::DiskErrors(_)
            | Action::HealDisk(_)
            | Action::ThrottleDisk(_)
            | Action::GrowDisk(_)
            | Action::PauseVm(_)
            | Action::UnplugDisk(_)
            | Action::PlugDisk(_)
            | Action::MemoryPressure(_) => Err(wrong(format!(
                "`{}` is a step of the host, which cannot stand here",
                step.action.key()
            ))),
            Action::LoadModule(load) => {
                let task = Task::LoadModule {
                    step: load.clone(),
                    known: lock(&self.agent.modules).clone(),
                };
                self.in_worker(&task, &describe(&step.action))
            }
            Action::Mount(_)
            | Action::Umount(_)
            | Action::MountFs(_)
            | Action::Remount(_)
            | Action::BindMount(_)
            | Action::GrowFs(_)
            | Action::Verify(_)
            | Action::Read(_)
            | Action::FillFile(_)
            | Action::Write(_)
            | Action::Truncate(_)
            | Action::MakeDir(_)
            | Action::Rename(_)
            | Action::RemoveFile(_)
            | Action::SetXattr(_)
            | Action::RemoveXattr(_)
            | Action::SetFlags(_)
            | Action::DropCaches(_)
            | Action::Sysctl(_)
            | Action::UnloadModule(_) => {
                let task = Task::Step(Box::new(step.clone()));
                let done = self.in_worker(&task, &describe(&step.action))?;
                self.note_room(&step.action);
                Ok(done)
            }
        }
    }
}

impl Context {
    /// The room of a filesystem is a counter as long as a step has it mounted.
    fn note_room(&self, action: &Action) {
        let mut paths = lock(&self.agent.room_paths);
        match action {
            Action::MountFs(mount) if mount.expect_errno.is_none() => {
                paths.retain(|path| *path != mount.at);
                paths.push(mount.at.clone());
            }
            Action::Umount(umount) if umount.expect_errno.is_none() => {
                paths.retain(|path| *path != umount.at);
            }
            _ => {}
        }
    }
}

/// What a worker's answer means for its step.
pub fn judge(answer: Answer) -> Result<Done, Stop> {
    match answer {
        Answer::Done(measurements) => Ok(Done {
            measurements,
            exit: None,
        }),
        Answer::Failed(reason) => Err(Stop::Failed(reason)),
        Answer::Error(reason) => Err(Stop::Error(reason)),
        _ => Err(wrong("a worker answered something that nobody asked for")),
    }
}

/// For reasons: what a worker was doing.
fn describe(action: &Action) -> String {
    match action {
        Action::Mount(mount) => format!("mounting {} at {}", mount.image, mount.at),
        Action::Umount(umount) => format!("unmounting {}", umount.at),
        Action::Verify(verify) => format!("verifying {} at {}", verify.image, verify.at),
        Action::Read(read) => format!("reading {}", read.path),
        Action::FillFile(fill) => format!("filling {}", fill.path),
        Action::MountFs(mount) => format!("mounting {} at {}", mount.fs, mount.at),
        Action::Remount(remount) => format!("remounting {}", remount.at),
        Action::BindMount(bind) => format!("mounting {} at {} too", bind.from, bind.at),
        Action::GrowFs(grow) => format!("growing the filesystem at {}", grow.at),
        Action::Write(write) => format!("writing to {}", write.path),
        Action::Truncate(truncate) => format!("changing the length of {}", truncate.path),
        Action::MakeDir(make) => format!("making the folder {}", make.path),
        Action::Rename(rename) => format!("renaming {} to {}", rename.from, rename.to),
        Action::RemoveFile(remove) => format!("removing {}", remove.path),
        Action::SetXattr(set) => format!("setting {} of {}", set.name, set.path),
        Action::RemoveXattr(remove) => format!("removing {} of {}", remove.name, remove.path),
        Action::SetFlags(set) => format!("changing the flags of {}", set.path),
        Action::LoadModule(load) => format!("loading the module {}", load.name),
        Action::UnloadModule(unload) => format!("unloading the module {}", unload.name),
        Action::Sysctl(sysctl) => format!("setting {}", sysctl.key),
        other => other.key().to_owned(),
    }
}

/// Adds measurements of the same name and unit up.
pub fn merge(into: &mut Vec<Measurement>, more: Vec<Measurement>) {
    for measurement in more {
        match into
            .iter_mut()
            .find(|old| old.name == measurement.name && old.unit == measurement.unit)
        {
            Some(old) => old.value += measurement.value,
            None => into.push(measurement),
        }
    }
}
