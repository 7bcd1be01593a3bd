// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest bench`: what a run costs by itself on this machine.
//!
//! `runner.json` holds the rows and nothing else: `{"schema": 1, "rows": [{"what", "seconds"}]}`.

use std::path::Path;

use anyhow::Context;
use anyhow::bail;
use anyhow::ensure;
use serde::Serialize;

use crate::results;
use crate::results::Outcome;
use crate::results::RunResult;

pub mod module;
pub mod picture;

/// Layout of the file.
const SCHEMA: u32 = 1;

/// One thing that was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What it is.
    pub what: String,
    /// How long it took.
    pub seconds: f64,
}

/// All of them.
#[derive(Debug, Serialize)]
pub struct Table {
    schema: u32,
    rows: Vec<Row>,
}

impl Default for Table {
    fn default() -> Self {
        Table {
            schema: SCHEMA,
            rows: Vec::new(),
        }
    }
}

impl Table {
    /// Adds a row; the line to print for it.
    pub fn add(&mut self, what: &str, seconds: f64) -> String {
        self.rows.push(Row {
            what: what.to_owned(),
            // Nobody measures microseconds with a virtual machine.
            seconds: (seconds * 1000.0).round() / 1000.0,
        });
        format!("{what:<32} {seconds:8.3} s")
    }

    /// Writes the file, making its folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        write_json(self, file)
    }
}

/// Writes a table as JSON, making its folder.
fn write_json(table: &impl Serialize, file: &Path) -> anyhow::Result<()> {
    if let Some(dir) = file.parent().filter(|dir| *dir != Path::new("")) {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let text = serde_json::to_string_pretty(table).context("the table as JSON")? + "\n";
    results::replace(file, text.as_bytes())
}

/// A run's time to its first step. Only a run that passed, and was started from where it should
/// be, says anything.
///
/// # Errors
/// What the run did instead.
pub fn to_first_step(run: &RunResult, started_from: &str) -> anyhow::Result<f64> {
    ensure!(
        run.outcome == Outcome::Passed,
        "{}: {}: {}",
        run.name(),
        run.outcome.word(),
        run.reason
    );
    ensure!(
        run.started_from == started_from,
        "{}: it was started from `{}`, to be measured was `{started_from}`{}",
        run.name(),
        run.started_from,
        run.notes
            .iter()
            .map(|note| format!("; {note}"))
            .collect::<String>()
    );
    match run.seconds_to_first_step {
        Some(seconds) => Ok(seconds),
        None => bail!("{}: it did not reach its first step", run.name()),
    }
}

/// The middle one: one that was disturbed does not count.
///
/// # Errors
/// When there is none.
pub fn median(mut values: Vec<f64>) -> anyhow::Result<f64> {
    values.sort_by(f64::total_cmp);
    values
        .get(values.len() / 2)
        .copied()
        .context("nothing was measured")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_rows_of_what_and_seconds_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bench/runner.json");
        let mut table = Table::default();
        assert_eq!(
            table.add("cold start to first step", 1.23456),
            "cold start to first step            1.235 s"
        );
        table.write(&file).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let rows = serde_json::json!([{"what": "cold start to first step", "seconds": 1.235}]);
        assert_eq!(value, serde_json::json!({"schema": 1, "rows": rows}));
    }

    #[test]
    fn the_median_leaves_out_what_was_disturbed() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]).unwrap(), 2.0);
        assert!(median(Vec::new()).is_err());
    }

    #[test]
    fn a_run_that_failed_or_began_elsewhere_measures_nothing() {
        let run = results::example("small", Outcome::Passed, "");
        assert_eq!(to_first_step(&run, "cold").unwrap(), 2.0);
        assert!(to_first_step(&run, "snapshot").is_err());
        let failed = results::example("small", Outcome::Failed, "why");
        let error = to_first_step(&failed, "cold").unwrap_err().to_string();
        assert!(error.contains("failed: why"), "{error}");
    }
}
