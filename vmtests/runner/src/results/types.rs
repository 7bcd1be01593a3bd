// SPDX-License-Identifier: GPL-2.0-or-later
//! What is known about a run: one entry of `results.json`.
//!
//! Fields that came later have a default, so that an older file can still be read.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use vmtest_protocol::Step;
use vmtest_protocol::message::BlockedTask;
use vmtest_protocol::message::Measurement;
use vmtest_protocol::message::Requests;
use vmtest_protocol::template::Vars;

use super::outcome::Outcome;
use super::outcome::StepOutcome;
use crate::artifacts;

/// Lines of a reason that are printed.
const SHOWN_LINES: usize = 40;

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepResult {
    /// Its name or its action; inside another step, where it is, such as `repeat[i=3] / mount`.
    pub step: String,
    /// Its action, such as `mount`; empty inside another step.
    #[serde(default)]
    pub action: String,
    /// Its line in the scenario file, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// How it ended.
    pub outcome: StepOutcome,
    /// What went wrong; empty otherwise.
    #[serde(default)]
    pub reason: String,
    /// When it began, in seconds from the start of the run.
    #[serde(default)]
    pub start_s: f64,
    /// Its duration in seconds.
    pub seconds: f64,
    /// What was expected, where the step failed and says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What was seen instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    /// The steps inside it: all that did not pass, and of those that did at most
    /// [`MAX_INNER`](super::MAX_INNER).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepResult>,
    /// How many steps inside it passed and are not listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unlisted: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl StepResult {
    /// A step that passed at once; the rest is filled in.
    pub fn of(step: &Step) -> Self {
        StepResult {
            step: step.title().to_owned(),
            action: step.action.key().to_owned(),
            line: None,
            outcome: StepOutcome::Passed,
            reason: String::new(),
            start_s: 0.0,
            seconds: 0.0,
            expected: None,
            seen: None,
            steps: Vec::new(),
            unlisted: 0,
        }
    }
}

/// A known failure of the C module, as the scenario marks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Xfail {
    /// What is wrong with the module.
    pub reason: String,
    /// Where that can be read.
    #[serde(default)]
    pub link: String,
    /// The step at which it is expected to fail; any without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunResult {
    /// The scenario's name.
    pub scenario: String,
    /// The run's name: the scenario's, with the values of its matrix, such as `a[fs=ext4,n=1]`.
    #[serde(default)]
    pub name: String,
    /// The scenario's file, as the runner was told to find it.
    #[serde(default)]
    pub file: String,
    /// What the scenario shows, in its own words.
    #[serde(default)]
    pub about: String,
    /// Rows of the failure catalogue that it covers.
    #[serde(default)]
    pub rows: Vec<u32>,
    /// What it stands for: CVE numbers, or links.
    #[serde(default)]
    pub refs: Vec<String>,
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
    /// The kind of the kernel's complaint that ended it, by its name in
    /// configs/splats/patterns.yaml; absent where none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub splat: Option<String>,
    /// The known failure that was expected, where one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xfail: Option<Xfail>,
    /// The run's folder, relative to results.json.
    pub artifacts: PathBuf,
    /// The files in it, by their names there.
    #[serde(default)]
    pub files: Vec<String>,
    /// What happened in the run, in order: a file in its folder, absent when it never began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<String>,
    /// When it began, as RFC 3339 in UTC.
    #[serde(default)]
    pub began: String,
    /// How guest instructions were executed: `tcg` or `kvm`.
    #[serde(default)]
    pub accel: String,
    /// `snapshot` or `cold`; empty when no machine was started.
    #[serde(default)]
    pub started_from: String,
    /// How often a machine was started.
    #[serde(default)]
    pub boots: u32,
    /// What all choices by chance came from.
    #[serde(default)]
    pub seed: u64,
    /// The values of the scenario's parameters and of its matrix.
    #[serde(default)]
    pub params: Vars,
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
    /// How many steps the scenario has.
    #[serde(default)]
    pub steps_planned: u32,
    /// Tasks that hung when a step's time was up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<BlockedTask>,
    /// Remarks that change nothing about the outcome.
    pub notes: Vec<String>,
}

impl RunResult {
    /// The run's name, also of results that were written before runs had one.
    pub fn name(&self) -> &str {
        match self.name.is_empty() {
            true => &self.scenario,
            false => &self.name,
        }
    }

    /// How its kernel is called: `6.12`, `6.12-debug`.
    pub fn label(&self) -> String {
        artifacts::label(&self.kernel, &self.profile)
    }

    /// What tells runs apart.
    pub fn key(&self) -> (&str, &str, &str, &str) {
        (self.name(), &self.kernel, &self.profile, &self.module)
    }

    /// The reason in one line: its first one, and the next where the first only announces it.
    pub fn headline(&self) -> String {
        let mut lines = self.reason.lines();
        let first = lines.next().unwrap_or_default();
        match lines.next() {
            Some(next) if first.ends_with(':') => format!("{first} {}", next.trim()),
            _ => first.to_owned(),
        }
    }

    /// The step that did not pass, innermost last.
    pub fn failing(&self) -> Vec<&StepResult> {
        let bad = |step: &&StepResult| step.outcome != StepOutcome::Passed;
        let Some(outer) = self.steps.iter().find(bad) else {
            return Vec::new();
        };
        let mut path = vec![outer];
        // Those inside are listed by their paths: the longest is the innermost.
        let depth = |step: &&StepResult| step.step.matches(" / ").count();
        path.extend(outer.steps.iter().filter(bad).max_by_key(depth));
        path
    }

    /// The line that is printed when the run ends, with its reason below it.
    pub fn lines(&self) -> String {
        let head = format!(
            "{:<24} {:<10} {:<5} {:<8} {:7.1} s",
            self.name(),
            self.label(),
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

#[cfg(test)]
mod tests {
    use super::super::example as run;
    use super::super::example_step;
    use super::*;

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

    #[test]
    fn a_headline_says_what_the_first_line_announces() {
        let headline = |reason: &str| run("a", Outcome::Failed, reason).headline();
        assert_eq!(
            headline("splat (warn) on the console:\n  WARNING: x"),
            "splat (warn) on the console: WARNING: x"
        );
        assert_eq!(headline("a is 1\nmore"), "a is 1");
        assert_eq!(headline(""), "");
    }

    #[test]
    fn the_innermost_step_that_failed_is_found() {
        let mut run = run("a", Outcome::Failed, "x");
        assert!(run.failing().is_empty());
        run.steps = vec![
            example_step("fine", StepOutcome::Passed),
            StepResult {
                steps: vec![
                    example_step("i=0 / mount", StepOutcome::Passed),
                    example_step("i=1 / group / mount", StepOutcome::Failed),
                    example_step("i=1 / group", StepOutcome::Failed),
                ],
                ..example_step("repeat", StepOutcome::Failed)
            },
        ];
        let names: Vec<_> = run.failing().iter().map(|step| &*step.step).collect();
        assert_eq!(names, ["repeat", "i=1 / group / mount"]);
    }

    #[test]
    fn results_from_before_runs_had_names_can_be_read() {
        let old = serde_json::json!({
            "scenario": "a", "kernel": "6.12", "module": "c", "profile": "release",
            "outcome": "passed", "seconds": 1.0, "reason": "", "artifacts": "runs/a-6.12-c",
            "release": "6.12.117", "seconds_to_first_step": null, "modules": [],
            "requests": {"open": 0, "read": 0, "close": 0}, "measurements": [], "steps": [],
            "notes": [],
        });
        let read: RunResult = serde_json::from_value(old).unwrap();
        assert_eq!(read.name(), "a");
    }
}
