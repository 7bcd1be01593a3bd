// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps in words. An action with a sentence of its own is told by it, any other by what its type
//! says it does; either way followed by the fields that are not at rest. What rests is known from
//! the schema, so that nothing has to be kept up to date here.

use std::fmt::Write;

use serde_json::Map;
use serde_json::Value;
use vmtest_protocol::Action;
use vmtest_protocol::Step;
use vmtest_protocol::step::ACTION_DOCS;
use vmtest_protocol::step::ProbeAction;
use vmtest_protocol::step::PuppetAction;

use super::variables;
use crate::schema;

/// Longest value of a field that is shown.
const MAX_VALUE: usize = 120;

/// The definitions of the language's schema.
pub(super) struct Words(Map<String, Value>);

impl Words {
    pub(super) fn new() -> Self {
        let mut schema = schema::scenario();
        let defs = schema.get_mut("$defs").map(Value::take);
        Words(match defs {
            Some(Value::Object(defs)) => defs,
            _ => Map::new(),
        })
    }

    /// The fields of a key of `Step` or `PuppetAction`.
    fn properties(&self, of: &str, key: &str) -> Option<&Map<String, Value>> {
        let field = self.0.get(of)?.get("properties")?.get(key)?;
        let name = field["$ref"].as_str()?.strip_prefix("#/$defs/")?;
        self.0.get(name)?.get("properties")?.as_object()
    }

    /// The fields that are not as they are without being given, in brackets; and the error that is
    /// wanted.
    fn given(&self, of: &str, key: &str, fields: &Value, except: &[&str]) -> String {
        let properties = self.properties(of, key);
        let default = |name: &str| properties.and_then(|all| all.get(name)?.get("default"));
        let empty = Map::new();
        let fields = fields.as_object().unwrap_or(&empty);
        let list: Vec<String> = fields
            .iter()
            .filter(|(name, _)| !except.contains(&name.as_str()) && *name != "expect_errno")
            .filter(|(name, value)| !is_empty(value) && default(name) != Some(value))
            .map(|(name, value)| format!("{name} {}", brief(value)))
            .collect();
        let mut text = match list.is_empty() {
            true => String::new(),
            false => format!(" ({})", list.join(", ")),
        };
        if let Some(errno) = fields.get("expect_errno").and_then(Value::as_str) {
            let _ = write!(text, "; it must fail with {errno}");
        }
        text
    }

    /// What a step does.
    pub(super) fn action(&self, action: &Action) -> String {
        let key = action.key();
        let value = serde_json::to_value(Step::new(action.clone())).unwrap_or_default();
        let fields = &value[key];
        let of = |name: &str| brief(&fields[name]);
        let rest = |except: &[&str]| self.given("Step", key, fields, except);
        match action {
            Action::Repeat(repeat) => {
                let mut text = format!("repeat for {} from {}", repeat.var, of("from"));
                text += &match &repeat.to {
                    Some(_) => format!(" up to and without {}", of("to")),
                    None => " on".to_owned(),
                };
                if repeat.span.is_some() {
                    let _ = write!(text, ", beginning no round after {}", of("for"));
                }
                match of("parallel").as_str() {
                    "1" => {}
                    many => {
                        let _ = write!(text, ", {many} rounds at once");
                    }
                }
                text + ":"
            }
            Action::Spawn(spawn) => format!("beside what follows, as `{}`:", spawn.name),
            Action::Join(join) => format!("wait for the branch `{}`{}", join.name, rest(&["name"])),
            Action::Measure(measure) => {
                format!("measure as `{}`{}:", measure.name, rest(&["name", "steps"]))
            }
            Action::Group(group) if group.vars.is_empty() => "in sequence:".to_owned(),
            Action::Group(group) => format!("in sequence, with {}:", variables(group.vars.iter())),
            Action::Parallel(parallel) => format!("{} branches at once:", parallel.branches.len()),
            Action::Sleep(_) => format!("wait {}", of("for")),
            Action::Probe(probe) => format!("the client `{}` of the cache:", probe.name),
            Action::Puppet(puppet) => format!("the process `{}`:", puppet.name),
            Action::StartDaemon(daemon) => format!(
                "start the daemon `{}`, and wait until it serves{}",
                daemon.name,
                rest(&["name"])
            ),
            Action::SignalDaemon(daemon) => {
                format!("send {} to the daemon `{}`", of("signal"), daemon.name)
            }
            Action::Mount(mount) => format!(
                "mount the image `{}` at {}{}",
                mount.image,
                mount.at,
                rest(&["image", "at"])
            ),
            Action::Umount(umount) => format!("unmount {}{}", umount.at, rest(&["at"])),
            Action::Verify(verify) => format!(
                "read the files of `{}` at {} and compare them with its manifest{}",
                verify.image,
                verify.at,
                rest(&["image", "at"])
            ),
            Action::Snapshot(snapshot) => format!("remember all counters as `{}`", snapshot.name),
            Action::Run(run) => {
                format!("run `{}`{}", run.argv.join(" "), rest(&["argv"]))
            }
            Action::Expect(_) => format!("expect that {}", conditions(fields).join("; that ")),
            Action::WaitUntil(_) => {
                let condition = conditions(fields).join("; ");
                format!("wait at most {} until {condition}", of("within"))
            }
            other => {
                let doc = doc_of(ACTION_DOCS, other.key());
                format!("{}: {doc}{}", other.key(), rest(&[]))
            }
        }
    }

