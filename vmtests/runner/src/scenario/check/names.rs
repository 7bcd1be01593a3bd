// SPDX-License-Identifier: GPL-2.0-or-later
//! Names that steps give and names that steps refer to: a `join` needs its `spawn`, a `since` its
//! snapshot, a `disk` its place in `needs`.
//!
//! What runs beside the other steps may refer to what they do later; everything else only to what
//! stands before it. A name with `${...}` in it fits all that begin like it.

use std::collections::BTreeMap;

use super::Act;
use super::Findings;
use super::puppets;
use crate::scenario::Needs;
use crate::scenario::source::Place;
use crate::scenario::tree::Node;
use crate::scenario::tree::Value;

/// What a name may be the name of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Branch,
    Snapshot,
    Daemon,
    Keeper,
    Held,
    Program,
    Puppet,
    Measurement,
    MountPoint,
}

impl Kind {
    /// What gives such names, for messages.
    fn giver(self) -> &'static str {
        match self {
            Kind::Branch => "`spawn` has the name",
            Kind::Snapshot => "`snapshot` has the name",
            Kind::Daemon => "`start_daemon` has the name",
            Kind::Keeper => "`start_daemon` with `keeper: true` has the name",
            Kind::Held => "`hold_open` has the name",
            Kind::Program => "`start_program` has the name",
            Kind::Puppet => "`puppet` has the name",
            Kind::Measurement => "`measure` or storm measures",
            Kind::MountPoint => "thing is mounted at",
        }
    }
}

/// The name that a field has when it is not given.
fn default_name(action: &str, key: &str) -> Option<&'static str> {
    match (action, key) {
        ("puppet", "name") => Some("puppet"),
        (_, "daemon") => Some("daemon"),
        (action, "name") if action.contains("daemon") || action == "close_keeper" => Some("daemon"),
        ("polls" | "poll", "name") => Some("daemon"),
        _ => None,
    }
}

/// Fields that give names.
const GIVES: &[(&str, &str, Kind)] = &[
    ("spawn", "name", Kind::Branch),
    ("snapshot", "name", Kind::Snapshot),
    ("start_daemon", "name", Kind::Daemon),
    ("hold_open", "name", Kind::Held),
    ("start_program", "name", Kind::Program),
    ("puppet", "name", Kind::Puppet),
    ("measure", "name", Kind::Measurement),
    ("mount", "at", Kind::MountPoint),
    ("mount_fs", "at", Kind::MountPoint),
    ("bind_mount", "at", Kind::MountPoint),
];

/// Fields that refer to names.
const REFERS: &[(&str, &str, Kind)] = &[
    ("join", "name", Kind::Branch),
    ("signal_daemon", "name", Kind::Daemon),
    ("wait_daemon", "name", Kind::Daemon),
    ("restart_daemon", "name", Kind::Daemon),
    ("reconfigure_daemon", "name", Kind::Daemon),
    ("pause_daemon", "name", Kind::Daemon),
    ("resume_daemon", "name", Kind::Daemon),
    ("kill_daemon", "name", Kind::Daemon),
    ("check_fairness", "daemon", Kind::Daemon),
    ("close_keeper", "name", Kind::Keeper),
    ("close_held", "name", Kind::Held),
    ("signal_program", "name", Kind::Program),
    ("wait_program", "name", Kind::Program),
    ("remount", "at", Kind::MountPoint),
    ("grow_fs", "at", Kind::MountPoint),
];

/// Names that were given, with the places of the first.
#[derive(Debug, Clone, Default)]
struct Known(BTreeMap<Kind, BTreeMap<String, Option<Place>>>);

impl Known {
    fn give(&mut self, kind: Kind, name: &str, place: Option<Place>) {
        let names = self.0.entry(kind).or_default();
        names.entry(name.to_owned()).or_insert(place);
    }

    fn names(&self, kind: Kind) -> impl Iterator<Item = &str> {
        let names = self.0.get(&kind).into_iter();
        names.flat_map(|names| names.keys().map(String::as_str))
    }

