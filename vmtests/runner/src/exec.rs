// SPDX-License-Identifier: GPL-2.0-or-later
//! Child processes that never outlive the run.
//!
//! Each child is started through this program itself, as `vmtest __exec PARENT -- PROGRAM ARGS`:
//! the trampoline asks the kernel to be killed when its parent dies (`PR_SET_PDEATHSIG`), and then
//! becomes the program. That holds for a normal end, for an error, and for `kill -9` of the
//! runner. The request is bound to the *thread* that started the child: children are started by
//! threads that wait for them.
//!
//! Each child is the leader of a process group of its own, so that Ctrl-C on the terminal reaches
//! the runner only, which then ends the children in order.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;

/// Hidden subcommand of the trampoline.
pub const EXEC_COMMAND: &str = "__exec";

/// How often a child is asked whether it has ended.
const POLL: Duration = Duration::from_millis(10);

/// Ends the calling process when its parent ends; fails when the parent is already gone.
pub fn die_with_parent(parent: u32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have ended before the request was made.
    let now = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get() as u32);
    match now == parent {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "the parent process {parent} is gone, the parent is now {now}"
        ))),
    }
}

/// The trampoline: does not return unless something fails.
pub fn exec_as_child(parent: u32, program: &[OsString]) -> io::Error {
    if let Err(error) = die_with_parent(parent) {
        return error;
    }
    match program {
        [] => io::Error::other("no program is named"),
        [program, arguments @ ..] => Command::new(program).args(arguments).exec(),
    }
}

/// A command that runs `program` through the trampoline of `own`, this program's file.
pub fn command(own: &Path, program: &Path) -> Command {
    let mut command = own_command(own, EXEC_COMMAND);
    command.arg("--").arg(program);
    command
}

/// A command that runs the hidden subcommand `name` of this program, which must call
/// [`die_with_parent`] with its first argument.
pub fn own_command(own: &Path, name: &str) -> Command {
    let mut command = Command::new(own);
    command.arg(name).arg(std::process::id().to_string());
    command.process_group(0);
    command
}

/// A child that is killed, with its process group, when this is dropped.
#[derive(Debug)]
pub struct Guarded {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Guarded {
    /// Starts the command. It must lead a process group, as those of [`command`] do.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        command.spawn().map(|child| Guarded { child, ended: None })
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Waits until it has ended, at most so long.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Kills it and all of its process group, and takes its exit status.
    pub fn kill(&mut self) {
        if self.ended().is_some() {
            return;
        }
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            // Errors mean that it is gone already.
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
        // The group may not exist yet when the child has not got as far as to make it.
        let _ = self.child.kill();
        self.ended = self.child.wait().ok();
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where a program is: in PATH, or in the folders for administrators that a user's PATH lacks.
pub fn find_program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let admin = ["/usr/local/sbin", "/usr/sbin", "/sbin"];
    std::env::split_paths(&path)
        .chain(admin.iter().map(std::path::PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| {
            rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_that_is_not_ours_is_refused() {
        assert!(die_with_parent(1_999_999_999).is_err());
        // The test process must not keep the request that was made before the check.
        rustix::process::set_parent_process_death_signal(None).unwrap();
    }

    #[test]
    fn programs_are_found_by_name_only_when_they_can_be_run() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-here").is_none());
    }

    #[test]
    fn dropping_a_guarded_child_ends_it() {
        let mut command = Command::new("sleep");
        command.arg("1000").process_group(0);
        let child = Guarded::spawn(&mut command).unwrap();
        let pid = Pid::from_raw(child.child.id() as i32).unwrap();
        drop(child);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }
}
