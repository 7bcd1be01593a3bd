// SPDX-License-Identifier: GPL-2.0-or-later
//! The model of one run in the report.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::lines;
use super::lines::Lines;
use super::text;
use crate::results::Outcome;
use crate::results::RunResult;
use crate::results::StepOutcome;
use crate::results::StepResult;
use crate::timeline::clean;

/// Lines of a reason that are shown.
const REASON_LINES: usize = 120;
/// Steps inside a step that are shown.
const MAX_INNER: usize = 24;

/// How an outcome looks: never by colour alone.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Look {
    pub word: &'static str,
    pub symbol: &'static str,
}

/// The word and the sign of an outcome; the word is also its class in the style.
pub(super) fn look(outcome: Outcome) -> Look {
    let symbol = match outcome {
        Outcome::Passed => "✓",
        Outcome::Xfailed => "≈",
        Outcome::Skipped => "–",
        Outcome::Xpassed => "⇡",
        Outcome::Failed => "✗",
        Outcome::Error => "!",
        Outcome::Killed => "■",
    };
    Look {
        word: outcome.word(),
        symbol,
    }
}

/// How many lines of a timeline are shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    pub good: usize,
    pub bad: usize,
}

impl Budget {
    /// The more runs, the less of each: a report of a thousand can still be opened.
    pub fn of(runs: &[RunResult]) -> Self {
        let bad = runs.iter().filter(|run| run.outcome.is_bad()).count();
        let good = runs.len() - bad;
        let share = |all: usize, count: usize| all.checked_div(count).unwrap_or(all);
        Budget {
            good: share(4_000, good).min(80),
            bad: share(20_000, bad).clamp(40, 400),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct RunView {
    id: String,
    module: String,
    look: Look,
    seconds: String,
    headline: String,
    /// The reason after its first line.
    more: String,
    /// The innermost step that did not pass.
    step: Option<String>,
    place: String,
    expected: Option<String>,
    seen: Option<String>,
    xfail: Option<Known>,
    bars: Vec<Bar>,
    ticks: Vec<Tick>,
    unreached: u32,
    lines: Lines,
    timeline: Option<String>,
    measurements: Vec<(String, String)>,
    facts: Vec<(&'static str, String)>,
    artifacts: Vec<Artifact>,
    blocked: Vec<Blocked>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Known {
    reason: String,
    link: String,
    /// Whether the link is one that can be followed safely.
    linked: bool,
}

#[derive(Debug, Serialize)]
struct Bar {
    number: usize,
    title: String,
    class: &'static str,
    outcome: &'static str,
    /// In percent of the whole.
    left: f64,
    width: f64,
    seconds: String,
    inner: Vec<Bar>,
    open: bool,
    unlisted: u64,
}

#[derive(Debug, Serialize)]
struct Tick {
    left: f64,
    text: String,
}

#[derive(Debug, Serialize)]
struct Artifact {
    name: String,
    href: String,
    size: String,
}

#[derive(Debug, Serialize)]
struct Blocked {
    tid: u32,
    comm: String,
    state: String,
    wchan: String,
    stack: String,
}

/// The anchor of a run.
pub(super) fn id(run: &RunResult) -> String {
    let (name, kernel, module) = (run.name(), run.label(), &run.module);
    text::anchor("run", &format!("{name}-{kernel}-{module}"))
}

impl RunView {
    /// `span` is the length of the time axis in seconds: runs that are compared share one.
    pub fn new(out: &Path, run: &RunResult, span: f64, budget: Budget) -> Self {
        let dir = out.join(&run.artifacts);
        let bad = run.outcome.is_bad();
        let failing = run.failing();
        let innermost = failing.last();
        let most = match bad {
            true => budget.bad,
            false => budget.good,
        };
        let timeline = run.timeline.as_ref().map(|name| run.artifacts.join(name));
        RunView {
            id: id(run),
            module: super::page::module_name(&run.module),
            look: look(run.outcome),
            seconds: text::duration(run.seconds),
            headline: text::block(&run.headline(), 1),
            more: text::block(rest(&run.reason), REASON_LINES),
            step: innermost.map(|step| clean::line(&step.step)),
            place: place(run, failing.first().copied()),
            expected: innermost.and_then(|step| step.expected.as_deref().map(clean::line)),
            seen: innermost.and_then(|step| step.seen.as_deref().map(clean::line)),
            xfail: run.xfail.as_ref().map(|known| Known {
                reason: text::block(&known.reason, 8),
                link: clean::line(&known.link),
                linked: known.link.starts_with("https://") || known.link.starts_with("http://"),
            }),
            bars: bars(run, span),
            ticks: ticks(span),
            unreached: run.steps_planned.saturating_sub(run.steps.len() as u32),
            lines: match &timeline {
                Some(file) => lines::choose(&out.join(file), most, bad),
                None => Lines::default(),
            },
            timeline: timeline.map(|file| text::href(&file)),
            measurements: run
                .measurements
                .iter()
                .map(|m| (clean::line(&m.name), text::quantity(m.value, &m.unit)))
                .collect(),
            facts: facts(run),
            artifacts: artifacts(run, &dir),
            blocked: run
                .blocked
                .iter()
                .map(|task| Blocked {
                    tid: task.tid,
                    comm: clean::line(&task.comm),
                    state: clean::line(&task.state.to_string()),
                    wchan: clean::line(&task.wchan),
                    stack: text::block(&task.stack, 40),
                })
                .collect(),
            notes: run.notes.iter().map(|note| text::block(note, 4)).collect(),
        }
    }
}

fn rest(reason: &str) -> &str {
    reason.split_once('\n').map_or("", |(_, rest)| rest)
}

fn place(run: &RunResult, step: Option<&StepResult>) -> String {
    match step.and_then(|step| step.line) {
        _ if run.file.is_empty() => String::new(),
        Some(line) => clean::line(&format!("{}:{line}", run.file)),
        None => clean::line(&run.file),
    }
}

fn percent(part: f64, span: f64) -> f64 {
    let percent = (part / span * 100.0).clamp(0.0, 100.0);
    match percent.is_finite() {
        true => (percent * 100.0).round() / 100.0,
        false => 0.0,
    }
}

fn bars(run: &RunResult, span: f64) -> Vec<Bar> {
    let mut bars = Vec::new();
    let first = run.steps.first().map_or(run.seconds, |step| step.start_s);
    if first > 0.0 {
        bars.push(Bar {
            number: 0,
            title: match run.started_from.as_str() {
                "" => "start".to_owned(),
                from => format!("start ({from})"),
            },
            class: "start",
            outcome: "",
            left: 0.0,
            width: percent(first, span),
            seconds: text::duration(first),
            inner: Vec::new(),
            open: false,
            unlisted: 0,
        });
    }
    for (at, step) in run.steps.iter().enumerate() {
        bars.push(bar(at + 1, step, span));
    }
    bars
}

fn bar(number: usize, step: &StepResult, span: f64) -> Bar {
    let left = percent(step.start_s, span);
    let shown: Vec<&StepResult> = match step.steps.len() {
        0..=MAX_INNER => step.steps.iter().collect(),
        // What failed comes first, and the rest as far as there is room.
        _ => {
            let (bad, good): (Vec<_>, Vec<_>) = step
                .steps
                .iter()
                .partition(|inner| inner.outcome != StepOutcome::Passed);
            bad.into_iter().chain(good).take(MAX_INNER).collect()
        }
    };
    let left_out = step.steps.len() - shown.len();
    Bar {
        number,
        title: clean::line(&step.step),
        class: match step.outcome {
            StepOutcome::Passed => "passed",
            StepOutcome::Error | StepOutcome::NoAnswer => "error",
            StepOutcome::Failed | StepOutcome::TimedOut => "failed",
            StepOutcome::Cancelled => "skipped",
        },
        outcome: step.outcome.words(),
        left,
        width: percent(step.seconds, span).min(100.0 - left),
        seconds: text::duration(step.seconds),
        open: step.outcome != StepOutcome::Passed,
        unlisted: step.unlisted + left_out as u64,
        inner: shown.into_iter().map(|inner| bar(0, inner, span)).collect(),
    }
}

/// Three or four marks at round times.
fn ticks(span: f64) -> Vec<Tick> {
    let rounds = [
        0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0,
    ];
    let step = rounds
        .into_iter()
        .find(|step| span / step <= 4.5)
        .unwrap_or(span / 4.0);
    let mut ticks = Vec::new();
    let mut at = 0.0;
    // The last one must leave room for its text.
    while at <= span * 0.92 && ticks.len() < 6 && step > 0.0 {
        ticks.push(Tick {
            left: percent(at, span),
            text: match step {
                s if s < 1.0 => format!("{at:.1} s"),
                s if s < 60.0 => format!("{at:.0} s"),
                _ => format!("{:.0} m", at / 60.0),
            },
        });
        at += step;
    }
    ticks
}

fn facts(run: &RunResult) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("kernel", format!("{} ({})", run.release, run.profile)),
        ("began", text::moment(&run.began)),
        ("accelerator", run.accel.to_uppercase()),
        ("started from", run.started_from.clone()),
    ];
    if let Some(seconds) = run.seconds_to_first_step {
        facts.push(("first step after", text::duration(seconds)));
    }
    if run.boots > 1 {
        facts.push(("boots", run.boots.to_string()));
    }
    let requests = run.requests;
    facts.push((
        "requests",
        format!(
            "{} OPEN, {} READ, {} CLOSE",
            text::count(requests.open as i64),
            text::count(requests.read as i64),
            text::count(requests.close as i64)
        ),
    ));
    facts.push(("modules", run.modules.join(", ")));
    let params: Vec<String> = run
        .params
        .iter()
        .map(|(name, value)| match serde_json::to_value(value) {
            Ok(serde_json::Value::String(text)) => format!("{name}={text}"),
            Ok(value) => format!("{name}={value}"),
            Err(_) => name.clone(),
        })
        .collect();
    facts.push(("parameters", params.join(", ")));
    if run.seed != 0 {
        facts.push(("seed", run.seed.to_string()));
    }
    facts.retain(|(_, value)| !value.is_empty());
    for (_, value) in &mut facts {
        *value = clean::line(value);
    }
    facts
}

fn artifacts(run: &RunResult, dir: &Path) -> Vec<Artifact> {
    let size = |name: &str| fs::metadata(dir.join(name)).map(|meta| meta.len());
    run.files
        .iter()
        .map(|name| Artifact {
            name: clean::line(name),
            href: text::href(&run.artifacts.join(name)),
            size: match size(name) {
                Ok(size) => text::quantity(size as f64, "bytes"),
                Err(_) => "not here".to_owned(),
            },
        })
        .collect()
}
