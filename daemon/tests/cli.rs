// SPDX-License-Identifier: GPL-2.0-or-later
//! The program as an operator meets it.

use std::fs::OpenOptions;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::process::Child;
use std::process::Command as StdCommand;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use assert_cmd::Command;
use assert_cmd::cargo::cargo_bin;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use rustix::process::Pid;
use rustix::process::Signal;

fn daemon() -> Command {
    let mut command = Command::new(cargo_bin("cachefilesd"));
    command.timeout(Duration::from_secs(30));
    command
}

#[test]
fn help_explains_the_options_the_exit_codes_and_gives_an_example() {
    daemon().arg("--help").assert().success().stdout(
        contains("--event-log")
            .and(contains("--device-fd"))
            .and(contains("Exit codes"))
            .and(contains("mount -t erofs"))
            .and(contains("cachefilesd: ready")),
    );
    daemon()
        .arg("--version")
        .assert()
        .success()
        .stdout(contains("cachefilesd 0."));
}

#[test]
fn a_wrong_command_line_is_2_and_says_what_to_give() {
    for (arguments, expected) in [
        (&["--nonsense"][..], "--nonsense"),
        (&["--dir", "/c"], "--blobs"),
        (&["--blobs", "/b"], "--dir"),
        (
            &["--dir", "/c", "--blobs", "/b", "--threads", "x"],
            "--threads",
        ),
        (
            &["--dir", "/c", "--blobs", "/b", "--bcull", "50"],
            "bcull 50",
        ),
        (&["--config", "/does/not/exist"], "/does/not/exist"),
        (
            &["--device", "/d", "--device-fd", "0"],
            "cannot be used with",
        ),
        (
            &["--dir", "/c", "--blobs", "/b", "--log-level", "a=b=c"],
            "error, warn",
        ),
        (
            &["--dir", "/", "--blobs", "/", "--device-fd", "77"],
            "--device-fd 77",
        ),
        (
            &["--dir", "/", "--blobs", "/", "--event-log", "/no/x"],
            "--event-log",
        ),
    ] {
        daemon()
            .args(arguments)
            .assert()
            .code(2)
            .stderr(contains(expected));
    }
}

#[test]
fn each_reason_not_to_start_has_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let base = ["--dir", folder, "--blobs", folder];
    let no_device = ["--device", "/does/not/exist"];
    daemon()
        .args([&base[..], &no_device].concat())
        .assert()
        .code(3)
        .stderr(contains("modprobe cachefiles"));
    daemon()
        .args(["--dir", folder, "--blobs", "/does/not/exist"])
        .assert()
        .code(6)
        .stderr(contains("--blobs").and(contains("/does/not/exist")));
    // A device that takes no command.
    daemon()
        .args([&base[..], &["--device", "/dev/full"]].concat())
        .assert()
        .code(5)
        .stderr(contains("refused").and(contains("dir ")));
    daemon()
        .args([&base[..], &["--device-fd", "0"]].concat())
        .write_stdin("not a device")
        .assert()
        .code(2)
        .stderr(contains("not a device"));
}

/// A daemon on /dev/null, which takes every command, says that there is something and gives
/// nothing. (Its disk is the temporary folder's, where the limits leave nothing to cull.)
fn serve_null(folder: &Path, more: &[&str]) -> (Child, BufReader<std::process::ChildStdout>) {
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .unwrap();
    let mut child = StdCommand::new(cargo_bin("cachefilesd"))
        .arg("--dir")
        .arg(folder)
        .arg("--blobs")
        .arg(folder)
        .args([
            "--device-fd",
            "0",
            "--brun",
            "2",
            "--bcull",
            "1",
            "--bstop",
            "0",
        ])
        .args(more)
        .stdin(null)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "cachefilesd: ready\n");
    (child, output)
}

fn wait(child: &mut Child) -> std::process::ExitStatus {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "the daemon does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_signal_ends_it_cleanly_and_the_event_log_tells_begin_and_end() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("events");
        let more = ["--event-log", log.to_str().unwrap(), "--log-format", "json"];
        let (mut child, _output) = serve_null(folder.path(), &more);
        let events = std::fs::read_to_string(&log).unwrap();
        assert!(events.contains(r#""ev":"ready""#), "{events}");
        rustix::process::kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(wait(&mut child).code(), Some(0));
        let events = std::fs::read_to_string(&log).unwrap();
        let last = events.lines().last().unwrap();
        assert!(last.contains(r#""ev":"end","code":0"#), "{events}");
        let mut messages = String::new();
        std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut messages).unwrap();
        for line in messages.lines() {
            let parsed: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(parsed["fields"]["message"].is_string(), "{line}");
        }
    }
}

#[test]
fn a_device_that_promises_and_gives_nothing_costs_little() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, _output) = serve_null(folder.path(), &["--threads", "2"]);
    std::thread::sleep(Duration::from_millis(1500));
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    rustix::process::kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(wait(&mut child).code(), Some(0));
    assert!(ticks < 30, "{ticks} ticks of CPU in 1.5 s");
}

#[test]
fn a_hangup_reads_the_configuration_again_and_takes_all_of_it_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("events");
    let config = folder.path().join("config.yaml");
    std::fs::write(&config, "serve: {fill: 65536}\n").unwrap();
    let more = [
        "--event-log",
        log.to_str().unwrap(),
        "--config",
        config.to_str().unwrap(),
    ];
    let (mut child, _output) = serve_null(folder.path(), &more);
    let hangup = |text: &str, expected: &str| {
        std::fs::write(&config, text).unwrap();
        rustix::process::kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let events = std::fs::read_to_string(&log).unwrap();
            if events.lines().last().unwrap().contains(expected) {
                return;
            }
            assert!(Instant::now() < deadline, "{expected}: {events}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    hangup(
        "serve: {fill: 8192}\nbackend: {directory: {delay_ms: 3}}\n",
        r#""ev":"reconfigured","fill":8192,"delay_ms":3"#,
    );
    hangup("serve: {fill: 4096, threads: 9}\n", "serve.threads");
    hangup("serve: {fil: 4096}\n", r#""ev":"reconfigure_failed""#);
    // Neither refused file left a trace.
    hangup(
        "serve: {fill: 8192}\n",
        r#""ev":"reconfigured","fill":8192,"delay_ms":0"#,
    );
    rustix::process::kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(wait(&mut child).code(), Some(0));
}
