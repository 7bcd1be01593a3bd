// SPDX-License-Identifier: GPL-2.0-or-later
//! What is wrong with a step for itself, beyond its types: expressions that do not compile, counters
//! that cannot exist, images that are not listed. Works on steps whose templates are filled in.

use super::Act;
use super::Findings;
use super::pattern_matches;
use crate::scenario::Needs;
use crate::scenario::tree::Node;
use crate::scenario::tree::Value;

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
    for (name, key) in POSITIVE {
        if act.name() == *name && act.node.str(key).is_some_and(|text| text.trim() == "0") {
            let place = act.node.get(key).map_or(act.key.place, |node| node.place);
            found.add(
                place,
                format!("`{key}` of `{name}` is zero: nothing would be done"),
            );
        }
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

fn image(found: &mut Findings<'_>, act: Act<'_>, needs: &Needs) {
    let Some((name, node)) = act.node.str("image").zip(act.node.get("image")) else {
        return;
    };
    if !needs
        .images
        .iter()
        .any(|pattern| pattern_matches(pattern, name))
    {
        let message = format!("a step uses the image `{name}`, `needs: images:` does not list it");
        let known = needs
            .images
            .iter()
            .map(|pattern| pattern.trim_end_matches('*'));
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
        found.add(
            node.place,
            "two hexadecimal digits for each byte are wanted",
        );
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
    "nfsd.read",
    "nfsd.write",
    "nfsd.open",
    "nfsd.getattr",
    "nfsd.setattr",
    "nfsd.commit",
];
/// Beginnings of counters whose rest only the guest knows.
const FAMILIES: &[&str] = &[
    "daemon.",
    "fscache.",
    "memory.",
    "trace.",
    "free_percent:",
    "free_bytes:",
];

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
                "trace" => "trace.EVENT, one that `start_trace` records",
                "daemon" => "daemon.EVENT, an `ev` of its event log",
                _ => "a path in the guest follows, such as `free_percent:/cache`",
            };
            wrong.help.push(help.to_owned());
        }
        return;
    }
    let known = COUNTERS.iter().chain(FAMILIES).copied();
    let family = name
        .split_once(['.', ':'])
        .map_or(name, |(family, _)| family);
    let message = format!("there can be no counter `{name}`");
    let diagnosis = found.sources.diagnose(node.place, message);
    let mut diagnosis = diagnosis.with_nearest(name, known);
    if diagnosis.help.is_empty() {
        let families = FAMILIES.iter().map(|f| f.trim_end_matches(['.', ':']));
        diagnosis = diagnosis.with_nearest(family, families.chain(["requests", "caches", "nfsd"]));
    }
    diagnosis = diagnosis.with_help(format!(
        "counters are {}, and those that begin with {}",
        COUNTERS.join(", "),
        FAMILIES.join(" ")
    ));
    found.wrong.push(diagnosis);
}
