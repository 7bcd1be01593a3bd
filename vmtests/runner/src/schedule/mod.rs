// SPDX-License-Identifier: GPL-2.0-or-later
//! Carrying runs out, as many at once as the machine has room for.
//!
//! Each run has a thread of its own, which lives exactly as long as the run: the machines that it
//! starts are bound to it (see [`crate::exec`]). What begins when is decided in [`choose`], from
//! what each run takes and how long it took the last time ([`history`]).

use std::rc::Rc;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;

use crate::accel::Accel;
use crate::matrix::Planned;
use crate::progress::Progress;
use crate::results::RunResult;
use crate::run;
use crate::run::Common;
use crate::vm::Observer;
use crate::vm::Seen;

pub mod budget;
pub mod choose;
pub mod history;
pub mod shard;

use budget::Budget;
use budget::Demand;
use choose::Under;
use history::History;

/// What QEMU takes beyond the guest's memory, in bytes: under TCG it translates code into a buffer.
const OVERHEAD_TCG: u64 = 320 << 20;
/// The same under KVM.
const OVERHEAD_KVM: u64 = 128 << 20;
/// A run of which nothing is known is expected to take so long, in seconds.
const UNKNOWN: f64 = 30.0;
/// How often is looked whether there is memory again, or somebody pressed Ctrl-C.
const LOOK: Duration = Duration::from_millis(200);

/// What the runs of an invocation may take, and what is known about how long they take.
#[derive(Debug)]
pub struct Schedule {
    /// What there is to share out.
    pub budget: Budget,
    /// How long runs took before.
    pub history: History,
}

struct Waiting<'a, 'b> {
    planned: &'a Planned<'b>,
    demand: Demand,
    /// Its place in the list of runs.
    order: usize,
}

struct Running {
    order: usize,
    demand: Demand,
    began: Instant,
}

/// Carries all runs out and calls `each` with every result as it comes, on the calling thread.
/// After an interruption no further run begins; those under way still give a result.
pub fn carry_out(
    common: &Common,
    runs: &[Planned<'_>],
    schedule: &mut Schedule,
    progress: &Progress,
    mut each: impl FnMut(RunResult) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut waiting: Vec<Waiting<'_, '_>> = runs
        .iter()
        .enumerate()
        .map(|(order, planned)| Waiting {
            planned,
            demand: demand(common, planned, &schedule.history),
            order,
        })
        .collect();
    // The longest first; those that take as long as each other in the order of the list.
    waiting.sort_by(|a, b| b.demand.seconds.total_cmp(&a.demand.seconds));
    let mut running: Vec<Running> = Vec::new();
    let mut failed = None;
    let (sender, receiver) = mpsc::channel();
    progress.expect(runs.len());
    std::thread::scope(|scope| -> anyhow::Result<()> {
        loop {
            while let Some(at) = next(common, &waiting, &running, &schedule.budget) {
                let Waiting {
                    planned,
                    demand,
                    order,
                } = waiting.remove(at);
                running.push(Running {
                    order,
                    demand,
                    began: Instant::now(),
                });
                let sender = sender.clone();
                let progress = progress.clone();
                std::thread::Builder::new()
                    .name(planned.folder.clone())
                    .spawn_scoped(scope, move || {
                        let result = {
                            let shown = Rc::new(progress.begin(&planned.folder));
                            let console = Rc::clone(&shown);
                            let observer: Observer = Rc::new(move |_, seen| {
                                if let Seen::Console(line) = seen {
                                    console.console(line);
                                }
                            });
                            let stage = |stage: &str| shown.stage(stage);
                            run::run_observed(common, planned, &stage, vec![observer])
                        };
                        // The receiver lives longer than this scope.
                        let _ = sender.send((order, result));
                    })
                    .context("cannot start a thread for a run")?;
            }
            if running.is_empty() {
                return Ok(());
            }
            progress.left(left(&waiting, &running, &schedule.budget));
            let (order, result) = match receiver.recv_timeout(LOOK) {
                Ok(ended) => ended,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            running.retain(|run| run.order != order);
            progress.ended(result.outcome);
            if let Err(error) = schedule.history.add(&result) {
                progress.remark(&format!("{error:#}"));
                // Said once: what cannot be written now can hardly be written later.
                schedule.history = History::load(None);
            }
            if let Err(error) = each(result) {
                // Results that cannot be written are not worth more machines.
                common.interrupt.ask();
                failed.get_or_insert(error);
            }
        }
    })?;
    progress.done();
    match failed {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// What a run takes.
fn demand(common: &Common, planned: &Planned<'_>, history: &History) -> Demand {
    if planned.skip.is_some() {
        return Demand {
            cores: 0,
            memory: 0,
            seconds: 0.0,
        };
    }
    let overhead = match common.accel {
        Accel::Tcg | Accel::Counted => OVERHEAD_TCG,
        Accel::Kvm => OVERHEAD_KVM,
    };
    let memory = planned.memory().unwrap_or_default();
    let key = history::key(
        &planned.scenario.title(),
        &planned.index.label(),
        planned.module.word(),
        common.accel.word(),
    );
    let cores = match planned.index.guest.leak_scan {
        // Most of its time such a run looks for lost memory: on one CPU, or asleep.
        true => planned.scenario.cores().div_ceil(2),
        false => planned.scenario.cores(),
    };
    Demand {
        cores,
        memory: memory.saturating_add(overhead),
        seconds: history.seconds(&key).unwrap_or(UNKNOWN),
    }
}

fn under(running: &[Running]) -> Vec<Under> {
    running
        .iter()
        .map(|run| Under {
            demand: run.demand,
            left: (run.demand.seconds - run.began.elapsed().as_secs_f64()).max(0.0),
        })
        .collect()
}

/// The index in `waiting` of the run that begins now.
fn next(
    common: &Common,
    waiting: &[Waiting<'_, '_>],
    running: &[Running],
    budget: &Budget,
) -> Option<usize> {
    if common.interrupt.asked() {
        return None;
    }
    let demands: Vec<Demand> = waiting.iter().map(|run| run.demand).collect();
    let at = choose::choose(&demands, &under(running), budget)?;
    // Somebody else on this machine may have taken memory in the meantime.
    let there = running.is_empty() || budget::available("/".as_ref()) >= demands.get(at)?.memory;
    there.then_some(at)
}

fn left(waiting: &[Waiting<'_, '_>], running: &[Running], budget: &Budget) -> Duration {
    let demands: Vec<Demand> = waiting.iter().map(|run| run.demand).collect();
    let seconds = choose::estimate(&demands, &under(running), budget);
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
