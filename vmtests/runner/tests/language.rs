// SPDX-License-Identifier: GPL-2.0-or-later
//! Types, schemas, reference, examples and scenarios say the same.
//! `UPDATE=1 cargo test -p vmtest --test language` writes anew what is made from the types.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;
use vmtest::lint;
use vmtest::reference;
use vmtest::scenario;
use vmtest::scenario::Diagnosis;
use vmtest::scenario::Overrides;
use vmtest::schema;

fn vmtests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn updating() -> bool {
    std::env::var_os("UPDATE").is_some()
}

fn same(file: &Path, wanted: &str) {
    if updating() {
        fs::write(file, wanted).unwrap();
    }
    let there = fs::read_to_string(file).unwrap_or_default();
    assert!(
        there == wanted,
        "{} is out of date: run `UPDATE=1 cargo test -p vmtest --test language`",
        file.display()
    );
}

#[test]
fn the_committed_schemas_are_those_of_the_types() {
    let dir = vmtests().join("scenarios");
    same(
        &dir.join("scenario.schema.json"),
        &schema::text(&schema::scenario()),
    );
    same(
        &dir.join("piece.schema.json"),
        &schema::text(&schema::piece()),
    );
}

#[test]
fn the_reference_is_that_of_the_types() {
    let file = vmtests().join("LANGUAGE.md");
    let page = fs::read_to_string(&file).unwrap();
    let (written, _) = page
        .split_once(reference::MARK)
        .expect("the mark is missing");
    same(&file, &format!("{written}{}", reference::markdown()));
}

/// The project's scenarios and pieces, and those of the VM-level suite.
fn files() -> Vec<PathBuf> {
    let mut files = lint::files(&vmtests().join("scenarios")).unwrap();
    assert!(files.len() >= 6, "{files:?}");
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm/scenarios");
    if suite.is_dir() {
        files.extend(lint::files(&suite).unwrap());
    }
    files
}

fn json(yaml: &str) -> Value {
    let value: serde_yaml::Value = serde_yaml::from_str(yaml).unwrap();
    serde_json::to_value(value).unwrap()
}

fn against(schema: &Value, value: &Value) -> Vec<String> {
    let validator = jsonschema::draft202012::new(schema).unwrap();
    let errors = validator.iter_errors(value);
    errors
        .map(|error| format!("{}: {error}", error.instance_path))
        .collect()
}

#[test]
fn every_scenario_keeps_to_the_schema_and_carries_it_for_editors() {
    let (scenario, piece) = (schema::scenario(), schema::piece());
    for file in files() {
        let text = fs::read_to_string(&file).unwrap();
        let schema = match scenario::is_piece(&file) {
            true => &piece,
            false => &scenario,
        };
        let errors = against(schema, &json(&text));
        assert!(errors.is_empty(), "{}: {errors:#?}", file.display());
        let line = "# yaml-language-server: $schema=";
        let carried = text.lines().take(3).find_map(|l| l.strip_prefix(line));
        if file.starts_with(vmtests().join("scenarios")) {
            assert!(
                carried.is_some(),
                "{}: `{line}...` is missing",
                file.display()
            );
        }
        let Some(carried) = carried else {
            continue;
        };
        let wanted = match scenario::is_piece(&file) {
            true => "piece.schema.json",
            false => "scenario.schema.json",
        };
        assert!(carried.ends_with(wanted), "{}: {carried}", file.display());
        let there = file.parent().unwrap().join(carried);
        assert!(
            there.is_file(),
            "{}: {carried} is not there",
            file.display()
        );
    }
}

const GOOD: &str = "name: a\nabout: x\nmatrix: {fs: [ext4, ext2]}\nneeds:\n  images: [small]\n  \
    disks: [{name: cache, size: 64MiB, fs: '${fs}', mount: true}]\n  cpus: 2\n\
    xfail: [{kernel: '*', reason: x, link: 'https://example.org/'}]\n\
    steps:\n  - mount: {image: small, at: /m, expect_errno: EIO}\n    timeout: 2m\n  \
    - include: {file: pieces/a.yaml, with: {n: 1}}\n  \
    - puppet: {actions: [{open: {}}, {read_message: {expect: open}}]}\n  \
    - repeat: {var: i, to: 3, steps: [{sleep: {for: 1s}}]}\n";

