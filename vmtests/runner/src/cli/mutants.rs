// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest mutants`.

use super::Refused;
use super::args::RunArgs;
use super::exit;
use super::ready::carry_out;
use super::ready::make_ready;
use crate::interrupt::EXIT_INTERRUPTED;
use crate::mutants;

/// Shows each scenario green on the Rust module, and red with its seeded bug; the exit code.
pub(super) fn run(args: &RunArgs) -> Result<i32, Refused> {
    let ready = make_ready(args)?;
    let set = ready.only()?;
    let mut pairs = mutants::plan(&set.scenarios, &set.index, args.filter.as_deref())
        .map_err(Refused::input)?;
    if args.by_probe {
        for pair in &mut pairs {
            pair.control.by_probe();
            pair.mutant.by_probe();
        }
    }
    let planned = pairs.len();
    let mut report = mutants::Report::begin(&args.out).map_err(Refused::setup)?;
    let (controls, bugs): (Vec<_>, Vec<_>) = pairs
        .into_iter()
        .map(|pair| (pair.control, pair.mutant))
        .unzip();
    carry_out(args, &ready, &controls, |result| report.add_control(result))?;
    let worthwhile: Vec<_> = bugs
        .into_iter()
        .filter(|bug| report.control_passed(&bug.scenario.name))
        .collect();
    carry_out(args, &ready, &worthwhile, |result| {
        report.add_mutant(result)
    })?;
    ready.progress.line(&report.summary());
    Ok(
        match (ready.common.interrupt.asked(), report.good(planned)) {
            (true, _) => EXIT_INTERRUPTED,
            (false, true) => exit::WELL,
            (false, false) => exit::FAILED,
        },
    )
}
