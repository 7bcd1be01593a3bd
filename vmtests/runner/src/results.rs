// SPDX-License-Identifier: GPL-2.0-or-later
//! What a run leaves: `results.json`, rewritten after every run so that it survives a kill, and
//! `junit.xml`.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use quick_junit::NonSuccessKind;
use quick_junit::Report;
use quick_junit::TestCase;
use quick_junit::TestCaseStatus;
use quick_junit::TestSuite;
use serde::Serialize;
use vmtest_protocol::message::Measurement;
use vmtest_protocol::message::Requests;

/// Layout of results.json.
const SCHEMA: u32 = 1;

/// Lines of a reason that are printed.
const SHOWN_LINES: usize = 40;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All that was expected was seen, and the run reached its subject.
    Passed,
    /// It failed as a known failure of the C module does.
    Xfailed,
    /// It was not run; the reason says why.
    Skipped,
    /// The subject did not do what was expected.
    Failed,
    /// Nothing can be said about the subject: the set-up failed or the subject was not reached.
    Error,
}

impl Outcome {
    /// The word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Xfailed => "xfailed",
            Outcome::Skipped => "skipped",
            Outcome::Failed => "failed",
            Outcome::Error => "error",
        }
    }

    /// Whether it makes the whole invocation fail.
    pub fn is_bad(self) -> bool {
        matches!(self, Outcome::Failed | Outcome::Error)
    }
}

/// One step of a run.
#[derive(Debug, Clone, Serialize)]
pub struct StepResult {
    /// Its name or its action.
    pub step: String,
    /// How it ended: `passed`, or what went wrong.
    pub outcome: String,
    /// Duration in the guest, in seconds.
    pub seconds: f64,
}

/// One run.
#[derive(Debug, Clone, Serialize)]
pub struct RunResult {
    /// The scenario's name.
    pub scenario: String,
    /// Name of the kernel's configuration.
    pub kernel: String,
    /// `rust` or `c`.
    pub module: String,
    /// Build profile.
    pub profile: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Wall time in seconds, from the start of its preparation.
    pub seconds: f64,
    /// Why it is not `passed`; empty otherwise.
    pub reason: String,
    /// The run's folder, relative to results.json.
    pub artifacts: PathBuf,
    /// Release of the kernel that ran.
    pub release: String,
    /// Seconds from QEMU's start to the first step; absent when it was not reached.
    pub seconds_to_first_step: Option<f64>,
    /// Modules that were loaded at the end.
    pub modules: Vec<String>,
    /// Requests that the kernel handed out.
    pub requests: Requests,
    /// What the steps measured.
    pub measurements: Vec<Measurement>,
    /// The steps, as far as they were carried out.
    pub steps: Vec<StepResult>,
    /// Remarks that change nothing about the outcome.
    pub notes: Vec<String>,
}

impl RunResult {
    /// The line that is printed when the run ends, with its reason below it.
    pub fn lines(&self) -> String {
        let head = format!(
            "{:<24} {:<6} {:<5} {:<8} {:7.1} s",
            self.scenario,
            self.kernel,
            self.module,
            self.outcome.word(),
            self.seconds
        );
        match self.reason.is_empty() {
            true => head,
            false => format!("{head}\n{}", self.shown_reason()),
        }
    }

    fn shown_reason(&self) -> String {
        let all = self.reason.lines().count();
        let mut lines: Vec<String> = self
            .reason
            .lines()
            .take(SHOWN_LINES)
            .map(|line| format!("    {line}"))
            .collect();
        if all > SHOWN_LINES {
            let left = all - SHOWN_LINES;
            lines.push(format!("    ({left} lines more in results.json)"));
        }
        lines.join("\n")
    }
}

/// All runs of an invocation.
#[derive(Debug, Serialize)]
pub struct Results {
    schema: u32,
    /// In the order in which they ended.
    pub runs: Vec<RunResult>,
    #[serde(skip)]
    out: PathBuf,
}

impl Results {
    /// Nothing yet; files go to `out`. Reports of an earlier invocation are taken away, so that
    /// they cannot be mistaken for this one's.
    pub fn begin(out: &Path) -> anyhow::Result<Self> {
        let results = Results {
            schema: SCHEMA,
            runs: Vec::new(),
            out: out.to_owned(),
        };
        results.write()?;
        Ok(results)
    }

