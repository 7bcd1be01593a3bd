// SPDX-License-Identifier: GPL-2.0-or-later
//! What a run leaves: `results.json`, rewritten after every run so that it survives a kill, and
//! `junit.xml`.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context;

pub mod collect;
mod file;
pub mod invocation;
mod junit;
pub mod markers;
pub mod merge;
mod outcome;
pub mod schema;
mod types;

pub use file::RESULTS;
pub use file::Results;
pub use invocation::Invocation;
pub use outcome::Outcome;
pub use outcome::StepOutcome;
pub use types::RunResult;
pub use types::StepResult;
pub use types::Xfail;

/// Steps inside a step that are listed although they passed.
pub const MAX_INNER: usize = 64;

/// Replaces a file as a whole: a reader or a killed run never sees half of it.
pub fn replace(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let dir = file.parent().unwrap_or(Path::new("."));
    let what = || format!("cannot write {}", file.display());
    let mut temporary = tempfile::NamedTempFile::new_in(dir).with_context(what)?;
    temporary.write_all(bytes).with_context(what)?;
    // A temporary file is for its owner only; reports are for everybody.
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(temporary.path(), readable).with_context(what)?;
    temporary.persist(file).with_context(what)?;
    Ok(())
}

/// A step for tests, which passed or not; the rest is filled in.
#[cfg(test)]
pub(crate) fn example_step(name: &str, outcome: StepOutcome) -> StepResult {
    StepResult {
        step: name.to_owned(),
        action: "mount".to_owned(),
        line: None,
        outcome,
        reason: String::new(),
        start_s: 0.0,
        seconds: 0.0,
        expected: None,
        seen: None,
        steps: Vec::new(),
        unlisted: 0,
    }
}

/// Results for tests.
#[cfg(test)]
pub(crate) fn example_results(runs: Vec<RunResult>) -> Results {
    Results {
        runs,
        ..Results::default()
    }
}

/// A run for tests.
#[cfg(test)]
pub(crate) fn example(scenario: &str, outcome: Outcome, reason: &str) -> RunResult {
    RunResult {
        scenario: scenario.to_owned(),
        name: scenario.to_owned(),
        file: format!("vmtests/scenarios/{scenario}.yaml"),
        about: "Something is shown.".to_owned(),
        rows: vec![1],
        refs: Vec::new(),
        kernel: "6.12".to_owned(),
        module: "c".to_owned(),
        profile: "release".to_owned(),
        outcome,
        seconds: 1.25,
        reason: reason.to_owned(),
        splat: None,
        xfail: None,
        artifacts: format!("runs/{scenario}-6.12-c").into(),
        files: vec!["console.log".to_owned()],
        timeline: None,
        began: "2026-01-01T00:00:00Z".to_owned(),
        accel: "tcg".to_owned(),
        started_from: "cold".to_owned(),
        boots: 1,
        seed: 0,
        params: Default::default(),
        release: "6.12.117".to_owned(),
        seconds_to_first_step: Some(2.0),
        modules: vec!["cachefiles".to_owned()],
        requests: Default::default(),
        measurements: Vec::new(),
        steps: Vec::new(),
        steps_planned: 0,
        blocked: Vec::new(),
        notes: Vec::new(),
    }
}
