// SPDX-License-Identifier: GPL-2.0-or-later
//! A scenario's head: its name, what it is about, its variables, and its known failures.

use std::collections::BTreeSet;

use vmtest_protocol::template::Var;

use super::Act;
use super::Findings;
use crate::matrix::version;
use crate::scenario::Scenario;
use crate::scenario::cases::MAX_CASES;
use crate::scenario::tree::Node;
use crate::scenario::tree::Value;

/// `head` is the tree without steps and with the case's values filled in, `root` the tree with steps.
pub(super) fn check(
    found: &mut Findings<'_>,
    scenario: &Scenario,
    head: &Node,
    root: &Node,
    dropped: bool,
) {
    let value_of = |key: &str| head.get(key).map_or(head.place, |node| node.place);
    let stem = scenario.file.file_stem().unwrap_or_default();
    let stem = stem.to_string_lossy();
    if scenario.name != stem && !dropped {
        let message = format!(
            "the scenario is called `{}`, its file {stem}.yaml: give both the same name",
            scenario.name
        );
        found.add(value_of("name"), message);
    }
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !scenario.name.chars().all(safe) || scenario.name.len() > 100 {
        let message = format!(
            "`{}` is no name for a scenario: at most 100 letters, digits, `-`, `_` and `.`",
            scenario.name
        );
        found.add(value_of("name"), message);
    }
    if scenario.about.trim().is_empty() {
        let message = "`about` is empty: say what the scenario shows";
        found.add(head.key_place("about"), message);
    }
    if scenario.steps.is_empty() && !dropped {
        let message = "a scenario without steps proves nothing";
        found.add(root.key_place("steps"), message);
    }
    let refs = head.get("refs").map_or(&[][..], Node::items);
    for (reference, node) in scenario.refs.iter().zip(refs) {
        if !is_reference(reference) {
            let message = format!("`{reference}` is neither a CVE number nor a link");
            let wrong = found.add(node.place, message);
            wrong
                .help
                .push("write \"CVE-2024-41075\" or \"https://...\"".to_owned());
        }
    }
    variables(found, scenario, head);
    xfail(found, scenario, head, root, dropped);
    allow_splats(found, scenario, head);
}

fn is_reference(text: &str) -> bool {
    let digits = |text: &str| text.len() >= 4 && text.bytes().all(|b| b.is_ascii_digit());
    let cve = || {
        let (year, number) = text.strip_prefix("CVE-")?.split_once('-')?;
        Some(year.len() == 4 && digits(year) && digits(number))
    };
    is_link(text) || cve().unwrap_or(false)
}

fn is_link(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or(text.strip_prefix("http://"));
    rest.is_some_and(|rest| rest.contains('.') && !rest.contains(char::is_whitespace))
}

/// A name that `${...}` can hold.
pub(super) fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn variables(found: &mut Findings<'_>, scenario: &Scenario, head: &Node) {
    for section in ["params", "matrix"] {
        for (key, _) in head.get(section).map_or(&[][..], Node::fields) {
            if !is_variable(&key.text) {
                let message = format!("`{}` is no name for a variable", key.text);
                let wrong = found.add(key.place, message);
                let help = "a letter, then letters, digits and `_`: `${...}` calculates";
                wrong.help.push(help.to_owned());
            }
        }
    }
    for section in ["profiles", "kernels"] {
        for (wherever, values) in head.get(section).map_or(&[][..], Node::fields) {
            if section == "kernels" && version(&wherever.text).is_none() {
                let message = format!("`{}` is no kernel's name", wherever.text);
                let wrong = found.add(wherever.place, message);
                let help = "write it as its lock in configs/kernels is called, such as \"6.12\"";
                wrong.help.push(help.to_owned());
            }
            for (key, _) in values.fields() {
                if !scenario.params.contains_key(&key.text) {
                    let message = format!(
                        "`params` has no `{}`, which `{section}` changes for {}",
                        key.text, wherever.text
                    );
                    let known = scenario.params.keys().map(String::as_str);
                    found.near(key.place, message, &key.text, known);
                }
            }
        }
    }
    let fields = head.get("matrix").map_or(&[][..], Node::fields);
    for ((name, values), (key, node)) in scenario.matrix.0.iter().zip(fields) {
        if head
            .get("params")
            .is_some_and(|params| params.key(name).is_some())
        {
            let message = format!("`{name}` stands in `params` and in `matrix`");
            found.add(key.place, message);
        }
        if values.is_empty() {
            let message = format!("`{name}` has no values: there would be no run");
            found.add(key.place, message);
        }
        for (at, value) in values.iter().enumerate() {
            if values[..at].contains(value) {
                let place = node.items().get(at).map_or(key.place, |item| item.place);
                found.add(place, format!("`{name}` has this value twice"));
            }
        }
    }
    if scenario.matrix.count() > MAX_CASES {
        let message = format!("the matrix makes more than {MAX_CASES} runs of each module");
        found.add(head.key_place("matrix"), message);
    }
}

