// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that contain steps.

use serde::Deserialize;
use serde::Serialize;

use super::Step;
use crate::template::Vars;
use crate::value::Count;
use crate::value::Late;
use crate::value::Span;

/// Carries out `steps` one after the other, with variables of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Variables for `${NAME}` in the steps, on top of those that there are.
    #[serde(default)]
    pub vars: Vars,
    /// What to do.
    pub steps: Vec<Step>,
}

/// Carries out branches all at once, and ends when the last of them has ended. The first that
/// fails ends the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Parallel {
    /// What to do at once.
    pub branches: Vec<Branch>,
}

impl Parallel {
    pub(super) fn check(&self) -> Result<(), String> {
        match self.branches.len() {
            0 | 1 => Err("`parallel` wants at least two branches".to_owned()),
            _ => Ok(()),
        }
    }
}

/// One of several sequences of steps that are carried out at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Branch {
    /// A name for reports, and for `states`; branches are numbered from 1 without it.
    #[serde(default)]
    pub name: Option<String>,
    /// What to do.
    pub steps: Vec<Step>,
}

/// Carries out `steps` for each number from `from` up to and without `to`, or for so long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// The counter's name: `${NAME}` in the steps.
    pub var: String,
    /// The first number.
    #[serde(default = "zero")]
    pub from: Count,
    /// One more than the last number. May only be left out with `for`.
    #[serde(default)]
    pub to: Option<Count>,
    /// Begin no round after so long; the first round is always carried out.
    #[serde(default, rename = "for")]
    pub span: Option<Span>,
    /// How many rounds may be under way at once; the first failure ends them all.
    #[serde(default = "one")]
    pub parallel: Count,
    /// What to do each time.
    pub steps: Vec<Step>,
}

impl Repeat {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.to.is_none() && self.span.is_none() {
            return Err("`repeat` without an end: give `to`, or `for`, or both".to_owned());
        }
        match (&self.from, &self.to) {
            (Late::Now(from), Some(Late::Now(to))) if from >= to => Err(format!(
                "`repeat` from {from} to {to}: no round at all, the check would be empty"
            )),
            _ => Ok(()),
        }
    }
}

fn zero() -> Count {
    0.into()
}

fn one() -> Count {
    1.into()
}

/// Carries out `steps` and records how long they took, and what memory they left in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// Prefix of the measurements: NAME.seconds, NAME.memory_bytes (fall of MemAvailable),
    /// NAME.slab_bytes (growth of Slab), NAME.unreclaimable_bytes (growth of SUnreclaim), and, where the
    /// machine counts them, NAME.instructions (of all CPUs together).
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Spawn {
    /// What `join` calls it.
    pub name: String,
    /// What to do.
    pub steps: Vec<Step>,
}

/// Waits for a branch; fails as the branch failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The name given to `spawn`.
    pub name: String,
    /// How long the branch may still take; without it as long as this step may.
    #[serde(default)]
    pub within: Option<Span>,
}
