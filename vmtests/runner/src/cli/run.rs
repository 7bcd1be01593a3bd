// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest run`.

use super::EXIT_FAILED;
use super::Refused;
use super::args::RunArgs;
use super::ready::carry_out;
use super::ready::make_ready;
use crate::interrupt::EXIT_INTERRUPTED;
use crate::matrix;
use crate::results::Results;

/// Runs every scenario on both modules; the exit code.
pub(super) fn run(args: &RunArgs) -> Result<i32, Refused> {
    let ready = make_ready(args)?;
    let runs = matrix::expand(&ready.scenarios, args.module, &ready.common.index);
    let mut results = Results::begin(&args.out).map_err(Refused::setup)?;
    carry_out(args, &ready, &runs, |result| {
        let line = result.lines();
        results.add(result).map(|()| line)
    })?;
    ready.progress.line(&format!(
        "\nresults: {}",
        args.out.join("results.json").display()
    ));
    ready.progress.line(&results.summary());
    Ok(match (ready.common.interrupt.asked(), results.good()) {
        (true, _) => EXIT_INTERRUPTED,
        (false, true) => 0,
        (false, false) => EXIT_FAILED,
    })
}
