// SPDX-License-Identifier: GPL-2.0-or-later
//! Processes that keep a session open.

use std::fs;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use rustix::process::Pid;
use rustix::process::Signal;

use super::session::Session;

/// How long one that was killed may take to end.
const KILLED: Duration = Duration::from_secs(10);

/// Starts one that has the session as its standard input; its number.
pub fn start(session: Session) -> Result<i32> {
    let held = Command::new("/proc/self/exe")
        .arg(crate::HOLDER)
        .stdin(session.into_fd())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start the process that holds an image")?;
    i32::try_from(held.id()).context("no process number")
}

/// Ends one, and waits for that: what it held alone is relinquished then.
pub fn end(number: i32) -> Result<()> {
    let pid = Pid::from_raw(number).context("a process number of 0")?;
    rustix::process::kill_process(pid, Signal::KILL)
        .with_context(|| format!("cannot kill {number}, which held an image"))?;
    let give_up = Instant::now() + KILLED;
    while alive(number) {
        anyhow::ensure!(
            Instant::now() < give_up,
            "{number}, which held an image, does not die of SIGKILL"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Whether a process has not ended; one that its parent has not asked about yet has.
fn alive(number: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{number}/stat"));
    let state = stat.ok().and_then(|text| {
        let (_, after) = text.rsplit_once(") ")?;
        after.chars().next()
    });
    !matches!(state, None | Some('Z' | 'X'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ended_and_was_not_asked_about_is_not_alive() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let number = i32::try_from(child.id()).unwrap();
        assert!(alive(number));
        end(number).unwrap();
        assert!(!alive(number));
        child.wait().unwrap();
        assert!(!alive(number));
    }
}
