// SPDX-License-Identifier: GPL-2.0-or-later
//! How runs end whose guest does what it should.

use crate::ground::Ground;

#[test]
fn a_run_whose_expectations_are_met_passes() {
    let ground = Ground::new();
    let ran = ground.run("passes");
    ran.is(0, "passed", &[]);
    assert_eq!(ran.reason(), "");
    assert_eq!(ran.result["steps"].as_array().unwrap().len(), 2);
    assert!(ran.said().contains("1 passed, 0 failed"), "{}", ran.said());
    // Which module was loaded was looked at, not assumed.
    let modules = ran.result["modules"].to_string();
    assert!(modules.contains("\"cachefiles\""), "{modules}");
    assert!(ran.result["seconds_to_first_step"].as_f64().unwrap() > 0.0);
}

#[test]
fn an_expectation_that_is_not_met_fails_the_run_and_ends_it() {
    let ground = Ground::new();
    let ran = ground.run("fails");
    ran.is(
        1,
        "failed",
        &["step 2 (seven requests out of nowhere)", "requests.open"],
    );
    assert_eq!(ran.failing().0, "seven requests out of nowhere");
    assert_eq!(ran.result["steps"].as_array().unwrap().len(), 2);
    assert!(!ground.file("fails", "agent.log").contains("never reached"));
    assert!(ran.said().contains("0 passed, 1 failed"), "{}", ran.said());
}

#[test]
fn output_that_is_not_as_expected_fails_and_shows_what_was_said() {
    let ground = Ground::new();
    ground
        .run("wrong-output")
        .is(1, "failed", &["does not match `^good-bye$`", "hello"]);
}

#[test]
fn a_reader_that_nobody_answers_times_out_and_is_shown_with_its_stack() {
    let ground = Ground::new();
    let ran = ground.run("hangs");
    ran.is(
        1,
        "failed",
        &[
            "a read that nobody answers",
            "not done within 2000 ms",
            // The task, from inside the guest, and from the kernel itself.
            "(busybox)",
            "blocked tasks, asked for by sysrq",
        ],
    );
    assert_eq!(ran.failing().1, "timed_out");
    let blocked = ran.result["blocked"].to_string();
    assert!(blocked.contains("busybox"), "{blocked}");
    let text = ground.file("hangs", "blocked.txt");
    assert!(text.contains("Show Blocked State"), "{text}");
}

#[test]
fn a_scenario_has_a_limit_of_its_own() {
    let ground = Ground::new();
    let ran = ground.run("no-end");
    ran.is(
        1,
        "failed",
        &["a long sleep", "the scenario's whole time is up"],
    );
    assert_eq!(ran.failing().1, "no_answer");
}

#[test]
fn a_complaint_of_the_kernel_fails_a_run_in_which_all_else_is_well() {
    let ground = Ground::new();
    let ran = ground.run("warns");
    ran.is(
        1,
        "failed",
        &[
            "splat (warn)",
            "fs/cachefiles/nowhere.c:1",
            "the line after it",
        ],
    );
}

#[test]
fn an_end_by_a_signal_is_never_a_pass() {
    let ground = Ground::new();
    ground
        .run("dies-by-signal")
        .is(1, "failed", &["it kills itself", "signal 9"]);
    let ground = Ground::new();
    ground
        .run("signal-as-code")
        .is(1, "failed", &["signal 9", "exit code 137 was expected"]);
}

#[test]
fn a_gigabyte_of_output_is_bounded_and_the_run_goes_on() {
    let ground = Ground::new();
    let ran = ground.run("gigabyte");
    ran.is(0, "passed", &[]);
    let log = ground.file("gigabyte", "agent.log");
    assert!(log.len() < 64 << 20, "{} bytes", log.len());
    assert!(log.contains("the end"), "standard error is lost");
    assert_eq!(log.matches("is left out").count(), 1);
    let timeline = ground.file("gigabyte", "timeline.jsonl");
    assert!(timeline.len() < 64 << 20, "{} bytes", timeline.len());
}
