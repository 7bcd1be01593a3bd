// SPDX-License-Identifier: GPL-2.0-or-later
//! What is wrong with a step for itself: fields that exclude each other, expressions that do not
//! compile, counters that cannot exist. Works on steps whose templates are filled in.

use super::Act;
use super::Findings;
use super::pattern_matches;
use crate::scenario::Needs;
use crate::scenario::tree::Node;
use crate::scenario::tree::Value;

/// Of these fields of an action exactly one is wanted.
const EXACTLY_ONE: &[(&str, &[&str])] = &[
    ("wait_until", &["counter", "file", "poll", "log", "state", "path"]),
    ("fill_file", &["size", "leave_percent"]),
    ("write", &["length", "text", "hex"]),
    ("set_xattr", &["text", "hex"]),
];

/// Of these fields of an action at least one is wanted.
const AT_LEAST_ONE: &[(&str, &[&str])] = &[
    ("repeat", &["to", "for"]),
    ("expect", &["counters", "files", "polls", "logs", "states", "ratios", "paths"]),
    ("reconfigure_daemon", &["limits", "delay_ms", "fill", "threads"]),
];

/// Of these fields of an action at most one is wanted.
const AT_MOST_ONE: &[(&str, &[&str])] = &[("mount_fs", &["source", "disk"])];

/// Fields that say what a success must look like: `expect_errno` wants none.
const SUCCESS: &[&str] = &[
    "sha256",
    "equals",
    "expect",
    "expect_written",
    "expect_fields",
    "stdout",
    "save",
];

/// Fields that are regular expressions, wherever they stand.
const EXPRESSIONS: &[&str] = &["regex", "stdout", "stderr"];

/// Numbers that must not be zero.
const POSITIVE: &[(&str, &str)] = &[
    ("repeat", "parallel"),
    ("verify", "threads"),
    ("start_daemon", "threads"),
    ("measure", "objects"),
];

pub(super) fn check(found: &mut Findings<'_>, act: Act<'_>, needs: Option<&Needs>) {
    let fields = |table: &'static [(&str, &'static [&'static str])]| {
        table.iter().filter(|(name, _)| *name == act.name()).map(|(_, keys)| *keys)
    };
    for keys in fields(EXACTLY_ONE) {
        number_of(found, act, keys, 1, 1);
    }
    for keys in fields(AT_LEAST_ONE) {
        number_of(found, act, keys, 1, keys.len());
    }
    for keys in fields(AT_MOST_ONE) {
        number_of(found, act, keys, 0, 1);
    }
    for (name, key) in POSITIVE {
        if act.name() == *name && act.node.str(key).is_some_and(|text| text.trim() == "0") {
            let place = act.node.get(key).map_or(act.key.place, |node| node.place);
            found.add(place, format!("`{key}` of `{name}` is zero: nothing would be done"));
        }
    }
    if act.name() == "repeat" {
        range(found, act);
    }
    if let Some(needs) = needs {
        if matches!(act.name(), "mount" | "verify") {
            image(found, act, needs);
        }
    }
    digest(found, act);
    errno(found, act.name(), act.node);
    values(found, act.node);
}

fn number_of(found: &mut Findings<'_>, act: Act<'_>, keys: &[&str], least: usize, most: usize) {
    let given: Vec<&str> = keys
        .iter()
        .copied()
        .filter(|key| act.node.key(key).is_some())
        .collect();
    let list = format!("`{}`", keys.join("`, `"));
    match given.as_slice() {
        given if given.len() < least => {
            let message = format!("`{}` says nothing: give one of {list}", act.name());
            found.add(act.key.place, message);
        }
        given if given.len() > most => {
            let place = given.get(most).map_or(act.key.place, |key| act.node.key_place(key));
            let message = format!(
                "`{}` takes only one of `{}`",
                act.name(),
                given.join("` and `")
            );
            let wrong = found.add(place, message);
            wrong.help.push("make it two steps, or remove one".to_owned());
        }
        _ => {}
    }
}

fn range(found: &mut Findings<'_>, act: Act<'_>) {
    let number = |key: &str| act.node.str(key)?.trim().parse::<u64>().ok();
    let from = number("from").unwrap_or(0);
    if let Some(to) = number("to").filter(|to| *to <= from) {
        let place = act.node.get("to").map_or(act.key.place, |node| node.place);
        let message = format!("from {from} up to and without {to} there is no round");
        found.add(place, message);
    }
}

fn image(found: &mut Findings<'_>, act: Act<'_>, needs: &Needs) {
    let Some((name, node)) = act.node.str("image").zip(act.node.get("image")) else {
        return;
    };
    if !needs.images.iter().any(|pattern| pattern_matches(pattern, name)) {
        let message = format!("a step uses the image `{name}`, `needs: images:` does not list it");
        let known = needs.images.iter().map(|pattern| pattern.trim_end_matches('*'));
        found.near(node.place, message, name, known);
    }
}

