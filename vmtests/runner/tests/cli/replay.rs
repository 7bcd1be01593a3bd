// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest replay`: the same run once more, or a word on why not.

use std::fs;
use std::path::Path;

use crate::place::Place;
use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

/// A place with one run, which failed because QEMU did.
fn place_with_a_run() -> Place {
    let place = Place::new();
    place.qemu("echo 'no room' >&2; exit 7");
    place.run().args(["--module", "c"]).assert().code(1);
    place
}

fn replay(place: &Place, run: &str) -> Command {
    let splats = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/splats");
    let mut command = Command::cargo_bin("vmtest").unwrap();
    command
        .args(["replay", run, "--out"])
        .arg(place.at("out"))
        .arg("--to")
        .arg(place.at("again"))
        .arg("--splats")
        .arg(splats)
        .env("PATH", place.path())
        .env("CACHEFILES_RS_CACHE", place.at("cache"))
        .timeout(std::time::Duration::from_secs(60));
    command
}

#[test]
fn a_run_is_repeated_from_its_folder_alone_and_its_end_compared() {
    let place = place_with_a_run();
    // The scenario as it was then counts, not what has become of its file.
    fs::remove_dir_all(place.at("scenarios")).unwrap();
    replay(&place, "first")
        .assert()
        .code(0)
        .stdout(contains("it ended the same way: error"));
    place.qemu("exec sleep 1000");
    let record = place.at("out/runs/first-6.12-c/replay.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(
        &record,
        text.replace("\"boot_limit\": 60.0", "\"boot_limit\": 0.5"),
    )
    .unwrap();
    replay(&place, place.at("out/runs/first-6.12-c").to_str().unwrap())
        .assert()
        .code(0)
        .stdout(contains("within 0.5 s"));
    assert!(place.at("again/results.json").is_file());
    // What the first run left stays as it was.
    assert!(
        place.result()["reason"]
            .as_str()
            .unwrap()
            .contains("no room")
    );
}

#[test]
fn a_kernel_that_changed_is_named_and_only_anyway_goes_on() {
    let place = place_with_a_run();
    fs::write(place.at("bzImage"), "another kernel").unwrap();
    replay(&place, "first").assert().code(3).stderr(
        contains("cannot be repeated exactly")
            .and(contains("the kernel: "))
            .and(contains("the initramfs").not())
            .and(contains("--anyway")),
    );
    assert!(!place.at("again/runs/first-6.12-c").exists());
    replay(&place, "first")
        .arg("--anyway")
        .assert()
        .code(0)
        .stderr(contains("repeated anyway"));
}

#[test]
fn what_the_index_no_longer_names_is_taken_from_where_it_was() {
    let place = place_with_a_run();
    fs::write(place.at("initramfs-2"), "newer").unwrap();
    let index = fs::read_to_string(place.at("index.json")).unwrap();
    let old = place.at("initramfs");
    let old = old.to_str().unwrap();
    let newer = index.replace(&format!("{old}\""), &format!("{old}-2\""));
    assert_ne!(index, newer);
    fs::write(place.at("index.json"), newer).unwrap();
    place.qemu("echo \"$*\" >&2; exit 7");
    replay(&place, "first")
        .assert()
        .code(0)
        .stderr(contains("those of the run are still there"))
        .stdout(contains(format!("-initrd {old} ")));
    replay(&place, "first")
        .arg("--anyway")
        .assert()
        .code(0)
        .stdout(contains(format!("-initrd {old}-2 ")));
}

#[test]
fn an_unknown_run_lists_those_there_are() {
    let place = place_with_a_run();
    replay(&place, "second")
        .assert()
        .code(2)
        .stderr(contains("no run in ").and(contains("first-6.12-c")));
    let folder = place.at("scenarios");
    replay(&place, folder.to_str().unwrap())
        .assert()
        .code(2)
        .stderr(contains("no run's folder"));
}
