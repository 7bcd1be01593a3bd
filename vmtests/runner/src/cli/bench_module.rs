// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest bench-module`.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use super::Refused;
use super::args::RunArgs;
use super::exit;
use super::ready::Ready;
use super::ready::Set;
use super::ready::carry_out;
use super::ready::make_ready;
use crate::accel::Accel;
use crate::accel::Wanted;
use crate::bench::module;
use crate::bench::module::Comparison;
use crate::bench::module::Samples;
use crate::bench::picture;
use crate::interrupt::EXIT_INTERRUPTED;
use crate::matrix;
use crate::matrix::Module;
use crate::matrix::Planned;

/// Where the scenarios are that measure.
const SCENARIOS: &str = "vmtests/bench/module";
/// The variable of a case that says how much there is beside the operation.
const SCALE: &str = "scale";
/// How much longer a host must wait for a guest that counts its instructions.
const PATIENCE: f64 = 20.0;

/// What `bench-module` takes.
#[derive(Debug, Args)]
pub(super) struct BenchModuleArgs {
    /// Where the rows go
    #[arg(long, value_name = "FILE", default_value = "target/bench/module.json")]
    to: PathBuf,
    /// Where the picture goes
    #[arg(long, value_name = "FILE", default_value = "target/bench/module.svg")]
    picture: PathBuf,
    /// How often each scenario runs
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u16).range(1..=100))]
    runs: u16,
    #[command(flatten)]
    run: RunArgs,
}

/// Measures both modules; 0 when nothing is dearer on the Rust module than it may be.
pub(super) fn run(args: &BenchModuleArgs) -> Result<i32, Refused> {
    let mut settings = args.run.measuring(SCENARIOS, "target/vmtest-bench-module");
    // KVM cannot count, and a restored machine has not executed what a booted one has.
    settings.accel = Wanted::Tcg;
    settings.cold = true;
    settings.limits *= PATIENCE;
    settings.boot_limit = settings.boot_limit.saturating_mul(PATIENCE as u32);
    let mut ready = make_ready(&settings)?;
    ready.common.accel = Accel::Counted;
    let set = ready.only()?;
    let measured = measure(args, &settings, &ready, set);
    let comparison = match measured {
        Ok(Some(comparison)) => comparison,
        Ok(None) => return Ok(EXIT_INTERRUPTED),
        Err(error) => {
            ready
                .progress
                .line(&format!("nothing was measured: {error:#}"));
            return Ok(exit::FAILED);
        }
    };
    comparison.write(&args.to).map_err(Refused::setup)?;
    ready.progress.line(&format!("\n{}", comparison.table()));
    match picture::draw(&comparison, &args.picture) {
        Ok(()) => ready.progress.line(&format!(
            "{}\n{}",
            args.to.display(),
            args.picture.display()
        )),
        // Somebody measured one scale only.
        Err(error) => ready
            .progress
            .line(&format!("{}\nno picture: {error:#}", args.to.display())),
    }
    let above = comparison.above_aim();
    for row in &above {
        ready.progress.line(&format!(
            "{} at {}: the Rust module takes {:.3} times what C takes, at most {} is the aim",
            row.op,
            row.scale,
            row.ratio.unwrap_or_default(),
            module::AIM
        ));
    }
    Ok(match above.is_empty() {
        true => exit::WELL,
        false => exit::FAILED,
    })
}

/// All runs, compared; none when they were interrupted.
fn measure(
    args: &BenchModuleArgs,
    settings: &RunArgs,
    ready: &Ready,
    set: &Set,
) -> anyhow::Result<Option<Comparison>> {
    let index = &set.index;
    let plans: Vec<Planned<'_>> = matrix::expand(&set.scenarios, settings.module, index)
        .into_iter()
        .filter(|plan| match &plan.skip {
            None => true,
            Some(why) => {
                ready
                    .progress
                    .line(&format!("{}: skipped: {why}", plan.folder));
                false
            }
        })
        .collect();
    let mut runs = Vec::new();
    for round in 1..=args.runs {
        for plan in &plans {
            let mut plan = plan.clone();
            plan.folder = format!("{}-{round}", plan.folder);
            runs.push(plan);
        }
    }
    let mut samples = Samples::default();
    for module in Module::ALL {
        if let Some(file) = index.modules.get(module.word()) {
            let bytes = module::loaded_size(file)? as f64;
            samples.one("module, loaded", 1, "bytes", module, bytes);
        }
    }
    let total = runs.len();
    let mut done = 0usize;
    carry_out(settings, ready, &runs, |result| {
        done += 1;
        let plan = plans
            .iter()
            .find(|plan| {
                plan.module.word() == result.module && plan.scenario.title() == result.name
            })
            .ok_or_else(|| anyhow!("{}: nobody asked for this run", result.name()))?;
        let case = &plan.scenario.case.0;
        let scale = case.iter().find(|(name, _)| name == SCALE);
        samples.add(&result, plan.module, scale.map(|(_, value)| value))?;
        Ok(format!(
            "{done} of {total}: {} {:.0} s",
            result.name(),
            result.seconds
        ))
    })
    .map_err(|refused| refused.error)?;
    if ready.common.interrupt.asked() {
        return Ok(None);
    }
    anyhow::ensure!(done == total, "{done} of {total} runs were carried out");
    samples.compare().map(Some)
}
