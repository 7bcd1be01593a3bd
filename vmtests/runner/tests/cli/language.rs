// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest lint`, `schema` and `explain`, and what a mistake looks like on a terminal.

use std::fs;
use std::fs::File;
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use predicates::str::ends_with;
use predicates::str::starts_with;

use crate::place::Place;
use crate::place::SCENARIO;

fn vmtest(place: &Place, verb: &str) -> Command {
    let mut command = Command::cargo_bin("vmtest").unwrap();
    command
        .arg(verb)
        .current_dir(place.at(""))
        .timeout(Duration::from_secs(60));
    command
}

#[test]
fn lint_says_how_much_is_right() {
    let place = Place::new();
    vmtest(&place, "lint")
        .arg("scenarios")
        .assert()
        .code(0)
        .stdout(ends_with("1 scenario, 0 mistakes\n"));
    place.scenario("second", &SCENARIO.replace("first", "second"));
    vmtest(&place, "lint")
        .arg(place.at("scenarios"))
        .assert()
        .code(0)
        .stdout(ends_with("2 scenarios, 0 mistakes\n"));
}

#[test]
fn lint_shows_every_mistake_of_every_file_and_of_the_pieces() {
    let place = Place::new();
    fs::create_dir(place.at("scenarios/pieces")).unwrap();
    let piece = "about: x\nsteps:\n  - umount: {att: /m}\n";
    fs::write(place.at("scenarios/pieces/p.yaml"), piece).unwrap();
    let include = format!("{SCENARIO}  - include: {{file: pieces/p.yaml}}\n");
    place.scenario("first", &include.replace("about:", "abuot:"));
    place.scenario("second", "name: second\n");
    place.scenario("empty", "");
    vmtest(&place, "lint")
        .arg("scenarios")
        .assert()
        .code(2)
        .stderr(
            contains("scenarios/first.yaml:2:1: unknown key `abuot`")
                .and(contains("did you mean `about`?"))
                .and(contains("scenarios/pieces/p.yaml:3:14: unknown key `att`"))
                .and(contains("second.yaml:1:1: the key `about` is missing"))
                .and(contains("second.yaml:1:1: the key `steps` is missing"))
                .and(contains("empty.yaml:1:1: the file is empty")),
        )
        .stdout(ends_with("3 scenarios, 5 mistakes\n"));
}

#[test]
fn lint_needs_an_index_only_to_look_for_images() {
    let place = Place::new();
    place.scenario("first", &SCENARIO.replace("small", "smal"));
    let lint = || vmtest(&place, "lint");
    lint().arg("scenarios").assert().code(0);
    lint()
        .args(["scenarios", "--artifacts", "index.json"])
        .assert()
        .code(2)
        .stderr(contains("first.yaml:4:12: no image `smal`").and(contains("`small`?")));
    lint()
        .args(["--artifacts", "nowhere.json", "scenarios"])
        .assert()
        .code(3);
}

#[test]
fn lint_says_what_an_index_would_skip_which_is_no_mistake() {
    let place = Place::new();
    place.scenario(
        "first",
        &SCENARIO.replace("needs:", "needs:\n  kernel: {at_least: '7.0'}"),
    );
    vmtest(&place, "lint")
        .args(["scenarios/first.yaml", "--artifacts", "index.json"])
        .assert()
        .code(0)
        .stdout(contains(
            "first c: would be skipped: kernel 6.12 (6.12.117) is older than 7.0",
        ));
}

#[test]
fn lint_refuses_places_without_scenarios() {
    let place = Place::new();
    vmtest(&place, "lint")
        .arg("nowhere")
        .assert()
        .code(2)
        .stderr(contains("cannot read the file"));
    vmtest(&place, "lint")
        .arg("bin")
        .assert()
        .code(2)
        .stderr(contains("no *.yaml file"));
}

#[test]
fn hostile_files_end_in_a_diagnosis_and_soon() {
    let place = Place::new();
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..40 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs += &format!("a{level}: &a{level} [{below}]\n");
    }
    for (text, expected) in [
        (vec![b'a'; (1 << 20) + 1], "longer than 1024 KiB"),
        ("[".repeat(1 << 20).into_bytes(), "first.yaml:1:"),
        ("{a: ".repeat(1 << 18).into_bytes(), "first.yaml:1:"),
        ("- ".repeat(1 << 19).into_bytes(), "first.yaml:1:"),
        (laughs.into_bytes(), "first.yaml:"),
        (b"name: \xff\xfe\n".to_vec(), "not UTF-8"),
        (b"name: first\n\tabout: x\n".to_vec(), "tab"),
        (b"name: first\nname: first\n".to_vec(), "stands twice"),
        (vec![0; 4096], "first.yaml"),
    ] {
        fs::write(place.at("scenarios/first.yaml"), &text).unwrap();
        let began = std::time::Instant::now();
        vmtest(&place, "lint")
            .arg("scenarios")
            .assert()
            .code(2)
            .stderr(contains(expected));
        assert!(began.elapsed() < Duration::from_secs(30), "{expected}");
    }
}

