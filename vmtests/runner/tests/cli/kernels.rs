// SPDX-License-Identifier: GPL-2.0-or-later
//! One invocation over several kernels: each run says on which, and in which profile.

use std::collections::BTreeSet;
use std::fs;

use crate::place::Place;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use predicates::str::is_match;

/// A second index: what `change` makes of the first.
fn second(place: &Place, change: impl Fn(&mut serde_json::Value)) -> std::path::PathBuf {
    let text = fs::read_to_string(place.at("index.json")).unwrap();
    let mut index = serde_json::from_str(&text).unwrap();
    change(&mut index);
    let file = place.at("second.json");
    fs::write(&file, index.to_string()).unwrap();
    file
}

#[test]
fn every_scenario_runs_on_every_kernel_and_the_results_tell_them_apart() {
    let place = Place::new();
    place.qemu("exit 1");
    let debug = second(&place, |index| {
        index["profile"] = "debug".into();
        index["guest"] = serde_json::json!({
            "append": "loglevel=7", "least_memory": 1u64 << 30, "limits": 3, "leak_scan": true,
        });
    });
    place
        .run()
        .arg("--artifacts")
        .arg(debug)
        .assert()
        .code(1)
        .stdout(is_match(r"(?m)^first +6\.12 +c +error").unwrap())
        .stdout(is_match(r"(?m)^first +6\.12-debug +c +error").unwrap())
        .stdout(is_match(r"(?m)^0 passed, 2 failed, 2 skipped\n\z").unwrap());
    let text = fs::read_to_string(place.at("out/results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&text).unwrap();
    let runs = results["runs"].as_array().unwrap();
    let told: BTreeSet<_> = runs
        .iter()
        .map(|run| (run["kernel"].as_str(), run["profile"].as_str()))
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    let cmdline = |folder: &str| {
        fs::read_to_string(place.at("out/runs").join(folder).join("qemu.cmdline")).unwrap()
    };
    let (usual, debug) = (cmdline("first-6.12-c"), cmdline("first-6.12-debug-c"));
    assert!(debug.contains("loglevel=7") && !usual.contains("loglevel=7"));
    assert!(debug.contains("1073741824B") && usual.contains("536870912B"));
    let junit = fs::read_to_string(place.at("out/junit.xml")).unwrap();
    assert!(junit.contains("vmtest 6.12-debug"), "{junit}");
    let report = fs::read_to_string(place.at("out/report.html")).unwrap();
    assert!(report.contains("6.12-debug"));
}

#[test]
fn one_kernel_twice_is_refused_since_its_runs_would_have_one_name() {
    let place = Place::new();
    let same = second(&place, |_| {});
    place
        .run()
        .arg("--artifacts")
        .arg(same)
        .assert()
        .code(2)
        .stderr(contains("both of kernel 6.12").and(contains("second.json")));
}
