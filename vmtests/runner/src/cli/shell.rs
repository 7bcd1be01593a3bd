// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest shell`.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;

use super::Refused;
use super::args::DEFAULT_OUT;
use super::args::RunArgs;
use super::exit;
use super::ready::make_ready;
use crate::interrupt::EXIT_INTERRUPTED;
use crate::matrix;
use crate::matrix::Module;
use crate::matrix::Planned;
use crate::run;
use crate::shell;
use crate::shell::Ended;
use crate::shell::Session;
use crate::shell::Stop;
use crate::shell::gdb;
use crate::shell::gdb::Debugging;

/// What `shell` takes.
#[derive(Debug, Args)]
pub(super) struct ShellArgs {
    /// The scenario: its name, with its matrix values where it has some, or its file
    scenario: String,
    /// Stop before this step (its number or its name); without it behind the last, or at a failure
    #[arg(long, value_name = "STEP")]
    at: Option<String>,
    /// Let a debugger in: prints its command line and waits for it before the first step
    #[arg(long)]
    gdb: bool,
    /// Seconds to wait for the debugger where standard input is no terminal
    #[arg(long, value_name = "SECONDS", default_value = "600", requires = "gdb", value_parser = clap::value_parser!(u32).range(0..=86_400))]
    gdb_wait: u32,
    #[command(flatten)]
    run: RunArgs,
}

/// Opens a shell in the guest of a scenario; the exit code.
pub(super) fn run(args: &ShellArgs) -> Result<i32, Refused> {
    let mut settings = args.run.clone();
    let name = choose_files(&mut settings, &args.scenario);
    if settings.out == Path::new(DEFAULT_OUT) {
        // Results that `run` left stay as they are, and one may go on beside the other.
        settings.out = PathBuf::from("target/vmtest-shell");
    }
    settings.module.get_or_insert(Module::Rust);
    let ready = make_ready(&settings)?;
    let set = ready.only()?;
    let runs = matrix::expand(&set.scenarios, settings.module, &set.index);
    let planned = choose(&runs, &name).map_err(|text| Refused::input(anyhow!(text)))?;
    if let Some(why) = &planned.skip {
        return Err(Refused::setup(anyhow!("{why}")));
    }
    let steps = &planned.scenario.steps;
    let stop = match &args.at {
        Some(at) => shell::find_step(steps, at)
            .map(Stop::Before)
            .map_err(|text| Refused::input(anyhow!(text)))?,
        None => Stop::AtTheEnd,
    };
    let debugging = args.gdb.then(|| {
        let wait = Duration::from_secs(args.gdb_wait.into());
        Debugging::new(&set.index, planned.module, wait)
    });
    let mut common = ready.common.clone();
    if args.gdb {
        common.gdb = Some(0);
        // All limits but that of the boot, which comes before the debugger.
        common.scale *= gdb::PATIENCE;
        common.boot_limit = common.boot_limit.div_f64(gdb::PATIENCE);
    }
    let mut session = Session::new(stop, steps.len(), debugging);
    let stage = |text: &str| eprintln!("vmtest: {text}");
    let result = run::run_with(&common, planned, &stage, Vec::new(), &mut session);
    eprintln!(
        "vmtest: what the run left is in {}",
        settings.out.join(&result.artifacts).display()
    );
    if ready.common.interrupt.asked() {
        return Ok(EXIT_INTERRUPTED);
    }
    Ok(match session.ended {
        Ended::Well => 0,
        Ended::Badly(how) => {
            eprintln!("vmtest: {how}");
            exit::FAILED
        }
        Ended::Never => {
            eprintln!("vmtest: no shell: {}", result.reason);
            exit::SETUP
        }
    })
}

/// A file names its folder and itself; everything else is a name. Only the one scenario is read.
fn choose_files(settings: &mut RunArgs, scenario: &str) -> String {
    let file = Path::new(scenario);
    let name = match file.extension() {
        Some(extension) if extension == "yaml" => {
            let folder = file.parent().filter(|folder| *folder != Path::new(""));
            settings.scenarios = folder.map_or(PathBuf::from("."), Path::to_owned);
            file.file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        }
        _ => scenario.to_owned(),
    };
    let stem = name.split('[').next().unwrap_or(&name);
    settings.filter = Some(stem.to_owned());
    name
}

/// The run that is meant.
fn choose<'a, 'b>(runs: &'a [Planned<'b>], name: &str) -> Result<&'a Planned<'b>, String> {
    // A whole name is one case of a matrix; the scenario's alone is all of them.
    let mut meant = runs
        .iter()
        .filter(|run| run.scenario.title() == name || run.scenario.name == name);
    let all = || {
        let names: Vec<String> = runs.iter().map(|run| run.scenario.title()).collect();
        names.join(", ")
    };
    match (meant.next(), meant.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(format!(
            "no scenario is called `{name}`; near it are: {}",
            all()
        )),
        (Some(_), Some(_)) => Err(format!("`{name}` is several runs; take one of: {}", all())),
    }
}
