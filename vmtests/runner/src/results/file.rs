// SPDX-License-Identifier: GPL-2.0-or-later
//! The files `results.json` and `junit.xml`.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::ensure;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use super::Invocation;
use super::Outcome;
use super::RunResult;
use super::junit;
use super::replace;
use crate::schedule::shard::Part;

/// Layout of results.json.
const SCHEMA: u32 = 1;
/// Name of the file.
pub const RESULTS: &str = "results.json";

/// All runs of an invocation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Results {
    /// Layout of this file; this is layout 1.
    pub schema: u32,
    /// Who wrote it; several where the results of several were joined.
    #[serde(default)]
    pub invocations: Vec<Invocation>,
    /// Which parts of all runs these are; none where all runs were done in one place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// The folders whose results were joined here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged_from: Vec<String>,
    /// How long it took from the start to the end, once the end is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// What makes the results as a whole doubtful, such as a shard that is missing. All is not
    /// well while there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// In the order in which they ended.
    pub runs: Vec<RunResult>,
    /// Where its files go.
    #[serde(skip)]
    pub out: PathBuf,
}

impl Results {
    /// Nothing yet; files go to `out`. Reports of an earlier invocation are taken away, so that
    /// they cannot be mistaken for this one's.
    pub fn begin(out: &Path) -> anyhow::Result<Self> {
        let results = Results {
            schema: SCHEMA,
            invocations: vec![Invocation::current().clone()],
            out: out.to_owned(),
            ..Results::default()
        };
        results.write()?;
        Ok(results)
    }

    /// Reads what an invocation left in `out`.
    pub fn read(out: &Path) -> anyhow::Result<Self> {
        let file = out.join(RESULTS);
        let text = fs::read_to_string(&file).with_context(|| {
            format!(
                "cannot read {}: name the folder that `vmtest run --out` wrote",
                file.display()
            )
        })?;
        let mut results: Results = serde_json::from_str(&text)
            .with_context(|| format!("{}: not the results of vmtest", file.display()))?;
        ensure!(
            results.schema == SCHEMA,
            "{}: schema {}, this program reads schema {SCHEMA}: use the vmtest that wrote it",
            file.display(),
            results.schema
        );
        results.out = out.to_owned();
        Ok(results)
    }

    /// Adds a run and writes both files.
    pub fn add(&mut self, run: RunResult) -> anyhow::Result<()> {
        self.runs.push(run);
        self.write()
    }

    /// Writes both files.
    pub fn write(&self) -> anyhow::Result<()> {
        let mut json = serde_json::to_string_pretty(self).context("results as JSON")?;
        json.push('\n');
        replace(&self.out.join(RESULTS), json.as_bytes())?;
        let junit = junit::report(&self.runs)
            .to_string()
            .context("results as JUnit XML")?;
        replace(&self.out.join("junit.xml"), junit.as_bytes())
    }

    fn count(&self, outcomes: &[Outcome]) -> usize {
        let counted = |run: &&RunResult| outcomes.contains(&run.outcome);
        self.runs.iter().filter(counted).count()
    }

    /// Whether all is well.
    pub fn good(&self) -> bool {
        self.warnings.is_empty() && !self.runs.iter().any(|run| run.outcome.is_bad())
    }

    /// The last line: `N passed, N failed`, and what was skipped or failed as expected. Whatever is
    /// bad counts as failed.
    pub fn summary(&self) -> String {
        let bad = Outcome::ALL.map(|outcome| outcome.is_bad().then_some(outcome));
        let bad: Vec<Outcome> = bad.into_iter().flatten().collect();
        let mut line = format!(
            "{} passed, {} failed",
            self.count(&[Outcome::Passed]),
            self.count(&bad)
        );
        for outcome in [Outcome::Xfailed, Outcome::Skipped] {
            match self.count(&[outcome]) {
                0 => {}
                count => line += &format!(", {count} {}", outcome.word()),
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::super::example as run;
    use super::*;

    #[test]
    fn the_results_file_has_the_promised_keys_after_every_run() {
        let dir = tempfile::tempdir().unwrap();
        let read = || -> serde_json::Value {
            let text = fs::read_to_string(dir.path().join("results.json")).unwrap();
            serde_json::from_str(&text).unwrap()
        };
        let mut results = Results::begin(dir.path()).unwrap();
        assert_eq!(read()["runs"].as_array().unwrap().len(), 0);
        results
            .add(run("a", Outcome::Failed, "first\nsecond"))
            .unwrap();
        let value = read();
        assert_eq!(value["schema"], 1);
        let written = &value["runs"][0];
        for key in [
            "scenario",
            "name",
            "kernel",
            "module",
            "profile",
            "outcome",
            "seconds",
            "reason",
            "artifacts",
        ] {
            assert!(!written[key].is_null(), "{key}");
        }
        assert_eq!(written["outcome"], "failed");
        let junit = fs::read_to_string(dir.path().join("junit.xml")).unwrap();
        assert!(junit.contains("failures=\"1\""), "{junit}");
    }

    #[test]
    fn what_was_written_is_read_back_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let mut results = Results::begin(dir.path()).unwrap();
        for outcome in Outcome::ALL {
            results.add(run(outcome.word(), outcome, "x\ny")).unwrap();
        }
        assert_eq!(Results::read(dir.path()).unwrap(), results);
    }

    #[test]
    fn another_layout_and_another_file_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let wrong = |text: &str| {
            fs::write(dir.path().join(RESULTS), text).unwrap();
            format!("{:#}", Results::read(dir.path()).unwrap_err())
        };
        assert!(wrong("{\"schema\":2,\"runs\":[]}").contains("schema 2"));
        assert!(wrong("[]").contains("not the results of vmtest"));
        let none = Results::read(&dir.path().join("none")).unwrap_err();
        assert!(format!("{none:#}").contains("--out"));
    }

    #[test]
    fn the_last_line_counts_what_is_bad_as_failed_and_names_what_was_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let mut results = Results::begin(dir.path()).unwrap();
        results.add(run("a", Outcome::Passed, "")).unwrap();
        assert_eq!(results.summary(), "1 passed, 0 failed");
        assert!(results.good());
        results.add(run("b", Outcome::Failed, "x")).unwrap();
        results.add(run("c", Outcome::Error, "x")).unwrap();
        results.add(run("d", Outcome::Skipped, "x")).unwrap();
        results.add(run("e", Outcome::Xpassed, "x")).unwrap();
        results.add(run("f", Outcome::Killed, "x")).unwrap();
        assert_eq!(results.summary(), "1 passed, 4 failed, 1 skipped");
        assert!(!results.good());
    }
}
