// SPDX-License-Identifier: GPL-2.0-or-later
//! Which process carries out the step of which branch, and what state processes are in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use vmtest_protocol::message::BlockedTask;
use vmtest_protocol::step::StateIs;
use vmtest_protocol::step::TaskState;

use super::Agent;
use super::Context;
use super::Stop;
use super::lock;
use super::wrong;
use crate::blocked;

/// Processes at work for branches.
#[derive(Default)]
pub struct Actors {
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    /// Every branch there ever was.
    branches: BTreeSet<String>,
    /// Those that have not ended.
    living: BTreeSet<String>,
    at_work: Vec<(String, u32)>,
    puppets: Vec<(String, u32)>,
}

impl Actors {
    /// A branch begins.
    pub fn begin(&self, branch: &str) {
        let mut inside = lock(&self.inside);
        inside.branches.insert(branch.to_owned());
        inside.living.insert(branch.to_owned());
    }

    /// A puppet has this process from now on.
    pub fn puppet(&self, name: &str, pid: u32) {
        let mut inside = lock(&self.inside);
        inside.puppets.retain(|(other, _)| other != name);
        inside.puppets.push((name.to_owned(), pid));
    }

    /// A branch has ended.
    pub fn end(&self, branch: &str) {
        lock(&self.inside).living.remove(branch);
    }
}

/// A process at work for a branch, until this is dropped.
pub struct Acting {
    agent: Arc<Agent>,
    who: Option<(String, u32)>,
}

impl Drop for Acting {
    fn drop(&mut self) {
        if let Some(who) = &self.who {
            let mut inside = lock(&self.agent.actors.inside);
            if let Some(at) = inside.at_work.iter().position(|other| other == who) {
                inside.at_work.swap_remove(at);
            }
        }
    }
}

impl Context {
    /// The process `pid` carries out this step.
    pub fn acting(&self, pid: u32) -> Acting {
        let who = self.branch.clone().map(|branch| (branch, pid));
        if let Some(who) = &who {
            lock(&self.agent.actors.inside).at_work.push(who.clone());
        }
        Acting {
            agent: Arc::clone(&self.agent),
            who,
        }
    }

    /// Whether something is in the wanted state; if not, what it does instead.
    pub(super) fn state_is(&self, check: &StateIs) -> Result<Result<(), String>, Stop> {
        let (seen, tasks) = self.state_of(&check.of)?;
        Ok(match seen == check.is {
            true => Ok(()),
            false => Err(format!(
                "`{}` is {}, {} was expected{}",
                check.of,
                seen.words(),
                check.is.words(),
                match seen {
                    TaskState::Gone => String::new(),
                    _ => format!(": {}", blocked::summary(&tasks)),
                }
            )),
        })
    }

    fn state_of(&self, name: &str) -> Result<(TaskState, Vec<BlockedTask>), Stop> {
        let agent = &self.agent;
        let named = |list: Vec<(String, u32)>| list.into_iter().find(|(other, _)| other == name);
        let known = named(agent.programs.list())
            .or_else(|| named(lock(&agent.daemons).list()))
            .or_else(|| named(lock(&agent.actors.inside).puppets.clone()));
        if let Some((_, pid)) = known {
            if agent.children.wait(pid, Duration::ZERO).is_some() {
                return Ok((TaskState::Gone, Vec::new()));
            }
            let tasks = blocked::tasks(pid);
            return Ok((state(&tasks), tasks));
        }
        let (branch, living, pids) = {
            let inside = lock(&agent.actors.inside);
            let pids: Vec<u32> = inside
                .at_work
                .iter()
                .filter(|(branch, _)| branch == name)
                .map(|(_, pid)| *pid)
                .collect();
            (
                inside.branches.contains(name),
                inside.living.contains(name),
                pids,
            )
        };
        match (branch, living) {
            (true, true) => {
                let tasks: Vec<BlockedTask> =
                    pids.iter().flat_map(|pid| blocked::tasks(*pid)).collect();
                // Between two steps, or in one that the agent carries out itself.
                let state = match tasks.is_empty() {
                    true => TaskState::Sleeping,
                    false => state(&tasks),
                };
                Ok((state, tasks))
            }
            (true, false) => Ok((TaskState::Gone, Vec::new())),
            // A daemon or program that was waited for has left its log behind.
            (false, _) if agent.logs.positions().contains_key(name) => {
                Ok((TaskState::Gone, Vec::new()))
            }
            (false, _) => Err(wrong(format!(
                "no program, daemon, puppet or branch is called `{name}`"
            ))),
        }
    }
}

/// What the tasks of a process add up to.
fn state(tasks: &[BlockedTask]) -> TaskState {
    let living = || tasks.iter().filter(|task| !matches!(task.state, 'Z' | 'X'));
    let any = |letter: char| living().any(|task| task.state == letter);
    if living().next().is_none() {
        TaskState::Gone
    } else if any('D') {
        TaskState::Blocked
    } else if living().all(|task| matches!(task.state, 'T' | 't')) {
        TaskState::Stopped
    } else if any('R') {
        TaskState::Running
    } else {
        TaskState::Sleeping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(letters: &str) -> TaskState {
        let tasks: Vec<BlockedTask> = letters
            .chars()
            .map(|state| BlockedTask {
                tid: 1,
                comm: "x".to_owned(),
                state,
                wchan: String::new(),
                stack: String::new(),
            })
            .collect();
        state(&tasks)
    }

    #[test]
    fn the_state_of_a_process_is_that_of_its_threads() {
        assert_eq!(of("SSD"), TaskState::Blocked);
        assert_eq!(of("TTD"), TaskState::Blocked);
        assert_eq!(of("SRS"), TaskState::Running);
        assert_eq!(of("SSI"), TaskState::Sleeping);
        assert_eq!(of("TTT"), TaskState::Stopped);
        assert_eq!(of("TTS"), TaskState::Sleeping);
        assert_eq!(of("Z"), TaskState::Gone);
        assert_eq!(of(""), TaskState::Gone);
    }
}
