// SPDX-License-Identifier: GPL-2.0-or-later
//! Names that a puppet's actions give to messages and descriptors, and those that they use.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::Act;
use super::Findings;
use super::names::may_be;
use crate::scenario::tree::Node;

/// Fields of actions that give a name.
const GIVES: &[&str] = &["save", "as"];
/// Fields of actions that use one.
const USES: &[&str] = &[
    "of",
    "on",
    "new_id_of",
    "same_id_of",
    "new_object_of",
    "same_object_of",
];
/// What stands for the device itself where a name may stand.
const DEVICE: &str = "device";

/// What each puppet has saved: so far, and anywhere in the scenario.
#[derive(Debug, Default)]
pub(super) struct Puppets {
    before: BTreeMap<String, BTreeSet<String>>,
    all: BTreeMap<String, BTreeSet<String>>,
}

fn name_of(puppet: &Node) -> &str {
    puppet.str("name").unwrap_or("puppet")
}

impl Puppets {
    pub(super) fn of(steps: &[Node]) -> Self {
        let mut puppets = Puppets::default();
        puppets.collect(steps);
        puppets
    }

    fn collect(&mut self, steps: &[Node]) {
        for act in steps.iter().filter_map(Act::of) {
            if act.name() == "puppet" {
                let names = self.all.entry(name_of(act.node).to_owned()).or_default();
                saved(act.node, &mut |name| {
                    names.insert(name.to_owned());
                });
            }
            for body in act.bodies() {
                self.collect(body);
            }
        }
    }

    /// After a `boot` there is no puppet.
    pub(super) fn begin_anew(&mut self) {
        self.before.clear();
    }

    pub(super) fn check(&mut self, found: &mut Findings<'_>, puppet: &Node, beside: bool) {
        let name = name_of(puppet).to_owned();
        self.actions(found, &name, puppet, beside);
    }

    fn actions(&mut self, found: &mut Findings<'_>, puppet: &str, node: &Node, beside: bool) {
        for action in node.get("actions").map_or(&[][..], Node::items) {
            for (key, fields) in action.fields() {
                if key.text == "kill" {
                    self.before.remove(puppet);
                    continue;
                }
                let taken_from = fields.str("from").filter(|_| key.text == "take");
                self.uses(found, taken_from.unwrap_or(puppet), fields, beside);
                // The threads of a storm are beside each other.
                self.actions(found, puppet, fields, true);
                for name in GIVES.iter().filter_map(|key| fields.str(key)) {
                    let names = self.before.entry(puppet.to_owned()).or_default();
                    names.insert(name.to_owned());
                }
            }
        }
    }

    fn uses(&self, found: &mut Findings<'_>, puppet: &str, fields: &Node, beside: bool) {
        let nested = fields.get("expect_fields").into_iter();
        for fields in std::iter::once(fields).chain(nested) {
            for key in USES {
                let Some((name, node)) = fields.str(key).zip(fields.get(key)) else {
                    continue;
                };
                if name == DEVICE || self.saved_by(&self.before, puppet, name) {
                    continue;
                }
                if self.saved_by(&self.all, puppet, name) {
                    if !beside {
                        let message =
                            format!("puppet `{puppet}` has not saved anything as `{name}` yet");
                        found.add(node.place, message);
                    }
                    continue;
                }
                let message = format!("puppet `{puppet}` never saves anything as `{name}`");
                let known = names(&self.all, puppet);
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                found.near(node.place, message, name, known);
            }
        }
    }

    fn saved_by(
        &self,
        saved: &BTreeMap<String, BTreeSet<String>>,
        puppet: &str,
        name: &str,
    ) -> bool {
        names(saved, puppet).iter().any(|known| may_be(known, name))
    }
}

/// The names that a puppet has saved; a puppet whose name is a template may be any that fits.
fn names(saved: &BTreeMap<String, BTreeSet<String>>, puppet: &str) -> BTreeSet<String> {
    let fitting = saved.iter().filter(|(name, _)| may_be(name, puppet));
    fitting.flat_map(|(_, names)| names.clone()).collect()
}

fn saved(node: &Node, give: &mut dyn FnMut(&str)) {
    for action in node.get("actions").map_or(&[][..], Node::items) {
        for (_, fields) in action.fields() {
            for name in GIVES.iter().filter_map(|key| fields.str(key)) {
                give(name);
            }
            saved(fields, give);
        }
    }
}
