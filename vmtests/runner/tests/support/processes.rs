// SPDX-License-Identifier: GPL-2.0-or-later
//! Whether processes have ended.

use std::fs;
use std::time::Duration;
use std::time::Instant;

/// Whether a process has ended, waited for or not.
fn is_gone(pid: i32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Err(_) => true,
        Ok(stat) => stat
            .rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('Z')),
    }
}

/// Waits until processes have ended.
#[track_caller]
pub fn all_gone(pids: &[i32]) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !pids.iter().all(|pid| is_gone(*pid)) {
        assert!(Instant::now() < deadline, "left behind: {pids:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
