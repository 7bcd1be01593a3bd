// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that contain steps.

use serde::Deserialize;
use serde::Serialize;

use super::Step;
use crate::value::Count;
use crate::value::Span;

/// Carries out `steps` for each number from `from` up to and without `to`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// The counter's name: `${NAME}` in the steps.
    pub var: String,
    /// The first number.
    #[serde(default = "zero")]
    pub from: Count,
    /// One more than the last number.
    pub to: Count,
    /// How many rounds may be under way at once; the first failure ends them all.
    #[serde(default = "one")]
    pub parallel: Count,
    /// What to do each time.
    pub steps: Vec<Step>,
}

fn zero() -> Count {
    0.into()
}

fn one() -> Count {
    1.into()
}

/// Carries out `steps` and records how long they took, and what memory they left in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// Prefix of the measurements: NAME.seconds, NAME.memory_bytes (fall of MemAvailable),
    /// NAME.slab_bytes (growth of Slab), NAME.unreclaimable_bytes (growth of SUnreclaim).
    pub name: String,
    /// Objects among which time and memory are shared out: adds NAME.seconds_per_object and so on.
    #[serde(default)]
    pub objects: Option<Count>,
    /// It is a failure when the steps take longer than this.
    #[serde(default)]
    pub at_most: Option<Span>,
    /// What to measure.
    pub steps: Vec<Step>,
}

/// Carries out `steps` beside whatever follows. A failure shows at `join`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spawn {
    /// What `join` calls it.
    pub name: String,
    /// What to do.
    pub steps: Vec<Step>,
}

/// Waits for a branch; fails as the branch failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The name given to `spawn`.
    pub name: String,
    /// How long the branch may still take; without it as long as this step may.
    #[serde(default)]
    pub within: Option<Span>,
}
