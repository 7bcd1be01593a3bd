// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that the host carries out: where they may stand, and what may follow a power cut.

use vmtest_protocol::Step;

use super::Act;
use super::Findings;
use super::steps::first_word;
use super::steps::without_steps;
use crate::scenario::de;
use crate::scenario::tree::Node;

/// Steps whose inner steps the host may carry out.
const SEQUENCES: &[&str] = &["group", "repeat"];
/// Host steps that want a guest that runs.
const WANT_GUEST: &[&str] = &[
    "pause_vm",
    "unplug_disk",
    "plug_disk",
    "memory_pressure",
    "power_cut",
];

/// Whether the guest runs; when not, which step ended it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Power {
    On,
    Off(u32),
    /// A step without power was reported: the same is not said of every step that follows.
    Said,
}

/// `whole` says that the steps are all there are: at their end the guest must run.
pub(super) fn check(found: &mut Findings<'_>, steps: &[Node], whole: bool) {
    let mut power = Power::On;
    list(found, steps, &mut power, None);
    if let (Power::Off(at), true, Some(last)) = (power, whole, steps.last()) {
        let message = "the scenario ends without power: nothing could be collected";
        let line = line(found, last, at);
        let wrong = found.add(first_word(last), message);
        wrong
            .help
            .push(format!("it was cut in line {line}: add `- boot: {{}}`"));
    }
}

fn line(found: &Findings<'_>, near: &Node, at: u32) -> usize {
    let mut place = near.place;
    place.start = at;
    found.sources.line_column(place).0
}

fn is_host(step: &Node) -> bool {
    let step = de::from_node::<Step>(&without_steps(step));
    step.is_ok_and(|step| step.action.is_host())
}

/// `barrier` is the step around, where it is one in which no host step may stand.
fn list(found: &mut Findings<'_>, steps: &[Node], power: &mut Power, barrier: Option<&str>) {
    for step in steps {
        let Some(act) = Act::of(step) else {
            continue;
        };
        let host = is_host(step);
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
            (Power::Off(_) | Power::Said, "boot") => *power = Power::On,
            (Power::On, "boot") => {
                let message = "the guest runs already: `boot` belongs after a `power_cut`";
                found.add(act.key.place, message);
            }
            (Power::On | Power::Said, "power_cut") => *power = Power::Off(act.key.place.start),
            (Power::Off(at), name) if !sequence && (!host || WANT_GUEST.contains(&name)) => {
                let line = line(found, step, at);
                let message = format!("without power `{name}` cannot be carried out");
                let wrong = found.add(act.key.place, message);
                wrong.help.push(format!(
                    "the power was cut in line {line}: `- boot: {{}}` first"
                ));
                *power = Power::Said;
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::scenario::source::Sources;
    use crate::scenario::tree;

    fn wrong(steps: &str) -> Vec<String> {
        let mut sources = Sources::default();
        let number = sources.add(Path::new("a.yaml"), steps.into(), None);
        let (root, _) = tree::parse(&sources, number).unwrap();
        let mut found = Findings::new(&sources);
        check(&mut found, root.items(), true);
        found.take().iter().map(ToString::to_string).collect()
    }

    const CUT: &str = "- power_cut: {keep: flushed}\n";
    const BOOT: &str = "- boot: {}\n";
    const GUEST: &str = "- drop_caches: {}\n";

    #[test]
    fn after_a_power_cut_comes_a_boot_before_the_guest_does_anything() {
        assert!(wrong(&format!("{GUEST}{CUT}{BOOT}{GUEST}")).is_empty());
        let healed = "- heal_disk: {disk: cache}\n";
        assert!(wrong(&format!("{CUT}{healed}{BOOT}")).is_empty());
        let early = wrong(&format!("{CUT}{GUEST}{GUEST}{BOOT}"));
        assert!(
            early[0].contains("a.yaml:2:3: without power `drop_caches`"),
            "{early:#?}"
        );
        assert!(early[0].contains("cut in line 1"), "{early:#?}");
        let paused = wrong(&format!("{CUT}- pause_vm: {{for: 1s}}\n{BOOT}"));
        assert!(
            paused[0].contains("without power `pause_vm`"),
            "{paused:#?}"
        );
    }

    #[test]
    fn power_at_the_wrong_time_is_refused() {
        assert!(wrong(BOOT)[0].contains("runs already"));
        let without = wrong(&format!("{GUEST}{CUT}"));
        assert!(without[0].contains("ends without power"), "{without:#?}");
        assert!(without[0].contains("cut in line 2"), "{without:#?}");
    }

    #[test]
    fn a_round_begins_as_the_one_before_it_ended() {
        let body = |steps: &str| format!("- repeat: {{var: i, to: 2, steps: [{steps}]}}\n{BOOT}");
        let wrong = wrong(&body("{drop_caches: {}}, {power_cut: {}}"));
        assert!(
            wrong[0].contains("without power `drop_caches`"),
            "{wrong:#?}"
        );
    }

    #[test]
    fn host_steps_stand_in_sequences_only() {
        for (around, fits) in [
            ("- group: {steps: [STEP]}", true),
            (
                "- repeat: {var: i, to: 2, steps: [{group: {steps: [STEP]}}]}",
                true,
            ),
            (
                "- repeat: {var: i, to: 2, parallel: 2, steps: [STEP]}",
                false,
            ),
            ("- spawn: {name: a, steps: [STEP]}", false),
            (
                "- spawn: {name: a, steps: [{group: {steps: [STEP]}}]}",
                false,
            ),
            (
                "- parallel: {branches: [{steps: [STEP]}, {steps: [STEP]}]}",
                false,
            ),
            ("- measure: {name: a, steps: [STEP]}", false),
        ] {
            let wrong = wrong(&around.replace("STEP", "{heal_disk: {disk: cache}}"));
            assert_eq!(wrong.is_empty(), fits, "{around}: {wrong:#?}");
            if let Some(wrong) = wrong.first() {
                assert!(
                    wrong.contains("the host carries `heal_disk` out"),
                    "{wrong}"
                );
            }
        }
    }
}
