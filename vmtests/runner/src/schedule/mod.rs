// SPDX-License-Identifier: GPL-2.0-or-later
//! Carrying runs out, several at once.
//!
//! Each worker thread lives until all runs have ended: the machines that it starts are bound to it
//! (see [`crate::exec`]).

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use crate::matrix::Planned;
use crate::progress::Progress;
use crate::results::RunResult;
use crate::run;
use crate::run::Common;

/// Machines at once when the command line does not say: they have two CPUs each.
pub fn default_jobs() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).max(1)
}

/// Carries all runs out and calls `each` with every result as it comes, on the calling thread.
/// After an interruption no further run begins; those under way still give a result.
pub fn carry_out(
    common: &Common,
    runs: &[Planned<'_>],
    jobs: usize,
    progress: &Progress,
    mut each: impl FnMut(RunResult) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(runs.len()).max(1) {
            let sender = sender.clone();
            let next = &next;
            scope.spawn(move || {
                while !common.interrupt.asked() {
                    let Some(planned) = runs.get(next.fetch_add(1, Ordering::Relaxed)) else {
                        return;
                    };
                    let shown = progress.begin(&planned.folder);
                    let result = run::run(common, planned, &|stage| shown.stage(stage));
                    drop(shown);
                    if sender.send(result).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for result in receiver {
            if let Err(error) = each(result) {
                // Results that cannot be written are not worth more machines.
                common.interrupt.ask();
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.get_or_insert(error);
            }
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
