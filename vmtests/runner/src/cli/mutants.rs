// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest mutants`.

use std::collections::BTreeSet;

use super::Refused;
use super::args::RunArgs;
use super::exit;
use super::ready::carry_out;
use super::ready::make_ready;
use crate::interrupt::EXIT_INTERRUPTED;
use crate::matrix::Planned;
use crate::mutants;

/// Shows each scenario green on the Rust module, and red with its seeded bug; the exit code.
pub(super) fn run(args: &RunArgs) -> Result<i32, Refused> {
    let filter = args.filter.as_deref();
    let ready = make_ready(&RunArgs {
        filter: filter.map(|filter| mutants::scenario_filter(filter).to_owned()),
        ..args.clone()
    })?;
    let sets: Vec<mutants::Set<'_>> = ready
        .sets
        .iter()
        .map(|set| (&set.index, set.scenarios.as_slice()))
        .collect();
    let mut pairs = mutants::plan(&sets, filter).map_err(Refused::input)?;
    if args.by_probe {
        for pair in &mut pairs {
            pair.control.by_probe();
            pair.mutant.by_probe();
        }
    }
    let mut report = mutants::Report::begin(&args.out, &pairs).map_err(Refused::setup)?;
    for line in report.skipped() {
        ready.progress.line(&line);
    }
    let tried: Vec<_> = pairs
        .into_iter()
        .filter(|pair| pair.mutant.skip.is_none())
        .collect();
    let mut folders = BTreeSet::new();
    let controls: Vec<Planned<'_>> = tried
        .iter()
        .filter(|pair| folders.insert(&pair.control.folder))
        .map(|pair| pair.control.clone())
        .collect();
    carry_out(args, &ready, &controls, |result| report.add_control(result))?;
    let worthwhile: Vec<Planned<'_>> = tried
        .iter()
        .filter(|pair| report.control_passed(&pair.name))
        .map(|pair| pair.mutant.clone())
        .collect();
    carry_out(args, &ready, &worthwhile, |result| {
        report.add_mutant(result)
    })?;
    ready.progress.line(&report.summary());
    Ok(match (ready.common.interrupt.asked(), report.good()) {
        (true, _) => EXIT_INTERRUPTED,
        (false, true) => exit::WELL,
        (false, false) => exit::FAILED,
    })
}
