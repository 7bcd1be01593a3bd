// SPDX-License-Identifier: GPL-2.0-or-later
//! The C module against the Rust module: a difference is a finding.

use std::collections::BTreeMap;

use serde::Serialize;

use super::text;
use crate::results::RunResult;
use crate::results::StepOutcome;

/// A measurement that differs by this factor is marked.
const FACTOR: f64 = 2.0;
/// Times shorter than this, in seconds, say nothing about a module.
const MIN_SECONDS: f64 = 0.05;
/// The same for sizes, in bytes.
const MIN_BYTES: f64 = 65536.0;

/// Something in which the two modules differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// What it is about.
    pub what: String,
    /// What it was with the C module.
    pub c: String,
    /// What it was with the Rust module.
    pub rust: String,
    /// Whether it is one of outcomes, rather than of measured values.
    pub of_outcome: bool,
}

/// A line of the comparison: everything that both have.
#[derive(Debug, Serialize)]
pub(super) struct Pair {
    pub what: String,
    pub c: String,
    pub rust: String,
    /// Rust's value over C's.
    pub ratio: String,
    pub marked: bool,
}

/// In what the runs of one scenario on one kernel differ.
pub fn differences(c: &RunResult, rust: &RunResult) -> Vec<Difference> {
    let mut found = Vec::new();
    if c.outcome != rust.outcome {
        found.push(Difference {
            what: "outcome".to_owned(),
            c: c.outcome.word().to_owned(),
            rust: rust.outcome.word().to_owned(),
            of_outcome: true,
        });
    }
    let stopped = |run: &RunResult| {
        let step = run.failing();
        step.first().map(|step| step.step.clone())
    };
    if let (Some(first), Some(second)) = (stopped(c), stopped(rust)) {
        if first != second {
            found.push(Difference {
                what: "step that did not pass".to_owned(),
                c: first,
                rust: second,
                of_outcome: true,
            });
        }
    }
    // How long a step takes depends on the host as well: only what a scenario measures is a finding.
    let mut measured = requests(c, rust);
    measured.extend(measurements(c, rust));
    for pair in measured.into_iter().filter(|pair| pair.marked) {
        found.push(Difference {
            what: pair.what,
            c: pair.c,
            rust: pair.rust,
            of_outcome: false,
        });
    }
    found
}

/// Times of steps, requests and measurements side by side.
pub(super) fn pairs(c: &RunResult, rust: &RunResult) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for step in &c.steps {
        let other = rust.steps.iter().find(|other| other.step == step.step);
        let Some(other) = other.filter(|_| step.outcome == StepOutcome::Passed) else {
            continue;
        };
        // Steps of the same name are told apart by nothing: only the first is compared.
        let again = c.steps.iter().filter(|s| s.step == step.step).count() > 1;
        let both = step.seconds.max(other.seconds);
        if again || other.outcome != StepOutcome::Passed || both < 10.0 * MIN_SECONDS {
            continue;
        }
        pairs.push(pair(&step.step, step.seconds, other.seconds, "s"));
    }
    pairs.extend(requests(c, rust));
    pairs.extend(measurements(c, rust));
    pairs
}

fn requests(c: &RunResult, rust: &RunResult) -> Vec<Pair> {
    [
        ("OPEN requests", c.requests.open, rust.requests.open),
        ("READ requests", c.requests.read, rust.requests.read),
        ("CLOSE requests", c.requests.close, rust.requests.close),
    ]
    .into_iter()
    .filter(|(_, in_c, in_rust)| *in_c > 0 || *in_rust > 0)
    .map(|(name, in_c, in_rust)| pair(name, in_c as f64, in_rust as f64, "count"))
    .collect()
}

/// Measurements of the same name are compared in the order in which they were made.
fn measurements(c: &RunResult, rust: &RunResult) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for measured in &c.measurements {
        let times = seen.entry(&measured.name).or_default();
        let mut others = rust.measurements.iter().filter(|m| m.name == measured.name);
        let other = others.nth(*times);
        *times += 1;
        let name = match *times {
            1 => measured.name.clone(),
            times => format!("{} #{times}", measured.name),
        };
        if let Some(other) = other.filter(|other| other.unit == measured.unit) {
            pairs.push(pair(&name, measured.value, other.value, &measured.unit));
        }
    }
    pairs
}

fn pair(what: &str, c: f64, rust: f64, unit: &str) -> Pair {
    let comparable = c > 0.0 && rust > 0.0;
    let ratio = rust / c;
    let worth = match unit {
        "s" => c.max(rust) >= MIN_SECONDS,
        "bytes" => c.max(rust) >= MIN_BYTES,
        "count" => c.max(rust) >= 8.0,
        _ => true,
    };
    let apart = comparable && (ratio >= FACTOR || ratio <= 1.0 / FACTOR);
    // One has some and the other none at all.
    let lonely = unit == "count" && (c > 0.0) != (rust > 0.0);
    Pair {
        what: text::block(what, 1),
        c: text::quantity(c, unit),
        rust: text::quantity(rust, unit),
        ratio: match comparable {
            true => format!("{ratio:.2}"),
            false => "–".to_owned(),
        },
        marked: worth && (apart || lonely),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Outcome;
    use crate::results::example;
    use vmtest_protocol::message::Measurement;

    fn run(outcome: Outcome, seconds: f64) -> RunResult {
        let mut run = example("a", outcome, "");
        run.measurements.push(Measurement {
            name: "cold.seconds".to_owned(),
            value: seconds,
            unit: "s".to_owned(),
        });
        run
    }

    #[test]
    fn other_outcomes_and_times_far_apart_are_findings() {
        let same = differences(&run(Outcome::Passed, 1.0), &run(Outcome::Passed, 1.5));
        assert_eq!(same, []);
        let found = differences(&run(Outcome::Failed, 1.0), &run(Outcome::Passed, 2.5));
        let what: Vec<_> = found
            .iter()
            .map(|d| (d.what.as_str(), d.of_outcome))
            .collect();
        assert_eq!(what, [("outcome", true), ("cold.seconds", false)]);
        assert_eq!(found[1].c, "1.00 s");
    }

    #[test]
    fn the_second_of_a_name_is_compared_with_the_second() {
        let twice = |first: f64, second: f64| {
            let mut run = run(Outcome::Passed, first);
            run.measurements.push(Measurement {
                value: second,
                ..run.measurements[0].clone()
            });
            run
        };
        assert_eq!(differences(&twice(1.0, 5.0), &twice(1.0, 5.0)), []);
        let found = differences(&twice(1.0, 5.0), &twice(1.0, 1.0));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].what, "cold.seconds #2");
    }

    #[test]
    fn times_too_short_to_mean_anything_are_none() {
        let found = differences(&run(Outcome::Passed, 0.001), &run(Outcome::Passed, 0.004));
        assert_eq!(found, []);
    }

    #[test]
    fn requests_on_one_side_only_are_a_finding() {
        let mut c = run(Outcome::Passed, 1.0);
        c.requests.read = 40;
        let found = differences(&c, &run(Outcome::Passed, 1.0));
        assert_eq!(found[0].what, "READ requests");
        assert_eq!((found[0].c.as_str(), found[0].rust.as_str()), ("40", "0"));
    }
}
