// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest run`.

use std::time::Instant;

use super::Refused;
use super::args::RunArgs;
use super::exit;
use super::ready::carry_out;
use super::ready::make_ready;
use crate::matrix;
use crate::report;
use crate::results::Results;

/// Runs every scenario on both modules; the exit code.
pub(super) fn run(args: &RunArgs) -> Result<i32, Refused> {
    let began = Instant::now();
    let ready = make_ready(args)?;
    let runs = matrix::expand(&ready.scenarios, args.module, &ready.common.index);
    let mut results = Results::begin(&args.out).map_err(Refused::setup)?;
    carry_out(args, &ready, &runs, |result| {
        let line = result.lines();
        results.add(result).map(|()| line)
    })?;
    results.seconds = Some(began.elapsed().as_secs_f64());
    results.write().map_err(Refused::setup)?;
    report::write(&args.out, &results).map_err(Refused::setup)?;
    ready.progress.line(&format!(
        "\nresults: {}\nreport:  {}",
        args.out.join("results.json").display(),
        args.out.join(report::FILE).display()
    ));
    ready.progress.line(&results.summary());
    Ok(exit::of(&results, ready.common.interrupt.asked()))
}