fn digest(found: &mut Findings<'_>, act: Act<'_>) {
    let Some((digest, node)) = act.node.str("sha256").zip(act.node.get("sha256")) else {
        return;
    };
    if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
        found.add(node.place, "a SHA-256 has 64 hexadecimal digits");
    }
}

/// `expect_errno` beside a field that only a success can satisfy, also in a puppet's actions.
fn errno(found: &mut Findings<'_>, action: &str, node: &Node) {
    if node.key("expect_errno").is_some() {
        for key in SUCCESS.iter().filter(|key| node.key(key).is_some()) {
            let message = format!("`{action}` must fail, so `{key}` cannot be seen");
            let wrong = found.add(node.key_place(key), message);
            wrong.help.push("remove it, or `expect_errno`".to_owned());
        }
    }
    for action in node.get("actions").map_or(&[][..], Node::items) {
        for (key, fields) in action.fields() {
            errno(found, &key.text, fields);
        }
    }
}

/// What may stand at any depth of an action: expressions, counters, hexadecimal bytes.
fn values(found: &mut Findings<'_>, node: &Node) {
    match &node.value {
        Value::Scalar(_) => {}
        Value::List(items) => items.iter().for_each(|item| values(found, item)),
        Value::Map(fields) => {
            let is_counter = node.key("of").is_some() && node.key("than").is_some();
            for (key, value) in fields {
                if let Some(text) = value.as_str() {
                    if EXPRESSIONS.contains(&key.text.as_str()) {
                        expression(found, value, text);
                    }
                    if key.text == "of" && is_counter {
                        counter(found, value, text);
                    }
                    if key.text == "hex" {
                        hexadecimal(found, value, text);
                    }
                }
                values(found, value);
            }
        }
    }
}

fn expression(found: &mut Findings<'_>, node: &Node, text: &str) {
    // The guest's own dialect, which knows no Unicode classes.
    if let Err(error) = regex_lite::Regex::new(text) {
        found.add(node.place, format!("not a regular expression: {error}"));
    }
}

fn hexadecimal(found: &mut Findings<'_>, node: &Node, text: &str) {
    let digits = || text.chars().filter(|c| !c.is_whitespace());
    if digits().count() % 2 != 0 || !digits().all(|c| c.is_ascii_hexdigit()) {
        found.add(node.place, "two hexadecimal digits for each byte are wanted");
    }
}

/// Counters whose whole name is known.
const COUNTERS: &[&str] = &[
    "requests.open",
    "requests.read",
    "requests.close",
    "requests.replied",
    "requests.outstanding",
    "caches.vols",
    "caches.objs",
    "caches.access",
    "caches.count",
];
/// Beginnings of counters whose rest only the guest knows.
const FAMILIES: &[&str] = &["daemon.", "fscache.", "memory.", "free_percent:", "free_bytes:"];

fn counter(found: &mut Findings<'_>, node: &Node, name: &str) {
    if COUNTERS.contains(&name) {
        return;
    }
    if let Some(rest) = FAMILIES.iter().find_map(|family| name.strip_prefix(family)) {
        let dotted = !name.starts_with("fscache.") || rest.split('.').count() == 2;
        let path = !name.contains(':') || rest.starts_with('/');
        let lower = name.contains(':') || !name.chars().any(|c| c.is_ascii_uppercase());
        if rest.is_empty() || !dotted || !path || !lower {
            let message = format!("there can be no counter `{name}`");
            let wrong = found.add(node.place, message);
            let help = match name.split(['.', ':']).next().unwrap_or_default() {
                "fscache" => "fscache.SECTION.FIELD as in /proc/fs/fscache/stats, in lower case",
                "memory" => "memory.FIELD as in /proc/meminfo, in lower case",
                "daemon" => "daemon.EVENT, an `ev` of its event log",
                _ => "a path in the guest follows, such as `free_percent:/cache`",
            };
            wrong.help.push(help.to_owned());
        }
        return;
    }
    let known = COUNTERS.iter().chain(FAMILIES).copied();
    let family = name.split_once(['.', ':']).map_or(name, |(family, _)| family);
    let message = format!("there can be no counter `{name}`");
    let diagnosis = found.sources.diagnose(node.place, message);
    let mut diagnosis = diagnosis.with_nearest(name, known);
    if diagnosis.help.is_empty() {
        let families = FAMILIES.iter().map(|f| f.trim_end_matches(['.', ':']));
        diagnosis = diagnosis.with_nearest(family, families.chain(["requests", "caches"]));
    }
    diagnosis = diagnosis.with_help(format!(
        "counters are {}, and those that begin with {}",
        COUNTERS.join(", "),
        FAMILIES.join(" ")
    ));
    found.wrong.push(diagnosis);
}
