// SPDX-License-Identifier: GPL-2.0-or-later
//! The steps inside a step: the agent says when one begins and how it ended.

use std::collections::BTreeMap;

use vmtest_protocol::message::Outcome;

use super::clean;
use crate::results::MAX_INNER;
use crate::results::StepOutcome;
use crate::results::StepResult;

/// What is known about the steps inside the one that is under way.
#[derive(Debug, Default)]
pub(super) struct Inner {
    listed: Vec<StepResult>,
    passed: usize,
    bad: usize,
    unlisted: u64,
    /// When each that is under way began, by its path.
    begun: BTreeMap<String, f64>,
}

impl Inner {
    /// A step began or ended at `now`.
    pub fn say(&mut self, path: &str, outcome: Option<&Outcome>, now: f64) {
        let Some(outcome) = outcome else {
            // As many as rounds of a loop may be under way at once, not more.
            self.begun.insert(path.to_owned(), now);
            return;
        };
        let began = self.begun.remove(path).unwrap_or(now);
        let passed = outcome.passed();
        let count = match passed {
            true => &mut self.passed,
            false => &mut self.bad,
        };
        if *count >= MAX_INNER {
            self.unlisted += 1;
            return;
        }
        *count += 1;
        let reason = outcome.reason().unwrap_or_default();
        let (seen, expected) = split(&reason);
        self.listed.push(StepResult {
            step: clean::line(path),
            action: String::new(),
            line: None,
            outcome: StepOutcome::from(outcome),
            reason,
            start_s: began,
            seconds: now - began,
            expected,
            seen,
            steps: Vec::new(),
            unlisted: 0,
        });
    }

    /// The list, in the order in which they began, and how many are not on it.
    pub fn take(&mut self) -> (Vec<StepResult>, u64) {
        let mut done = std::mem::take(self);
        done.listed.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
        (done.listed, done.unlisted)
    }
}

/// What was seen and what was expected, from a reason that says so in the agent's words: `SEEN,
/// EXPECTED was expected`.
pub(super) fn split(reason: &str) -> (Option<String>, Option<String>) {
    let first = reason.lines().next().unwrap_or_default();
    let end = [" was expected", " were expected"]
        .iter()
        .find_map(|words| first.find(words));
    let Some(head) = end.and_then(|end| first.get(..end)) else {
        return (None, None);
    };
    match head.rsplit_once(", ") {
        Some((seen, expected)) => (Some(clean::line(seen)), Some(clean::line(expected))),
        None => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seen_and_expected_are_told_apart() {
        let (seen, expected) = split("free_percent:/cache is 11, more than 25 was expected; x");
        assert_eq!(seen.unwrap(), "free_percent:/cache is 11");
        assert_eq!(expected.unwrap(), "more than 25");
        assert_eq!(split("no such file"), (None, None));
        assert_eq!(split("nothing was expected"), (None, None));
    }

    #[test]
    fn what_failed_is_listed_however_much_passed_before() {
        let mut inner = Inner::default();
        let failed = Outcome::Failed {
            reason: "a is 1, 2 was expected".to_owned(),
        };
        for number in 0..1000 {
            let path = format!("repeat[i={number}] / mount");
            inner.say(&path, None, f64::from(number));
            let outcome = match number {
                999 => &failed,
                _ => &Outcome::Passed,
            };
            inner.say(&path, Some(outcome), f64::from(number) + 0.5);
        }
        let (listed, unlisted) = inner.take();
        assert_eq!(listed.len(), MAX_INNER + 1);
        assert_eq!(unlisted as usize, 999 - MAX_INNER);
        let last = listed.last().unwrap();
        assert_eq!(last.step, "repeat[i=999] / mount");
        assert_eq!(last.seconds, 0.5);
        assert_eq!(last.expected.as_deref(), Some("2"));
    }
}
