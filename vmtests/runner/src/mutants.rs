// SPDX-License-Identifier: GPL-2.0-or-later
//! Seeded bugs: each scenario must turn red on the Rust module that has this scenario's bug.
//!
//! Red means `failed`: an assertion, a time limit or a splat. `error` does not count: a run that
//! did not reach its subject cannot have noticed anything.

use std::path::Path;
use std::path::PathBuf;

use anyhow::anyhow;
use anyhow::ensure;
use serde::Serialize;

use crate::artifacts::Index;
use crate::matrix::Module;
use crate::matrix::Planned;
use crate::results;
use crate::results::Outcome;
use crate::results::RunResult;
use crate::scenario::Scenario;

/// One run for each mutant of the index that the filter leaves.
pub fn plan<'a>(
    scenarios: &'a [Scenario],
    index: &Index,
    filter: Option<&str>,
) -> anyhow::Result<Vec<Planned<'a>>> {
    let mut runs = Vec::new();
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
        runs.push(Planned {
            scenario,
            module: Module::Rust,
            initramfs: initramfs.clone(),
            folder: format!("mutant-{name}-{}", index.kernel),
            skip: None,
        });
    }
    ensure!(
        !runs.is_empty(),
        "{} has no mutants{}: build them with `images build {} --mutant NAME`",
        index.file.display(),
        filter
            .map(|filter| format!(" whose name contains `{filter}`"))
            .unwrap_or_default(),
        index.kernel
    );
    Ok(runs)
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
    red: bool,
    #[serde(flatten)]
    run: RunResult,
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

    /// Adds a run; the line to print for it.
    pub fn add(&mut self, run: RunResult) -> anyhow::Result<String> {
        let red = run.outcome == Outcome::Failed;
        let verdict = match red {
            true => "red, as it must be",
            false => "NOT RED",
        };
        let reason = run.reason.lines().next().unwrap_or_default();
        let line = format!(
            "{:<24} {:<8} {:7.1} s  {verdict}\n    {reason}",
            run.scenario,
            run.outcome.word(),
            run.seconds
        );
        self.mutants.push(Row {
            mutant: run.scenario.clone(),
            red,
            run,
        });
        self.write()?;
        Ok(line.trim_end().to_owned())
    }

    /// The last line.
    pub fn summary(&self) -> String {
        let red = self.mutants.iter().filter(|row| row.red).count();
        format!("{red} of {} seeded bugs were caught", self.mutants.len())
    }

    /// Whether every one of `planned` mutants turned its scenario red.
    pub fn good(&self, planned: usize) -> bool {
        self.mutants.len() == planned && self.mutants.iter().all(|row| row.red)
    }
}
