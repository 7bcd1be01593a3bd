// SPDX-License-Identifier: GPL-2.0-or-later
//! What a debug kernel finds only when it is asked: memory that nobody points to, and whether
//! lockdep is still at work.
//!
//! kmemleak calls memory lost that no pointer led to in two scans and that was some seconds old in
//! the second. Pointers can be out of sight for a moment (in a register, in a list that is being
//! moved), so what it finds is looked at once more: only what is still lost counts.

use std::fs;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use rustix::mount::MountFlags;
use vmtest_protocol::message::Inspected;

use crate::setup;

/// Where debugfs is mounted.
const DEBUGFS: &str = "/sys/kernel/debug";
/// kmemleak's file.
const KMEMLEAK: &str = "/sys/kernel/debug/kmemleak";
/// Between two scans: kmemleak does not judge memory that is younger than 5 s.
const AGE: Duration = Duration::from_millis(5500);
/// The whole report, on the share that the host keeps.
const REPORT: &str = "/artifacts/kmemleak.txt";
/// Lost objects that are shown on the console; the report has all.
const SHOWN: usize = 20;
/// Which of the kernel's messages appear on the console.
const PRINTK: &str = "/proc/sys/kernel/printk";

/// Looks for lost memory and asks lockdep whether it still works.
pub fn inspect() -> Inspected {
    let mut found = Inspected {
        lockdep: lockdep(),
        ..Inspected::default()
    };
    match lost_memory() {
        Ok(report) => {
            let objects = objects(&report);
            found.lost = objects.len() as u64;
            if !objects.is_empty() {
                if let Err(error) = show(&report, &objects) {
                    found.error = Some(format!("{error:#}"));
                }
            }
        }
        Err(error) => found.error = Some(format!("{error:#}")),
    }
    found
}

/// kmemleak's report of what is lost; empty when nothing is.
fn lost_memory() -> Result<String> {
    if !Path::new(KMEMLEAK).exists() {
        setup::mount(
            "debugfs",
            Path::new(DEBUGFS),
            "debugfs",
            MountFlags::empty(),
            "",
        )?;
    }
    let quiet = Quiet::begin()?;
    scan()?;
    std::thread::sleep(AGE);
    scan()?;
    let mut report = read()?;
    if !report.is_empty() {
        std::thread::sleep(AGE);
        scan()?;
        report = read()?;
    }
    drop(quiet);
    Ok(report)
}

fn scan() -> Result<()> {
    fs::write(KMEMLEAK, "scan").with_context(|| {
        format!("writing `scan` to {KMEMLEAK}: kmemleak is off, or has switched itself off")
    })
}

fn read() -> Result<String> {
    let bytes = fs::read(KMEMLEAK).with_context(|| format!("reading {KMEMLEAK}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The objects of a report, each with its lines.
fn objects(report: &str) -> Vec<Vec<&str>> {
    let mut objects: Vec<Vec<&str>> = Vec::new();
    for line in report.lines().filter(|line| !line.trim().is_empty()) {
        match objects.last_mut() {
            Some(object) if line.starts_with(' ') => object.push(line),
            _ => objects.push(vec![line]),
        }
    }
    objects
}

/// Puts the first objects on the console, where the runner looks for splats, in the form that
/// kmemleak itself would use, and all of them into the artifacts.
fn show(report: &str, objects: &[Vec<&str>]) -> Result<()> {
    fs::write(REPORT, report).with_context(|| format!("writing {REPORT}"))?;
    let mut console = OpenOptions::new()
        .write(true)
        .open("/dev/console")
        .context("opening the console")?;
    for object in objects.iter().take(SHOWN) {
        let text: String = object
            .iter()
            .map(|line| format!("kmemleak: {line}\n"))
            .collect();
        console
            .write_all(text.as_bytes())
            .context("writing to the console")?;
    }
    Ok(())
}

/// Whether lockdep is at work; none where the kernel has no lockdep.
fn lockdep() -> Option<bool> {
    state_of_lockdep(&fs::read_to_string("/proc/lockdep_stats").ok()?)
}

fn state_of_lockdep(stats: &str) -> Option<bool> {
    let line = stats
        .lines()
        .find_map(|line| line.trim().strip_prefix("debug_locks:"))?;
    Some(line.trim() == "1")
}

/// While it lives, kmemleak's own summary, which counts what is out of sight for a moment too, does
/// not reach the console. What is more important does.
struct Quiet {
    before: String,
}

impl Quiet {
    fn begin() -> Result<Self> {
        let before = fs::read_to_string(PRINTK).with_context(|| format!("reading {PRINTK}"))?;
        let Some(level) = before.split_whitespace().next() else {
            bail!("{PRINTK} is empty");
        };
        let level = level.to_owned();
        fs::write(PRINTK, "6").with_context(|| format!("writing {PRINTK}"))?;
        Ok(Quiet { before: level })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // The run is about to end: nothing depends on it.
        let _ = fs::write(PRINTK, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_taken_apart_by_its_objects() {
        let report = "unreferenced object 0xffff888003c0a180 (size 64):\n  comm \"a\", pid 7\n  \
                      backtrace (crc 1):\n    [<1>] f+0x1/0x2\n\
                      unreferenced object 0xffff888003c0a200 (size 8):\n  comm \"b\"\n";
        let objects = objects(report);
        assert_eq!(objects.len(), 2);
        assert_eq!(objects[0].len(), 4);
        assert!(objects[1][0].contains("(size 8)"));
        assert!(super::objects("\n").is_empty());
    }

    #[test]
    fn lockdep_says_itself_whether_it_is_at_work() {
        let stats = |value: &str| format!(" lock-classes: 9\n debug_locks:   {value}\n");
        assert_eq!(state_of_lockdep(&stats("1")), Some(true));
        assert_eq!(state_of_lockdep(&stats("0")), Some(false));
        assert_eq!(state_of_lockdep(""), None);
    }
}
