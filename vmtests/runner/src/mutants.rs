// SPDX-License-Identifier: GPL-2.0-or-later
//! Seeded bugs: each scenario must turn red on the Rust module that has this scenario's bug.
//!
//! Red means `failed`: an assertion, a time limit or a splat. `error` does not count: a run that
//! did not reach its subject cannot have noticed anything. Nor does red mean anything where the
//! scenario is red without the bug as well: so each scenario runs on the module as it is first, and
//! only where that passes does the bug get its turn.

use std::path::Path;
use std::path::PathBuf;

use anyhow::anyhow;
use anyhow::ensure;
use serde::Serialize;

use crate::artifacts::Index;
use crate::matrix;
use crate::matrix::Module;
use crate::matrix::Planned;
use crate::results;
use crate::results::Outcome;
use crate::results::RunResult;
use crate::scenario::Scenario;

/// The two runs that a mutant takes.
#[derive(Debug)]
pub struct Pair<'a> {
    /// The module as it is.
    pub control: Planned<'a>,
    /// The module with the bug.
    pub mutant: Planned<'a>,
}

/// A pair for each mutant of the index that the filter leaves.
pub fn plan<'a>(
    scenarios: &'a [Scenario],
    index: &'a Index,
    filter: Option<&str>,
) -> anyhow::Result<Vec<Pair<'a>>> {
    let client = matrix::client_of(index);
    let mut pairs = Vec::new();
    for (name, initramfs) in &index.mutants {
        if !filter.is_none_or(|filter| name.contains(filter)) {
            continue;
        }
        let scenario = scenarios.iter().find(|s| s.name == *name).ok_or_else(|| {
            anyhow!(
                "{} has a mutant `{name}`, but no scenario has this name",
                index.file.display()
            )
        })?;
        let planned = |role: &str, initramfs: &Path| Planned {
            scenario,
            module: Module::Rust,
            index,
            client,
            initramfs: initramfs.to_owned(),
            folder: format!("{role}-{name}-{}", index.label()),
            skip: None,
        };
        pairs.push(Pair {
            control: planned("control", &index.initramfs),
            mutant: planned("mutant", initramfs),
        });
    }
    let build = format!(
        "build them with `images build {} --mutant NAME`",
        index.kernel
    );
    ensure!(
        !pairs.is_empty(),
        "{} has no mutants{}: {build}",
        index.file.display(),
        filter
            .map(|filter| format!(" whose name contains `{filter}`"))
            .unwrap_or_default(),
    );
    ensure!(
        index.modules.contains_key(Module::Rust.word()),
        "{} has mutants, but not the Rust module as it is: {build}",
        index.file.display()
    );
    Ok(pairs)
}

/// What came of it; `mutants.json`.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: u32,
    mutants: Vec<Row>,
    #[serde(skip)]
    file: PathBuf,
}

#[derive(Debug, Serialize)]
struct Row {
    mutant: String,
    /// The scenario passes without the bug and fails with it.
    caught: bool,
    control: RunResult,
    /// Absent when the scenario does not pass without the bug.
    run: Option<RunResult>,
}

impl Report {
    /// Nothing yet; goes to `out`.
    pub fn begin(out: &Path) -> anyhow::Result<Self> {
        let report = Report {
            schema: 1,
            mutants: Vec::new(),
            file: out.join("mutants.json"),
        };
        report.write()?;
        Ok(report)
    }

    fn write(&self) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        results::replace(&self.file, text.as_bytes())
    }

    /// Adds the run on the module as it is; the line to print for it.
    pub fn add_control(&mut self, control: RunResult) -> anyhow::Result<String> {
        let head = head(&control);
        let line = match control.outcome {
            Outcome::Passed => format!("{head}  without the bug"),
            _ => format!(
                "{head}  WITHOUT THE BUG: nothing can be shown\n    {}",
                first_line(&control.reason)
            ),
        };
        self.mutants.push(Row {
            mutant: control.scenario.clone(),
            caught: false,
            control,
            run: None,
        });
        self.write()?;
        Ok(line)
    }

    /// Whether the scenario passed on the module as it is.
    pub fn control_passed(&self, scenario: &str) -> bool {
        let mut rows = self.mutants.iter();
        rows.any(|row| row.mutant == scenario && row.control.outcome == Outcome::Passed)
    }

    /// Adds the run with the bug; the line to print for it.
    pub fn add_mutant(&mut self, run: RunResult) -> anyhow::Result<String> {
        let caught = run.outcome == Outcome::Failed;
        let verdict = match caught {
            true => "with the bug: caught",
            false => "WITH THE BUG: NOT CAUGHT",
        };
        let line = format!("{}  {verdict}\n    {}", head(&run), first_line(&run.reason));
        let mut rows = self.mutants.iter_mut();
        if let Some(row) = rows.find(|row| row.mutant == run.scenario) {
            row.caught = caught;
            row.run = Some(run);
        }
        self.write()?;
        Ok(line.trim_end().to_owned())
    }

    /// The last line.
    pub fn summary(&self) -> String {
        let caught = self.mutants.iter().filter(|row| row.caught).count();
        format!("{caught} of {} seeded bugs were caught", self.mutants.len())
    }

    /// Whether every one of `planned` bugs was caught.
    pub fn good(&self, planned: usize) -> bool {
        self.mutants.len() == planned && self.mutants.iter().all(|row| row.caught)
    }
}

fn head(run: &RunResult) -> String {
    format!(
        "{:<24} {:<8} {:7.1} s",
        run.scenario,
        run.outcome.word(),
        run.seconds
    )
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(outcome: Outcome) -> RunResult {
        results::example("enospc", outcome, "why\nmore")
    }

    fn report() -> (tempfile::TempDir, Report) {
        let dir = tempfile::tempdir().unwrap();
        let report = Report::begin(dir.path()).unwrap();
        (dir, report)
    }

    #[test]
    fn a_bug_is_caught_when_the_scenario_passes_without_it_and_fails_with_it() {
        let (dir, mut report) = report();
        report.add_control(run(Outcome::Passed)).unwrap();
        assert!(report.control_passed("enospc"));
        assert!(!report.good(1));
        let line = report.add_mutant(run(Outcome::Failed)).unwrap();
        assert!(line.ends_with("caught\n    why"), "{line}");
        assert!(report.good(1));
        assert!(!report.good(2));
        let text = std::fs::read_to_string(dir.path().join("mutants.json")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["mutants"][0]["caught"], true);
    }

    #[test]
    fn an_error_with_the_bug_catches_nothing() {
        for outcome in [Outcome::Error, Outcome::Passed, Outcome::Skipped] {
            let (_dir, mut report) = report();
            report.add_control(run(Outcome::Passed)).unwrap();
            report.add_mutant(run(outcome)).unwrap();
            assert!(!report.good(1), "{outcome:?}");
        }
    }

    #[test]
    fn a_scenario_that_fails_without_the_bug_shows_nothing() {
        let (_dir, mut report) = report();
        report.add_control(run(Outcome::Failed)).unwrap();
        assert!(!report.control_passed("enospc"));
        assert!(!report.good(1));
        assert_eq!(report.summary(), "0 of 1 seeded bugs were caught");
    }
}
