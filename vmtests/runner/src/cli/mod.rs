// SPDX-License-Identifier: GPL-2.0-or-later
//! The command line: a file for each verb.

use std::ffi::OsString;

use clap::Parser;
use clap::Subcommand;

use crate::exec;
use crate::scenario::LoadError;
use crate::share;

mod args;
mod bench;
mod bench_module;
mod doctor;
mod exit;
mod explain;
mod lint;
mod matrix;
mod merge;
mod mutants;
mod ready;
mod replay;
mod report;
mod run;
mod schema;
mod shell;

use args::RunArgs;

#[derive(Debug, Parser)]
#[command(
    name = "vmtest",
    version,
    about = "Boots kernels under QEMU and runs YAML scenarios in them",
    after_help = exit::help()
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
    /// Open a shell in the guest of a scenario, at a step or where it fails
    Shell(shell::ShellArgs),
    /// Repeat a run exactly, and say whether it ended the same way
    Replay(replay::ReplayArgs),
    /// Measure what a run costs by itself
    Bench(bench::BenchArgs),
    /// Measure what operations cost on both modules, in instructions, side by side
    BenchModule(bench_module::BenchModuleArgs),
    /// Say what this machine can do, and what to do about the rest
    Doctor(doctor::DoctorArgs),
    /// Make the reports anew from what a run left, also one that was killed
    Report(report::ReportArgs),
    /// Join the results of several runs, such as shards, into one report
    Merge(merge::MergeArgs),
    /// Print the jobs that together run everything, for a CI system
    Matrix(matrix::MatrixArgs),
    /// Check scenarios and pieces without running anything
    Lint(lint::LintArgs),
    /// Print a JSON Schema, or the reference of the language
    Schema(schema::SchemaArgs),
    /// Say in words what a scenario would do, and for whom
    Explain(explain::ExplainArgs),
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

/// Why nothing was run, with its exit code.
struct Refused {
    code: i32,
    error: anyhow::Error,
}

impl Refused {
    fn input(error: impl Into<anyhow::Error>) -> Self {
        Refused {
            code: exit::INPUT,
            error: error.into(),
        }
    }

    fn setup(error: impl Into<anyhow::Error>) -> Self {
        Refused {
            code: exit::SETUP,
            error: error.into(),
        }
    }
}

/// The command line. `cargo make TASK -- OPTIONS` hands the `--` on; no option of the verbs that
/// people type can be a bare one, so that there it says nothing.
fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    const TYPED: [&str; 9] = [
        "bench",
        "bench-module",
        "run",
        "mutants",
        "shell",
        "replay",
        "doctor",
        "lint",
        "explain",
    ];
    let typed = |verb: &OsString| TYPED.iter().any(|known| verb == known);
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
            return exit::SETUP;
        }
        Verb::Share { parent, arguments } => share::parse_arguments(&arguments)
            .and_then(|(dir, read_only)| share::serve(parent, &dir, read_only))
            .map(|()| 0)
            .map_err(Refused::setup),
        Verb::Run(args) => run::run(&args),
        Verb::Mutants(args) => mutants::run(&args),
        Verb::Shell(args) => shell::run(&args),
        Verb::Replay(args) => replay::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::BenchModule(args) => bench_module::run(&args),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Report(args) => report::run(&args),
        Verb::Merge(args) => merge::run(&args),
        Verb::Matrix(args) => matrix::run(&args),
        Verb::Lint(args) => lint::run(&args),
        Verb::Schema(args) => schema::run(&args),
        Verb::Explain(args) => explain::run(&args),
    };
    match done {
        Ok(code) => code,
        Err(refused) => {
            match refused.error.downcast_ref::<LoadError>() {
                Some(wrong) => eprintln!("{wrong}"),
                None => eprintln!("vmtest: {:#}", refused.error),
            }
            refused.code
        }
    }
}
