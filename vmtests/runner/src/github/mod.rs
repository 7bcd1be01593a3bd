// SPDX-License-Identifier: GPL-2.0-or-later
//! What GitHub Actions shows: annotations beside the lines of scenario files, a summary of the job,
//! and the matrix of jobs.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use anyhow::Context;

use crate::results::Results;

mod annotations;
pub mod jobs;
mod summary;

pub use annotations::annotations;
pub use summary::summary;

/// Prints annotations where GitHub Actions reads them.
pub fn annotate(results: &Results) {
    if std::env::var_os("GITHUB_ACTIONS").is_none_or(|value| value != "true") {
        return;
    }
    let root = std::env::var_os("GITHUB_WORKSPACE");
    let text = annotations(results, root.as_deref().map(Path::new));
    // To standard output, as one piece: lines of others must not come between.
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Appends the summary to the job's page, where GitHub Actions has one.
pub fn summarize(results: &Results) -> anyhow::Result<()> {
    let Some(file) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|file| !file.is_empty()) else {
        return Ok(());
    };
    let file = Path::new(&file);
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .and_then(|mut out| out.write_all(summary(results).as_bytes()))
        .with_context(|| format!("cannot write the job's summary to {}", file.display()))
}
