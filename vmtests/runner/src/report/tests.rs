// SPDX-License-Identifier: GPL-2.0-or-later
//! The page as a whole: nothing that a guest says can change what it is.

use std::collections::BTreeSet;
use std::time::Instant;

use vmtest_protocol::message::BlockedTask;
use vmtest_protocol::message::Measurement;

use super::*;
use crate::results::Outcome;
use crate::results::RunResult;
use crate::results::StepOutcome;
use crate::results::StepResult;
use crate::results::Xfail;
use crate::results::example;
use crate::results::example_step;
use crate::timeline::Recorder;

fn page(out: &Path, runs: Vec<RunResult>) -> String {
    let mut results = Results::begin(out).unwrap();
    results.runs = runs;
    render(out, &results).unwrap()
}

fn step(name: &str, outcome: StepOutcome, start_s: f64, seconds: f64) -> StepResult {
    StepResult {
        line: Some(12),
        start_s,
        seconds,
        ..example_step(name, outcome)
    }
}

/// Every value of an attribute, such as all `id`s.
fn attributes<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    let start = format!(" {name}=\"");
    html.split(&start)
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap_or_default())
        .collect()
}

/// Opening and closing tags balance: nothing broke out of its place.
fn balanced(html: &str) {
    let mut open: Vec<&str> = Vec::new();
    let body = html.split("</style>").nth(1).unwrap();
    for tag in body.split('<').skip(1) {
        let name: &str = tag.split(['>', ' ', '\n']).next().unwrap();
        match name.strip_prefix('/') {
            Some("head") => {}
            Some("html") => assert!(open.is_empty(), "{open:?}"),
            Some(closed) => assert_eq!(open.pop(), Some(closed), "before {tag}"),
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

const HOSTILE: &str = "</pre></li><script>alert(1)</script><img src=x onerror=alert(1)>\
                       \u{1b}[31mred\u{0}\u{202e}\" onclick=\"x' {{ 7*7 }} {% raw %}&lt;";

#[test]
fn hostile_text_stays_text_wherever_it_comes_from() {
    let out = tempfile::tempdir().unwrap();
    let mut run = example(HOSTILE, Outcome::Failed, &format!("{HOSTILE}\n{HOSTILE}"));
    run.kernel = HOSTILE.to_owned();
    run.module = HOSTILE.to_owned();
    run.about = HOSTILE.to_owned();
    run.file = HOSTILE.to_owned();
    run.release = HOSTILE.to_owned();
    run.refs = vec![HOSTILE.to_owned(), "javascript:alert(1)".to_owned()];
    run.files = vec!["\"><script>.log".to_owned()];
    run.notes = vec![HOSTILE.to_owned()];
    run.xfail = Some(Xfail {
        reason: HOSTILE.to_owned(),
        link: "javascript:alert(1)".to_owned(),
        step: None,
    });
    run.steps = vec![StepResult {
        expected: Some(HOSTILE.to_owned()),
        seen: Some(HOSTILE.to_owned()),
        ..step(HOSTILE, StepOutcome::Failed, 0.1, 0.2)
    }];
    run.blocked = vec![BlockedTask {
        tid: 1,
        comm: HOSTILE.to_owned(),
        state: '<',
        wchan: HOSTILE.to_owned(),
        stack: HOSTILE.to_owned(),
    }];
    run.measurements = vec![Measurement {
        name: HOSTILE.to_owned(),
        value: f64::NAN,
        unit: HOSTILE.to_owned(),
    }];
    run.artifacts = "runs/x".into();
    run.timeline = Some("timeline.jsonl".to_owned());
    let dir = out.path().join("runs/x");
    std::fs::create_dir_all(&dir).unwrap();
    let recorder = Recorder::create(&dir, Instant::now()).unwrap();
    recorder.line(HOSTILE);
    recorder.line(&"<b>".repeat(1 << 19));
    let html = page(out.path(), vec![run]);
    balanced(&html);
    for never in [
        "<script",
        "<img",
        "\" onclick",
        "\u{0}",
        "\u{1b}",
        "\u{202e}",
        "href=\"javascript",
    ] {
        assert!(!html.contains(never), "{never:?}");
    }
    assert!(
        html.contains("{{ 7*7 }}"),
        "a template in a guest's text was carried out"
    );
    assert!(html.len() < 200_000, "{}", html.len());
}

#[test]
fn the_page_has_no_scripts_and_loads_nothing() {
    let out = tempfile::tempdir().unwrap();
    let runs = Outcome::ALL.map(|outcome| example(outcome.word(), outcome, "why"));
    let html = page(out.path(), runs.to_vec());
    balanced(&html);
    for never in [
        "<script", "<link", "src=", "@import", "url(", "http://", " onload",
    ] {
        assert!(!html.contains(never), "{never}");
    }
}

#[test]
fn every_link_leads_somewhere_and_no_place_has_a_name_twice() {
    let out = tempfile::tempdir().unwrap();
    let mut runs = Vec::new();
    for name in ["a[fs=ext4,n=1]", "a[fs=ext4,n=2]", "b"] {
        for module in ["c", "rust"] {
            let mut run = example(name, Outcome::Failed, "why");
            run.module = module.to_owned();
            runs.push(run);
        }
    }
    let html = page(out.path(), runs);
    let ids = attributes(&html, "id");
    let unique: BTreeSet<_> = ids.iter().collect();
    assert_eq!(ids.len(), unique.len(), "{ids:?}");
    for href in attributes(&html, "href") {
        if let Some(target) = href.strip_prefix('#') {
            assert!(ids.contains(&target), "{target}");
        }
    }
    // The matrix leads to each run.
    assert_eq!(
        html.matches("<td class=\"failed\"><a href=\"#run-").count(),
        6
    );
}

#[test]
fn a_failure_shows_what_was_expected_and_what_was_seen() {
    let out = tempfile::tempdir().unwrap();
    let mut run = example(
        "a",
        Outcome::Failed,
        "step 2 (full): is 40, 11 was expected",
    );
    run.steps_planned = 5;
    run.steps = vec![
        step("one", StepOutcome::Passed, 0.0, 0.5),
        StepResult {
            expected: Some("11".to_owned()),
            seen: Some("is 40".to_owned()),
            ..step("full", StepOutcome::Failed, 0.5, 0.5)
        },
    ];
    let html = page(out.path(), vec![run]);
    for words in [
        "<dt>expected</dt><dd>11</dd>",
        "<dt>seen</dt><dd>is 40</dd>",
        "a.yaml:12",
        "3 steps were not reached",
        "The run went wrong",
    ] {
        assert!(html.contains(words), "{words}");
    }
}

#[test]
fn modules_that_end_differently_are_a_finding() {
    let out = tempfile::tempdir().unwrap();
    let mut rust = example("a", Outcome::Passed, "");
    rust.module = "rust".to_owned();
    let html = page(out.path(), vec![example("a", Outcome::Failed, "x"), rust]);
    assert!(html.contains("Where the modules differ"));
    assert!(html.contains("the modules differ"), "no mark in the matrix");
}

#[test]
fn a_report_of_a_thousand_runs_stays_small() {
    let out = tempfile::tempdir().unwrap();
    let runs: Vec<_> = (0..1000)
        .map(|number| {
            let mut run = example(&format!("run-{number}"), Outcome::Passed, "");
            run.steps = (0..10)
                .map(|n| step("a step", StepOutcome::Passed, f64::from(n), 1.0))
                .collect();
            run.timeline = Some("timeline.jsonl".to_owned());
            let dir = out.path().join(&run.artifacts);
            std::fs::create_dir_all(&dir).unwrap();
            let recorder = Recorder::create(&dir, Instant::now()).unwrap();
            for line in 0..100 {
                recorder.line(&format!("line {line}"));
            }
            run
        })
        .collect();
    let html = page(out.path(), runs);
    assert!(html.len() < 8 << 20, "{}", html.len());
}