    /// What a probe does, a line each.
    pub(super) fn probe_actions(&self, text: &mut String, list: &[ProbeAction], depth: usize) {
        for action in list {
            let doc = doc_of(ProbeAction::KEYS, action.key());
            let fields = serde_json::to_value(action).unwrap_or_default();
            let key = action.key();
            let given = self.given("ProbeAction", key, &fields[key], &[]);
            let indent = 2 * depth;
            let _ = writeln!(text, "{:indent$}- {doc}{given}", "");
        }
    }

    /// What a puppet does, a line each.
    pub(super) fn actions(&self, text: &mut String, list: &[PuppetAction], depth: usize) {
        for action in list {
            let doc = doc_of(PuppetAction::KEYS, action.key());
            let fields = serde_json::to_value(action).unwrap_or_default();
            let key = action.key();
            let given = self.given("PuppetAction", key, &fields[key], &["actions"]);
            let indent = 2 * depth;
            let _ = writeln!(text, "{:indent$}- {doc}{given}", "");
            if let PuppetAction::Storm(storm) = action {
                self.actions(text, &storm.actions, depth + 1);
            }
        }
    }
}

/// The conditions of an `expect` or `wait_until`.
fn conditions(fields: &Value) -> Vec<String> {
    let empty = Map::new();
    let fields = fields.as_object().unwrap_or(&empty);
    let mut list = Vec::new();
    for (key, value) in fields.iter().filter(|(key, _)| *key != "within") {
        let several = value.as_array().map(Vec::as_slice);
        for one in several.unwrap_or(std::slice::from_ref(value)) {
            if !one.is_null() {
                list.push(condition(key, one));
            }
        }
    }
    list
}

