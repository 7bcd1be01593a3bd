// SPDX-License-Identifier: GPL-2.0-or-later
//! Runs the programs that builds are made of: output to a log, a limit on time, and on failure
//! the log's last lines and where the whole of it is.

use std::ffi::OsStr;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::progress::Progress;

/// How many of the log's last lines an error shows.
const TAIL_LINES: usize = 30;
/// How much of a log's end is looked at for them, in bytes.
const TAIL_BYTES: u64 = 64 << 10;
/// How long a program that ran over its limit gets to clean up before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// Variables that steer make or rustc and that a caller's environment may carry: a build must
/// depend on what its key says and on nothing else.
const STEERING: [&str; 22] = [
    "MAKEFLAGS",
    "MFLAGS",
    "MAKELEVEL",
    "MAKEOVERRIDES",
    "KBUILD_OUTPUT",
    "KCFLAGS",
    "KAFLAGS",
    "KRUSTFLAGS",
    "KCPPFLAGS",
    "ARCH",
    "CROSS_COMPILE",
    "LLVM",
    "CC",
    "HOSTCC",
    "CFLAGS",
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_BOOTSTRAP",
    "RUST_LIB_SRC",
    "KCONFIG_ALLCONFIG",
    "KCONFIG_CONFIG",
];

/// A command that gets no steering variables from the caller, speaks English, and dies with
/// this process even if that is killed outright.
pub fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = if Path::new("/usr/bin/setpriv").exists() {
        let mut wrapped = Command::new("/usr/bin/setpriv");
        wrapped.args(["--pdeathsig", "TERM", "--"]).arg(program);
        wrapped
    } else {
        Command::new(program)
    };
    for name in STEERING {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Where a program's output goes and how long it may take.
#[derive(Debug)]
pub struct Run<'a> {
    /// What is being done, for messages: "building the kernel".
    pub what: &'a str,
    /// The log; appended to.
    pub log: &'a Path,
    /// When to give up.
    pub limit: Duration,
    /// Where the log's latest line is shown.
    pub progress: &'a Progress,
}

impl Run<'_> {
    /// Runs a command to its end.
    ///
    /// # Errors
    /// When it cannot be started, fails, or outlasts the limit; with the log's last lines.
    pub fn run(&self, mut command: Command) -> Result<()> {
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log)
            .with_context(|| format!("cannot write the log {}", self.log.display()))?;
        writeln!(log, "$ {}", show(&command))?;
        let begin = log.metadata()?.len();
        command.stdout(log.try_clone()?).stderr(log);
        let mut child = command.spawn().with_context(|| {
            format!(
                "{}: cannot start {}; is it installed?",
                self.what,
                show(&command)
            )
        })?;
        let start = Instant::now();
        let mut seen = begin;
        let mut last = String::new();
        loop {
            if let Some(status) = child.try_wait()? {
                return self.verdict(status);
            }
            if start.elapsed() > self.limit {
                end(&mut child);
                bail!(
                    "{} took more than its limit of {} s and was ended; {}",
                    self.what,
                    self.limit.as_secs(),
                    self.tail()
                );
            }
            let size = fs::metadata(self.log).map_or(seen, |meta| meta.len());
            if size != seen {
                seen = size;
                last = last_lines(self.log, 1).pop().unwrap_or_default();
            }
            self.progress.detail(&last);
            // Short programs are common and must not cost a long sleep each.
            let pause = if start.elapsed() < Duration::from_millis(200) {
                5
            } else {
                100
            };
            thread::sleep(Duration::from_millis(pause));
        }
    }

    fn verdict(&self, status: ExitStatus) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        // setpriv exits 127 when the program it should start is not there, as a shell does.
        bail!("{} failed ({status}); {}", self.what, self.tail())
    }

    fn tail(&self) -> String {
        let lines = last_lines(self.log, TAIL_LINES);
        format!(
            "the last {} lines of {}:\n{}",
            lines.len(),
            self.log.display(),
            lines
                .iter()
                .map(|line| format!("  | {line}"))
                .collect::<Vec<_>>()
                .join("\n")
        )
    }
}

/// Runs a short command and returns what it wrote to stdout.
///
/// # Errors
/// When it cannot be started or fails; with what it wrote to stderr.
pub fn output(what: &str, mut command: Command) -> Result<String> {
    let shown = show(&command);
    let out = command
        .output()
        .with_context(|| format!("{what}: cannot start {shown}; is it installed?"))?;
    if !out.status.success() {
        bail!(
            "{what}: {shown} failed ({}): {}",
            out.status,
            String::from_utf8_lossy(&out.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Starts a log anew: a log holds one build.
///
/// # Errors
/// When it cannot be written.
pub fn fresh_log(path: PathBuf) -> Result<PathBuf> {
    File::create(&path).with_context(|| format!("cannot write the log {}", path.display()))?;
    Ok(path)
}

/// Ends a child: asks first, so that make takes its own children along.
fn end(child: &mut Child) {
    let pid = rustix::process::Pid::from_child(child);
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    let start = Instant::now();
    while start.elapsed() < GRACE {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// The last lines of a file, as far as they can be read.
pub fn last_lines(path: &Path, count: usize) -> Vec<String> {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let size = file.metadata().map_or(0, |meta| meta.len());
        let _ = file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES)));
        let _ = file.take(TAIL_BYTES).read_to_end(&mut text);
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

/// A command as one would type it.
fn show(command: &Command) -> String {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    // The wrapper of `clean` is our business, not the reader's.
    let skip = if words.first().is_some_and(|word| word.ends_with("/setpriv")) {
        4
    } else {
        0
    };
    words[skip..].join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = clean("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failure_shows_the_last_30_lines_and_the_log_s_path() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        let run = Run {
            what: "counting",
            log: &log,
            limit: Duration::from_secs(30),
            progress: &Progress::silent(),
        };
        let error = run.run(shell("seq 1 100; exit 3")).unwrap_err().to_string();
        assert!(
            error.contains("counting failed (exit status: 3)"),
            "{error}"
        );
        assert!(error.contains(&log.display().to_string()), "{error}");
        assert!(
            error.contains("| 71\n") && error.contains("| 100"),
            "{error}"
        );
        assert!(!error.contains("| 70\n"), "{error}");
    }

    #[test]
    fn a_program_that_outlasts_its_limit_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        let run = Run {
            what: "sleeping",
            log: &log,
            limit: Duration::from_millis(100),
            progress: &Progress::silent(),
        };
        let start = Instant::now();
        let error = run
            .run(shell("echo here; exec sleep 60"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("limit") && error.contains("| here"),
            "{error}"
        );
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn the_caller_s_make_flags_do_not_reach_a_build() {
        let command = clean("make");
        assert!(
            command
                .get_envs()
                .any(|(name, value)| name == "MAKEFLAGS" && value.is_none())
        );
    }
}