    fn find(&self, kind: Kind, name: &str) -> Option<Option<Place>> {
        let mut names = self.0.get(&kind)?.iter();
        names
            .find(|(known, _)| may_be(known, name))
            .map(|(_, place)| *place)
    }
}

/// Whether two names can be the same once their templates are filled in.
pub(super) fn may_be(left: &str, right: &str) -> bool {
    let literal = |text: &str| text.find("${").unwrap_or(text.len());
    let (l, r) = (literal(left), literal(right));
    match (l == left.len(), r == right.len()) {
        (true, true) => left == right,
        (true, false) => left.starts_with(&right[..r]),
        (false, true) => right.starts_with(&left[..l]),
        (false, false) => left.starts_with(&right[..r]) || right.starts_with(&left[..l]),
    }
}

struct Walk<'f, 's> {
    found: &'f mut Findings<'s>,
    /// What stands before.
    before: Known,
    /// What there is before the first step.
    at_boot: Known,
    /// What stands anywhere.
    all: Known,
    puppets: puppets::Puppets,
    disks: Option<Vec<String>>,
    /// Whether a program may mount something.
    mounts_itself: bool,
}

pub(super) fn check(found: &mut Findings<'_>, steps: &[Node], needs: Option<&Needs>) {
    let mut before = Known::default();
    if let Some(needs) = needs {
        let disks = needs.disks.iter().filter_map(|disk| disk.mounted_at());
        for at in disks.chain(needs.shares.iter().map(|share| share.mounted_at())) {
            before.give(Kind::MountPoint, &at, None);
        }
    }
    let mut walk = Walk {
        found,
        at_boot: before.clone(),
        before,
        all: Known::default(),
        puppets: puppets::Puppets::of(steps),
        mounts_itself: false,
        disks: needs.map(|needs| needs.disks.iter().map(|disk| disk.name.clone()).collect()),
    };
    walk.mounts_itself = runs_mount(steps);
    walk.collect(steps);
    walk.list(steps, false);
}

impl Walk<'_, '_> {
    fn collect(&mut self, steps: &[Node]) {
        for act in steps.iter().filter_map(Act::of) {
            gives(act, &mut |kind, name, place| {
                self.all.give(kind, name, Some(place))
            });
            for body in act.bodies() {
                self.collect(body);
            }
        }
    }

    fn list(&mut self, steps: &[Node], beside: bool) {
        for act in steps.iter().filter_map(Act::of) {
            self.refers(act, beside);
            if act.name() == "boot" {
                self.begin_anew();
            }
            if act.name() == "puppet" {
                self.puppets.check(self.found, act.node, beside);
            }
            // A branch is known to its own steps; a measurement only when it is done.
            let late = act.name() == "measure";
            if !late {
                gives(act, &mut |kind, name, place| {
                    self.before.give(kind, name, Some(place))
                });
            }
            for body in act.bodies() {
                self.list(body, beside || act.is_beside());
            }
            if late {
                gives(act, &mut |kind, name, place| {
                    self.before.give(kind, name, Some(place))
                });
            }
        }
    }

    /// After a `boot` nothing is left of what the guest had, but what was measured.
    fn begin_anew(&mut self) {
        let measured = self.before.0.remove(&Kind::Measurement);
        self.before = self.at_boot.clone();
        if let Some(measured) = measured {
            self.before.0.insert(Kind::Measurement, measured);
        }
        self.puppets.begin_anew();
    }

