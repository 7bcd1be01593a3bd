// SPDX-License-Identifier: GPL-2.0-or-later
//! Worker processes: they mount, read and compare in the agent's stead.
//!
//! A worker serves one task at a time and is used again. When a task's time is up it is killed;
//! if it hangs in the kernel it stays behind, and nothing waits for it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;
use serde::Serialize;
use vmtest_protocol::Step;
use vmtest_protocol::frame;
use vmtest_protocol::message::Measurement;
use vmtest_protocol::message::ModuleFile;
use vmtest_protocol::step::LoadModule;
use vmtest_protocol::step::PathIs;
use vmtest_protocol::step::ProbeAction;

use crate::blocked;
use crate::children::Children;
use crate::counters::Counters;
use crate::engine::Cancel;
use crate::engine::Stop;

mod attributes;
mod bind;
pub mod child;
mod content;
mod disk;
mod files;
pub mod glob;
mod grow;
mod held;
pub mod manifest;
pub mod modules;
pub mod mounts;
mod names;
mod paths;
pub mod probe;
mod probe_keys;
mod probe_verdict;
mod remount;
mod system;
#[cfg(test)]
mod testing;
mod users;
mod verify;
mod write;

/// How often a waiting step looks whether it has been cancelled.
const TICK: Duration = Duration::from_millis(50);

/// What a worker is asked to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// A step without steps inside and with its templates filled in.
    Step(Box<Step>),
    /// Read the kernel's counters, and the room at these paths.
    Counters(Vec<String>),
    /// Look at files and folders; answered by [`Answer::Paths`].
    Paths(Vec<PathIs>),
    /// One action of a probe, by the process that has its device open.
    Probe(Box<ProbeAction>),
    /// Load a module, whose file is among the `known` ones.
    LoadModule {
        /// The step, with its templates filled in.
        step: LoadModule,
        /// The modules that this run has brought along.
        known: Vec<ModuleFile>,
    },
}

/// What a look at a path found: that all is as the check says, or in words what is seen instead
/// and what was expected.
pub type PathSeen = Result<(), String>;

/// What a worker answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The step passed.
    Done(Vec<Measurement>),
    /// The step saw something else than was expected.
    Failed(String),
    /// The step could not be carried out.
    Error(String),
    /// The counters.
    Counters(Counters),
    /// For each check of a [`Task::Paths`], in the same order, whether it holds.
    Paths(Vec<PathSeen>),
    /// The number of a puppet's descriptor.
    Descriptor(i32),
}

/// A process that carries out tasks.
pub struct Worker {
    pid: u32,
    input: File,
    answers: mpsc::Receiver<Result<Answer, String>>,
}

impl Worker {
    /// Starts one, in the role that the first of `arguments` names.
    pub fn start(children: &Children, arguments: &[&str]) -> Result<Worker> {
        let mut child = spawn_self(children, arguments)?;
        let (input, output) = pipes(&mut child)?;
        let (sender, answers) = mpsc::channel();
        let name = format!("worker-{}", child.id());
        std::thread::Builder::new()
            .name(name)
            .spawn(move || {
                let mut output = io::BufReader::new(File::from(output));
                loop {
                    let answer = frame::read(&mut output).map_err(|error| error.to_string());
                    let last = answer.is_err();
                    if sender.send(answer).is_err() || last {
                        return;
                    }
                }
            })
            .context("cannot start the thread that listens to a worker")?;
        Ok(Worker {
            pid: child.id(),
            input: File::from(input),
            answers,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Carries out one task. After an error of any kind the worker must not be used again, and
    /// has been killed.
    pub fn carry_out(
        &mut self,
        task: &impl Serialize,
        what: &str,
        deadline: Instant,
        cancel: &Cancel,
        children: &Children,
    ) -> Result<Answer, Stop> {
        if let Err(error) = frame::write(&mut self.input, task) {
            children.kill(self.pid);
            return Err(Stop::Error(format!(
                "cannot ask a worker to {what}: {error}"
            )));
        }
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.answers.recv_timeout(left.min(TICK)) {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(why)) => return Err(self.died(what, &why, children)),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.died(what, "it no longer answers", children));
                }
                Err(RecvTimeoutError::Timeout) if cancel.is_set() => {
                    children.kill(self.pid);
                    return Err(Stop::Cancelled);
                }
                Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                    let blocked = blocked::tasks(self.pid);
                    let mut reason = format!("{what}: {}", blocked::summary(&blocked));
                    if !children.kill(self.pid) {
                        reason.push_str("; it does not die of SIGKILL and is left behind");
                    }
                    return Err(Stop::TimedOut { reason, blocked });
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn died(&self, what: &str, why: &str, children: &Children) -> Stop {
        match children.wait(self.pid, Duration::from_secs(2)) {
            Some(exit) => Stop::Failed(format!("{what}: the worker ended with {exit} ({why})")),
            None => {
                children.kill(self.pid);
                Stop::Error(format!("{what}: the worker does not answer: {why}"))
            }
        }
    }
}

/// Idle workers.
#[derive(Default)]
pub struct Pool {
    idle: Mutex<Vec<Worker>>,
}

impl Pool {
    /// An idle worker, or a new one.
    pub fn take(&self, children: &Children) -> Result<Worker, Stop> {
        let idle = self.lock().pop();
        match idle {
            Some(worker) => Ok(worker),
            None => Worker::start(children, &[crate::WORKER])
                .map_err(|error| Stop::Error(format!("{error:#}"))),
        }
    }

    /// Keeps one that has answered for later.
    pub fn give_back(&self, worker: Worker) {
        self.lock().push(worker);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Worker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts this program in another role, with pipes for frames.
fn spawn_self(children: &Children, arguments: &[&str]) -> Result<Child> {
    children
        .spawn(
            Command::new("/proc/self/exe")
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        )
        .with_context(|| format!("cannot start a {} process", arguments.join(" ")))
}

/// The ends of a child's pipes: its input, its output.
fn pipes(child: &mut Child) -> Result<(OwnedFd, OwnedFd)> {
    let input = child.stdin.take().context("a child without a pipe to it")?;
    let output = child
        .stdout
        .take()
        .context("a child without a pipe from it")?;
    Ok((input.into(), output.into()))
}
