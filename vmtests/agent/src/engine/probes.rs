// SPDX-License-Identifier: GPL-2.0-or-later
//! Processes that play a client of fscache.

use vmtest_protocol::step::Probe;
use vmtest_protocol::step::ProbeAction;

use super::Context;
use super::Done;
use super::Stop;
use super::judge;
use super::lock;
use super::merge;
use super::wrong;
use crate::worker::Task;
use crate::worker::Worker;

impl Context {
    /// Lets a probe act. While it does, it is nobody else's.
    pub(super) fn probe(&self, step: &Probe) -> Result<Done, Stop> {
        let agent = &self.agent;
        let slot = lock(&agent.probes).insert(step.name.clone(), None);
        let mut worker = match slot {
            Some(Some(worker)) => worker,
            Some(None) => {
                let name = &step.name;
                return Err(wrong(format!(
                    "the probe `{name}` is acting already, in another branch"
                )));
            }
            None => Worker::start(&agent.children, &[crate::WORKER])
                .map_err(|error| wrong(format!("{error:#}")))
                .inspect_err(|_| drop(lock(&agent.probes).remove(&step.name)))?,
        };
        let acting = self.acting(worker.pid());
        let mut done = Done::default();
        for (index, action) in step.actions.iter().enumerate() {
            let what = format!("{} action {} ({})", step.name, index + 1, action.key());
            let task = Task::Probe(Box::new(action.clone()));
            let answer =
                worker.carry_out(&task, &what, self.deadline, &self.cancel, &agent.children);
            let ended = matches!(action, ProbeAction::End(_));
            let stopped = match answer.map(judge) {
                Err(stop) => {
                    // It has been killed.
                    lock(&agent.probes).remove(&step.name);
                    return Err(stop.inside(&what));
                }
                Ok(Err(stop)) => Some(stop.inside(&what)),
                Ok(Ok(more)) => {
                    merge(&mut done.measurements, more.measurements);
                    None
                }
            };
            if ended {
                agent.children.kill(worker.pid());
                lock(&agent.probes).remove(&step.name);
                return stopped.map_or(Ok(done), Err);
            }
            if let Some(stop) = stopped {
                lock(&agent.probes).insert(step.name.clone(), Some(worker));
                return Err(stop);
            }
        }
        drop(acting);
        lock(&agent.probes).insert(step.name.clone(), Some(worker));
        self.remember(&done.measurements);
        Ok(done)
    }
}
