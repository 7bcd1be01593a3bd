// SPDX-License-Identifier: GPL-2.0-or-later
//! Puppets: daemons played by hand. Each is a process, so that its end is a real one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use vmtest_protocol::step::Puppet;
use vmtest_protocol::step::PuppetAction;

use crate::engine::Context;
use crate::engine::Done;
use crate::engine::Stop;
use crate::engine::judge;
use crate::engine::lock;
use crate::engine::merge;
use crate::engine::wrong;
use crate::worker::Worker;

pub mod child;
mod serve;

/// The puppets that live.
#[derive(Default)]
pub struct Puppets {
    living: BTreeMap<String, Process>,
}

struct Process {
    worker: Worker,
    events: PathBuf,
}

impl Puppets {
    /// Their names.
    pub fn names(&self) -> Vec<String> {
        self.living.keys().cloned().collect()
    }
}

impl Context {
    /// Lets a puppet act.
    pub fn puppet(&self, step: &Puppet) -> Result<Done, Stop> {
        let agent = &self.agent;
        // Taken out while it acts: a second step for it would find it absent, and must not start
        // another under the same name, so names under way are told apart by their own branch.
        let found = lock(&agent.puppets).living.remove(&step.name);
        let mut process = match found {
            Some(process) => process,
            None => {
                let events = agent.events.begin(&step.name);
                let path = events.to_string_lossy().into_owned();
                let worker = Worker::start(&agent.children, &[crate::PUPPET, &path])
                    .map_err(|error| wrong(format!("{error:#}")))?;
                Process { worker, events }
            }
        };
        let mut done = Done::default();
        for (index, action) in step.actions.iter().enumerate() {
            let what = format!("{} action {} ({})", step.name, index + 1, action.key());
            if matches!(action, PuppetAction::Kill(_)) {
                return self.kill_puppet(step, process, done);
            }
            let answer = process.worker.carry_out(
                action,
                &what,
                self.deadline,
                &self.cancel,
                &agent.children,
            );
            let result = match answer {
                Ok(answer) => judge(answer).map_err(|stop| stop.inside(&what)),
                Err(stop) => {
                    // It has been killed; what it logged still counts.
                    agent.events.end(&process.events);
                    return Err(stop);
                }
            };
            match result {
                Ok(more) => merge(&mut done.measurements, more.measurements),
                Err(stop) => {
                    lock(&agent.puppets)
                        .living
                        .insert(step.name.clone(), process);
                    return Err(stop);
                }
            }
        }
        lock(&agent.puppets)
            .living
            .insert(step.name.clone(), process);
        Ok(done)
    }

    fn kill_puppet(&self, step: &Puppet, process: Process, done: Done) -> Result<Done, Stop> {
        let agent = &self.agent;
        let pid = process.worker.pid();
        let _ = agent
            .children
            .signal(pid, rustix::process::Signal::KILL)
            .map_err(|error| wrong(format!("cannot kill {}: {error}", step.name)))?;
        let ended = self.poll(self.deadline, || {
            Ok(agent.children.wait(pid, Duration::ZERO))
        })?;
        agent.events.end(&process.events);
        match ended {
            Some(_) => Ok(done),
            None => {
                let blocked = crate::blocked::tasks(pid);
                Err(Stop::TimedOut {
                    reason: format!(
                        "{} does not die of SIGKILL: {}",
                        step.name,
                        crate::blocked::summary(&blocked)
                    ),
                    blocked,
                })
            }
        }
    }
}
