// SPDX-License-Identifier: GPL-2.0-or-later
//! What a scenario needs and the artifact index lacks.

use vmtest_protocol::template::Vars;

use super::Act;
use super::Findings;
use super::pattern_matches;
use super::steps::Scope;
use crate::artifacts::Index;
use crate::scenario::Scenario;
use crate::scenario::tree::Node;

/// Names of the images in the index that the scenario needs, in the index's order.
pub fn images_named<'a>(scenario: &Scenario, index: &'a Index) -> Vec<&'a str> {
    let wanted = |name: &&String| {
        let mut patterns = scenario.needs.images.iter();
        patterns.any(|pattern| pattern_matches(pattern, name))
    };
    index
        .images
        .keys()
        .filter(wanted)
        .map(String::as_str)
        .collect()
}

pub(super) fn check(
    found: &mut Findings<'_>,
    scenario: &Scenario,
    head: &Node,
    root: &Node,
    vars: &Vars,
    index: &Index,
) {
    let listed = head.get("needs").and_then(|needs| needs.get("images"));
    let nodes = listed.map_or(&[][..], Node::items);
    for (pattern, node) in scenario.needs.images.iter().zip(nodes) {
        let there = |name: &String| pattern_matches(pattern, name);
        if !index.images.keys().any(there) {
            let message = format!("no image `{pattern}` in {}", index.file.display());
            missing(found, node, pattern, message, index);
        }
    }
    let steps = root.get("steps").map_or(&[][..], Node::items);
    // A pattern that matches nothing has been reported where it stands.
    let good = |pattern: &&String| {
        index
            .images
            .keys()
            .any(|name| pattern_matches(pattern, name))
    };
    let good: Vec<&String> = scenario.needs.images.iter().filter(good).collect();
    used(found, steps, &Scope::new(vars), &good, index);
}

fn missing(found: &mut Findings<'_>, node: &Node, name: &str, message: String, index: &Index) {
    let diagnosis = found.sources.diagnose(node.place, message);
    found.wrong.push(
        diagnosis
            .with_nearest(name, index.images.keys().map(String::as_str))
            .with_help(
                "make it with `images build` (its description belongs into configs/images), or \
                 correct the name",
            ),
    );
}

/// Images that steps name must be there each for itself: a pattern of the needs may be too wide.
fn used(
    found: &mut Findings<'_>,
    steps: &[Node],
    scope: &Scope,
    needed: &[&String],
    index: &Index,
) {
    for step in steps {
        let Some(act) = Act::of(step) else {
            continue;
        };
        if matches!(act.name(), "mount" | "verify") {
            for filled in scope.filled(step) {
                let image = Act::of(&filled).and_then(|act| act.node.get("image"));
                let Some((name, node)) = image.and_then(|node| Some((node.as_str()?, node))) else {
                    continue;
                };
                let needed = needed.iter().any(|pattern| pattern_matches(pattern, name));
                if needed && !index.images.contains_key(name) {
                    let message = format!("no image `{name}` in {}", index.file.display());
                    missing(found, node, name, message, index);
                    break;
                }
            }
        }
        let inner = scope.inside(act);
        for body in act.bodies() {
            used(found, body, &inner, needed, index);
        }
    }
}
