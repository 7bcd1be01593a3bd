// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest shell` and `vmtest replay` on real machines.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;

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
fn one_case_of_a_matrix_is_named_whole() {
    let ground = Ground::new();
    let output = shell(&ground, &["both-modules"], "");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("both-modules[word=two]"), "{text}");
    let output = shell(&ground, &["both-modules[word=two]"], "echo here\n");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(stdout(&output), "here\n");
    assert!(
        said(&output).contains("all 1 steps passed"),
        "{}",
        said(&output)
    );
}

#[test]
fn where_the_guest_is_gone_no_shell_is_waited_for() {
    let ground = Ground::new();
    let output = shell(&ground, &["panics"], "echo never\n");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("splat (panic)"), "{text}");
    assert!(text.contains("the guest is gone"), "{text}");
    assert!(!text.contains("never\n"), "{text}");
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

/// Runs the debugger's line that `vmtest shell` printed, with these commands; what it says.
fn gdb(line: &str, commands: &[&str]) -> String {
    let mut command = Command::new("/bin/sh");
    let more: Vec<String> = commands.iter().map(|c| format!("-ex '{c}'")).collect();
    let line = format!("exec timeout 60 {line} -batch -nx {}", more.join(" "));
    command.args(["-c", &line]).stdin(Stdio::null());
    said(&crate::ground::to_its_end(command))
}

#[test]
fn a_debugger_finds_the_modules_functions_and_stops_in_one() {
    let ground = Ground::new();
    let mut command = ground.command("shell");
    command
        .args(["opens", "--module", "c", "--gdb", "--gdb-wait", "60"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdin.take());
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = lines.find_map(|line| {
        let line = line.unwrap();
        line.trim_start()
            .starts_with("gdb ")
            .then(|| line.trim_start().to_owned())
    });
    let line = line.expect("the debugger's line");
    for part in [
        "vmlinux",
        "target remote 127.0.0.1:",
        "cachefiles.ko 0x",
        "-s .data 0x",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let there = Command::new("gdb").arg("--version").output().is_ok();
    if there {
        let said = gdb(
            &line,
            &[
                "info symbol cachefiles_daemon_open",
                "hbreak cachefiles_daemon_open",
                "continue",
                "bt 3",
                "delete",
                "detach",
            ],
        );
        let section = "cachefiles_daemon_open in section .text of ";
        assert!(said.contains(section), "{said}");
        assert!(said.contains("#0 "), "{said}");
        let stopped = said.lines().find(|line| line.starts_with("#0 "));
        assert!(
            stopped.unwrap().contains("cachefiles_daemon_open"),
            "{said}"
        );
    } else {
        // Somebody who only looks in and goes: as a debugger that connects and leaves.
        let port = line.split("127.0.0.1:").nth(1).unwrap();
        let port: u16 = port.split('\'').next().unwrap().parse().unwrap();
        drop(std::net::TcpStream::connect(("127.0.0.1", port)).unwrap());
    }
    let rest: Vec<String> = lines.map(|line| line.unwrap()).collect();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", rest.join("\n"));
    assert!(
        rest.iter().any(|line| line.contains("all 1 steps passed")),
        "{rest:?}"
    );
}

/// A terminal, for `vmtest shell` as a person has it.
struct Terminal(std::fs::File);

impl Terminal {
    fn open() -> (Self, std::fs::File) {
        use rustix::pty;
        let flags = pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY;
        let ours = pty::openpt(flags).unwrap();
        pty::grantpt(&ours).unwrap();
        pty::unlockpt(&ours).unwrap();
        let name = pty::ptsname(&ours, Vec::new()).unwrap();
        let theirs = std::fs::File::options()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap())
            .unwrap();
        (Terminal(ours.into()), theirs)
    }

    fn size(&self, rows: u16, cols: u16) {
        let size = rustix::termios::Winsize {
            ws_row: rows,
            ws_col: cols,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&self.0, size).unwrap();
    }

    fn is_raw(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&self.0).unwrap().local_modes;
        !modes.contains(rustix::termios::LocalModes::ICANON)
    }

    /// Reads until `word` has come.
    fn until(&mut self, word: &str) -> String {
        let deadline = Instant::now() + crate::ground::LIMIT;
        let mut text = String::new();
        while !text.contains(word) {
            assert!(Instant::now() < deadline, "no `{word}` in: {text}");
            let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
            let tick = Timespec {
                tv_sec: 0,
                tv_nsec: 100_000_000,
            };
            if rustix::event::poll(&mut fds, Some(&tick)).unwrap() > 0 {
                let mut buffer = [0u8; 4096];
                let got = self.0.read(&mut buffer).unwrap();
                text += &String::from_utf8_lossy(&buffer[..got]);
            }
        }
        text
    }

    fn types(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }
}

/// A shell before the first step, for whoever sits at the terminal.
fn shell_on(ground: &Ground, terminal: &std::fs::File) -> Child {
    let mut command = ground.command("shell");
    command
        .args(["fails", "--module", "c", "--at", "1"])
        .stdin(terminal.try_clone().unwrap())
        .stdout(terminal.try_clone().unwrap())
        .stderr(terminal.try_clone().unwrap());
    command.spawn().unwrap()
}

#[test]
fn a_person_has_a_terminal_in_the_guest_and_their_own_back_afterwards() {
    let ground = Ground::new();
    let (mut terminal, theirs) = Terminal::open();
    terminal.size(33, 101);
    assert!(!terminal.is_raw());
    let mut child = shell_on(&ground, &theirs);
    terminal.until("# ");
    assert!(terminal.is_raw());
    terminal.types("stty size\n");
    terminal.until("33 101");
    terminal.size(40, 120);
    // It is looked at a few times a second.
    std::thread::sleep(Duration::from_millis(700));
    terminal.types("stty size\n");
    terminal.until("40 120");
    // Ctrl-C goes to the guest's program and to nobody else.
    terminal.types("sleep 1000\n");
    terminal.until("sleep 1000");
    std::thread::sleep(Duration::from_millis(300));
    terminal.types("\u{3}");
    terminal.types("echo still $((40 + 2)) here\n");
    terminal.until("still 42 here");
    terminal.types("exit\n");
    terminal.until("what the run left is in");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!terminal.is_raw());
}

#[test]
fn the_key_that_leaves_works_when_the_guest_is_busy() {
    let ground = Ground::new();
    let (mut terminal, theirs) = Terminal::open();
    let mut child = shell_on(&ground, &theirs);
    terminal.until("# ");
    terminal.types("stty -isig; sleep 1000\n");
    terminal.until("sleep 1000");
    terminal.types("\u{1d}");
    terminal.until("what the run left is in");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!terminal.is_raw());
}
