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
use vmtest_protocol::step::Parallel;
use vmtest_protocol::step::Spawn;

use super::Cancel;
use super::Context;
use super::Done;
use super::Stop;
use super::lock;
use super::merge;
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
    /// All branches at once. The first that fails ends the others, and is the failure.
    pub(super) fn parallel(&self, parallel: &Parallel) -> Result<Done, Stop> {
        let cancel = Cancel::below(&self.cancel);
        let total = Mutex::new((Done::default(), None::<Stop>));
        std::thread::scope(|scope| {
            for (index, branch) in parallel.branches.iter().enumerate() {
                let name = match &branch.name {
                    Some(name) => name.clone(),
                    None => (index + 1).to_string(),
                };
                let mut inner = self.clone();
                inner.cancel = Arc::clone(&cancel);
                inner.path = self.inside(&name);
                inner.branch = Some(name.clone());
                self.agent.actors.begin(&name);
                let (total, cancel) = (&total, &cancel);
                let body = move || {
                    let mut done = Done::default();
                    let result = inner.sequence(&branch.steps, &mut done);
                    inner.agent.actors.end(&name);
                    let mut total = lock(total);
                    merge(&mut total.0.measurements, done.measurements);
                    if let Err(stop) = result {
                        // What it cancels is not the cause.
                        total
                            .1
                            .get_or_insert(stop.inside(&format!("branch `{name}`")));
                        cancel.set();
                    }
                };
                let started = std::thread::Builder::new()
                    .name(format!("branch-{index}"))
                    .spawn_scoped(scope, body);
                if let Err(error) = started {
                    let why = wrong(format!("cannot start a branch: {error}"));
                    lock(total).1.get_or_insert(why);
                    cancel.set();
                }
            }
        });
        let (done, stopped) = total
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match stopped {
            Some(stop) => Err(stop),
            None => Ok(done),
        }
    }

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
        inner.path = self.inside(&spawn.name);
        inner.branch = Some(spawn.name.clone());
        self.agent.actors.begin(&spawn.name);
        let cancel = Arc::clone(&inner.cancel);
        let (sender, end) = mpsc::channel();
        let steps = spawn.steps.clone();
        std::thread::Builder::new()
            .name(format!("branch-{}", spawn.name))
            .spawn(move || {
                let mut done = Done::default();
                let result = inner.sequence(&steps, &mut done).map(|()| done);
                if let Some(branch) = &inner.branch {
                    inner.agent.actors.end(branch);
                }
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