#[test]
fn schema_prints_json_and_the_reference() {
    let place = Place::new();
    for (of, title) in [
        ("scenario", "a scenario of vmtest"),
        ("piece", "a piece of scenarios of vmtest"),
        ("results", "results of vmtest"),
    ] {
        let output = vmtest(&place, "schema").arg(of).output().unwrap();
        let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(schema["title"], title);
    }
    let without = vmtest(&place, "schema").output().unwrap().stdout;
    assert_eq!(
        without,
        vmtest(&place, "schema")
            .arg("scenario")
            .output()
            .unwrap()
            .stdout
    );
    vmtest(&place, "schema")
        .arg("--markdown")
        .assert()
        .code(0)
        .stdout(starts_with("<!--").and(contains("#### `mount`")));
    vmtest(&place, "schema")
        .arg("weather")
        .assert()
        .code(2)
        .stderr(contains("weather"));
}

#[test]
fn explain_takes_a_name_a_case_or_a_file() {
    let place = Place::new();
    let text = SCENARIO.replace("needs:", "matrix: {fs: [ext4, ext2]}\nneeds:");
    place.scenario("first", &text);
    let explain = |what: &str| {
        let mut command = vmtest(&place, "explain");
        command.args([what, "--scenarios", "scenarios"]);
        command
    };
    for what in ["first", "scenarios/first.yaml"] {
        explain(what).assert().code(0).stdout(
            contains("Something is mounted.")
                .and(contains("Runs: 4, of 2 cases"))
                .and(contains("first[fs=ext2]")),
        );
    }
    explain("first[fs=ext2]")
        .assert()
        .code(0)
        .stdout(contains("first[fs=ext2]").and(contains("[fs=ext4]").not()));
    explain("first[fs=xfs]")
        .assert()
        .code(2)
        .stderr(contains("first[fs=ext4]"));
    explain("frist")
        .assert()
        .code(2)
        .stderr(contains("did you mean `first`?"));
    explain("first")
        .args(["--artifacts", "index.json"])
        .assert()
        .code(0)
        .stdout(contains("must pass").and(contains("skipped: ")));
    place.scenario("first", &text.replace("mount:", "mout:"));
    explain("first")
        .assert()
        .code(2)
        .stderr(contains("did you mean `mount`?"));
}

/// What `vmtest lint` writes to a terminal.
fn on_a_terminal(place: &Place, no_color: bool) -> String {
    use rustix::pty;
    let controller = pty::openpt(pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY).unwrap();
    pty::grantpt(&controller).unwrap();
    pty::unlockpt(&controller).unwrap();
    let name = pty::ptsname(&controller, Vec::new()).unwrap();
    let terminal = File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vmtest"));
    command
        .args(["lint", "scenarios"])
        .current_dir(place.at(""));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(terminal);
    command.env("TERM", "xterm").env_remove("NO_COLOR");
    if no_color {
        command.env("NO_COLOR", "1");
    }
    let status = command.status().unwrap();
    assert_eq!(status.code(), Some(2));
    drop(command);
    let mut text = Vec::new();
    // With its last writer gone, reading ends with EIO.
    let _ = File::from(controller).read_to_end(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn on_a_terminal_mistakes_are_drawn_in_color_unless_that_is_not_wanted() {
    let place = Place::new();
    place.scenario("first", &SCENARIO.replace("mount:", "mout:"));
    let drawn = on_a_terminal(&place, false);
    assert!(drawn.contains('\u{1b}'), "{drawn}");
    let plain = on_a_terminal(&place, true);
    assert!(!plain.contains('\u{1b}'), "{plain}");
    for part in [
        "unknown key `mout`",
        "scenarios/first.yaml:6:5",
        "did you mean `mount`?",
        "───",
    ] {
        assert!(plain.contains(part), "{part}: {plain}");
    }
}