    /// Adds a run and writes both files.
    pub fn add(&mut self, run: RunResult) -> anyhow::Result<()> {
        self.runs.push(run);
        self.write()
    }

    fn write(&self) -> anyhow::Result<()> {
        let mut json = serde_json::to_string_pretty(self).context("results as JSON")?;
        json.push('\n');
        replace(&self.out.join("results.json"), json.as_bytes())?;
        let junit = self.junit().to_string().context("results as JUnit XML")?;
        replace(&self.out.join("junit.xml"), junit.as_bytes())
    }

    fn count(&self, outcomes: &[Outcome]) -> usize {
        let counted = |run: &&RunResult| outcomes.contains(&run.outcome);
        self.runs.iter().filter(counted).count()
    }

    /// Whether all is well.
    pub fn good(&self) -> bool {
        !self.runs.iter().any(|run| run.outcome.is_bad())
    }

    /// The last line: `N passed, N failed`, and what was skipped or failed as expected.
    pub fn summary(&self) -> String {
        let mut line = format!(
            "{} passed, {} failed",
            self.count(&[Outcome::Passed]),
            self.count(&[Outcome::Failed, Outcome::Error])
        );
        for outcome in [Outcome::Xfailed, Outcome::Skipped] {
            match self.count(&[outcome]) {
                0 => {}
                count => line += &format!(", {count} {}", outcome.word()),
            }
        }
        line
    }

    fn junit(&self) -> Report {
        let mut suite = TestSuite::new("vmtest");
        for run in &self.runs {
            suite.add_test_case(test_case(run));
        }
        let mut report = Report::new("cachefiles-rs");
        report.add_test_suite(suite);
        report
    }
}

fn test_case(run: &RunResult) -> TestCase {
    let first_line = run.reason.lines().next().unwrap_or_default();
    let mut status = match run.outcome {
        Outcome::Passed => TestCaseStatus::success(),
        Outcome::Xfailed | Outcome::Skipped => TestCaseStatus::skipped(),
        Outcome::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Outcome::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    if run.outcome != Outcome::Passed {
        status.set_message(first_line);
        status.set_description(run.reason.as_str());
    }
    let mut case = TestCase::new(run.scenario.as_str(), status);
    case.set_classname(format!("{}.{}", run.kernel, run.module));
    case.set_time(Duration::from_secs_f64(run.seconds.max(0.0)));
    case
}

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

/// A run for tests.
#[cfg(test)]
pub(crate) fn example(scenario: &str, outcome: Outcome, reason: &str) -> RunResult {
    RunResult {
        scenario: scenario.to_owned(),
        kernel: "6.12".to_owned(),
        module: "c".to_owned(),
        profile: "release".to_owned(),
        outcome,
        seconds: 1.25,
        reason: reason.to_owned(),
        artifacts: PathBuf::from("runs/a-6.12-c"),
        release: "6.12.117".to_owned(),
        seconds_to_first_step: Some(2.0),
        modules: vec!["cachefiles".to_owned()],
        requests: Requests::default(),
        measurements: Vec::new(),
        steps: Vec::new(),
        notes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::example as run;
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
    fn the_last_line_counts_errors_as_failed_and_names_what_was_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let mut results = Results::begin(dir.path()).unwrap();
        results.add(run("a", Outcome::Passed, "")).unwrap();
        assert_eq!(results.summary(), "1 passed, 0 failed");
        assert!(results.good());
        results.add(run("b", Outcome::Failed, "x")).unwrap();
        results.add(run("c", Outcome::Error, "x")).unwrap();
        results.add(run("d", Outcome::Skipped, "x")).unwrap();
        assert_eq!(results.summary(), "1 passed, 2 failed, 1 skipped");
        assert!(!results.good());
    }

    #[test]
    fn a_run_is_one_line_with_its_reason_below() {
        let text = run("a", Outcome::Failed, "one\ntwo").lines();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        for part in ["a ", "6.12", " c ", "failed", "1.2 s"] {
            assert!(lines[0].contains(part), "{part}: {}", lines[0]);
        }
        assert_eq!(lines[1], "    one");
    }
}
