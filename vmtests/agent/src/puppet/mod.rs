// SPDX-License-Identifier: GPL-2.0-or-later
//! Puppets: daemons played by hand. Each is a process, so that its end is a real one.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;
use vmtest_protocol::step::Puppet;
use vmtest_protocol::step::PuppetAction;
use vmtest_protocol::step::PuppetTake;

use crate::engine::Context;
use crate::engine::Done;
use crate::engine::Stop;
use crate::engine::judge;
use crate::engine::lock;
use crate::engine::merge;
use crate::engine::wrong;
use crate::worker::Answer;
use crate::worker::Worker;

pub mod child;
mod descriptors;
mod device;
mod hand;
mod message;
mod object;
mod process;
mod serve;
mod storm;
mod take;

/// What a puppet's process is asked to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Request {
    /// An action that it can carry out alone.
    Act(Box<PuppetAction>),
    /// Say which number a descriptor of yours has.
    Number {
        /// `device`, or a name.
        of: String,
    },
    /// Take a descriptor of another puppet.
    Take {
        /// The action.
        take: PuppetTake,
        /// The other one's process.
        pid: u32,
        /// The descriptor's number there.
        number: i32,
    },
}

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

    /// Hands out one that lives, or nothing for a new name; until `end` it is nobody else's.
    fn begin(&mut self, name: &str) -> Result<Option<Process>, Stop> {
        if !self.acting.insert(name.to_owned()) {
            return Err(wrong(format!(
                "the puppet `{name}` is acting already, in another branch"
            )));
        }
        Ok(self.living.remove(name))
    }

    /// Takes it back, if it still lives.
    fn end(&mut self, name: &str, process: Option<Process>) {
        self.acting.remove(name);
        if let Some(process) = process {
            self.living.insert(name.to_owned(), process);
        }
    }
}

impl Context {
    /// Lets a puppet act.
    pub fn puppet(&self, step: &Puppet) -> Result<Done, Stop> {
        let agent = &self.agent;
        let found = lock(&agent.puppets).begin(&step.name)?;
        let process = match found {
            Some(process) => Ok(process),
            None => self.start_puppet(&step.name),
        };
        let acted = process.and_then(|process| self.act(step, process));
        let (process, result) = match acted {
            Ok((process, result)) => (process, result),
            Err(stop) => (None, Err(stop)),
        };
        lock(&agent.puppets).end(&step.name, process);
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
            let answer = match action {
                PuppetAction::Take(take) => self.take(&step.name, take, &mut process, &what),
                action => self.ask(&mut process, &Request::Act(Box::new(action.clone())), &what),
            };
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

    /// Asks a puppet's process. After an error it has been killed.
    fn ask(&self, process: &mut Process, request: &Request, what: &str) -> Result<Answer, Stop> {
        let children = &self.agent.children;
        let worker = &mut process.worker;
        worker.carry_out(request, what, self.deadline, &self.cancel, children)
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
