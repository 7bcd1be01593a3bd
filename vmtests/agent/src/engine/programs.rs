// SPDX-License-Identifier: GPL-2.0-or-later
//! Programs, files held open, and plain waiting.

use std::io::Read;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use vmtest_protocol::Step;
use vmtest_protocol::message::Stream;
use vmtest_protocol::step::CloseHeld;
use vmtest_protocol::step::HoldOpen;
use vmtest_protocol::step::Run;
use vmtest_protocol::step::Sleep;

use super::Context;
use super::Done;
use super::Stop;
use super::daemons::forward;
use super::ending::ended_as;
use super::ending::ended_words;
use super::judge;
use super::lock;
use super::wrong;
use crate::blocked;
use crate::worker::Task;
use crate::worker::Worker;

/// How much of a program's output is kept for `stdout`.
const KEPT: usize = 1 << 20;

impl Context {
    pub(super) fn run(&self, run: &Run) -> Result<Done, Stop> {
        let agent = &self.agent;
        let Some((program, arguments)) = run.argv.split_first() else {
            return Err(wrong("`run` without a program"));
        };
        let pattern = match &run.stdout {
            Some(text) => Some(super::pattern(text)?),
            None => None,
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = agent
            .children
            .spawn(&mut command)
            .map_err(|error| wrong(format!("cannot start {program}: {error}")))?;
        let pid = child.id();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let tee = child.stdout.take().map(|pipe| Tee {
            pipe,
            kept: Arc::clone(&kept),
        });
        let ends = [
            forward(agent, program, self.id, Stream::Stdout, tee),
            forward(agent, program, self.id, Stream::Stderr, child.stderr.take()),
        ];
        let exit = match self.poll(self.deadline, || {
            Ok(agent.children.wait(pid, Duration::ZERO))
        }) {
            Ok(Some(exit)) => exit,
            Ok(None) => {
                let blocked = blocked::tasks(pid);
                agent.children.kill(pid);
                return Err(Stop::TimedOut {
                    reason: format!("{program}: {}", blocked::summary(&blocked)),
                    blocked,
                });
            }
            Err(stop) => {
                agent.children.kill(pid);
                return Err(stop);
            }
        };
        let words: Vec<String> = ends
            .iter()
            .map(|end| end.recv_timeout(Duration::from_secs(1)).unwrap_or_default())
            .filter(|words| !words.is_empty())
            .collect();
        if !ended_as(&exit, &run.ended_by) {
            return Err(Stop::Failed(format!(
                "{program} ended with {exit}, {} was expected; it said: {}",
                ended_words(&run.ended_by),
                words.join(" | ")
            )));
        }
        if let Some(pattern) = pattern {
            let output = String::from_utf8_lossy(&lock(&kept)).into_owned();
            if !pattern.is_match(&output) {
                return Err(Stop::Failed(format!(
                    "{program}: its output does not match `{pattern}`; it said: {}",
                    words.join(" | ")
                )));
            }
        }
        Ok(Done {
            exit: Some(exit),
            ..Done::default()
        })
    }

    pub(super) fn sleep(&self, sleep: &Sleep) -> Result<Done, Stop> {
        let until = Instant::now() + sleep.span.get().map_err(wrong)?.0;
        if until > self.deadline {
            return Err(wrong("`sleep` is longer than its step's time limit"));
        }
        self.poll(until, || Ok(None::<()>))?;
        Ok(Done::default())
    }

    pub(super) fn hold_open(&self, step: &Step, hold: &HoldOpen) -> Result<Done, Stop> {
        let agent = &self.agent;
        let mut worker = Worker::start(&agent.children, &[crate::WORKER])
            .map_err(|error| wrong(format!("{error:#}")))?;
        let what = format!("holding {} open", hold.path);
        let task = Task::Step(Box::new(step.clone()));
        let answer =
            worker.carry_out(&task, &what, self.deadline, &self.cancel, &agent.children)?;
        let done = judge(answer)?;
        if let Some(old) = lock(&agent.held).insert(hold.name.clone(), worker) {
            agent.children.kill(old.pid());
        }
        Ok(done)
    }

    pub(super) fn close_held(&self, step: &Step, close: &CloseHeld) -> Result<Done, Stop> {
        let agent = &self.agent;
        let mut worker = lock(&agent.held)
            .remove(&close.name)
            .ok_or_else(|| wrong(format!("nothing is held as `{}`", close.name)))?;
        let what = format!("closing the held file `{}`", close.name);
        let task = Task::Step(Box::new(step.clone()));
        let answer =
            worker.carry_out(&task, &what, self.deadline, &self.cancel, &agent.children)?;
        agent.children.kill(worker.pid());
        judge(answer)
    }
}

/// A pipe of which the beginning is kept.
struct Tee<R> {
    pipe: R,
    kept: Arc<Mutex<Vec<u8>>>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let got = self.pipe.read(buffer)?;
        let mut kept = lock(&self.kept);
        let room = KEPT.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..got.min(room)]);
        Ok(got)
    }
}
