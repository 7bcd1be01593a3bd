// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest shell` and `vmtest replay` on real machines.

use std::io::Write;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use crate::ground::Ground;
use crate::ground::said;

/// `vmtest shell` with a script on its standard input.
fn shell(ground: &Ground, arguments: &[&str], script: &str) -> Output {
    let mut command = ground.command("shell");
    command.args(["--module", "c"]).args(arguments);
    with_input(command, script)
}

fn with_input(mut command: Command, text: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_script_is_carried_out_in_the_guest_before_the_step_that_was_named() {
    let ground = Ground::new();
    let script = "echo \"shell on $(uname -r)\"\ntest -d /sys/module/cachefiles && echo loaded\n\
                  echo to-stderr >&2\n";
    let output = shell(
        &ground,
        &["fails", "--at", "seven requests out of nowhere"],
        script,
    );
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(
        stdout(&output).lines().skip(1).collect::<Vec<_>>(),
        ["loaded", "to-stderr"]
    );
    assert!(
        stdout(&output).starts_with("shell on 6.12"),
        "{}",
        said(&output)
    );
    let text = said(&output);
    assert!(
        text.contains("1 of 3 steps passed; the next would be step 2"),
        "{text}"
    );
}

#[test]
fn without_a_step_the_shell_opens_where_the_scenario_fails() {
    let ground = Ground::new();
    let output = shell(&ground, &["fails"], "echo here; exit 3\necho never\n");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(stdout(&output), "here\n");
    assert!(text.contains("1 of 3 steps passed, then: failed"), "{text}");
    assert!(text.contains("the shell ended with exit code 3"), "{text}");
}

#[test]
fn a_step_that_is_not_there_is_found_before_anything_boots() {
    let ground = Ground::new();
    let output = shell(
        &ground,
        &["fails", "--at", "seven request out of nowhere"],
        "",
    );
    let text = said(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.contains("did you mean `seven requests out of nowhere`?"),
        "{text}"
    );
    assert!(!ground.run_folder("fails").exists());
}

#[test]
fn a_failure_is_repeated_and_its_end_is_the_same() {
    let ground = Ground::new();
    ground.run("fails").is(1, "failed", &[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmtest"));
    command
        .args(["replay", "fails", "--out"])
        .arg(ground.out())
        .arg("--to")
        .arg(ground.at("again"))
        .arg("--splats")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/splats"))
        .stdin(Stdio::null());
    let output = crate::ground::to_its_end(command);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("it ended the same way: failed at `seven requests out of nowhere`"),
        "{text}"
    );
}
