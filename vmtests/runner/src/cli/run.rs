// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest run`.

use std::time::Instant;

use super::Refused;
use super::args::RunArgs;
use super::exit;
use super::ready::Set;
use super::ready::carry_out;
use super::ready::make_ready;
use crate::github;
use crate::matrix;
use crate::matrix::Planned;
use crate::report;
use crate::results::Results;
use crate::schedule::shard;
use crate::schedule::shard::Durations;
use crate::schedule::shard::Key;
use crate::schedule::shard::Part;
use crate::schedule::shard::Shard;

/// Runs every scenario on every kernel and both modules; the exit code.
pub(super) fn run(args: &RunArgs) -> Result<i32, Refused> {
    let began = Instant::now();
    let ready = make_ready(args)?;
    let mut runs: Vec<Planned<'_>> = Vec::new();
    for Set { index, scenarios } in &ready.sets {
        runs.extend(matrix::expand(scenarios, args.module, index));
    }
    if args.by_probe {
        runs.iter_mut().for_each(Planned::by_probe);
    }
    let mut results = Results::begin(&args.out).map_err(Refused::setup)?;
    if let Some(shard) = args.shard {
        let durations = match &args.durations {
            Some(file) => Durations::read(file).map_err(Refused::input)?,
            None => Durations::default(),
        };
        results.parts = vec![take_part(&mut runs, shard, &durations)];
    }
    carry_out(args, &ready, &runs, |result| {
        let line = result.lines();
        results.add(result).map(|()| line)
    })?;
    results.seconds = Some(began.elapsed().as_secs_f64());
    results.write().map_err(Refused::setup)?;
    report::write(&args.out, &results).map_err(Refused::setup)?;
    github::annotate(&results);
    if args.shard.is_none() {
        // The summary of shards is written once, by whoever joins them.
        github::summarize(&results).map_err(Refused::setup)?;
    }
    ready.progress.line(&format!(
        "\nresults: {}\nreport:  {}",
        args.out.join("results.json").display(),
        args.out.join(report::FILE).display()
    ));
    ready.progress.line(&results.summary());
    Ok(exit::of(&results, ready.common.interrupt.asked()))
}

/// Leaves only the runs of one shard; what there is to say about it.
fn take_part(runs: &mut Vec<Planned<'_>>, shard: Shard, durations: &Durations) -> Part {
    let keys: Vec<Key> = runs
        .iter()
        .map(|run| {
            let module = run.module.word().to_owned();
            (run.scenario.title(), run.index.label(), module)
        })
        .collect();
    let (parts, split) = shard::split(&keys, durations, shard.of);
    let mut part = parts.into_iter();
    runs.retain(|_| part.next() == Some(shard.index));
    Part {
        shard,
        planned: runs.len() as u32,
        split,
    }
}
