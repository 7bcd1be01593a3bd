// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that the host carries out: where they may stand, and what may follow a power cut.

use super::Act;
use super::Findings;
use super::steps::first_word;
use crate::scenario::tree::Node;

/// Steps that the host carries out.
pub(in crate::scenario) const HOST: &[&str] = &[
    "power_cut",
    "boot",
    "disk_errors",
    "heal_disk",
    "throttle_disk",
    "grow_disk",
    "pause_vm",
    "unplug_disk",
    "plug_disk",
    "memory_pressure",
];
/// Steps whose inner steps the host may carry out.
const SEQUENCES: &[&str] = &["group", "repeat"];
/// Host steps that want a guest that runs.
const WANT_GUEST: &[&str] = &["pause_vm", "unplug_disk", "plug_disk", "memory_pressure", "power_cut"];

/// Whether the guest runs; when not, which step ended it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Power {
    On,
    Off(u32),
}

/// `whole` says that the steps are all there are: at their end the guest must run.
pub(super) fn check(found: &mut Findings<'_>, steps: &[Node], whole: bool) {
    let mut power = Power::On;
    list(found, steps, &mut power, None);
    if let (Power::Off(at), true, Some(last)) = (power, whole, steps.last()) {
        let message = "the scenario ends without power: nothing could be collected";
        let line = line(found, last, at);
        let wrong = found.add(first_word(last), message);
        wrong.help.push(format!("it was cut in line {line}: add `- boot: {{}}`"));
    }
}

fn line(found: &Findings<'_>, near: &Node, at: u32) -> usize {
    let mut place = near.place;
    place.start = at;
    found.sources.line_column(place).0
}

/// `barrier` is the step around, where it is one in which no host step may stand.
fn list(found: &mut Findings<'_>, steps: &[Node], power: &mut Power, barrier: Option<&str>) {
    for step in steps {
        let Some(act) = Act::of(step) else {
            continue;
        };
        let host = HOST.contains(&act.name());
        if let (true, Some(barrier)) = (host, barrier) {
            let message = format!(
                "the host carries `{}` out: it cannot stand inside `{barrier}`",
                act.name()
            );
            let wrong = found.add(act.key.place, message);
            let help = "it may stand at the top, in a `group` and in a `repeat` without `parallel`";
            wrong.help.push(help.to_owned());
            continue;
        }
        let sequence = SEQUENCES.contains(&act.name()) && !act.is_beside();
        match (*power, act.name()) {
            (Power::Off(_), "boot") => *power = Power::On,
            (Power::On, "boot") => {
                let message = "the guest runs already: `boot` belongs after a `power_cut`";
                found.add(act.key.place, message);
            }
            (Power::On, "power_cut") => *power = Power::Off(act.key.place.start),
            (Power::Off(at), name) if !sequence && (!host || WANT_GUEST.contains(&name)) => {
                let line = line(found, step, at);
                let message = format!("without power `{name}` cannot be carried out");
                let wrong = found.add(act.key.place, message);
                wrong.help.push(format!("the power was cut in line {line}: `- boot: {{}}` first"));
                // Said once, not for every step that follows.
                *power = Power::On;
            }
            _ => {}
        }
        let barrier = barrier.or((!sequence).then_some(act.name()));
        for body in act.bodies() {
            let before = *power;
            list(found, body, power, barrier);
            if act.name() == "repeat" && *power != Power::On && before == Power::On {
                // The second round begins as the first one ended.
                list(found, body, power, barrier);
            }
        }
    }
}