    fn refers(&mut self, act: Act<'_>, beside: bool) {
        if act.name() == "start_daemon" && self.disks.is_some() && !beside {
            self.cache(act);
        }
        for (_, key, kind) in REFERS.iter().filter(|(name, ..)| *name == act.name()) {
            self.reference(act.key.place, act.node, act.name(), key, *kind, beside);
        }
        self.conditions(act.node, beside);
        if let (Some(disks), Some(disk)) = (&self.disks, act.node.get("disk")) {
            let name = disk.as_str().unwrap_or_default();
            if !disks.iter().any(|known| may_be(known, name)) {
                let message = format!("there is no disk `{name}` in `needs: disks:`");
                let known = disks.iter().map(String::as_str);
                self.found.near(disk.place, message, name, known);
            }
        }
        for item in act.node.get("mount").map_or(&[][..], Node::items) {
            let name = item.as_str().unwrap_or_default();
            if let Some(disks) = self.disks.as_ref().filter(|_| act.name() == "boot") {
                if !disks.iter().any(|known| may_be(known, name)) {
                    let message = format!("there is no disk `{name}` in `needs: disks:`");
                    let known = disks.iter().map(String::as_str);
                    self.found.near(item.place, message, name, known);
                }
            }
        }
    }

    /// A cache must lie on a filesystem that can hold one: the guest's root cannot.
    fn cache(&mut self, act: Act<'_>) {
        let dir = act.node.str("dir").unwrap_or("/cache");
        let place = act.node.get("dir").map_or(act.key.place, |node| node.place);
        let on = |at: &str| {
            let at = at.trim_end_matches('/');
            at.contains("${") || dir == at || dir.starts_with(&format!("{at}/"))
        };
        if dir.contains("${") || self.mounts_itself || self.before.names(Kind::MountPoint).any(on) {
            return;
        }
        let message = format!("the cache is to be in `{dir}`, but nothing is mounted there");
        let known: Vec<&str> = self.before.names(Kind::MountPoint).collect();
        let wrong = self.found.sources.diagnose(place, message);
        let wrong = wrong
            .with_nearest(dir, known)
            .with_help("add a disk to `needs: disks:`, such as `{name: cache, size: 256MiB}`");
        self.found.wrong.push(wrong);
    }

    /// References at any depth of a step: in conditions and expectations.
    fn conditions(&mut self, node: &Node, beside: bool) {
        match &node.value {
            Value::Scalar(_) => {}
            Value::List(items) => {
                for item in items {
                    self.conditions(item, beside);
                }
            }
            Value::Map(fields) => {
                for (key, value) in fields {
                    match key.text.as_str() {
                        // Their steps have their own turn.
                        "steps" | "branches" | "actions" => continue,
                        "since" => self.since(value, beside),
                        "poll" => self.poll(key.place, value, beside),
                        "polls" => {
                            for item in value.items() {
                                self.poll(item.place, item, beside);
                            }
                        }
                        "ratios" => value
                            .items()
                            .iter()
                            .for_each(|item| self.ratio(item, beside)),
                        "states" => value.items().iter().for_each(|item| self.state(item)),
                        "state" => self.state(value),
                        "logs" => value.items().iter().for_each(|item| self.log(item)),
                        "log" => self.log(value),
                        _ => {}
                    }
                    self.conditions(value, beside);
                }
            }
        }
    }

    fn since(&mut self, node: &Node, beside: bool) {
        if let Some(name) = node.as_str() {
            self.known(Kind::Snapshot, name, node.place, beside);
        }
    }

    fn poll(&mut self, place: Place, node: &Node, beside: bool) {
        self.reference(place, node, "poll", "name", Kind::Keeper, beside);
    }

    fn ratio(&mut self, node: &Node, beside: bool) {
        for key in ["of", "to"] {
            let Some((text, node)) = node.str(key).zip(node.get(key)) else {
                continue;
            };
            // NAME.seconds: the last word says what was measured.
            let name = text.rsplit_once('.').map_or(text, |(name, _)| name);
            self.known(Kind::Measurement, name, node.place, beside);
        }
    }

    fn log(&mut self, node: &Node) {
        let Some((name, of)) = node.str("of").zip(node.get("of")) else {
            return;
        };
        let kinds = [Kind::Daemon, Kind::Program];
        let known = kinds
            .iter()
            .any(|kind| self.all.find(*kind, name).is_some());
        if !known && !matches!(name, "kernel" | "daemon") {
            let names = kinds.iter().flat_map(|kind| self.all.names(*kind));
            let names: Vec<&str> = names.chain(["kernel", "daemon"]).collect();
            let message = format!("there is no log of `{name}`: no daemon or program is called so");
            self.found.near(of.place, message, name, names);
        }
    }

