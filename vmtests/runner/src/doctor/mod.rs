// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest doctor`: what this machine can do, and what to do about the rest.
//!
//! Each point is tried rather than looked up wherever that takes less than a second or two: a share
//! is a share that answered, KVM is a kernel that printed its first line. A point is `bad` only when
//! no run is possible with it.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::accel::Wanted;
use crate::ask;

mod artifacts;
mod emulator;
mod machine;
mod sharing;
mod tools;

/// Layout of the JSON form.
const SCHEMA: u32 = 1;
/// How long a program may take to say what it is.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How a point stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Runs are possible, with less than there could be.
    Warn,
    /// No run is possible.
    Bad,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Bad => "bad",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Point {
    /// What it is: `qemu`, `kvm`.
    pub point: &'static str,
    /// How it stands.
    pub state: State,
    /// What was seen.
    pub seen: String,
    /// What to do about it; absent where nothing is to be done.
    pub remedy: Option<String>,
}

impl Point {
    fn ok(point: &'static str, seen: impl Into<String>) -> Self {
        Point {
            point,
            state: State::Ok,
            seen: seen.into(),
            remedy: None,
        }
    }

    fn warn(point: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Point {
            point,
            state: State::Warn,
            seen: seen.into(),
            remedy: Some(remedy.into()),
        }
    }

    fn bad(point: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Point {
            point,
            state: State::Bad,
            seen: seen.into(),
            remedy: Some(remedy.into()),
        }
    }

    /// The line for people.
    pub fn line(&self) -> String {
        // What programs say may have several lines; a point has one.
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let head = format!(
            "{:<5} {:<12} {}",
            self.state.word(),
            self.point,
            flat(&self.seen)
        );
        match &self.remedy {
            None => head,
            Some(remedy) => format!("{head}; to do: {}", flat(remedy)),
        }
    }
}

/// What is to be examined.
#[derive(Debug)]
pub struct Patient<'a> {
    /// This program's file.
    pub own: &'a Path,
    /// The artifact index that runs would use.
    pub artifacts: &'a Path,
    /// Where runs would leave their results.
    pub out: &'a Path,
    /// How guest instructions would be executed.
    pub accel: Wanted,
}

/// All points.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: u32,
    /// Whether no point is bad.
    pub runs_possible: bool,
    /// In the order in which they were looked at.
    pub points: Vec<Point>,
}

impl Report {
    fn new(points: Vec<Point>) -> Self {
        Report {
            schema: SCHEMA,
            runs_possible: points.iter().all(|point| point.state != State::Bad),
            points,
        }
    }

    /// The last line for people.
    pub fn summary(&self) -> String {
        let count = |state| self.points.iter().filter(|p| p.state == state).count();
        let (warn, bad) = (count(State::Warn), count(State::Bad));
        match (bad, warn) {
            (0, 0) => "runs are possible, nothing is missing".to_owned(),
            (0, warn) => format!("runs are possible; {warn} to look at above"),
            (bad, _) => format!("no run is possible yet: {bad} to put right above"),
        }
    }
}

/// Looks at everything; `each` is told every point as soon as it is known.
pub fn examine(patient: &Patient<'_>, mut each: impl FnMut(&Point)) -> Report {
    let mut points = Vec::new();
    let mut add = |found: Vec<Point>| {
        found.iter().for_each(&mut each);
        points.extend(found);
    };
    let (qemu, found) = emulator::examine(patient.own);
    add(found);
    let (index, found) = artifacts::examine(patient.artifacts);
    let built = found.state != State::Bad;
    add(vec![found]);
    add(vec![emulator::kvm(
        patient,
        qemu.as_deref(),
        index.as_ref(),
    )]);
    add(machine::examine(patient));
    add(vec![sharing::examine(patient.own)]);
    add(tools::examine(patient.own, built));
    Report::new(points)
}

/// What `program ARGUMENTS` says; an error names the program and what went wrong.
fn answer(own: &Path, program: &Path, arguments: &[&str]) -> Result<String, String> {
    ask::program(own, program, arguments, ANSWER_LIMIT)
        .map_err(|error| format!("{}: {error:#}", program.display()))
}

/// Where `program` is, in PATH or the administrators' folders.
fn find(program: &str) -> Option<PathBuf> {
    crate::exec::find_program(program)
}

/// Bytes for people.
fn amount(bytes: u64) -> String {
    match bytes {
        0..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1u32 << 30)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_point_makes_runs_impossible_and_a_warning_does_not() {
        let warn = || Point::warn("kvm", "none", "nothing");
        let report = Report::new(vec![Point::ok("qemu", "7.2"), warn()]);
        assert!(report.runs_possible);
        assert_eq!(report.summary(), "runs are possible; 1 to look at above");
        let bad = Point::bad("qemu", "not found", "install it");
        let report = Report::new(vec![bad, warn()]);
        assert!(!report.runs_possible);
        assert!(report.summary().starts_with("no run is possible yet: 1 "));
    }

    #[test]
    fn a_point_is_one_line_whatever_a_program_said() {
        let point = Point::bad("share", "first\nsecond\n", "install\nit");
        assert_eq!(
            point.line(),
            "bad   share        first second; to do: install it"
        );
    }

    #[test]
    fn amounts_are_read_by_people() {
        assert_eq!(amount(300 << 20), "300 MiB");
        assert_eq!(amount(3 << 29), "1.5 GiB");
    }
}
