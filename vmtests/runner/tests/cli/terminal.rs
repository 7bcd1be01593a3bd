// SPDX-License-Identifier: GPL-2.0-or-later
//! What is seen on a terminal: lines for what is under way, which leave nothing behind and do not
//! break into the results.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::process::Stdio;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::place::Place;
use crate::place::SCENARIO;
use crate::place::SPEAK_QMP;

const ROWS: u16 = 40;
const COLUMNS: u16 = 60;

/// A terminal: our end, and the program's.
fn terminal() -> (OwnedFd, OwnedFd) {
    let ours = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    rustix::pty::grantpt(&ours).unwrap();
    rustix::pty::unlockpt(&ours).unwrap();
    let name = rustix::pty::ptsname(&ours, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let theirs = rustix::fs::open(name, flags, Mode::empty()).unwrap();
    let size = Winsize {
        ws_row: ROWS,
        ws_col: COLUMNS,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&ours, size).unwrap();
    (ours, theirs)
}

/// Runs vmtest on a terminal; every screen that was seen on the way, and the last one.
fn screens(place: &Place, more: &[&str]) -> (Vec<String>, String) {
    let (ours, theirs) = terminal();
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("vmtest"))
        .args(place.arguments("run"))
        .args(more)
        .env("PATH", place.path())
        .env("TERM", "xterm-256color")
        .env("CACHEFILES_RS_CACHE", place.at("cache"))
        .env_remove("GITHUB_ACTIONS")
        .stdin(Stdio::null())
        .stdout(theirs.try_clone().unwrap())
        .stderr(theirs)
        .spawn()
        .unwrap();
    let mut screen = vt100::Parser::new(ROWS, COLUMNS, 0);
    let mut seen = Vec::new();
    let mut ours = File::from(ours);
    let mut buffer = [0u8; 4096];
    // The end of the terminal's other side is an error of reading.
    while let Ok(count @ 1..) = ours.read(&mut buffer) {
        screen.process(&buffer[..count]);
        seen.push(screen.screen().contents());
    }
    child.wait().unwrap();
    (seen, screen.screen().contents())
}

fn place() -> Place {
    let place = Place::new();
    for name in [
        "second",
        "third",
        "with-a-name-that-is-as-long-as-a-name-may-be-and-no-longer",
    ] {
        place.scenario(name, &SCENARIO.replace("first", name));
    }
    place
}

#[test]
fn what_is_under_way_is_shown_and_only_results_remain() {
    let place = place();
    place.qemu(&format!("{SPEAK_QMP} (sleep 0.7; exit 1)"));
    let (seen, last) = screens(&place, &["--cores", "4", "--jobs", "3"]);
    let shows = |words: &[&str]| {
        seen.iter()
            .any(|screen| words.iter().all(|words| screen.contains(words)))
    };
    let all = seen.join("\n----\n");
    assert!(shows(&["/8 runs", "left"]), "{all}");
    assert!(shows(&["booting"]), "{all}");
    assert!(
        shows(&["first-6.12-c ", "second-6.12-c "]),
        "never two at once: {all}"
    );
    // The long name leaves room for what is under way.
    assert!(shows(&["with-a-name", "preparing"]), "{all}");
    assert!(
        !last.contains("booting") && !last.contains("/8 runs"),
        "{last}"
    );
    // Each result is a line of its own, from its first column on.
    for name in ["first", "second", "third"] {
        let line = last
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")) && line.contains("error"));
        assert!(line.is_some(), "{name}: {last}");
    }
    assert!(
        last.trim_end().ends_with("0 passed, 4 failed, 4 skipped"),
        "{last}"
    );
}

#[test]
fn with_v_every_line_of_every_console_has_its_runs_name() {
    let place = Place::new();
    place.qemu(&format!(
        "{SPEAK_QMP} printf 'a \\033[31mred\\033[0m line\\n' >&3; answer & sleep 2; exit 1"
    ));
    let (_, last) = screens(&place, &["-v"]);
    assert!(last.contains("first-6.12-c | a red line"), "{last}");
    assert!(last.contains("first-6.12-c: booting"), "{last}");
}
