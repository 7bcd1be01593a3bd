// SPDX-License-Identifier: GPL-2.0-or-later
//! What the verbs that boot machines need before the first one.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::anyhow;

use super::Refused;
use super::args::RunArgs;
use crate::accel;
use crate::artifacts::Index;
use crate::interrupt::Interrupt;
use crate::matrix::Planned;
use crate::progress::Progress;
use crate::qemu;
use crate::results::RunResult;
use crate::results::markers;
use crate::run::Common;
use crate::scenario;
use crate::scenario::LoadError;
use crate::scenario::Overrides;
use crate::scenario::Scenario;
use crate::schedule;
use crate::schedule::Schedule;
use crate::schedule::budget::Budget;
use crate::schedule::history::History;
use crate::seed;
use crate::snapshot::Store;
use crate::splat::Splats;

/// Everything that is needed before the first machine; none of it is slow.
pub(super) struct Ready {
    pub common: Common,
    /// At least one, each kernel once.
    pub sets: Vec<Set>,
    pub progress: Progress,
    /// Held until the end: two invocations must not write into one folder.
    _lock: File,
}

/// A kernel with what was built for it, and the scenarios, checked against that.
pub(super) struct Set {
    pub index: Index,
    pub scenarios: Vec<Scenario>,
}

impl Ready {
    /// The one kernel, for verbs that make no sense on several.
    pub fn only(&self) -> Result<&Set, Refused> {
        match self.sets.as_slice() {
            [set] => Ok(set),
            _ => Err(Refused::input(anyhow!(
                "--artifacts: this is about one kernel; name one index"
            ))),
        }
    }
}

/// Reads every index, and the scenarios for it.
fn load_sets(args: &RunArgs, overrides: &Overrides) -> Result<Vec<Set>, Refused> {
    let mut sets: Vec<Set> = Vec::new();
    for file in &args.artifacts {
        let index = Index::load(file).map_err(Refused::setup)?;
        if let Some(there) = sets.iter().find(|set| set.index.label() == index.label()) {
            return Err(Refused::input(anyhow!(
                "{} and {} are both of kernel {}: their runs would have the same names",
                there.index.file.display(),
                file.display(),
                index.label()
            )));
        }
        if let Some(module) = args.module {
            if !index.modules.contains_key(module.word()) {
                return Err(Refused::setup(anyhow!(
                    "{} has no module `{}`: build it with `cargo run -p images -- build {} \
                     --profile {} --out {}`",
                    index.file.display(),
                    module.word(),
                    index.kernel,
                    index.profile,
                    index.file.display()
                )));
            }
        }
        let scenarios =
            scenario::load_all(&args.scenarios, args.filter.as_deref(), overrides, &index)
                .map_err(|LoadError(wrong)| Refused::input(LoadError(wrong)))?;
        sets.push(Set { index, scenarios });
    }
    Ok(sets)
}

/// How guest instructions are executed in all runs: under KVM only if every kernel runs there.
fn choose_accel(
    args: &RunArgs,
    own: &Path,
    qemu: &Path,
    sets: &[Set],
    progress: &Progress,
) -> Result<accel::Accel, Refused> {
    let mut chosen = None;
    for set in sets {
        let choice = accel::choose(args.accel, own, qemu, &set.index.bzimage);
        let slower = chosen == Some(accel::Accel::Kvm) && choice.accel == accel::Accel::Tcg;
        if chosen.is_none() || slower {
            progress.remark(&choice.line());
            chosen = Some(choice.accel);
        }
    }
    chosen.ok_or_else(|| Refused::input(anyhow!("--artifacts: name at least one index")))
}

/// Gets everything ready, or says why not.
pub(super) fn make_ready(args: &RunArgs) -> Result<Ready, Refused> {
    let interrupt = Interrupt::install().map_err(Refused::setup)?;
    let overrides = Overrides::parse(&args.param).map_err(|text| Refused::input(anyhow!(text)))?;
    let sets = load_sets(args, &overrides)?;
    let splats = Splats::load(&args.splats).map_err(Refused::setup)?;
    for scenario in sets.iter().flat_map(|set| &set.scenarios) {
        let wrong = |error: anyhow::Error| error.context(scenario.file.display().to_string());
        let known = splats.of_scenario(scenario).map_err(wrong);
        known.map_err(Refused::input)?;
    }
    let qemu = qemu::find().map_err(Refused::setup)?;
    let own = std::env::current_exe()
        .context("cannot find this program's own file")
        .map_err(Refused::setup)?;
    let lock = lock_folder(&args.out).map_err(Refused::setup)?;
    let progress = Progress::new(args.verbose);
    let accel = choose_accel(args, &own, &qemu, &sets, &progress)?;
    if let Some(killed) = markers::settle(&args.out).map_err(Refused::setup)? {
        progress.remark(&killed);
    }
    Ok(Ready {
        common: Common {
            own,
            qemu,
            accel,
            out: args.out.clone(),
            splats,
            boot_limit: Duration::from_secs(args.boot_limit.into()),
            scale: args.limits,
            snapshots: snapshots(!args.cold, &progress),
            gdb: None,
            seed: args.seed.unwrap_or_else(seed::fresh),
            keep_disks: args.keep_disks,
            interrupt,
        },
        sets,
        progress,
        _lock: lock,
    })
}

/// The memory snapshots in the cache, if they are to be used at all.
pub(super) fn snapshots(on: bool, progress: &Progress) -> Arc<Store> {
    let root = accel::cache_root().filter(|_| on);
    let dir = root.map(|root| root.join("snapshots"));
    Arc::new(Store::new(dir, progress.clone()))
}

/// Makes the results' folder and locks it.
pub(super) fn lock_folder(out: &Path) -> anyhow::Result<File> {
    let runs = out.join("runs");
    std::fs::create_dir_all(&runs).with_context(|| format!("cannot make {}", runs.display()))?;
    let file = out.join(".lock");
    let lock = File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
    match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(anyhow!(
            "another vmtest is writing to {}: wait for it, or give this one a folder of its own \
             with --out DIR",
            out.display()
        )),
        Err(error) => Err(error).with_context(|| format!("cannot lock {}", file.display())),
    }
}

/// Carries runs out and prints the line that `each` makes of a result, if it is not empty.
pub(super) fn carry_out(
    args: &RunArgs,
    ready: &Ready,
    runs: &[Planned<'_>],
    mut each: impl FnMut(RunResult) -> anyhow::Result<String>,
) -> Result<(), Refused> {
    let mut schedule = Schedule {
        budget: Budget::of_machine(args.jobs.map(usize::from), args.cores.map(u64::from)),
        history: History::load(accel::cache_root().as_deref()),
    };
    schedule::carry_out(
        &ready.common,
        runs,
        &mut schedule,
        &ready.progress,
        |result| {
            let line = each(result)?;
            if !line.is_empty() {
                ready.progress.line(&line);
            }
            Ok(())
        },
    )
    .map_err(Refused::setup)
}