#[test]
fn the_schema_refuses_what_the_types_refuse() {
    let schema = schema::scenario();
    assert_eq!(against(&schema, &json(GOOD)), Vec::<String>::new());
    for (right, wrong) in [
        ("about:", "abuot:"),
        ("about: x\n", ""),
        ("name: a", "name: 1"),
        ("[ext4, ext2]", "[]"),
        ("[ext4, ext2]", "ext4"),
        ("images: [small]", "imges: [small]"),
        ("images: [small]", "images: small"),
        ("64MiB", "64MB"),
        ("64MiB", "-1"),
        ("'${fs}'", "xfs"),
        ("mount: true", "mount: perhaps"),
        ("cpus: 2", "cpus: two"),
        ("reason: x, ", ""),
        ("mount: {image: small", "mout: {image: small"),
        ("image: small, at", "imagee: small, at"),
        ("image: small, at: /m", "image: small"),
        ("expect_errno: EIO", "expect_errno: EWHAT"),
        ("timeout: 2m", "timeout: soon"),
        ("timeout: 2m", "umount: {at: /m}"),
        ("file: pieces/a.yaml", "fil: pieces/a.yaml"),
        ("{open: {}}", "{jump: {}}"),
        ("{open: {}}", "{open: {}, kill: {}}"),
        ("expect: open", "expect: opened"),
        ("to: 3", "to: many"),
        ("{sleep: {for: 1s}}", "{sleep: {}}"),
        ("{sleep: {for: 1s}}", "{}"),
        ("{sleep: {for: 1s}}", "sleep"),
    ] {
        let text = GOOD.replacen(right, wrong, 1);
        assert_ne!(text, GOOD, "{right}");
        assert!(
            !against(&schema, &json(&text)).is_empty(),
            "the schema takes {wrong}"
        );
        let loaded = scenario::parse(Path::new("a.yaml"), text, &Overrides::default(), None);
        // The piece is not there: that alone is one mistake.
        assert!(
            loaded.wrong.len() > 1 || wrong.contains("fil:"),
            "the types take {wrong}"
        );
    }
}

/// The YAML examples of the page.
fn examples() -> Vec<String> {
    let page = fs::read_to_string(vmtests().join("LANGUAGE.md")).unwrap();
    let (written, _) = page.split_once(reference::MARK).unwrap();
    let blocks = written.split("```yaml\n").skip(1);
    let blocks: Vec<String> = blocks
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect();
    assert!(blocks.len() >= 8, "{}", blocks.len());
    blocks
}

#[test]
fn every_example_is_right() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("pieces")).unwrap();
    let mut wrong: Vec<Diagnosis> = Vec::new();
    let examples = examples();
    for example in &examples {
        if let Some(piece) = example.strip_prefix("# pieces/") {
            let name = piece.lines().next().unwrap();
            let file = dir.path().join("pieces").join(name);
            fs::write(&file, example).unwrap();
            wrong.extend(scenario::parse_piece(&file));
        }
    }
    let mut scenarios = 0;
    for (number, example) in examples.iter().enumerate() {
        let text = if example.starts_with("- ") {
            let steps: String = example.lines().map(|line| format!("  {line}\n")).collect();
            format!(
                "name: example-{number}\nabout: x\nneeds:\n  images: [small]\n  \
                 disks: [{{name: cache, size: 64MiB}}]\nsteps:\n{steps}"
            )
        } else if example.contains("\nname: ") || example.starts_with("name: ") {
            example.clone()
        } else {
            continue;
        };
        let name = text
            .split("name: ")
            .nth(1)
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap();
        let file = dir.path().join(format!("{name}.yaml"));
        fs::write(&file, &text).unwrap();
        wrong.extend(scenario::load_file(&file, &Overrides::default(), None).wrong);
        let errors = against(&schema::scenario(), &json(&text));
        assert!(errors.is_empty(), "{text}\n{errors:#?}");
        scenarios += 1;
    }
    assert!(scenarios >= 8, "{scenarios}");
    let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
