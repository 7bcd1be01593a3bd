// SPDX-License-Identifier: GPL-2.0-or-later
//! Exit codes, reports, shards, and what happens to runs that were killed.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use rustix::process::Signal;

use crate::machine::running;
use crate::machine::signal;
use crate::place::Place;
use crate::place::SCENARIO;
use crate::processes::all_gone;

fn vmtest(place: &Place, arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("vmtest").unwrap();
    command.args(arguments).current_dir(place.at("."));
    for name in ["GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"] {
        command.env_remove(name);
    }
    command
}

/// Takes all modules out of the index: every run is skipped.
fn without_modules(place: &Place) {
    let file = place.at("index.json");
    let text = fs::read_to_string(&file).unwrap();
    let mut index: serde_json::Value = serde_json::from_str(&text).unwrap();
    index["modules"] = serde_json::json!({});
    fs::write(file, index.to_string()).unwrap();
}

fn json(file: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

fn names(results: &serde_json::Value) -> Vec<String> {
    let runs = results["runs"].as_array().unwrap();
    let mut names: Vec<_> = runs
        .iter()
        .map(|run| format!("{} {}", run["name"], run["module"]))
        .collect();
    names.sort();
    names
}

#[test]
fn every_exit_code_is_in_the_help() {
    let place = Place::new();
    let help = vmtest(&place, &["--help"]).assert().code(0);
    let text = String::from_utf8(help.get_output().stdout.clone()).unwrap();
    let table = text.split("Exit codes:").nth(1).unwrap();
    let codes: Vec<i32> = table
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect();
    assert_eq!(codes, [0, 1, 2, 3, 130]);
}

#[test]
fn all_well_is_0() {
    let place = Place::new();
    place.qemu("exit 1");
    without_modules(&place);
    place
        .run()
        .assert()
        .code(0)
        .stdout(contains("0 passed, 0 failed, 2 skipped"));
}

#[test]
fn a_run_that_goes_wrong_is_1() {
    let place = Place::new();
    place.qemu("exit 1");
    place.run().assert().code(1);
}

#[test]
fn a_wrong_command_line_or_scenario_is_2() {
    let place = Place::new();
    place.run().arg("--nonsense").assert().code(2);
    place
        .run()
        .args(["--shard", "3/2"])
        .assert()
        .code(2)
        .stderr(contains("I/N"));
    place
        .run()
        .args(["--durations", "x.json"])
        .assert()
        .code(2)
        .stderr(contains("--shard"));
    place.scenario("first", "name: first\nnonsense: 1\n");
    place.run().assert().code(2);
    vmtest(&place, &["report", "none"])
        .assert()
        .code(2)
        .stderr(contains("--out"));
}

#[test]
fn a_set_up_that_fails_is_3() {
    let place = Place::new();
    fs::remove_file(place.at("bzImage")).unwrap();
    place.run().assert().code(3);
}

#[test]
fn an_interruption_is_130() {
    let place = Place::new();
    let (mut vmtest, children) = running(&place, "exec sleep 1000");
    signal(&vmtest, Signal::INT);
    assert_eq!(vmtest.wait().unwrap().code(), Some(130));
    all_gone(&children);
    assert!(place.at("out/report.html").exists());
}

#[test]
fn a_killed_run_is_in_the_report_and_the_next_run_tells_of_it_once() {
    let place = Place::new();
    let (mut child, children) = running(&place, "exec sleep 1000");
    vmtest(&place, &["report", "out"])
        .assert()
        .stdout(contains("still under way: first on c"))
        .stdout(contains("only the report was made anew"));
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    all_gone(&children);
    vmtest(&place, &["report", "out"])
        .assert()
        .code(1)
        .stdout(contains("killed").and(contains("the last thing noted")))
        .stdout(contains("0 passed, 1 failed"));
    let killed = place.result();
    assert_eq!(killed["outcome"], "killed");
    assert!(
        fs::read_to_string(place.at("out/report.html"))
            .unwrap()
            .contains("killed: the runner")
    );
    without_modules(&place);
    let told = "was killed in the middle of: first on c";
    place.run().assert().code(0).stderr(contains(told));
    place.run().assert().code(0).stderr(contains(told).not());
}

#[test]
fn every_run_leaves_markers_a_timeline_and_a_report() {
    let place = Place::new();
    place.qemu("echo 'no room' >&2; exit 7");
    place.run().assert().code(1).stdout(contains("report:"));
    let run = place.at("out/runs/first-6.12-c");
    let started = json(&run.join("started.json"));
    assert!(started["by"]["pid"].as_u64().unwrap() > 0);
    assert_eq!(started["by"]["command_line"][1], "run");
    assert_eq!(json(&run.join("ended.json"))["run"]["outcome"], "error");
    let timeline = fs::read_to_string(run.join("timeline.jsonl")).unwrap();
    assert!(timeline.contains("\"source\":\"host\""), "{timeline}");
    let result = place.result();
    assert_eq!(result["timeline"], "timeline.jsonl");
    assert!(
        result["files"]
            .as_array()
            .unwrap()
            .iter()
            .any(|file| file == "qemu.stderr")
    );
    let report = fs::read_to_string(place.at("out/report.html")).unwrap();
    assert!(report.contains("href=\"runs/first-6.12-c/qemu.stderr\""));
}

#[test]
fn the_shards_of_a_run_are_all_of_it_and_merge_into_one() {
    let place = Place::new();
    place.qemu("exit 1");
    for name in ["second", "third"] {
        place.scenario(name, &SCENARIO.replace("first", name));
    }
    place.run().assert().code(1);
    let whole = json(&place.at("out/results.json"));
    assert_eq!(names(&whole).len(), 6);
    let durations = place.at("out/results.json");
    for index in [1, 2] {
        let out = format!("part-{index}");
        let code = place
            .run_to(&out)
            .args(["--shard", &format!("{index}/2")])
            .arg("--durations")
            .arg(&durations)
            .assert()
            .get_output()
            .status
            .code();
        assert!(matches!(code, Some(0 | 1)), "{code:?}");
        let few = names(&json(&place.at(&out).join("results.json"))).len();
        assert!((1..6).contains(&few), "{few}");
    }
    vmtest(&place, &["merge", "all", "part-2", "part-1"])
        .assert()
        .code(1);
    let merged = json(&place.at("all/results.json"));
    assert_eq!(names(&merged), names(&whole));
    assert!(merged.get("warnings").is_none(), "{}", merged["warnings"]);
    for run in merged["runs"].as_array().unwrap() {
        let folder = place.at("all").join(run["artifacts"].as_str().unwrap());
        assert!(run["outcome"] == "skipped" || folder.join("qemu.stderr").exists());
    }
    vmtest(&place, &["merge", "half", "part-1"])
        .assert()
        .code(1)
        .stderr(contains("shard 2 of 2 is missing"));
}

#[test]
fn the_jobs_of_a_workflow_are_json_in_one_line() {
    let place = Place::new();
    fs::create_dir(place.at("kernels")).unwrap();
    for name in ["6.12", "7.2"] {
        fs::write(place.at("kernels").join(format!("{name}.yaml")), "").unwrap();
    }
    let command = [
        "matrix",
        "--kernels",
        "kernels",
        "--format",
        "github",
        "--shards",
        "2",
    ];
    let output = vmtest(&place, &command).assert().code(0);
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    assert_eq!(text.lines().count(), 1);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["include"].as_array().unwrap().len(), 4);
    vmtest(
        &place,
        &["matrix", "--kernels", "kernels", "--kernel", "7.3"],
    )
    .assert()
    .code(2)
    .stderr(contains("no kernel `7.3`").and(contains("6.12, 7.2")));
}

#[test]
fn on_github_failures_are_annotated_and_summed_up() {
    let place = Place::new();
    place.qemu("exit 1");
    place
        .run()
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", place.at("summary.md"))
        .assert()
        .code(1)
        .stdout(contains("::error ").and(contains("title=first error on c (6.12)::")));
    let summary = fs::read_to_string(place.at("summary.md")).unwrap();
    assert!(summary.contains("| first | 🟧 error"), "{summary}");
    assert!(!summary.contains("::error"));
}

#[test]
fn durations_are_remembered_only_of_runs_that_say_something() {
    let place = Place::new();
    place.qemu("exit 1");
    fs::create_dir_all(place.at("cache")).unwrap();
    fs::write(place.at("cache/vmtest-durations.json"), "damaged").unwrap();
    place.run().assert().code(1);
    // An error says nothing about how long the run takes.
    let text = fs::read_to_string(place.at("cache/vmtest-durations.json")).unwrap();
    assert_eq!(text, "damaged");
}
