// SPDX-License-Identifier: GPL-2.0-or-later
//! Each splat pattern has examples: one that it must match, one that nothing may match.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use vmtest::splat::Splats;

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/splats")
}

fn fixture(name: &str, kind: &str) -> String {
    let file = dir().join("fixtures").join(format!("{name}.{kind}.txt"));
    fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{}: {error}: every pattern needs it", file.display()))
}

#[test]
fn every_pattern_finds_its_example_and_names_it() {
    let splats = Splats::load(&dir()).unwrap();
    for pattern in splats.patterns() {
        let text = fixture(&pattern.name, "splat");
        // Every paragraph is an example of its own.
        for example in text.split("\n\n").filter(|text| !text.trim().is_empty()) {
            let first = example.lines().find_map(|line| splats.first_match(line));
            let first = first.map(|pattern| pattern.name.as_str());
            assert_eq!(first, Some(pattern.name.as_str()), "example:\n{example}");
        }
    }
}

#[test]
fn no_pattern_finds_anything_in_the_clean_examples() {
    let splats = Splats::load(&dir()).unwrap();
    for pattern in splats.patterns() {
        let text = fixture(&pattern.name, "clean");
        assert!(
            !text.trim().is_empty(),
            "{}: an empty example",
            pattern.name
        );
        for line in text.lines() {
            let found = splats.first_match(line).map(|pattern| &pattern.name);
            assert_eq!(found, None, "{}: {line}", pattern.name);
        }
    }
}

#[test]
fn every_example_belongs_to_a_pattern() {
    let splats = Splats::load(&dir()).unwrap();
    let known: BTreeSet<&str> = splats.patterns().iter().map(|p| p.name.as_str()).collect();
    for entry in fs::read_dir(dir().join("fixtures")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let stem = name.split('.').next().unwrap();
        assert!(known.contains(stem), "{name}: no pattern has this name");
    }
}

/// The parts of a regular expression between the `|` that stand in no group.
fn alternatives(regex: &str) -> Vec<String> {
    let (mut depth, mut escaped, mut parts) = (0i32, false, vec![String::new()]);
    for c in regex.chars() {
        match c {
            '(' | '[' if !escaped => depth += 1,
            ')' | ']' if !escaped => depth -= 1,
            _ => {}
        }
        match c == '|' && depth == 0 {
            true => parts.push(String::new()),
            false => parts.last_mut().unwrap().push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    parts
}

#[test]
fn every_alternative_of_a_pattern_has_an_example_and_begins_at_the_lines_start() {
    let splats = Splats::load(&dir()).unwrap();
    let stamp = regex::Regex::new(r"^(\[ *(\d+\.\d+|T\d+)\] ?)*").unwrap();
    for pattern in splats.patterns() {
        let text = fixture(&pattern.name, "splat");
        for part in alternatives(&pattern.regex) {
            assert!(part.starts_with('^'), "{}: {part}", pattern.name);
            let regex = regex::Regex::new(&part).unwrap();
            let mut lines = text.lines().map(|line| stamp.replace(line, ""));
            let seen = lines.any(|line| regex.is_match(&line));
            assert!(seen, "{}: no example for {part}", pattern.name);
        }
    }
}

#[test]
fn every_kind_that_a_kernel_developer_expects_is_found() {
    let splats = Splats::load(&dir()).unwrap();
    let names: Vec<&str> = splats.patterns().iter().map(|p| p.name.as_str()).collect();
    for kind in [
        "oops",
        "kernel-bug",
        "warn",
        "kasan",
        "kfence",
        "ubsan",
        "lockdep",
        "atomic-sleep",
        "rcu-stall",
        "hung-task",
        "soft-lockup",
        "page-state",
        "kmemleak",
        "refcount",
        "list-corruption",
        "scheduling-while-atomic",
        "rust-panic",
    ] {
        assert!(names.contains(&kind), "{kind}: {names:?}");
    }
}
