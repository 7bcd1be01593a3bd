// SPDX-License-Identifier: GPL-2.0-or-later
//! Puppets: daemons played by hand. Each is a process, so that its end is a real one.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
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
    /// Those that act at this moment: no second step may let them act, or start them anew.
    acting: BTreeSet<String>,
}

/// A process, if it still lives, and how its actions went.
type Acted = (Option<Process>, Result<Done, Stop>);

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
        let found = {
            let mut puppets = lock(&agent.puppets);
            if !puppets.acting.insert(step.name.clone()) {
                return Err(wrong(format!(
                    "the puppet `{}` is acting already, in another branch",
                    step.name
                )));
            }
            puppets.living.remove(&step.name)
        };
        let process = match found {
            Some(process) => Ok(process),
            None => self.start_puppet(&step.name),
        };
        let result = process.and_then(|process| self.act(step, process));
        let mut puppets = lock(&agent.puppets);
        puppets.acting.remove(&step.name);
        let (process, result) = result?;
        if let Some(process) = process {
            puppets.living.insert(step.name.clone(), process);
        }
        result
    }

    fn start_puppet(&self, name: &str) -> Result<Process, Stop> {
        let agent = &self.agent;
        let events = agent.events.begin(name);
        let path = events.to_string_lossy().into_owned();
        let worker = Worker::start(&agent.children, &[crate::PUPPET, &path])
            .map_err(|error| wrong(format!("{error:#}")))?;
        agent.actors.puppet(name, worker.pid());
        Ok(Process { worker, events })
    }

    /// Carries the actions out: the process if it still lives, and how they went.
    fn act(&self, step: &Puppet, mut process: Process) -> Result<Acted, Stop> {
        let agent = &self.agent;
        let mut done = Done::default();
        for (index, action) in step.actions.iter().enumerate() {
            let what = format!("{} action {} ({})", step.name, index + 1, action.key());
            if matches!(action, PuppetAction::Kill(_)) {
                // Actions after its death would start another: the file's author erred.
                if index + 1 < step.actions.len() {
                    return Ok((
                        Some(process),
                        Err(wrong(format!("{what}: `kill` must be the last action"))),
                    ));
                }
                self.kill_puppet(&step.name, &process)?;
                return Ok((None, Ok(done)));
            }
            let answer = process.worker.carry_out(
                action,
                &what,
                self.deadline,
                &self.cancel,
                &agent.children,
            );
            match answer {
                Ok(answer) => match judge(answer) {
                    Ok(more) => merge(&mut done.measurements, more.measurements),
                    Err(stop) => return Ok((Some(process), Err(stop.inside(&what)))),
                },
                Err(stop) => {
                    // It has been killed; what it logged still counts.
                    agent.events.end(&process.events);
                    return Err(stop);
                }
            }
        }
        Ok((Some(process), Ok(done)))
    }

    fn kill_puppet(&self, name: &str, process: &Process) -> Result<(), Stop> {
        let agent = &self.agent;
        let pid = process.worker.pid();
        agent
            .children
            .signal(pid, rustix::process::Signal::KILL)
            .map_err(|error| wrong(format!("cannot kill {name}: {error}")))?;
        let ended = self.poll(self.deadline, || {
            Ok(agent.children.wait(pid, Duration::ZERO))
        })?;
        agent.events.end(&process.events);
        match ended {
            Some(_) => Ok(()),
            None => {
                let blocked = crate::blocked::tasks(pid);
                Err(Stop::TimedOut {
                    reason: format!(
                        "{name} does not die of SIGKILL: {}",
                        crate::blocked::summary(&blocked)
                    ),
                    blocked,
                })
            }
        }
    }
}
