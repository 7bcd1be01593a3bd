// SPDX-License-Identifier: GPL-2.0-or-later
//! Wrong input is found before anything boots, and the message says what to do.

use std::fs;

use crate::place::Place;
use crate::place::SCENARIO;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

/// QEMU must not be started at all: if it is, this file appears.
fn tell_tale(place: &Place) {
    place.qemu(&format!("echo started > {}", place.at("started").display()));
}

#[test]
fn an_unknown_key_shows_file_line_column_and_the_nearest_word() {
    let place = Place::new();
    tell_tale(&place);
    place.scenario("first", &SCENARIO.replace("images:", "imagse:"));
    place
        .run()
        .assert()
        .code(2)
        .stderr(contains("first.yaml:4:3: ").and(contains("did you mean `images`?")));
    assert!(!place.at("started").exists());
}

#[test]
fn an_image_that_was_not_built_is_found_before_anything_boots() {
    let place = Place::new();
    tell_tale(&place);
    place.scenario("first", &SCENARIO.replace("small", "smal"));
    place
        .run()
        .assert()
        .code(2)
        .stderr(contains("no image `smal`").and(contains("did you mean `small`?")));
    assert!(!place.at("started").exists());
}

#[test]
fn a_missing_index_names_the_command_that_makes_it() {
    let place = Place::new();
    fs::remove_file(place.at("index.json")).unwrap();
    place
        .run()
        .assert()
        .code(3)
        .stderr(contains("cannot read the artifact index").and(contains("images -- build 6.12")));
}

#[test]
fn an_index_whose_kernel_is_gone_says_so() {
    let place = Place::new();
    fs::remove_file(place.at("bzImage")).unwrap();
    place
        .run()
        .assert()
        .code(3)
        .stderr(contains("bzImage, which is not there"));
}

#[test]
fn an_index_of_another_schema_is_refused() {
    let place = Place::new();
    let text = fs::read_to_string(place.at("index.json")).unwrap();
    let other = text.replace("\"schema\":1", "\"schema\":2");
    assert_ne!(text, other);
    fs::write(place.at("index.json"), other).unwrap();
    place.run().assert().code(3).stderr(contains("schema 2"));
}

#[test]
fn without_qemu_the_package_is_named() {
    let place = Place::new();
    // Where it is installed beside the tools, the search would find the real one.
    if std::path::Path::new("/usr/sbin/qemu-system-x86_64").exists() {
        return;
    }
    place
        .run()
        .assert()
        .code(3)
        .stderr(contains("package qemu-system-x86"));
}

#[test]
fn a_module_that_was_asked_for_and_not_built_is_an_error() {
    let place = Place::new();
    tell_tale(&place);
    place
        .run()
        .args(["--module", "rust"])
        .assert()
        .code(3)
        .stderr(contains("has no module `rust`"));
}

#[test]
fn a_filter_that_matches_nothing_lists_what_there_is() {
    let place = Place::new();
    tell_tale(&place);
    place
        .run()
        .args(["--filter", "second"])
        .assert()
        .code(2)
        .stderr(contains(
            "no scenario's name contains `second`; there are: first",
        ));
}

#[test]
fn a_filter_leaves_broken_scenarios_of_other_names_alone() {
    let place = Place::new();
    place.qemu("exit 1");
    place.scenario("broken", "name: broken\nnonsense: 1\n");
    place.run().args(["--filter", "first"]).assert().code(1);
    place
        .run()
        .assert()
        .code(2)
        .stderr(contains("broken.yaml:2:1: "));
}

#[test]
fn a_parameter_that_no_scenario_has_is_an_error() {
    let place = Place::new();
    tell_tale(&place);
    place.scenario("first", &format!("params: {{mounts: 3}}\n{SCENARIO}"));
    place
        .run()
        .args(["--param", "mount=3"])
        .assert()
        .code(2)
        .stderr(contains("--param mount").and(contains("did you mean `mounts`?")));
}

#[test]
fn two_invocations_do_not_write_into_one_folder() {
    let place = Place::new();
    tell_tale(&place);
    fs::create_dir_all(place.at("out")).unwrap();
    let lock = fs::File::create(place.at("out/.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    place.run().assert().code(3).stderr(contains("--out DIR"));
}

#[test]
fn without_splat_patterns_nothing_is_run() {
    let place = Place::new();
    tell_tale(&place);
    let empty = place.at("no-splats");
    place.run().arg("--splats").arg(&empty).assert().failure();
    assert!(!place.at("started").exists());
}

#[test]
fn without_mutants_in_the_index_the_command_that_builds_them_is_named() {
    let place = Place::new();
    tell_tale(&place);
    let mut command = assert_cmd::Command::cargo_bin("vmtest").unwrap();
    command
        .args(place.arguments("mutants"))
        .env("PATH", place.path());
    command
        .assert()
        .code(2)
        .stderr(contains("images build 6.12 --mutant NAME"));
}

#[test]
fn the_dashes_that_cargo_make_hands_on_say_nothing() {
    let place = Place::new();
    tell_tale(&place);
    place.scenario("first", &SCENARIO.replace("images:", "imagse:"));
    place
        .run()
        .args(["--", "--filter", "first"])
        .assert()
        .code(2)
        .stderr(contains("did you mean `images`?"));
}
