// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest report`.

use std::path::PathBuf;

use clap::Args;

use super::Refused;
use super::exit;
use super::ready::lock_folder;
use crate::report;
use crate::results::collect;

/// What `report` takes.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Folder that `vmtest run --out` wrote
    #[arg(value_name = "DIR", default_value = "target/vmtest")]
    dir: PathBuf,
}

/// Makes the reports anew from what is on the disk; the exit code says what they say.
pub(super) fn run(args: &ReportArgs) -> Result<i32, Refused> {
    // Before anything is made in a folder that may be the wrong one.
    collect::collect(&args.dir).map_err(Refused::input)?;
    let lock = lock_folder(&args.dir);
    let found = collect::collect(&args.dir).map_err(Refused::input)?;
    for run in &found.killed {
        println!("{}", run.lines());
    }
    if lock.is_ok() {
        found.results.write().map_err(Refused::setup)?;
    }
    report::write(&args.dir, &found.results).map_err(Refused::setup)?;
    if !found.under_way.is_empty() {
        println!("still under way: {}", found.under_way.join(", "));
    }
    if lock.is_err() {
        println!("another vmtest writes its results there: only the report was made anew");
    }
    println!("report: {}", args.dir.join(report::FILE).display());
    println!("{}", found.results.summary());
    Ok(exit::of(&found.results, false))
}
