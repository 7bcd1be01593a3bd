// SPDX-License-Identifier: GPL-2.0-or-later
//! Reads a tree as a type and finds all that does not fit, not only the first: what is wrong is
//! repaired as its author would (a mistyped key gets its right name), or taken out, and the tree is
//! read again.

use serde::de::DeserializeOwned;

use super::de;
use super::de::Fault;
use super::de::What;
use super::diagnose::Diagnosis;
use super::diagnose::nearest;
use super::source::Place;
use super::source::Sources;
use super::tree::Node;
use super::tree::Value;

/// No more mistakes than this are looked for in one file: each costs a reading.
const MAX_MISTAKES: usize = 40;
/// Lists of words up to this length are shown even where one of them is near.
const SHORT_LIST: usize = 14;

/// What came of reading.
#[derive(Debug)]
pub struct Reading<T> {
    /// The value, of the repaired tree where there were mistakes.
    pub value: Option<T>,
    /// What was wrong.
    pub wrong: Vec<Diagnosis>,
    /// Whether something had to be taken out of the tree: what refers to it is not wrong.
    pub dropped: bool,
}

/// Reads `root` as a `T`, repairing it.
pub fn read<T: DeserializeOwned>(sources: &Sources, root: &mut Node) -> Reading<T> {
    let mut reading = Reading {
        value: None,
        wrong: Vec::new(),
        dropped: false,
    };
    let mut taken = Vec::new();
    while reading.wrong.len() < MAX_MISTAKES {
        let fault = match de::from_node::<T>(root) {
            Ok(value) => {
                reading.value = Some(value);
                return reading;
            }
            Err(fault) => fault,
        };
        let place = fault.place.unwrap_or(root.place);
        if let What::Missing(key) = fault.what {
            // It is missing because it was taken out: that has been said.
            if place == root.place && taken.iter().any(|taken| taken == key) {
                return reading;
            }
        }
        let said = describe(sources, place, &fault);
        reading.wrong.push(said);
        match repair(root, place, &fault, &mut taken) {
            Repaired::Renamed => {}
            Repaired::TakenOut => reading.dropped = true,
            Repaired::Not => {
                reading.dropped = true;
                return reading;
            }
        }
    }
    reading
}

/// A fault in words, with help.
fn describe(sources: &Sources, place: Place, fault: &Fault) -> Diagnosis {
    let here = sources
        .get(place.source)
        .and_then(|source| source.text.get(place.start as usize..place.end as usize))
        .unwrap_or_default();
    let is_word = !here.is_empty() && here.chars().all(|c| c.is_alphanumeric() || c == '_');
    match &fault.what {
        What::Unknown { word, known, .. } => {
            let known = known.iter().copied();
            let mut diagnosis = sources.diagnose(place, fault.to_string());
            let near = nearest(word, known.clone());
            if let Some(near) = near {
                diagnosis = diagnosis.with_help(format!("did you mean `{near}`?"));
            } else if matches!(word.as_str(), "timeout" | "name") {
                diagnosis = diagnosis.with_help(format!(
                    "a step's `{word}` stands beside its action, in a line of its own"
                ));
            }
            let mut words: Vec<&str> = known.collect();
            words.sort_unstable();
            match words.len() {
                0 => diagnosis.with_help("no key may stand here: write `{}`"),
                count if count <= SHORT_LIST || near.is_none() => {
                    diagnosis.with_help(format!("known here: {}", words.join(", ")))
                }
                _ => diagnosis,
            }
        }
        What::Missing(key) if is_word => sources
            .diagnose(place, format!("the key `{key}` is missing in `{here}`"))
            .with_help(format!("add `{key}: ...`")),
        What::Missing(key) => sources
            .diagnose(place, fault.to_string())
            .with_help(format!("add `{key}: ...`")),
        What::Type { found, wanted } => {
            let diagnosis = sources.diagnose(place, fault.to_string());
            if found == "nothing" && wanted.starts_with("a map") {
                diagnosis.with_help("write `{}` where no field is wanted")
            } else if wanted == "a text" && (found.contains("number") || found.contains("truth")) {
                diagnosis.with_help(format!("in quotes it is a text: \"{here}\""))
            } else if found.starts_with("the text") && here.starts_with(['"', '\'']) {
                diagnosis.with_help("remove the quotes")
            } else {
                diagnosis
            }
        }
        What::Other(text) => {
            let diagnosis = sources.diagnose(place, text.clone());
            let errno = text
                .contains("not an error name")
                .then(|| nearest(here, vmtest_protocol::value::Errno::names()))
                .flatten();
            match errno {
                Some(near) => diagnosis.with_help(format!("did you mean `{near}`?")),
                None => diagnosis,
            }
        }
    }
}

