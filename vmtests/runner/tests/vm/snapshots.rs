// SPDX-License-Identifier: GPL-2.0-or-later
//! A memory snapshot makes runs fast, and never decides about one.

use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::ground::Ground;
use crate::ground::Ran;

/// A run with a cache of its own.
fn run(ground: &Ground, more: &[&str]) -> Ran {
    let mut command: Command = ground.run_command("passes");
    command
        .env("CACHEFILES_RS_CACHE", ground.at("cache"))
        .args(["--accel", "tcg"])
        .args(more);
    ground.carry_out(command, "passes")
}

/// The files of the only snapshot.
fn snapshot(ground: &Ground) -> Vec<PathBuf> {
    let folders = fs::read_dir(ground.at("cache/snapshots")).unwrap();
    let mut folders = folders.map(|entry| entry.unwrap().path());
    let folder = folders.find(|path| path.join("about.json").is_file());
    let files = fs::read_dir(folder.expect("a snapshot")).unwrap();
    files.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_damaged_snapshot_is_thrown_away_and_the_run_boots() {
    let ground = Ground::new();
    let first = run(&ground, &[]);
    first.is(0, "passed", &[]);
    assert_eq!(first.result["started_from"], "cold");
    let second = run(&ground, &[]);
    second.is(0, "passed", &[]);
    assert_eq!(second.result["started_from"], "snapshot");
    let seconds = |ran: &Ran| ran.result["seconds_to_first_step"].as_f64().unwrap();
    assert!(seconds(&second) < seconds(&first));

    // In its middle, with its length as it was: only its digest can tell.
    let files = snapshot(&ground);
    let memory = files.iter().find(|file| file.ends_with("memory")).unwrap();
    let file = fs::File::options().write(true).open(memory).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    file.write_all_at(b"this was never memory", middle).unwrap();
    let third = run(&ground, &[]);
    third.is(0, "passed", &[]);
    assert_eq!(third.result["started_from"], "cold");
    let told = third.result["notes"].to_string() + &third.said();
    assert!(told.contains("snapshot"), "{told}");
    // And a new one was made.
    assert_eq!(run(&ground, &[]).result["started_from"], "snapshot");

    for file in snapshot(&ground) {
        fs::File::options()
            .write(true)
            .open(file)
            .unwrap()
            .set_len(7)
            .unwrap();
    }
    let torn = run(&ground, &[]);
    torn.is(0, "passed", &[]);
    assert_eq!(torn.result["started_from"], "cold");
}

#[test]
fn asked_to_boot_it_boots() {
    let ground = Ground::new();
    let mut command = ground.run_command("passes");
    command.arg("--cold");
    let ran = ground.carry_out(command, "passes");
    ran.is(0, "passed", &[]);
    assert_eq!(ran.result["started_from"], "cold");
}

#[test]
fn a_machine_into_which_nothing_can_be_plugged_boots_and_that_is_remembered() {
    let ground = Ground::new();
    // Without this the guest does not learn of what is plugged in, as a kernel without ACPI
    // hot-plug does not.
    let real = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|dir| dir.join("qemu-system-x86_64"))
        .find(|file| file.is_file())
        .expect("QEMU");
    let bin = ground.at("bin");
    fs::create_dir(&bin).unwrap();
    let script = format!(
        "#!/bin/sh\nexec {} -global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off \"$@\"\n",
        real.display()
    );
    let file = bin.join("qemu-system-x86_64");
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    for told in ["set-up in the guest", "plugged in later"] {
        let mut command = ground.run_command("passes");
        command
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("CACHEFILES_RS_CACHE", ground.at("cache"))
            .args(["--accel", "tcg"]);
        let ran = ground.carry_out(command, "passes");
        ran.is(0, "passed", &[]);
        assert_eq!(ran.result["started_from"], "cold");
        assert!(ran.said().contains(told), "{}", ran.said());
    }
    // The second run did not try.
    let log = ground.file("passes", "agent.log");
    assert!(!log.contains("MIGRATION"), "{log}");
}
