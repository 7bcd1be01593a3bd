// SPDX-License-Identifier: GPL-2.0-or-later
//! Workflow commands: `::error file=...,line=...,title=...::text`.

use std::path::Path;

use crate::results::Results;
use crate::results::RunResult;
use crate::timeline::clean;

/// More annotations than this are not shown by GitHub anyway.
const MOST: usize = 50;
/// Lines of a reason in an annotation.
const REASON_LINES: usize = 12;

/// An annotation for each bad run and for each doubt about the results, a line each. Paths below
/// `root` are written as relative ones.
pub fn annotations(results: &Results, root: Option<&Path>) -> String {
    let mut text = String::new();
    for warning in &results.warnings {
        text += &format!("::error title=vmtest::{}\n", data(warning));
    }
    let bad = results.runs.iter().filter(|run| run.outcome.is_bad());
    let total = bad.clone().count();
    for run in bad.take(MOST) {
        text += &annotation(run, root);
    }
    if total > MOST {
        let left = total - MOST;
        text += &format!("::error title=vmtest::{left} bad runs more; see report.html\n");
    }
    text
}

fn annotation(run: &RunResult, root: Option<&Path>) -> String {
    let mut properties = Vec::new();
    if !run.file.is_empty() {
        let file = Path::new(&run.file);
        let file = root
            .and_then(|root| file.strip_prefix(root).ok())
            .unwrap_or(file);
        properties.push(format!("file={}", property(&file.display().to_string())));
        if let Some(line) = run.failing().first().and_then(|step| step.line) {
            properties.push(format!("line={line}"));
        }
    }
    let title = format!(
        "{} {} on {} ({})",
        run.name(),
        run.outcome.word(),
        run.module,
        run.label()
    );
    properties.push(format!("title={}", property(&title)));
    let reason: Vec<String> = run
        .reason
        .lines()
        .take(REASON_LINES)
        .map(clean::line)
        .collect();
    let reason = match reason.is_empty() {
        true => run.outcome.word().to_owned(),
        false => reason.join("\n"),
    };
    format!("::error {}::{}\n", properties.join(","), data(&reason))
}

/// Text after the second `::`.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// The value of a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Outcome;
    use crate::results::StepOutcome;
    use crate::results::StepResult;
    use crate::results::example;
    use crate::results::example_results as results;
    use crate::results::example_step;

    fn failed(reason: &str) -> RunResult {
        let mut run = example("a[fs=ext4,n=1]", Outcome::Failed, reason);
        run.file = "/home/ci/repo/vmtests/scenarios/a.yaml".to_owned();
        run.steps = vec![StepResult {
            line: Some(17),
            ..example_step("mount", StepOutcome::Failed)
        }];
        run
    }

    #[test]
    fn a_bad_run_points_at_the_line_of_its_step() {
        let root = Path::new("/home/ci/repo");
        let text = annotations(&results(vec![failed("50% is wrong\nmore")]), Some(root));
        assert_eq!(
            text,
            "::error file=vmtests/scenarios/a.yaml,line=17,\
             title=a[fs=ext4%2Cn=1] failed on c (6.12)::50%25 is wrong%0Amore\n"
        );
    }

    #[test]
    fn what_a_guest_says_makes_no_command_of_its_own() {
        let hostile = "x\r\n::set-output name=a::b\n::add-mask::c";
        let mut run = failed(hostile);
        run.name = "n,line=3::\n::error::".to_owned();
        let text = annotations(&results(vec![run]), None);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert_eq!(
            text.matches("::").count(),
            2 + hostile.matches("::").count(),
            "{text}"
        );
        assert!(text.contains("title=n%2Cline=3%3A%3A%0A%3A%3Aerror%3A%3A failed"));
    }

    #[test]
    fn good_runs_are_not_annotated_and_bad_ones_have_an_end() {
        let good = [Outcome::Passed, Outcome::Xfailed, Outcome::Skipped];
        let good = good.map(|outcome| example("a", outcome, "x"));
        assert_eq!(annotations(&results(good.to_vec()), None), "");
        let many = annotations(&results(vec![failed("x"); 70]), None);
        assert_eq!(many.lines().count(), 51);
        assert!(many.contains("20 bad runs more"));
    }
}
