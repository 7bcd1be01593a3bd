// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest doctor` on machines that lack something.

use std::fs;
use std::path::Path;

use crate::place::Place;
use assert_cmd::Command;
use serde_json::Value;

/// A QEMU that can do all that is asked for.
const ANSWERS: &str = r#"
case "$*" in
    --version) echo 'QEMU emulator version VERSION (Debian)' ;;
    '-machine help') echo 'q35  Standard PC' ;;
    '-device help') echo 'name "vhost-user-fs-pci", bus PCI'; echo 'name "pvpanic-pci", bus PCI' ;;
    '-object help') echo '  memory-backend-memfd' ;;
    '-drive format=help') echo 'Supported formats: blkdebug blklogwrites raw' ;;
    *) exit 1 ;;
esac
"#;

fn doctor(place: &Place) -> Command {
    let mut command = Command::cargo_bin("vmtest").unwrap();
    command
        .args(["doctor", "--accel", "tcg", "--artifacts"])
        .arg(place.at("index.json"))
        .arg("--out")
        .arg(place.at("out"))
        .env("PATH", place.path())
        .env("CACHEFILES_RS_CACHE", place.at("cache"))
        .timeout(std::time::Duration::from_secs(60));
    command
}

/// A machine on which only the kernel's file is no kernel, which the doctor cannot know.
fn healthy() -> Place {
    let place = Place::new();
    fs::write(place.at("vmlinux"), "vmlinux").unwrap();
    place.qemu(&ANSWERS.replace("VERSION", "9.2.1"));
    place
}

/// State and remedy of a point, and the exit code.
fn point(command: &mut Command, name: &str) -> (String, String, i32) {
    let output = command.args(["--format", "json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stdout));
    });
    assert_eq!(report["schema"], 1);
    let points = report["points"].as_array().unwrap();
    let point = points.iter().find(|point| point["point"] == name);
    let point = point.unwrap_or_else(|| panic!("no point {name}: {report}"));
    let text = |key: &str| point[key].as_str().unwrap_or_default().to_owned();
    let code = output.status.code().unwrap();
    assert_eq!(report["runs_possible"] == true, code == 0, "{report}");
    (text("state"), text("remedy"), code)
}

#[test]
fn a_machine_that_has_all_can_run_and_every_point_is_a_line() {
    let place = healthy();
    let output = doctor(&place).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    let mut lines: Vec<&str> = text.lines().collect();
    let last = lines.pop().unwrap();
    assert!(last.starts_with("runs are possible"), "{last}");
    for line in lines {
        let word = line.split(' ').next().unwrap();
        assert!(["ok", "warn"].contains(&word), "{line}");
        assert_eq!(word == "warn", line.contains("; to do: "), "{line}");
    }
    for start in [
        "ok    qemu         QEMU emulator version 9.2.1",
        "ok    virtiofs ",
        "ok    memfd ",
    ] {
        assert!(text.contains(start), "{start}: {text}");
    }
}

#[test]
fn without_qemu_no_run_is_possible_and_the_package_is_named() {
    let place = Place::new();
    // Where it is installed beside the administrators' tools, the search finds the real one.
    if Path::new("/usr/sbin/qemu-system-x86_64").exists() {
        return;
    }
    let (state, remedy, code) = point(&mut doctor(&place), "qemu");
    assert_eq!((state.as_str(), code), ("bad", 3));
    assert!(remedy.contains("qemu-system-x86"), "{remedy}");
}

#[test]
fn a_qemu_that_lacks_shares_is_bad_one_without_fault_drivers_a_warning() {
    let place = healthy();
    place.qemu(&ANSWERS.replace("vhost-user-fs-pci", "other"));
    let (state, _, code) = point(&mut doctor(&place), "qemu devices");
    assert_eq!((state.as_str(), code), ("bad", 3));
    place.qemu(
        &ANSWERS
            .replace("VERSION", "9.0.0")
            .replace("blklogwrites", ""),
    );
    let (state, _, code) = point(&mut doctor(&place), "qemu drivers");
    assert_eq!((state.as_str(), code), ("warn", 0));
}

#[test]
fn an_old_qemu_is_a_warning_and_one_that_hangs_is_bad_within_its_limit() {
    let place = healthy();
    place.qemu(&ANSWERS.replace("VERSION", "6.2.0"));
    let (state, remedy, code) = point(&mut doctor(&place), "qemu");
    assert_eq!((state.as_str(), code), ("warn", 0));
    assert!(remedy.contains("7.2"), "{remedy}");
    place.qemu("exec sleep 1000");
    let (state, _, code) = point(&mut doctor(&place), "qemu");
    assert_eq!((state.as_str(), code), ("bad", 3));
}

#[test]
fn what_was_not_built_or_is_gone_names_the_task_that_builds_it() {
    let place = healthy();
    fs::remove_file(place.at("small.erofs")).unwrap();
    let (state, remedy, code) = point(&mut doctor(&place), "artifacts");
    assert_eq!((state.as_str(), code), ("bad", 3));
    assert_eq!(remedy, "cargo make images");
    fs::remove_file(place.at("index.json")).unwrap();
    let (state, remedy, _) = point(&mut doctor(&place), "artifacts");
    assert_eq!(
        (state.as_str(), remedy.as_str()),
        ("bad", "cargo make images")
    );
}

#[test]
fn missing_compilers_hinder_builds_and_not_runs_of_what_is_built() {
    let place = healthy();
    let (state, remedy, code) = point(&mut doctor(&place), "build tools");
    assert_eq!((state.as_str(), code), ("warn", 0));
    assert!(remedy.contains("flex"), "{remedy}");
    fs::remove_file(place.at("index.json")).unwrap();
    let (state, _, code) = point(&mut doctor(&place), "build tools");
    assert_eq!((state.as_str(), code), ("bad", 3));
}

#[test]
fn a_temporary_folder_that_is_not_there_shows_at_the_share() {
    let place = healthy();
    let mut command = doctor(&place);
    command.env("TMPDIR", place.at("no-such-folder"));
    let (state, _, code) = point(&mut command, "virtiofs");
    assert_eq!((state.as_str(), code), ("bad", 3));
}

#[test]
fn a_results_folder_that_cannot_be_written_is_bad() {
    let place = healthy();
    // /proc takes no new files, whoever asks.
    let mut command = Command::cargo_bin("vmtest").unwrap();
    command
        .args(["doctor", "--out", "/proc/vmtest", "--accel", "tcg"])
        .env("PATH", place.path());
    let (state, remedy, code) = point(&mut command, "results disk");
    assert_eq!((state.as_str(), code), ("bad", 3));
    assert!(remedy.contains("--out"), "{remedy}");
}
