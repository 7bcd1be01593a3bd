// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest replay`.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::anyhow;
use clap::Args;

use super::Refused;
use super::args::DEFAULT_OUT;
use super::exit;
use super::ready;
use crate::artifacts::Index;
use crate::interrupt::EXIT_INTERRUPTED;
use crate::interrupt::Interrupt;
use crate::matrix::Module;
use crate::matrix::Planned;
use crate::progress::Progress;
use crate::qemu;
use crate::replay;
use crate::replay::Record;
use crate::results::Results;
use crate::results::markers;
use crate::results::markers::Found;
use crate::run;
use crate::run::Common;
use crate::snapshot::Digests;
use crate::splat::Splats;

/// What `replay` takes.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// The run: its folder, or its name in the results of --out
    run: String,
    /// Where the run's results are
    #[arg(long, value_name = "DIR", default_value = DEFAULT_OUT)]
    out: PathBuf,
    /// Where the results of the repetition go
    #[arg(long, value_name = "DIR", default_value = "target/vmtest-replay")]
    to: PathBuf,
    /// The artifact index; without it the one of the run
    #[arg(long, value_name = "FILE")]
    artifacts: Option<PathBuf>,
    /// Folder of the splat patterns and of the allow-list
    #[arg(long, value_name = "DIR", default_value = "configs/splats")]
    splats: PathBuf,
    /// Repeat it although kernel, initramfs or images are not what they were
    #[arg(long)]
    anyway: bool,
    /// Boot, and do not go on from a memory snapshot
    #[arg(long)]
    cold: bool,
    /// Keep the guests' disks
    #[arg(long)]
    keep_disks: bool,
}

/// Repeats a run; the exit code says whether it ended the same way.
pub(super) fn run(args: &ReplayArgs) -> Result<i32, Refused> {
    let interrupt = Interrupt::install().map_err(Refused::setup)?;
    let dir = replay::find(&args.run, &args.out).map_err(Refused::input)?;
    let (record, scenario) = Record::read(&dir).map_err(Refused::input)?;
    let before = before(&dir)?;
    let file = args.artifacts.as_ref().unwrap_or(&record.artifacts.index);
    let mut index = Index::load(file).map_err(Refused::setup)?;
    let digests = Digests::default();
    let initramfs = match args.anyway {
        true => index.initramfs.clone(),
        false => {
            let (initramfs, others) = record.take_back(&mut index, &digests);
            if others {
                eprintln!(
                    "vmtest: other things were built since; those of the run are still there and \
                     are taken (--anyway takes the new ones)"
                );
            }
            initramfs
        }
    };
    let changes = record
        .changes(&index, &initramfs, &scenario, &digests)
        .map_err(Refused::setup)?;
    unchanged(args, &record, &changes)?;
    let module = Module::ALL
        .into_iter()
        .find(|module| module.word() == record.module)
        .ok_or_else(|| Refused::input(anyhow!("{}: no module `{}`", args.run, record.module)))?;
    let lock = ready::lock_folder(&args.to).map_err(Refused::setup)?;
    let progress = Progress::new(true);
    let common = Common {
        own: std::env::current_exe()
            .context("cannot find this program's own file")
            .map_err(Refused::setup)?,
        qemu: qemu::find().map_err(Refused::setup)?,
        accel: record.accel,
        out: args.to.clone(),
        splats: Splats::load(&args.splats).map_err(Refused::setup)?,
        boot_limit: Duration::from_secs_f64(record.boot_limit),
        scale: record.limits,
        keep_disks: args.keep_disks,
        interrupt,
        snapshots: ready::snapshots(record.snapshots && !args.cold, &progress),
        gdb: None,
        seed: record.seed,
    };
    let planned = Planned {
        scenario: &scenario,
        module,
        index: &index,
        client: record.client,
        initramfs,
        folder: record.folder.clone(),
        skip: None,
    };
    let mut results = Results::begin(&args.to).map_err(Refused::setup)?;
    let now = run::run(&common, &planned, &|stage| eprintln!("vmtest: {stage}"));
    println!("{}", now.lines());
    results.add(now.clone()).map_err(Refused::setup)?;
    drop(lock);
    if common.interrupt.asked() {
        return Ok(EXIT_INTERRUPTED);
    }
    let Some(before) = before else {
        println!("the run was killed: there is no end to compare with");
        return Ok(if now.outcome.is_bad() {
            exit::FAILED
        } else {
            0
        });
    };
    let comparison = replay::compare(&before, &now);
    println!("{}", comparison.text);
    Ok(if comparison.same { 0 } else { exit::FAILED })
}

/// How the run ended; `None` when its runner was killed.
fn before(dir: &Path) -> Result<Option<crate::results::RunResult>, Refused> {
    match markers::look(dir) {
        Some((_, Found::Ended(run))) => Ok(Some(run)),
        Some((_, Found::Killed(_))) => Ok(None),
        Some((by, Found::UnderWay(_))) => Err(Refused::input(anyhow!(
            "{}: this run is still under way (process {})",
            dir.display(),
            by.pid
        ))),
        None => Err(Refused::input(anyhow!(
            "{}: no {} is there that this vmtest can read: only a run that was begun can be \
             repeated",
            dir.display(),
            markers::STARTED
        ))),
    }
}

/// Refuses to call something a repetition that is none.
fn unchanged(args: &ReplayArgs, record: &Record, changes: &[String]) -> Result<(), Refused> {
    if changes.is_empty() {
        return Ok(());
    }
    let list = changes.join("\n  ");
    if args.anyway {
        eprintln!("vmtest: not the same as then, repeated anyway:\n  {list}");
        return Ok(());
    }
    Err(Refused::setup(anyhow!(
        "{} cannot be repeated exactly, other things were built since:\n  {list}\nname the index \
         of then with --artifacts FILE, or repeat it with what is there by --anyway",
        record.name
    )))
}
