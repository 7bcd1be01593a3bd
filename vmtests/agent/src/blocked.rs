// SPDX-License-Identifier: GPL-2.0-or-later
//! Where a process's threads hang: state, wait channel, kernel stack.

use std::fs;
use std::path::Path;

use vmtest_protocol::message::BlockedTask;

/// All threads of `pid`, as the kernel shows them now.
pub fn tasks(pid: u32) -> Vec<BlockedTask> {
    let mut tasks = Vec::new();
    let folder = format!("/proc/{pid}/task");
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Some(tid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let text = |name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
        tasks.push(BlockedTask {
            tid,
            comm: text("comm").trim().to_owned(),
            state: state(&path),
            wchan: text("wchan").trim().to_owned(),
            stack: text("stack").trim_end().to_owned(),
        });
    }
    tasks
}

/// For a reason: the first task that cannot be interrupted, or the first that sleeps in a system
/// call, in one line.
pub fn summary(tasks: &[BlockedTask]) -> String {
    let worst = tasks
        .iter()
        .find(|task| task.state == 'D')
        .or_else(|| tasks.iter().find(|task| task.state != 'Z'));
    match worst {
        Some(task) => format!(
            "thread {} ({}) is in state {} in {}",
            task.tid,
            task.comm,
            task.state,
            match task.wchan.as_str() {
                "" | "0" => "user space",
                wchan => wchan,
            }
        ),
        None => "no thread is left".to_owned(),
    }
}

/// The letter after the closing parenthesis of the name; the name itself may contain anything.
fn state(task: &Path) -> char {
    let stat = fs::read_to_string(task.join("stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .and_then(|rest| rest.trim_start().chars().next())
        .unwrap_or('?')
}
