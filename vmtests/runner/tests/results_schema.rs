// SPDX-License-Identifier: GPL-2.0-or-later
//! The committed JSON Schema of results.json is the one of the types, and what is written keeps to
//! it. `UPDATE=1 cargo test -p vmtest --test results_schema` writes it anew.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;
use serde_json::json;
use vmtest::results::Results;
use vmtest::results::schema;

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../results.schema.json")
}

/// A file with everything in it that can be in one.
fn example() -> Value {
    let text = include_str!("fixtures/results.json");
    serde_json::from_str(text).unwrap()
}

fn errors(value: &Value) -> Vec<String> {
    let validator = jsonschema::draft202012::new(&schema::schema()).unwrap();
    validator
        .iter_errors(value)
        .map(|error| error.to_string())
        .collect()
}

#[test]
fn the_committed_schema_is_the_one_of_the_types() {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(committed(), schema::text()).unwrap();
    }
    let text = fs::read_to_string(committed()).unwrap();
    assert!(
        text == schema::text(),
        "vmtests/results.schema.json is out of date: run `UPDATE=1 cargo test -p vmtest --test \
         results_schema`"
    );
}

#[test]
fn a_whole_file_keeps_to_the_schema_and_survives_reading_and_writing() {
    let example = example();
    assert_eq!(errors(&example), Vec::<String>::new());
    let read: Results = serde_json::from_value(example.clone()).unwrap();
    let written = serde_json::to_value(&read).unwrap();
    assert_eq!(written, example);
}

#[test]
fn what_is_no_result_does_not_keep_to_the_schema() {
    for (pointer, value) in [
        ("/schema", json!("one")),
        ("/runs/0/outcome", json!("fine")),
        ("/runs/0/seconds", json!("1.0")),
        ("/runs/0/steps/0/outcome", json!("passed: really")),
        ("/runs/0/requests", json!({"open": 1})),
        ("/runs/0/requests/open", json!(-1)),
    ] {
        let mut example = example();
        *example.pointer_mut(pointer).unwrap() = value;
        assert!(!errors(&example).is_empty(), "{pointer}");
    }
    let mut example = example();
    example["runs"][0].as_object_mut().unwrap().remove("reason");
    assert!(!errors(&example).is_empty());
}
