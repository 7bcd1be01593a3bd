// SPDX-License-Identifier: GPL-2.0-or-later
//! How runs and steps end.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

/// How a run ended. The order is from good to bad: the worst of several speaks for all.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All that was expected was seen, and the run reached its subject.
    Passed,
    /// It failed as a known failure of the C module does.
    Xfailed,
    /// It was not run; the reason says why.
    Skipped,
    /// It passed, although it is marked as a known failure: the mark is out of date.
    Xpassed,
    /// The subject did not do what was expected.
    Failed,
    /// Nothing can be said about the subject: the set-up failed or the subject was not reached.
    Error,
    /// The runner itself ended in the middle of the run: a marker says that it began, none that it
    /// ended.
    Killed,
}

impl Outcome {
    /// All, from good to bad.
    pub const ALL: [Outcome; 7] = [
        Outcome::Passed,
        Outcome::Xfailed,
        Outcome::Skipped,
        Outcome::Xpassed,
        Outcome::Failed,
        Outcome::Error,
        Outcome::Killed,
    ];

    /// The word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Xfailed => "xfailed",
            Outcome::Skipped => "skipped",
            Outcome::Xpassed => "xpassed",
            Outcome::Failed => "failed",
            Outcome::Error => "error",
            Outcome::Killed => "killed",
        }
    }

    /// Whether it makes the whole invocation fail.
    pub fn is_bad(self) -> bool {
        self >= Outcome::Xpassed
    }

    /// Whether the subject was looked at from the first step to the last word about it.
    pub fn is_verdict(self) -> bool {
        matches!(
            self,
            Outcome::Passed | Outcome::Xfailed | Outcome::Xpassed | Outcome::Failed
        )
    }
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// All that was expected was seen.
    Passed,
    /// What was seen is not what was expected.
    Failed,
    /// Its time was up.
    TimedOut,
    /// Something else ended it.
    Cancelled,
    /// It could not be carried out.
    Error,
    /// The guest never said how it ended.
    NoAnswer,
}

impl StepOutcome {
    /// The words in reports.
    pub fn words(self) -> &'static str {
        match self {
            StepOutcome::Passed => "passed",
            StepOutcome::Failed => "failed",
            StepOutcome::TimedOut => "timed out",
            StepOutcome::Cancelled => "cancelled",
            StepOutcome::Error => "error",
            StepOutcome::NoAnswer => "no answer",
        }
    }
}

impl From<&vmtest_protocol::message::Outcome> for StepOutcome {
    fn from(outcome: &vmtest_protocol::message::Outcome) -> Self {
        use vmtest_protocol::message::Outcome as Said;
        match outcome {
            Said::Passed => StepOutcome::Passed,
            Said::Failed { .. } => StepOutcome::Failed,
            Said::TimedOut { .. } => StepOutcome::TimedOut,
            Said::Cancelled => StepOutcome::Cancelled,
            Said::Error { .. } => StepOutcome::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_ordered_from_good_to_bad() {
        let mut sorted = Outcome::ALL;
        sorted.sort();
        assert_eq!(sorted, Outcome::ALL);
        let bad = Outcome::ALL.map(Outcome::is_bad);
        assert_eq!(bad, [false, false, false, true, true, true, true]);
    }

    #[test]
    fn the_word_is_what_is_written() {
        for outcome in Outcome::ALL {
            let written = serde_json::to_value(outcome).unwrap();
            assert_eq!(written, outcome.word());
        }
    }
}