fn condition(kind: &str, value: &Value) -> String {
    let of = |key: &str| brief(&value[key]);
    let compared = |value: &Value| {
        let is = brief(&value["is"]).replace('_', " ");
        match is.as_str() {
            "equal" => brief(&value["than"]),
            "not equal" => format!("not {}", brief(&value["than"])),
            "more" | "less" => format!("{is} than {}", brief(&value["than"])),
            _ => format!("{is} {}", brief(&value["than"])),
        }
    };
    match kind.trim_end_matches('s') {
        "counter" => {
            let since = match value["since"].as_str() {
                Some(name) => format!(" has since `{name}` changed by"),
                None => " is".to_owned(),
            };
            format!("{}{since} {}", of("of"), compared(value))
        }
        "file" => {
            let not = if value["absent"] == true { " not" } else { "" };
            format!("{} does{not} match /{}/", of("path"), of("regex"))
        }
        "poll" => {
            let mut words = Vec::new();
            for key in ["readable", "writable"] {
                match value[key].as_bool() {
                    Some(true) => words.push(key.to_owned()),
                    Some(false) => words.push(format!("not {key}")),
                    None => {}
                }
            }
            format!(
                "the device kept for `{}` is {}",
                of("name"),
                words.join(" and ")
            )
        }
        "log" => {
            let count = match value["count"].is_object() {
                true => format!("{} lines", compared(&value["count"])),
                false => "a line".to_owned(),
            };
            let since = value["since"].as_str();
            let since = since
                .map(|name| format!(" since `{name}`"))
                .unwrap_or_default();
            format!(
                "the log of {} has {count} that match /{}/{since}",
                of("of"),
                of("regex")
            )
        }
        "state" => format!("`{}` is {}", of("of"), of("is")),
        "ratio" => {
            let mut bounds = Vec::new();
            for (key, word) in [("at_least", "at least"), ("at_most", "at most")] {
                if !value[key].is_null() {
                    bounds.push(format!("{word} {}", of(key)));
                }
            }
            format!(
                "{} is {} times {}",
                of("of"),
                bounds.join(" and "),
                of("to")
            )
        }
        _ => {
            let rest = value.as_object().into_iter().flatten();
            let rest: Vec<String> = rest
                .filter(|(key, value)| *key != "path" && !is_empty(value))
                .map(|(key, value)| format!("{key} {}", brief(value)))
                .collect();
            format!("{} has {}", of("path"), rest.join(", "))
        }
    }
}

/// What an action does, as within a sentence.
fn doc_of(docs: &[(&str, &str)], key: &str) -> String {
    let doc = docs.iter().find(|(name, _)| *name == key);
    let doc = doc.map_or(key, |(_, doc)| doc.trim()).trim_end_matches('.');
    let mut chars = doc.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        _ => false,
    }
}

fn brief(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(brief).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !is_empty(value));
            let fields: Vec<String> = fields.map(|(k, v)| format!("{k} {}", brief(v))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Null => String::new(),
        other => other.to_string(),
    };
    match text.chars().count() > MAX_VALUE {
        true => text.chars().take(MAX_VALUE).chain("...".chars()).collect(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(step: &str) -> String {
        let step: Step = serde_yaml::from_str(step).unwrap();
        Words::new().action(&step.action)
    }

    #[test]
    fn conditions_are_told_as_they_would_be_said() {
        for (step, expected) in [
            (
                "expect: {counters: [{of: requests.read, since: warm, is: equal, than: 0}, \
                 {of: caches.count, is: at_least, than: 1}]}",
                "expect that requests.read has since `warm` changed by 0; that caches.count is at \
                 least 1",
            ),
            (
                "wait_until: {poll: {writable: false}, within: 20s}",
                "wait at most 20s until the device kept for `daemon` is not writable",
            ),
            (
                "expect: {ratios: [{of: a.seconds, to: b.seconds, at_most: 3}]}",
                "expect that a.seconds is at most 3 times b.seconds",
            ),
            (
                "expect: {states: [{of: reader, is: blocked}]}",
                "expect that `reader` is blocked",
            ),
        ] {
            assert_eq!(words(step), expected);
        }
    }

    #[test]
    fn what_is_as_it_would_be_without_being_given_is_left_out() {
        assert_eq!(
            words("verify: {image: a, at: /m}"),
            words("verify: {image: a, at: /m, threads: 1}")
        );
        assert_eq!(
            words("umount: {at: /m, expect_errno: EBUSY}"),
            "unmount /m; it must fail with EBUSY"
        );
        assert_eq!(
            words("make_dir: {path: /x}"),
            "make_dir: makes a folder (path /x)"
        );
    }
}
