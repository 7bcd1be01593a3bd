// SPDX-License-Identifier: GPL-2.0-or-later
//! The command line: what it explains, what it refuses, and with which exit codes.

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

fn daemon() -> Command {
    Command::cargo_bin("cachefilesd").expect("the daemon is built with its tests")
}

#[test]
fn help_explains_the_exit_codes() {
    daemon()
        .arg("--help")
        .assert()
        .success()
        .stdout(contains("Exit codes").and(contains("--event-log")));
}

#[test]
fn a_missing_option_is_a_usage_error() {
    daemon().assert().code(2).stderr(contains("--dir"));
}

#[test]
fn limits_out_of_order_are_a_usage_error_that_names_them() {
    let dir = tempfile::tempdir().unwrap();
    daemon()
        .arg("--dir")
        .arg(dir.path())
        .arg("--blobs")
        .arg(dir.path())
        .args(["--bcull", "9"])
        .assert()
        .code(2)
        .stderr(contains("bstop < bcull < brun").and(contains("1, 9, 7")));
}

#[test]
fn blobs_that_are_not_there_have_their_own_code() {
    let dir = tempfile::tempdir().unwrap();
    daemon()
        .arg("--dir")
        .arg(dir.path())
        .args(["--blobs", "nowhere"])
        .assert()
        .code(6)
        .stderr(contains("nowhere"));
}

#[test]
fn without_the_module_the_daemon_says_what_to_load() {
    if std::path::Path::new("/dev/cachefiles").exists() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    daemon()
        .arg("--dir")
        .arg(dir.path())
        .arg("--blobs")
        .arg(dir.path())
        .assert()
        .code(3)
        .stderr(contains("cachefiles_rs"));
}
