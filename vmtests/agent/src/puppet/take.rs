// SPDX-License-Identifier: GPL-2.0-or-later
//! `take`: a descriptor goes from one puppet to another, as over a socket, but without the help of
//! the one that has it. The agent asks that one for the number, and hands it to the one that wants
//! it.

use std::sync::Arc;

use anyhow::Context as _;
use anyhow::Result;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::PidfdGetfdFlags;
use vmtest_protocol::step::PuppetTake;

use super::Process;
use super::Request;
use super::descriptors::Descriptor;
use super::descriptors::TABLE;
use super::hand::Hand;
use super::hand::Saved;
use super::hand::free_name;
use crate::engine::Context;
use crate::engine::Stop;
use crate::engine::lock;
use crate::worker::Answer;
use crate::worker::child::Verdict;

impl Context {
    /// The agent's part. An error means that the taker has been killed; all else is an answer.
    pub(super) fn take(
        &self,
        name: &str,
        take: &PuppetTake,
        taker: &mut Process,
        what: &str,
    ) -> Result<Answer, Stop> {
        if take.from == name {
            return Ok(Answer::Error(format!(
                "the puppet `{name}` cannot take from itself: `dup` makes a second descriptor"
            )));
        }
        let puppets = &self.agent.puppets;
        let found = match lock(puppets).begin(&take.from) {
            Ok(found) => found,
            Err(Stop::Error(why)) => return Ok(Answer::Error(why)),
            Err(other) => return Err(other),
        };
        let Some(mut owner) = found else {
            lock(puppets).end(&take.from, None);
            return Ok(Answer::Error(format!(
                "no puppet called `{}` lives, from which to take `{}`",
                take.from, take.of
            )));
        };
        let of = take.of.clone();
        let asked = format!("{what}: asking {} for the number of `{of}`", take.from);
        let number = self.ask(&mut owner, &Request::Number { of }, &asked);
        let pid = owner.worker.pid();
        // The owner must not act, and so not close it, before the other has it.
        let (owner, answer) = match number {
            Ok(Answer::Descriptor(number)) => {
                let take = take.clone();
                let request = Request::Take { take, pid, number };
                (Some(owner), self.ask(taker, &request, what))
            }
            Ok(Answer::Error(why)) => (
                Some(owner),
                Ok(Answer::Error(format!("{}: {why}", take.from))),
            ),
            Ok(_) => (
                Some(owner),
                Ok(Answer::Error(format!(
                    "{asked}: it answered something else"
                ))),
            ),
            Err(stop) => {
                // The owner is gone, the taker is not.
                self.agent.events.end(&owner.events);
                (None, self.not_taken(stop, taker))
            }
        };
        lock(puppets).end(&take.from, owner);
        answer
    }

    /// What the end of the owner means for the taker.
    fn not_taken(&self, stop: Stop, taker: &Process) -> Result<Answer, Stop> {
        match stop {
            Stop::Failed(reason) => Ok(Answer::Failed(reason)),
            Stop::Error(reason) => Ok(Answer::Error(reason)),
            // The step itself ends, and the taker with it, as in any other of its actions.
            stop => {
                self.agent.children.kill(taker.worker.pid());
                Err(stop)
            }
        }
    }
}

impl Hand {
    /// The taker's part.
    pub(super) fn take(&mut self, take: &PuppetTake, pid: u32, number: i32) -> Result<Verdict> {
        let device = take.name.is_none();
        if let Some(name) = &take.name {
            free_name(name)?;
        }
        anyhow::ensure!(
            !device || self.shared.device.get().is_none(),
            "the device is open here already: `close_device` first, or take it under a name (`as`)"
        );
        let process = Pid::from_raw(pid as i32).context("a process has a number")?;
        let taken = TABLE.make(|| {
            let process = rustix::process::pidfd_open(process, PidfdFlags::empty())?;
            rustix::process::pidfd_getfd(process, number, PidfdGetfdFlags::empty())
        });
        let taken = taken.with_context(|| {
            format!(
                "cannot take `{}` (descriptor {number}) of {} (process {pid})",
                take.of, take.from
            )
        })?;
        match &take.name {
            None => self.shared.device.set(taken),
            Some(name) => {
                let descriptor = Some(Arc::new(Descriptor::new(taken)));
                self.save(
                    name,
                    Saved {
                        ids: None,
                        descriptor,
                    },
                )?;
            }
        }
        Ok(Verdict::passed())
    }
}