    fn state(&mut self, node: &Node) {
        let Some((name, of)) = node.str("of").zip(node.get("of")) else {
            return;
        };
        let kinds = [Kind::Daemon, Kind::Program, Kind::Puppet, Kind::Branch];
        if !kinds
            .iter()
            .any(|kind| self.all.find(*kind, name).is_some())
        {
            let known: Vec<&str> = kinds
                .iter()
                .flat_map(|kind| self.all.names(*kind))
                .collect();
            let message = format!("no daemon, program, puppet or branch is called `{name}`");
            self.found.near(of.place, message, name, known);
        }
    }

    fn reference(
        &mut self,
        holder: Place,
        node: &Node,
        action: &str,
        key: &str,
        kind: Kind,
        beside: bool,
    ) {
        let given = node.str(key).zip(node.get(key).map(|node| node.place));
        let default = default_name(action, key).map(|name| (name, holder));
        if let Some((name, place)) = given.or(default) {
            self.known(kind, name, place, beside);
        }
    }

    fn known(&mut self, kind: Kind, name: &str, place: Place, beside: bool) {
        if self.before.find(kind, name).is_some() {
            return;
        }
        match self.all.find(kind, name) {
            Some(_) if beside => {}
            Some(later) => {
                let message = format!("no {} `{name}` before this step", kind.giver());
                let line = later.map(|there| {
                    let line = self.found.sources.line_column(there).0;
                    match (there.source, there.start) < (place.source, place.start) {
                        true => format!("the one in line {line} is gone since the `boot`"),
                        false => format!("the one in line {line} comes too late"),
                    }
                });
                self.found.add(place, message).help.extend(line);
            }
            None => {
                let message = format!("no {} `{name}`", kind.giver());
                let known: Vec<&str> = self
                    .all
                    .names(kind)
                    .chain(self.before.names(kind))
                    .collect();
                self.found.near(place, message, name, known);
            }
        }
    }
}

/// Whether a program is run whose arguments speak of mounting.
fn runs_mount(steps: &[Node]) -> bool {
    steps.iter().filter_map(Act::of).any(|act| {
        let mut argv = act.node.get("argv").map_or(&[][..], Node::items).iter();
        let mounts = |argument: &Node| argument.as_str().is_some_and(|a| a.contains("mount"));
        argv.any(mounts) || act.bodies().into_iter().any(runs_mount)
    })
}

/// The names that an action gives.
fn gives(act: Act<'_>, give: &mut dyn FnMut(Kind, &str, Place)) {
    for (_, key, kind) in GIVES.iter().filter(|(name, ..)| *name == act.name()) {
        let name = act.node.str(key).or(default_name(act.name(), key));
        let Some(name) = name else {
            continue;
        };
        give(*kind, name, act.key.place);
        if *kind == Kind::Daemon && act.node.str("keeper") == Some("true") {
            give(Kind::Keeper, name, act.key.place);
        }
    }
    for branch in act.node.get("branches").map_or(&[][..], Node::items) {
        if let Some(name) = branch.str("name") {
            give(Kind::Branch, name, act.key.place);
        }
    }
    if act.name() == "puppet" {
        for action in act.node.get("actions").map_or(&[][..], Node::items) {
            measured_by(action, act.key.place, give);
        }
    }
}

/// What a storm measures: `storm.rounds`, and two numbers for each kind of action in it.
fn measured_by(action: &Node, place: Place, give: &mut dyn FnMut(Kind, &str, Place)) {
    let Some(storm) = action.get("storm") else {
        return;
    };
    give(Kind::Measurement, "storm", place);
    for inner in storm.get("actions").map_or(&[][..], Node::items) {
        for (key, _) in inner.fields() {
            give(Kind::Measurement, &format!("storm.{}", key.text), place);
        }
    }
}
