// SPDX-License-Identifier: GPL-2.0-or-later
//! Something ends in the middle of a step: the kernel, the agent, QEMU, a share, the runner.

use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;

use crate::ground::Ground;
use crate::processes::all_gone;

#[test]
fn a_panic_is_a_splat_of_the_step_and_qemu_says_so_as_well() {
    let ground = Ground::new();
    let ran = ground.run("panics");
    ran.is(
        1,
        "failed",
        &[
            "the end of the world",
            "splat (panic)",
            "sysrq triggered crash",
        ],
    );
    let log = ground.file("panics", "timeline.jsonl");
    assert!(log.contains("GUEST_PANICKED"), "{log}");
}

#[test]
fn an_agent_that_dies_is_an_error_and_not_a_failure_of_the_subject() {
    let ground = Ground::new();
    let ran = ground.run("agent-dies");
    ran.is(
        1,
        "error",
        &["a lobotomy", "the agent ended", "Attempted to kill init"],
    );
}

#[test]
fn a_reboot_that_nobody_asked_for_is_an_error() {
    let ground = Ground::new();
    let ran = ground.run("reboots");
    assert_eq!(ran.result["outcome"], "error", "{}", ran.said());
    assert!(
        ran.reason().contains("an unexpected reboot"),
        "{}",
        ran.said()
    );
    assert_eq!(ran.output.status.code(), Some(1));
}

#[test]
fn a_qemu_that_is_killed_is_an_error_that_names_the_signal() {
    let ground = Ground::new();
    let running = ground.begin("waits", "a long sleep");
    let began = Instant::now();
    running.kill_child(&["qemu-system"]);
    let output = running.wait();
    assert!(began.elapsed() < Duration::from_secs(30));
    let ran = crate::ground::Ran {
        output,
        result: ground.result("waits").unwrap(),
    };
    ran.is(1, "error", &["a long sleep", "QEMU ended (signal: 9"]);
}

#[test]
fn a_share_that_vanishes_is_an_error_that_names_it() {
    let ground = Ground::new();
    let running = ground.begin("waits", "a long sleep");
    running.kill_child(&["__share", "guest"]);
    let output = running.wait();
    let ran = crate::ground::Ran {
        output,
        result: ground.result("waits").unwrap(),
    };
    ran.is(
        1,
        "error",
        &["a long sleep", "share `artifacts` ended (signal: 9"],
    );
}

#[test]
fn the_first_interruption_ends_in_order_and_leaves_a_result() {
    let ground = Ground::new();
    let running = ground.begin("waits", "a long sleep");
    let children = running.children(&[]);
    assert!(children.len() >= 2, "{children:?}");
    running.signal(Signal::INT);
    let output = running.wait();
    let ran = crate::ground::Ran {
        output,
        result: ground.result("waits").unwrap(),
    };
    ran.is(130, "error", &["a long sleep", "interrupted"]);
    all_gone(&children);
}

#[test]
fn the_second_interruption_ends_at_once_and_the_next_run_tells_of_it() {
    let ground = Ground::new();
    let running = ground.begin("waits", "a long sleep");
    let children = running.children(&[]);
    // Both before the first can have had its way.
    running.signal(Signal::STOP);
    running.signal(Signal::INT);
    running.signal(Signal::TERM);
    running.signal(Signal::CONT);
    let began = Instant::now();
    let output = running.wait();
    assert_eq!(output.status.code(), Some(130));
    assert!(began.elapsed() < Duration::from_secs(5));
    all_gone(&children);
    assert!(ground.run_folder("waits").join("started.json").exists());
    assert!(!ground.run_folder("waits").join("ended.json").exists());
    let ran = ground.run("passes");
    ran.is(0, "passed", &[]);
    let said = ran.said();
    assert!(
        said.contains("was killed in the middle of: waits"),
        "{said}"
    );
}

#[test]
fn a_killed_runner_leaves_no_machine_behind() {
    let ground = Ground::new();
    let running = ground.begin("waits", "a long sleep");
    let children = running.children(&[]);
    running.signal(Signal::KILL);
    running.wait();
    all_gone(&children);
}
