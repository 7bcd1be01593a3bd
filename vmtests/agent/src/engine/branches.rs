// SPDX-License-Identifier: GPL-2.0-or-later
//! Branches: steps that run beside others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use std::time::Instant;

use vmtest_protocol::Step;
use vmtest_protocol::step::Join;
use vmtest_protocol::step::Spawn;

use super::Cancel;
use super::Context;
use super::Done;
use super::Stop;
use super::lock;
use super::wrong;

/// Branches that nobody has joined yet, by name.
#[derive(Default)]
pub struct Branches {
    running: Mutex<BTreeMap<String, Branch>>,
}

struct Branch {
    cancel: Arc<Cancel>,
    end: mpsc::Receiver<Result<Done, Stop>>,
}

impl Branches {
    /// Their names.
    pub fn names(&self) -> Vec<String> {
        lock(&self.running).keys().cloned().collect()
    }

    /// Tells all of them to end.
    pub fn cancel_all(&self) {
        for branch in lock(&self.running).values() {
            branch.cancel.set();
        }
    }
}

impl Context {
    pub(super) fn spawn(&self, step: &Step, spawn: &Spawn) -> Result<Done, Stop> {
        let limit = step.limit().map_err(wrong)?;
        let mut running = lock(&self.agent.branches.running);
        if running.contains_key(&spawn.name) {
            return Err(Stop::Error(format!(
                "a branch `{}` is running already: join it first, or use another name",
                spawn.name
            )));
        }
        let mut inner = self.clone();
        // A branch outlives this step: its limit counts from now, and only its own cancel ends it.
        inner.deadline = Instant::now() + limit;
        inner.cancel = Arc::new(Cancel::default());
        inner.path = match self.path.as_str() {
            "" => spawn.name.clone(),
            path => format!("{path} / {}", spawn.name),
        };
        let cancel = Arc::clone(&inner.cancel);
        let (sender, end) = mpsc::channel();
        let steps = spawn.steps.clone();
        std::thread::Builder::new()
            .name(format!("branch-{}", spawn.name))
            .spawn(move || {
                let mut done = Done::default();
                let result = inner.sequence(&steps, &mut done).map(|()| done);
                // Nobody may be left to hear it.
                let _ = sender.send(result);
            })
            .map_err(|error| wrong(format!("cannot start a branch: {error}")))?;
        running.insert(spawn.name.clone(), Branch { cancel, end });
        Ok(Done::default())
    }

    pub(super) fn join(&self, join: &Join) -> Result<Done, Stop> {
        let branch = lock(&self.agent.branches.running)
            .remove(&join.name)
            .ok_or_else(|| wrong(format!("no branch is called `{}`", join.name)))?;
        let mut until = self.deadline;
        if let Some(within) = &join.within {
            until = until.min(Instant::now() + within.get().map_err(wrong)?.0);
        }
        let started = Instant::now();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match branch.end.recv_timeout(left.min(Duration::from_millis(50))) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(wrong(format!("the branch `{}` has vanished", join.name)));
                }
                Err(RecvTimeoutError::Timeout) if self.cancel.is_set() => {
                    branch.cancel.set();
                    return Err(Stop::Cancelled);
                }
                Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                    branch.cancel.set();
                    // Cancelled workers report where they hung only when their own time is up;
                    // what is known here is that the branch did not end.
                    return Err(Stop::TimedOut {
                        reason: format!(
                            "the branch `{}` has not ended {:.1} s after it was waited for",
                            join.name,
                            started.elapsed().as_secs_f64()
                        ),
                        blocked: Vec::new(),
                    });
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}
