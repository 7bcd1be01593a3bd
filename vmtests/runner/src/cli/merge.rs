// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest merge`.

use std::path::PathBuf;

use clap::Args;

use super::Refused;
use super::exit;
use super::ready::lock_folder;
use crate::github;
use crate::report;
use crate::results::merge;

/// What `merge` takes.
#[derive(Debug, Args)]
pub(super) struct MergeArgs {
    /// Folder for the joined results
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Folders that `vmtest run --out` wrote, such as those of the shards
    #[arg(value_name = "DIR", required = true)]
    dirs: Vec<PathBuf>,
}

/// Joins results; the exit code says what they say.
pub(super) fn run(args: &MergeArgs) -> Result<i32, Refused> {
    let _lock = lock_folder(&args.out).map_err(Refused::setup)?;
    let results = merge::merge(&args.out, &args.dirs).map_err(Refused::input)?;
    report::write(&args.out, &results).map_err(Refused::setup)?;
    github::annotate(&results);
    github::summarize(&results).map_err(Refused::setup)?;
    for warning in &results.warnings {
        eprintln!("warning: {warning}");
    }
    println!("report: {}", args.out.join(report::FILE).display());
    println!("{}", results.summary());
    Ok(exit::of(&results, false))
}
