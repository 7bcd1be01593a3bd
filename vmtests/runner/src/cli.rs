// SPDX-License-Identifier: GPL-2.0-or-later
//! The command line.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::anyhow;
use clap::Args;
use clap::Parser;
use clap::Subcommand;

use crate::accel;
use crate::accel::Wanted;
use crate::artifacts::Index;
use crate::exec;
use crate::interrupt::EXIT_INTERRUPTED;
use crate::interrupt::Interrupt;
use crate::matrix;
use crate::matrix::Module;
use crate::matrix::Planned;
use crate::mutants;
use crate::progress::Progress;
use crate::qemu;
use crate::results::Results;
use crate::results::RunResult;
use crate::run::Common;
use crate::scenario;
use crate::scenario::LoadError;
use crate::scenario::Overrides;
use crate::scenario::Scenario;
use crate::schedule;
use crate::share;
use crate::splat::Splats;

/// A scenario failed.
const EXIT_FAILED: i32 = 1;
/// The command line or a scenario file is wrong.
const EXIT_INPUT: i32 = 2;
/// What a run needs is missing.
const EXIT_SETUP: i32 = 3;

#[derive(Debug, Parser)]
#[command(
    name = "vmtest",
    version,
    about = "Boots kernels under QEMU and runs YAML scenarios in them",
    after_help = "Exit codes: 0 all well; 1 a scenario failed; 2 the command line or a scenario \
                  file is wrong; 3 the set-up failed; 130 interrupted."
)]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run every scenario on both modules
    Run(RunArgs),
    /// Show that each scenario passes on the Rust module and fails with that scenario's seeded bug
    Mutants(RunArgs),
    /// Starts a program that ends with this one (for vmtest's own use)
    #[command(name = exec::EXEC_COMMAND, hide = true)]
    Exec {
        parent: u32,
        #[arg(last = true, required = true)]
        program: Vec<OsString>,
    },
    /// Serves a folder to a guest (for vmtest's own use)
    #[command(name = share::SHARE_COMMAND, hide = true)]
    Share {
        parent: u32,
        #[arg(required = true, allow_hyphen_values = true, trailing_var_arg = true)]
        arguments: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The artifact index that `images build --out FILE` wrote
    #[arg(long, value_name = "FILE")]
    artifacts: PathBuf,
    /// Only scenarios whose name contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Only this module; both without it
    #[arg(long)]
    module: Option<Module>,
    /// Folder of the scenario files
    #[arg(long, value_name = "DIR", default_value = "vmtests/scenarios")]
    scenarios: PathBuf,
    /// Folder of the splat patterns and of the allow-list
    #[arg(long, value_name = "DIR", default_value = "configs/splats")]
    splats: PathBuf,
    /// Where results go
    #[arg(long, value_name = "DIR", default_value = "target/vmtest")]
    out: PathBuf,
    /// How guest instructions are executed
    #[arg(long, value_enum, default_value = "auto")]
    accel: Wanted,
    /// Changes a scenario's parameter; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    param: Vec<String>,
    /// Machines at once; half the cores without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Seconds for a guest to boot
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = clap::value_parser!(u32).range(1..=3600))]
    boot_limit: u32,
    /// Multiplies every limit, for slow machines
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = factor)]
    limits: f64,
    /// Keep the guests' disks
    #[arg(long)]
    keep_disks: bool,
    /// Print each stage of each run
    #[arg(long, short)]
    verbose: bool,
}

fn factor(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if (0.1..=100.0).contains(&factor) => Ok(factor),
        _ => Err("a number from 0.1 to 100".to_owned()),
    }
}

/// Why nothing was run, with its exit code.
struct Refused {
    code: i32,
    error: anyhow::Error,
}

impl Refused {
    fn input(error: impl Into<anyhow::Error>) -> Self {
        Refused {
            code: EXIT_INPUT,
            error: error.into(),
        }
    }

    fn setup(error: impl Into<anyhow::Error>) -> Self {
        Refused {
            code: EXIT_SETUP,
            error: error.into(),
        }
    }
}

