// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest bench`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::anyhow;
use clap::Args;

use super::Refused;
use super::args::RunArgs;
use super::exit;
use super::ready::Ready;
use super::ready::carry_out;
use super::ready::make_ready;
use crate::bench;
use crate::bench::Table;
use crate::interrupt::EXIT_INTERRUPTED;
use crate::matrix;
use crate::matrix::Planned;
use crate::results::RunResult;
use crate::run;
use crate::snapshot::Store;

/// Cold starts that are measured.
const COLD: usize = 3;
/// Starts from a snapshot that are measured.
const WARM: usize = 5;
/// The scenario.
const SCENARIO: &str = "small";

/// What `bench` takes.
#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// Where the table goes
    #[arg(long, value_name = "FILE", default_value = "target/bench/runner.json")]
    to: PathBuf,
    /// How many small runs
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    runs: u16,
    #[command(flatten)]
    run: RunArgs,
}

/// Measures what a run costs; 0 when all of them passed.
pub(super) fn run(args: &BenchArgs) -> Result<i32, Refused> {
    let mut settings = args.run.measuring("vmtests/bench", "target/vmtest-bench");
    settings.filter = Some(SCENARIO.to_owned());
    let ready = make_ready(&settings)?;
    if !ready.common.snapshots.is_on() {
        return Err(Refused::input(anyhow!(
            "--cold leaves nothing to compare with: start from memory snapshots is one of the rows"
        )));
    }
    let set = ready.only()?;
    let plans = matrix::expand(&set.scenarios, settings.module, &set.index);
    let plans: Vec<Planned<'_>> = plans.into_iter().filter(|run| run.skip.is_none()).collect();
    let Some(one) = plans.last() else {
        return Err(Refused::setup(anyhow!(
            "{}: no module to measure with",
            set.index.file.display()
        )));
    };
    let measured = measure(args, &settings, &ready, &plans, one);
    if ready.common.interrupt.asked() {
        return Ok(EXIT_INTERRUPTED);
    }
    match measured {
        Ok(table) => {
            table.write(&args.to).map_err(Refused::setup)?;
            ready.progress.line(&format!("\n{}", args.to.display()));
            Ok(exit::WELL)
        }
        Err(error) => {
            ready
                .progress
                .line(&format!("nothing was measured: {error:#}"));
            Ok(exit::FAILED)
        }
    }
}

fn measure(
    args: &BenchArgs,
    settings: &RunArgs,
    ready: &Ready,
    plans: &[Planned<'_>],
    one: &Planned<'_>,
) -> anyhow::Result<Table> {
    let mut table = Table::default();
    let alone = |common: &run::Common| run::run(common, one, &|_| {});

    let mut cold = ready.common.clone();
    cold.snapshots = Arc::new(Store::new(None, ready.progress.clone()));
    let seconds = (0..COLD)
        .map(|_| bench::to_first_step(&alone(&cold), "cold"))
        .collect::<anyhow::Result<_>>()?;
    ready
        .progress
        .line(&table.add("cold start to first step", bench::median(seconds)?));

    // Makes the snapshot, unless there is one.
    let first = alone(&ready.common);
    bench::to_first_step(&first, &first.started_from.clone())?;
    let seconds = (0..WARM)
        .map(|_| bench::to_first_step(&alone(&ready.common), "snapshot"))
        .collect::<anyhow::Result<_>>()?;
    ready
        .progress
        .line(&table.add("snapshot start to first step", bench::median(seconds)?));

    let runs: Vec<Planned<'_>> = (0..usize::from(args.runs))
        .map(|number| {
            let mut planned = plans[number % plans.len()].clone();
            planned.folder = format!("{}-{number:05}", planned.folder);
            planned
        })
        .collect();
    let began = Instant::now();
    let mut wrong: Option<RunResult> = None;
    let mut count = 0usize;
    carry_out(settings, ready, &runs, |result| {
        count += 1;
        if result.outcome.is_bad() {
            wrong.get_or_insert(result);
        }
        Ok(String::new())
    })
    .map_err(|refused| refused.error)?;
    let seconds = began.elapsed().as_secs_f64();
    if let Some(wrong) = wrong {
        return Err(anyhow!("{}: {}", wrong.name(), wrong.reason));
    }
    anyhow::ensure!(
        count == runs.len(),
        "{count} of {} runs were carried out",
        runs.len()
    );
    ready
        .progress
        .line(&table.add(&format!("{count} small runs"), seconds));
    Ok(table)
}
