// SPDX-License-Identifier: GPL-2.0-or-later
//! What can be known to be wrong in a scenario before anything boots, beyond the types.
//!
//! The checks walk the tree, not the typed steps: there each word has its place, and what is inside
//! an included piece is told from what is around it.

use vmtest_protocol::template::Vars;

use super::Piece;
use super::Scenario;
use super::diagnose::Diagnosis;
use super::source::Place;
use super::source::Sources;
use super::tree::Key;
use super::tree::Node;
use crate::artifacts::Index;

mod head;
mod index;
mod local;
mod names;
mod needs;
mod power;
mod puppets;
mod steps;

pub use index::images_named;

/// How deep steps may lie in steps, those of included pieces counted.
pub(super) const MAX_NESTING: usize = 32;
/// The most steps that a scenario may have, those inside others included.
pub(super) const MAX_STEPS: usize = 2000;

/// Whether `name` is meant by `pattern`: the same text, or a prefix followed by `*`.
pub fn pattern_matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

/// Collects what is wrong.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    sources: &'a Sources,
    wrong: Vec<Diagnosis>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(sources: &'a Sources) -> Self {
        Findings {
            sources,
            wrong: Vec::new(),
        }
    }

    /// Adds one; `help` may follow.
    fn add(&mut self, place: Place, message: impl Into<String>) -> &mut Diagnosis {
        let diagnosis = self.sources.diagnose(place, message);
        self.wrong.push(diagnosis);
        let last = self.wrong.len() - 1;
        &mut self.wrong[last]
    }

    /// Adds one with the nearest of the right words.
    fn near<'w>(
        &mut self,
        place: Place,
        message: impl Into<String>,
        word: &str,
        known: impl IntoIterator<Item = &'w str>,
    ) {
        let diagnosis = self.sources.diagnose(place, message);
        self.wrong.push(diagnosis.with_nearest(word, known));
    }

    pub(super) fn take(self) -> Vec<Diagnosis> {
        self.wrong
    }
}

/// A step's action: its key and its fields.
#[derive(Debug, Clone, Copy)]
struct Act<'a> {
    key: &'a Key,
    node: &'a Node,
}

impl<'a> Act<'a> {
    fn of(step: &'a Node) -> Option<Self> {
        let mut fields = step.fields().iter();
        fields
            .find(|(key, _)| !matches!(key.text.as_str(), "name" | "timeout"))
            .map(|(key, node)| Act { key, node })
    }

    fn name(&self) -> &'a str {
        &self.key.text
    }

    /// The lists of steps inside it.
    fn bodies(&self) -> Vec<&'a [Node]> {
        let branches = self.node.get("branches").map_or(&[][..], Node::items);
        [self.node]
            .into_iter()
            .chain(branches)
            .filter_map(|map| map.get("steps"))
            .map(Node::items)
            .collect()
    }

    /// Whether its steps run beside others.
    fn is_beside(&self) -> bool {
        match self.name() {
            "spawn" | "parallel" => true,
            "repeat" => self.node.str("parallel").is_some_and(|n| n.trim() != "1"),
            _ => false,
        }
    }
}

/// What is wrong with a scenario in one case. With `dropped`, something was taken out of the tree:
/// then nothing is said about what no longer fits together.
pub(super) fn scenario(
    sources: &Sources,
    scenario: &Scenario,
    head: &Node,
    root: &Node,
    dropped: bool,
) -> Vec<Diagnosis> {
    let mut findings = Findings::new(sources);
    head::check(&mut findings, scenario, head, root, dropped);
    needs::check(&mut findings, scenario, head);
    let steps = root.get("steps").map_or(&[][..], Node::items);
    steps::check(
        &mut findings,
        steps,
        &scenario.params,
        scenario.limit.get().ok().map(|limit| limit.0),
        Some(&scenario.needs),
        dropped,
    );
    if !dropped {
        names::check(&mut findings, steps, Some(&scenario.needs));
        power::check(&mut findings, steps, true);
    }
    findings.take()
}

/// What is wrong with a piece that stands alone. What it refers to may be where it is included.
pub(super) fn piece(
    sources: &Sources,
    piece: &Piece,
    root: &Node,
    dropped: bool,
) -> Vec<Diagnosis> {
    let mut findings = Findings::new(sources);
    if piece.about.trim().is_empty() {
        findings.add(
            root.key_place("about"),
            "`about` is empty: say what it does",
        );
    }
    let steps = root.get("steps").map_or(&[][..], Node::items);
    if steps.is_empty() && !dropped {
        findings.add(root.key_place("steps"), "a piece without steps");
    }
    steps::check(&mut findings, steps, &piece.params, None, None, dropped);
    power::check(&mut findings, steps, false);
    findings.take()
}

/// What the index lacks, for a case.
pub(super) fn against_index(
    sources: &Sources,
    scenario: &Scenario,
    head: &Node,
    root: &Node,
    vars: &Vars,
    built: &Index,
) -> Vec<Diagnosis> {
    let mut findings = Findings::new(sources);
    index::check(&mut findings, scenario, head, root, vars, built);
    findings.take()
}

#[cfg(test)]
mod tests {
    use super::pattern_matches;

    #[test]
    fn a_star_stands_for_any_rest_of_a_name() {
        assert!(pattern_matches("small", "small"));
        assert!(!pattern_matches("small", "smaller"));
        assert!(pattern_matches("scale-*", "scale-0001"));
        assert!(!pattern_matches("scale-*", "scal"));
    }
}