enum Repaired {
    Renamed,
    TakenOut,
    Not,
}

fn repair(root: &mut Node, place: Place, fault: &Fault, taken: &mut Vec<String>) -> Repaired {
    match &fault.what {
        What::Unknown {
            word,
            known,
            key: true,
        } => match rename(root, place, nearest(word, known.iter().copied())) {
            Some(true) => return Repaired::Renamed,
            Some(false) => return Repaired::TakenOut,
            None => {}
        },
        What::Missing(key) if place == root.place => {
            let Value::Map(fields) = &mut root.value else {
                return Repaired::Not;
            };
            let missing = super::tree::Key {
                text: (*key).to_owned(),
                place,
            };
            let value = match *key {
                "steps" => Node {
                    place,
                    value: Value::List(Vec::new()),
                },
                _ => Node::text(place, "?"),
            };
            fields.push((missing, value));
            return Repaired::TakenOut;
        }
        _ => {}
    }
    if take_item(root, place) {
        return Repaired::TakenOut;
    }
    let Value::Map(fields) = &mut root.value else {
        return Repaired::Not;
    };
    match fields
        .iter()
        .position(|(key, node)| key.place == place || holds(node, place))
    {
        Some(at) => {
            taken.push(fields.remove(at).0.text);
            Repaired::TakenOut
        }
        None => Repaired::Not,
    }
}

/// Gives the key at `place` its right name, or removes it where there is none: then what is left
/// must still be something. `None` when there is no such key.
fn rename(node: &mut Node, place: Place, right: Option<&str>) -> Option<bool> {
    match &mut node.value {
        Value::Scalar(_) => None,
        Value::List(items) => {
            let mut done = None;
            let mut empty = Vec::new();
            for (at, item) in items.iter_mut().enumerate() {
                let before = item.fields().len();
                if let Some(renamed) = rename(item, place, right) {
                    done = Some(renamed);
                    let left = item.fields();
                    let bare = |key: &str| matches!(key, "name" | "timeout");
                    if left.len() < before && left.iter().all(|(key, _)| bare(&key.text)) {
                        empty.push(at);
                    }
                }
            }
            for at in empty.into_iter().rev() {
                items.remove(at);
            }
            done
        }
        Value::Map(fields) => {
            if let Some(at) = fields.iter().position(|(key, _)| key.place == place) {
                return match right {
                    Some(right) if !fields.iter().any(|(key, _)| key.text == right) => {
                        fields[at].0.text = right.to_owned();
                        Some(true)
                    }
                    _ => {
                        fields.remove(at);
                        Some(false)
                    }
                };
            }
            let mut done = None;
            for (_, value) in fields {
                done = rename(value, place, right).or(done);
            }
            done
        }
    }
}

/// Takes the innermost list items that hold `place` out of their lists.
fn take_item(node: &mut Node, place: Place) -> bool {
    match &mut node.value {
        Value::Scalar(_) => false,
        Value::Map(fields) => {
            let mut taken = false;
            for (_, value) in fields {
                taken |= take_item(value, place);
            }
            taken
        }
        Value::List(items) => {
            let before = items.len();
            let mut deeper = false;
            items.retain_mut(|item| {
                if !holds(item, place) {
                    return true;
                }
                let inside = take_item(item, place);
                deeper |= inside;
                inside
            });
            deeper || items.len() < before
        }
    }
}

