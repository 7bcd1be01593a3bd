// SPDX-License-Identifier: GPL-2.0-or-later
//! `junit.xml`, which every CI system can show.

use std::time::Duration;

use quick_junit::NonSuccessKind;
use quick_junit::Property;
use quick_junit::Report;
use quick_junit::TestCase;
use quick_junit::TestCaseStatus;
use quick_junit::TestSuite;

use super::Outcome;
use super::RunResult;

/// Characters of a reason that are written: readers of JUnit files load them whole.
const MAX_REASON: usize = 16 << 10;

/// The same for its first line.
const MAX_MESSAGE: usize = 1 << 10;

/// The report of all runs: a suite for each kernel.
pub fn report(runs: &[RunResult]) -> Report {
    let mut suites: Vec<TestSuite> = Vec::new();
    for run in runs {
        let name = format!("vmtest {}", run.label());
        let at = suites.iter().position(|suite| suite.name.as_str() == name);
        let at = at.unwrap_or_else(|| {
            suites.push(TestSuite::new(name.as_str()));
            suites.len() - 1
        });
        if let Some(suite) = suites.get_mut(at) {
            suite.add_test_case(test_case(run));
        }
    }
    let mut report = Report::new("cachefiles-rs");
    report.add_test_suites(suites);
    report
}

fn test_case(run: &RunResult) -> TestCase {
    let mut status = match run.outcome {
        Outcome::Passed => TestCaseStatus::success(),
        Outcome::Xfailed | Outcome::Skipped => TestCaseStatus::skipped(),
        Outcome::Failed | Outcome::Xpassed => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Outcome::Error | Outcome::Killed => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    if run.outcome != Outcome::Passed {
        status.set_message(capped(&run.headline(), MAX_MESSAGE));
        status.set_type(run.outcome.word());
        status.set_description(capped(&run.reason, MAX_REASON));
    }
    let mut case = TestCase::new(run.name(), status);
    case.set_classname(format!("{}.{}", run.label(), run.module));
    case.set_time(Duration::try_from_secs_f64(run.seconds).unwrap_or_default());
    case.properties = properties(run);
    case.set_system_out(steps(run));
    case
}

fn properties(run: &RunResult) -> Vec<Property> {
    let mut all = vec![
        Property::new("outcome", run.outcome.word()),
        Property::new("release", run.release.as_str()),
        Property::new("profile", run.profile.as_str()),
        Property::new("artifacts", run.artifacts.display().to_string()),
    ];
    if !run.file.is_empty() {
        all.push(Property::new("file", run.file.as_str()));
    }
    if let Some(xfail) = &run.xfail {
        all.push(Property::new("xfail.reason", xfail.reason.as_str()));
        all.push(Property::new("xfail.link", xfail.link.as_str()));
    }
    all
}

/// A line for each step.
fn steps(run: &RunResult) -> String {
    let mut text = String::new();
    for step in &run.steps {
        text += &format!(
            "{:>9.3} s  {:<9}  {}\n",
            step.seconds,
            step.outcome.words(),
            step.step
        );
    }
    capped(&text, MAX_REASON)
}

/// At most so many bytes, cut at a character, with a word about the rest.
fn capped(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let cut = (0..=most).rev().find(|at| text.is_char_boundary(*at));
    let cut = cut.unwrap_or(0);
    format!(
        "{}\n({} bytes more in results.json)",
        &text[..cut],
        text.len() - cut
    )
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    fn xml(runs: &[RunResult]) -> String {
        report(runs).to_string().unwrap()
    }

    #[test]
    fn bad_outcomes_are_failures_or_errors_and_expected_ones_are_skipped() {
        let runs = Outcome::ALL.map(|outcome| example(outcome.word(), outcome, "why"));
        let text = xml(&runs);
        assert!(
            text.contains("tests=\"7\" failures=\"2\" errors=\"2\""),
            "{text}"
        );
        assert_eq!(text.matches("<skipped").count(), 2, "{text}");
    }

    #[test]
    fn a_huge_reason_and_control_characters_make_no_broken_file() {
        let reason = format!("<b>\u{1b}[31m\u{0}&]]>{}", "é".repeat(1 << 20));
        let text = xml(&[example("a", Outcome::Failed, &reason)]);
        assert!(!text.contains('\u{0}') && !text.contains('\u{1b}'));
        assert!(text.contains("bytes more in results.json"));
        assert!(text.len() < 200 << 10, "{}", text.len());
    }
}
