// SPDX-License-Identifier: GPL-2.0-or-later
//! Known failures, scenarios that a kernel cannot carry out, and the runs that a scenario is.

use crate::ground::Ground;
use crate::ground::said;
use crate::ground::to_its_end;

#[test]
fn a_known_failure_of_the_c_module_is_no_failure_of_the_run() {
    let ground = Ground::new();
    let ran = ground.run("known-failure");
    ran.is(
        0,
        "xfailed",
        &["expected: it never could", "example.org/known"],
    );
    assert!(ran.said().contains("1 xfailed"), "{}", ran.said());
}

#[test]
fn a_failure_elsewhere_than_marked_stays_a_failure() {
    let ground = Ground::new();
    ground
        .run("other-failure")
        .is(1, "failed", &["something else"]);
}

#[test]
fn a_pass_that_was_not_expected_fails_and_says_what_to_remove() {
    let ground = Ground::new();
    ground
        .run("mended")
        .is(1, "xpassed", &["it never could", "remove the xfail entry"]);
}

#[test]
fn a_mark_never_excuses_the_rust_module() {
    let ground = Ground::new();
    let mut command = ground.command("run");
    command.args(["--module", "rust", "--filter", "known-failure"]);
    let ran = ground.carry_out(command, "known-failure");
    ran.is(1, "failed", &["what it cannot do"]);
}

#[test]
fn what_the_kernel_lacks_is_skipped_with_the_reason_and_nothing_boots() {
    let ground = Ground::new();
    let ran = ground.run("no-such-kernel");
    ran.is(0, "skipped", &["CONFIG_NO_KERNEL_HAS_THIS"]);
    assert!(
        !ground
            .run_folder("no-such-kernel")
            .join("qemu.cmdline")
            .exists()
    );
}

#[test]
fn every_value_of_a_matrix_is_a_run_on_each_module() {
    let ground = Ground::new();
    let mut command = ground.command("run");
    command.args(["--filter", "both-modules"]);
    let output = to_its_end(command);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("4 passed, 0 failed"), "{text}");
    let results = std::fs::read_to_string(ground.out().join("results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&results).unwrap();
    let mut seen: Vec<(String, String)> = Vec::new();
    for run in results["runs"].as_array().unwrap() {
        let text = |key: &str| run[key].as_str().unwrap().to_owned();
        // Which module it ran on is what the guest says.
        let own = match run["module"] == "rust" {
            true => "cachefiles_rs",
            false => "cachefiles",
        };
        let modules = run["modules"].as_array().unwrap();
        assert!(modules.iter().any(|module| module == own), "{run}");
        seen.push((text("name"), text("module")));
    }
    seen.sort();
    let expected = [
        ("both-modules[word=one]", "c"),
        ("both-modules[word=one]", "rust"),
        ("both-modules[word=two]", "c"),
        ("both-modules[word=two]", "rust"),
    ];
    let expected = expected.map(|(name, module)| (name.to_owned(), module.to_owned()));
    assert_eq!(seen, expected);
}
