// SPDX-License-Identifier: GPL-2.0-or-later
//! Whether two runs ended the same way.

use crate::results::RunResult;

/// How the first run ended, how the second, and whether that is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Whether they ended the same way.
    pub same: bool,
    /// For people.
    pub text: String,
}

/// What makes an end: outcome, the step that did not pass, and the kind of splat. Numbers in a
/// reason, such as addresses and times, differ between any two runs.
#[derive(Debug, PartialEq, Eq)]
struct End<'a> {
    outcome: &'static str,
    step: String,
    splat: Option<&'a str>,
}

impl End<'_> {
    fn of(run: &RunResult) -> End<'_> {
        let path: Vec<&str> = run
            .failing()
            .iter()
            .map(|step| step.step.as_str())
            .collect();
        let splat = run.reason.split_once("splat (").map(|(_, rest)| rest);
        End {
            outcome: run.outcome.word(),
            step: path.join(" / "),
            splat: splat
                .and_then(|rest| rest.split_once(')'))
                .map(|(name, _)| name),
        }
    }

    fn words(&self) -> String {
        let mut words = self.outcome.to_owned();
        if !self.step.is_empty() {
            words += &format!(" at `{}`", self.step);
        }
        if let Some(splat) = self.splat {
            words += &format!(" with a splat ({splat})");
        }
        words
    }
}

/// Compares the ends of two runs.
pub fn compare(before: &RunResult, now: &RunResult) -> Comparison {
    let (first, second) = (End::of(before), End::of(now));
    let same = first == second;
    let text = match same {
        true => format!("it ended the same way: {}", second.words()),
        false => format!(
            "it ended otherwise: {} then, {} now\n  then: {}\n  now:  {}",
            first.words(),
            second.words(),
            before.headline(),
            now.headline()
        ),
    };
    Comparison { same, text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Outcome;
    use crate::results::example;

    #[test]
    fn ends_are_the_same_whatever_the_numbers_in_their_reasons() {
        let run = |reason| example("a", Outcome::Failed, reason);
        let same = compare(&run("read 10 bytes"), &run("read 12 bytes"));
        assert!(same.same, "{same:?}");
        assert_eq!(same.text, "it ended the same way: failed");
    }

    #[test]
    fn another_outcome_or_another_splat_is_another_end() {
        let failed = |reason| example("a", Outcome::Failed, reason);
        let passed = example("a", Outcome::Passed, "");
        assert!(!compare(&failed("x"), &passed).same);
        let kasan = failed("splat (kasan) on the console:\n  BUG");
        let warn = failed("splat (warn) on the console:\n  WARNING");
        assert!(compare(&kasan, &kasan.clone()).same);
        let other = compare(&kasan, &warn);
        assert!(!other.same);
        assert!(
            other.text.contains("failed with a splat (kasan) then"),
            "{}",
            other.text
        );
    }
}
