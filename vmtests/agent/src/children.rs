// SPDX-License-Identifier: GPL-2.0-or-later
//! Child processes of PID 1: its own, whose end somebody waits for, and orphans, which are only
//! reaped. One thread does all the waiting, so that no end is taken from whoever wants it.

use std::collections::HashMap;
use std::io;
use std::process::Child;
use std::process::Command;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::WaitOptions;
use vmtest_protocol::message::Exit;

/// The children that were started here.
#[derive(Default)]
pub struct Children {
    /// `None` while a child lives.
    exits: Mutex<HashMap<i32, Option<Exit>>>,
    changed: Condvar,
}

impl Children {
    /// Starts a program. The caller must not `wait` on the result, only here.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        // The lock is held across the start: a child that ends at once is known by then.
        let mut exits = self.exits.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn()?;
        exits.insert(child.id() as i32, None);
        self.changed.notify_all();
        Ok(child)
    }

    /// Reaps for ever; the body of the one waiting thread.
    pub fn reap(&self) -> ! {
        loop {
            match rustix::process::wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) => {
                    let exit = match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => Exit::Code(code),
                        (None, Some(signal)) => Exit::Signal(signal),
                        (None, None) => continue,
                    };
                    let mut exits = self.exits.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(slot) = exits.get_mut(&pid.as_raw_pid()) {
                        *slot = Some(exit);
                        self.changed.notify_all();
                    }
                }
                // No children at all: sleep until one is started. Orphans only come from children.
                Ok(None) | Err(rustix::io::Errno::CHILD) => {
                    let exits = self.exits.lock().unwrap_or_else(PoisonError::into_inner);
                    let _woken = self
                        .changed
                        .wait_timeout(exits, Duration::from_millis(200))
                        .unwrap_or_else(PoisonError::into_inner);
                }
                Err(_) => {}
            }
        }
    }

    /// How `pid` ended, or `None` if it still lives after `limit`.
    pub fn wait(&self, pid: u32, limit: Duration) -> Option<Exit> {
        let give_up = Instant::now() + limit;
        let mut exits = self.exits.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match exits.get(&(pid as i32)) {
                Some(Some(exit)) => return Some(exit.clone()),
                Some(None) => {}
                // Not ours: nothing will ever be known about it.
                None => return None,
            }
            let left = give_up.checked_duration_since(Instant::now())?;
            exits = self
                .changed
                .wait_timeout(exits, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Sends a signal to a child that still lives; false when it has ended.
    pub fn signal(&self, pid: u32, signal: Signal) -> io::Result<bool> {
        // Between its reaping and the record of it a child's number is free, for microseconds; the
        // kernel hands numbers out in a cycle, so nobody else has it by then.
        let exits = self.exits.lock().unwrap_or_else(PoisonError::into_inner);
        match exits.get(&(pid as i32)) {
            Some(None) => {}
            _ => return Ok(false),
        }
        let pid = Pid::from_raw(pid as i32).ok_or_else(|| io::Error::other("pid 0"))?;
        match rustix::process::kill_process(pid, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Kills a child and waits up to two seconds; false when it is still there.
    pub fn kill(&self, pid: u32) -> bool {
        // An error here means it cannot be signalled; then the wait below tells the truth.
        let _ = self.signal(pid, Signal::KILL);
        self.wait(pid, Duration::from_secs(2)).is_some()
    }
}
