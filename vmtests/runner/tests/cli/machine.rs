// SPDX-License-Identifier: GPL-2.0-or-later
//! A QEMU or a guest that misbehaves is a clear error within its limit, and leaves nothing behind.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use crate::place::Place;
use crate::place::SPEAK_QMP;
use crate::processes::all_gone;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use predicates::str::is_match;
use rustix::process::Pid;
use rustix::process::Signal;

#[test]
fn a_qemu_that_dies_at_once_is_an_error_with_its_last_words() {
    let place = Place::new();
    place.qemu("echo 'no room for the guest' >&2; exit 7");
    place
        .run()
        .assert()
        .code(1)
        .stdout(contains("error").and(contains("no room for the guest")))
        .stdout(contains("exit status: 7"));
    let result = place.result();
    assert_eq!(result["outcome"], "error");
    assert!(result["reason"].as_str().unwrap().contains("boot: "));
}

#[test]
fn a_qemu_that_never_speaks_qmp_is_an_error_within_the_limit() {
    let place = Place::new();
    place.qemu("exec sleep 1000");
    let began = Instant::now();
    place
        .run()
        .args(["--boot-limit", "1"])
        .assert()
        .code(1)
        .stdout(contains("did not answer on its control channel within 1 s"));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_guest_that_never_speaks_is_an_error_with_the_consoles_last_lines() {
    let place = Place::new();
    place.qemu(&format!(
        "{SPEAK_QMP} echo '[    0.1] the last line of this console' >&3; answer"
    ));
    place
        .run()
        .args(["--boot-limit", "1"])
        .assert()
        .code(1)
        .stdout(contains("the agent said nothing within 1 s"))
        .stdout(contains("the last line of this console"));
}

#[test]
fn a_kernel_that_panics_before_the_agent_is_an_error_that_shows_the_panic() {
    let place = Place::new();
    place.qemu(&format!(
        "{SPEAK_QMP} echo '[    0.2] Kernel panic - not syncing: no root' >&3\n\
         echo '[    0.3] a line after it' >&3; answer"
    ));
    place
        .run()
        .assert()
        .code(1)
        .stdout(contains("splat (panic)").and(contains("a line after it")));
    assert_eq!(place.result()["outcome"], "error");
}

#[test]
fn a_guest_that_prints_for_ever_is_ended() {
    let place = Place::new();
    place.qemu(&format!(
        "{SPEAK_QMP} answer & while :; do cat /proc/self/maps /proc/self/smaps >&3 || exit; done"
    ));
    place
        .run()
        .assert()
        .code(1)
        .stdout(contains("printed more than 64 MiB"));
}

#[test]
fn something_that_is_no_agent_on_the_port_is_an_error_that_shows_it() {
    let place = Place::new();
    place.qemu(&format!("{SPEAK_QMP} echo 'login: password' >&5; answer"));
    place
        .run()
        .assert()
        .code(1)
        .stdout(contains("the agent's channel ended").and(contains("logi")));
}

#[test]
fn every_run_leaves_its_files_and_the_last_line_counts_the_runs() {
    let place = Place::new();
    place.qemu("exit 1");
    place
        .run()
        .assert()
        .code(1)
        .stdout(is_match(r"(?m)^first +6\.12 +c +error +[0-9.]+ s$").unwrap())
        .stdout(is_match(r"(?m)^0 passed, 1 failed, 1 skipped\n\z").unwrap());
    let artifacts = place.result()["artifacts"].as_str().unwrap().to_owned();
    assert_eq!(artifacts, "runs/first-6.12-c");
    let run = place.at("out").join(artifacts);
    for file in [
        "agent.log",
        "daemon.log",
        "events.jsonl",
        "qemu.cmdline",
        "qemu.stderr",
    ] {
        assert!(run.join(file).is_file(), "{file}");
    }
    let cmdline = fs::read_to_string(run.join("qemu.cmdline")).unwrap();
    assert!(cmdline.contains("name=vmtest.agent"), "{cmdline}");
    assert!(place.at("out/junit.xml").is_file());
    // What was only there for the guest is gone.
    assert!(!run.join(".blobs").exists());
}

// Whoever calls this ends the child and waits for it.
#[allow(clippy::zombie_processes)]
/// Starts `vmtest run` with the script as QEMU, and waits until all its children are there.
pub fn running(place: &Place, qemu: &str) -> (Child, Vec<i32>) {
    place.qemu(qemu);
    let vmtest = Command::new(assert_cmd::cargo::cargo_bin("vmtest"))
        .args(place.arguments("run"))
        .env("PATH", place.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Three shares and QEMU.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let children = children_of(vmtest.id());
        if children.len() == 4 && place.at("out/runs/first-6.12-c/qemu.cmdline").exists() {
            // Until the trampoline has asked to die with its parent.
            std::thread::sleep(Duration::from_millis(300));
            return (vmtest, children);
        }
        assert!(Instant::now() < deadline, "children: {children:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn children_of(pid: u32) -> Vec<i32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok())
        .flat_map(|text| {
            text.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<i32>>()
        })
        .collect()
}

pub fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn after_kill_9_of_the_runner_nothing_is_left() {
    let place = Place::new();
    // One that does not notice that its channels are closed.
    let (mut vmtest, children) = running(&place, "exec sleep 1000");
    signal(&vmtest, Signal::KILL);
    vmtest.wait().unwrap();
    all_gone(&children);
}

#[test]
fn after_ctrl_c_nothing_is_left_and_the_result_says_so() {
    let place = Place::new();
    let (mut vmtest, children) = running(&place, &format!("{SPEAK_QMP} answer"));
    signal(&vmtest, Signal::INT);
    assert_eq!(vmtest.wait().unwrap().code(), Some(130));
    all_gone(&children);
    let result = place.result();
    assert_eq!(result["outcome"], "error");
    assert!(result["reason"].as_str().unwrap().contains("interrupted"));
}

#[test]
fn sockets_leave_no_names_in_the_temporary_folder() {
    let place = Place::new();
    let temporary = place.at("tmp");
    fs::create_dir(&temporary).unwrap();
    place.qemu("exit 1");
    place.run().env("TMPDIR", &temporary).assert().code(1);
    let left = fs::read_dir(Path::new(&temporary)).unwrap().count();
    assert_eq!(left, 0);
}
