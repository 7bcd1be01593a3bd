// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest lint`.

use std::path::Path;
use std::path::PathBuf;

use clap::Args;

use super::Refused;
use super::exit;
use crate::artifacts::Index;
use crate::lint;
use crate::scenario::Diagnosis;
use crate::scenario::LoadError;
use crate::scenario::shown;

/// What `lint` takes.
#[derive(Debug, Args)]
pub(super) struct LintArgs {
    /// Scenario files, pieces, or folders of them (with their folder `pieces`)
    #[arg(value_name = "FILE|DIR", default_value = "vmtests/scenarios")]
    paths: Vec<PathBuf>,
    /// Check the images too, against this artifact index
    #[arg(long, value_name = "FILE")]
    artifacts: Option<PathBuf>,
}

/// Checks scenarios and pieces; the exit code.
pub(super) fn run(args: &LintArgs) -> Result<i32, Refused> {
    let index = args.artifacts.as_deref().map(Index::load).transpose();
    let index = index.map_err(Refused::setup)?;
    let mut files = Vec::new();
    for path in &args.paths {
        let found = lint::files(path).map_err(|wrong| Refused::input(LoadError(vec![*wrong])))?;
        if found.is_empty() {
            return Err(nothing(path));
        }
        files.extend(found);
    }
    let report = lint::check(&files, index.as_ref());
    if !report.wrong.is_empty() {
        eprintln!("{}", shown(&report.wrong).trim_end());
    }
    for skipped in &report.skipped {
        println!("{skipped}");
    }
    println!("{}", report.summary());
    Ok(match report.wrong.is_empty() {
        true => exit::WELL,
        false => exit::INPUT,
    })
}

fn nothing(path: &Path) -> Refused {
    let wrong = Diagnosis::whole_file(path, "no *.yaml file is in this folder");
    Refused::input(LoadError(vec![wrong]))
}
