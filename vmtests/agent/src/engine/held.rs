// SPDX-License-Identifier: GPL-2.0-or-later
//! Files held open, and plain waiting.

use std::time::Instant;

use vmtest_protocol::Step;
use vmtest_protocol::step::CloseHeld;
use vmtest_protocol::step::HoldOpen;
use vmtest_protocol::step::Sleep;

use super::Context;
use super::Done;
use super::Stop;
use super::judge;
use super::lock;
use super::wrong;
use crate::worker::Task;
use crate::worker::Worker;

impl Context {
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
        let acting = self.acting(worker.pid());
        let answer =
            worker.carry_out(&task, &what, self.deadline, &self.cancel, &agent.children)?;
        drop(acting);
        let done = judge(answer);
        if done.is_err() || hold.expect_errno.is_some() {
            // Nothing is held.
            agent.children.kill(worker.pid());
            return done;
        }
        if let Some(old) = lock(&agent.held).insert(hold.name.clone(), worker) {
            agent.children.kill(old.pid());
        }
        done
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