fn xfail(found: &mut Findings<'_>, scenario: &Scenario, head: &Node, root: &Node, dropped: bool) {
    let mut names = BTreeSet::new();
    step_names(root.get("steps").map_or(&[][..], Node::items), &mut names);
    let entries = head.get("xfail").map_or(&[][..], Node::items);
    for (entry, node) in scenario.xfail.iter().zip(entries) {
        let place = |key: &str| node.get(key).map_or(node.place, |value| value.place);
        for (key, text) in [
            ("kernel", &entry.kernel),
            ("reason", &entry.reason),
            ("link", &entry.link),
        ] {
            if text.trim().is_empty() {
                found.add(place(key), format!("`{key}` of a known failure is empty"));
            }
        }
        if !entry.link.trim().is_empty() && !is_link(&entry.link) {
            let message = format!("`{}` is no link", entry.link);
            let wrong = found.add(place("link"), message);
            wrong
                .help
                .push("write where the failure is described: \"https://...\"".to_owned());
        }
        if let Some(step) = entry.step.as_ref().filter(|_| !dropped) {
            if !names.contains(step.as_str()) {
                let message = format!("no step is called `{step}`");
                found.near(place("step"), message, step, names.iter().copied());
            }
        }
        for (name, value) in &entry.when {
            check_when(found, scenario, node, name, value);
        }
    }
}

fn allow_splats(found: &mut Findings<'_>, scenario: &Scenario, head: &Node) {
    let entries = head.get("allow_splats").map_or(&[][..], Node::items);
    for (entry, node) in scenario.allow_splats.iter().zip(entries) {
        let place = |key: &str| node.get(key).map_or(node.place, |value| value.place);
        if entry.reason.trim().is_empty() {
            let message = "`reason` of an allowed splat is empty: why does it belong to this?";
            found.add(place("reason"), message);
        }
        if let Some(Err(error)) = entry.regex.as_deref().map(regex::Regex::new) {
            found.add(place("regex"), format!("no regular expression: {error}"));
        }
    }
}

fn check_when(
    found: &mut Findings<'_>,
    scenario: &Scenario,
    entry: &Node,
    name: &str,
    value: &Var,
) {
    let when = entry.get("when").unwrap_or(entry);
    if let Some((_, values)) = scenario.matrix.0.iter().find(|(axis, _)| axis == name) {
        if !values.contains(value) {
            let place = when.get(name).map_or(when.place, |node| node.place);
            let known = values.iter().map(super::super::text_of);
            let known: Vec<String> = known.collect();
            let message = format!("`{name}` never has this value");
            let wrong = found.add(place, message);
            wrong.help.push(format!("it has: {}", known.join(", ")));
        }
    } else if !scenario.params.contains_key(name) {
        let axes = scenario.matrix.0.iter().map(|(axis, _)| axis.as_str());
        let known: Vec<&str> = axes
            .chain(scenario.params.keys().map(String::as_str))
            .collect();
        let message = format!("neither `matrix` nor `params` has a `{name}`");
        found.near(when.key_place(name), message, name, known);
    }
}

/// The names that are given to steps, at any depth.
fn step_names<'a>(steps: &'a [Node], names: &mut BTreeSet<&'a str>) {
    for step in steps {
        if let Some(Value::Scalar(name)) = step.get("name").map(|node| &node.value) {
            names.insert(&name.text);
        }
        if let Some(act) = Act::of(step) {
            for body in act.bodies() {
                step_names(body, names);
            }
        }
    }
}