/// The command line. `cargo make TASK -- OPTIONS` hands the `--` on; no option of the verbs that
/// people type can be a bare one, so that there it says nothing.
fn arguments() -> Vec<std::ffi::OsString> {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    let typed = |verb: &std::ffi::OsString| verb == "run" || verb == "mutants";
    if arguments.get(1).is_some_and(typed) {
        arguments.retain(|argument| argument != "--");
    }
    arguments
}

/// The whole program; returns its exit code.
pub fn main() -> i32 {
    let done = match Cli::parse_from(arguments()).command {
        Verb::Exec { parent, program } => {
            eprintln!("vmtest: {}", exec::exec_as_child(parent, &program));
            return EXIT_SETUP;
        }
        Verb::Share { parent, arguments } => share::parse_arguments(&arguments)
            .and_then(|(dir, read_only)| share::serve(parent, &dir, read_only))
            .map(|()| 0)
            .map_err(Refused::setup),
        Verb::Run(args) => run(&args),
        Verb::Mutants(args) => run_mutants(&args),
    };
    match done {
        Ok(code) => code,
        Err(refused) => {
            eprintln!("vmtest: {:#}", refused.error);
            refused.code
        }
    }
}

/// Everything that is needed before the first machine; none of it is slow.
struct Ready {
    common: Common,
    scenarios: Vec<Scenario>,
    progress: Progress,
    /// Held until the end: two invocations must not write into one folder.
    _lock: File,
}

fn make_ready(args: &RunArgs) -> Result<Ready, Refused> {
    let interrupt = Interrupt::install().map_err(Refused::setup)?;
    let overrides = Overrides::parse(&args.param).map_err(|text| Refused::input(anyhow!(text)))?;
    let index = Index::load(&args.artifacts).map_err(Refused::setup)?;
    if let Some(module) = args.module {
        if !index.modules.contains_key(module.word()) {
            return Err(Refused::setup(anyhow!(
                "{} has no module `{}`: build it with `cargo run -p images -- build {} --out {}`",
                index.file.display(),
                module.word(),
                index.kernel,
                index.file.display()
            )));
        }
    }
    let scenarios = scenario::load_all(&args.scenarios, args.filter.as_deref(), &overrides, &index)
        .map_err(|LoadError(wrong)| Refused::input(LoadError(wrong)))?;
    let splats = Splats::load(&args.splats).map_err(Refused::setup)?;
    let qemu = qemu::find().map_err(Refused::setup)?;
    let own = std::env::current_exe()
        .context("cannot find this program's own file")
        .map_err(Refused::setup)?;
    let lock = lock_folder(&args.out).map_err(Refused::setup)?;
    let progress = Progress::new(args.verbose);
    let choice = accel::choose(args.accel, &own, &qemu, &index.bzimage);
    progress.remark(&choice.line());
    Ok(Ready {
        common: Common {
            own,
            qemu,
            accel: choice.accel,
            out: args.out.clone(),
            index,
            splats,
            boot_limit: Duration::from_secs(args.boot_limit.into()),
            scale: args.limits,
            keep_disks: args.keep_disks,
            interrupt,
        },
        scenarios,
        progress,
        _lock: lock,
    })
}

/// Makes the results' folder and locks it.
fn lock_folder(out: &Path) -> anyhow::Result<File> {
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

fn run(args: &RunArgs) -> Result<i32, Refused> {
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

fn run_mutants(args: &RunArgs) -> Result<i32, Refused> {
    let ready = make_ready(args)?;
    let pairs = mutants::plan(
        &ready.scenarios,
        &ready.common.index,
        args.filter.as_deref(),
    )
    .map_err(Refused::input)?;
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
            (false, true) => 0,
            (false, false) => EXIT_FAILED,
        },
    )
}

/// Carries runs out and prints the line that `each` makes of a result.
fn carry_out(
    args: &RunArgs,
    ready: &Ready,
    runs: &[Planned<'_>],
    mut each: impl FnMut(RunResult) -> anyhow::Result<String>,
) -> Result<(), Refused> {
    let jobs = args.jobs.map_or_else(schedule::default_jobs, usize::from);
    schedule::carry_out(&ready.common, runs, jobs, &ready.progress, |result| {
        each(result).map(|line| ready.progress.line(&line))
    })
    .map_err(Refused::setup)
}