/// Whether `place` is a node's own, or that of a key or node in it.
fn holds(node: &Node, place: Place) -> bool {
    node.place == place
        || match &node.value {
            Value::Scalar(_) => false,
            Value::List(items) => items.iter().any(|item| holds(item, place)),
            Value::Map(fields) => fields
                .iter()
                .any(|(key, value)| key.place == place || holds(value, place)),
        }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde::Deserialize;
    use vmtest_protocol::Step;

    use super::super::tree;
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct File {
        name: String,
        #[serde(default)]
        rows: Vec<u32>,
        steps: Vec<Step>,
    }

    fn wrong(text: &str) -> Vec<String> {
        let mut sources = Sources::default();
        let number = sources.add(Path::new("a.yaml"), text.into(), None);
        let (mut root, _) = tree::parse(&sources, number).unwrap();
        let reading = read::<File>(&sources, &mut root);
        reading.wrong.iter().map(ToString::to_string).collect()
    }

    fn first_lines(wrong: &[String]) -> Vec<&str> {
        wrong.iter().filter_map(|one| one.lines().next()).collect()
    }

    #[test]
    fn every_mistake_of_a_file_is_found_where_it_stands() {
        let wrong = wrong(
            "naem: a\nrows: [1, two, 3]\nsteps:\n  - mout: {image: a, at: /m}\n  \
             - mount: {image: a}\n  - sleep: {for: soon}\n  - umount: {at: /m, at_once: yes}\n  \
             - repeat:\n      var: i\n      to: 3\n      steps:\n        \
             - verify: {image: a, at: /m, threads: many}\n        - mount:\n        - weather: {}\n",
        );
        assert_eq!(
            first_lines(&wrong),
            [
                "a.yaml:1:1: unknown key `naem`",
                "a.yaml:2:11: here stands the text `two`, wanted is a whole number",
                "a.yaml:4:5: unknown key `mout`",
                "a.yaml:5:5: the key `at` is missing in `mount`",
                "a.yaml:6:18: `soon` is not a span of time such as 500ms, 10s or 2m",
                "a.yaml:7:22: unknown key `at_once`",
                "a.yaml:12:47: `many` is not a whole number",
                "a.yaml:13:11: here stands nothing, wanted is a map of fields, such as `{key: value}`",
                "a.yaml:14:11: unknown key `weather`",
            ],
            "{wrong:#?}"
        );
        assert!(wrong[0].contains("did you mean `name`?"));
        assert!(wrong[2].contains("did you mean `mount`?"));
        assert!(wrong[5].contains("known here: at, expect_errno"));
        assert!(wrong[8].contains("known here: ") && wrong[8].contains("umount"));
    }

    #[test]
    fn help_says_how_it_would_be_right() {
        for (text, expected) in [
            (
                "name: 6.12\nsteps: []\n",
                "in quotes it is a text: \"6.12\"",
            ),
            ("name: a\nrows: ['1']\nsteps: []\n", "remove the quotes"),
            (
                "name: a\nsteps:\n  - mount: {image: a, at: /m, timeout: 5m}\n",
                "stands beside its action",
            ),
            (
                "name: a\nsteps:\n  - mount: {image: a, at: /m, expect_errno: EBUZY}\n",
                "did you mean `EBUSY`?",
            ),
            ("name: a\nsteps:\n  - drop_caches: {now: 1}\n", "write `{}`"),
            ("name: a\n", "add `steps: ...`"),
            (
                "name: a\nsteps:\n  - mount: {image: a, at: /m}\n    umount: {at: /m}\n",
                "a.yaml:4:5: a step has one action",
            ),
            (
                "name: a\nsteps:\n  - wait_daemon: {ended_by: {}}\n",
                "a.yaml:3:29: write either `exit_code` or `signal`",
            ),
        ] {
            let wrong = wrong(text);
            assert_eq!(wrong.len(), 1, "{wrong:#?}");
            assert!(wrong[0].contains(expected), "{text}: {}", wrong[0]);
        }
    }

    #[test]
    fn what_is_wrong_by_an_alias_is_said_once() {
        let text = "name: a\nsteps:\n  - &x {mount: {image: a, att: /m}}\n  - *x\n  - *x\n";
        assert_eq!(wrong(text).len(), 1);
    }

    #[test]
    fn hopeless_files_end_the_search() {
        let many = format!("name: a\nsteps:\n{}", "  - 1\n".repeat(5000));
        assert_eq!(wrong(&many).len(), MAX_MISTAKES);
        assert_eq!(wrong("[1, 2]\n").len(), 1);
        assert_eq!(wrong("just text\n").len(), 1);
    }
}
