// SPDX-License-Identifier: GPL-2.0-or-later
//! Lines of the kernel, of daemons and of programs, kept for `expect` and `wait_until`.
//!
//! Of each log the last lines are kept, up to a limit: a program that writes without end costs no
//! more memory than that, and a look at what is no longer there is an error and not "nothing".

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::sync::Mutex;

use crate::engine::lock;

/// The name of the kernel's own log.
pub const KERNEL: &str = "kernel";

/// How much of each log is kept, in bytes.
const KEPT: usize = 4 << 20;
/// How much of a line is kept, in bytes.
const LINE: usize = 8 << 10;

/// How many lines each log had at some time.
pub type Positions = BTreeMap<String, u64>;

/// All logs, by the names of who wrote them.
#[derive(Default)]
pub struct Logs {
    of: Mutex<BTreeMap<String, Log>>,
}

#[derive(Default)]
struct Log {
    lines: VecDeque<String>,
    bytes: usize,
    /// Lines that are no longer kept.
    dropped: u64,
}

impl Logs {
    /// Makes a log known, so that it can be looked at before it has a line.
    pub fn begin(&self, of: &str) {
        lock(&self.of).entry(of.to_owned()).or_default();
    }

    /// Adds a line.
    pub fn push(&self, of: &str, line: &str) {
        let mut logs = lock(&self.of);
        let log = logs.entry(of.to_owned()).or_default();
        let end = (0..=line.len().min(LINE)).rfind(|at| line.is_char_boundary(*at));
        let line = &line[..end.unwrap_or(0)];
        log.bytes += line.len();
        log.lines.push_back(line.to_owned());
        while log.bytes > KEPT {
            let Some(old) = log.lines.pop_front() else {
                break;
            };
            log.bytes -= old.len();
            log.dropped += 1;
        }
    }

    /// How far each log goes now.
    pub fn positions(&self) -> Positions {
        let logs = lock(&self.of);
        logs.iter()
            .map(|(of, log)| (of.clone(), log.dropped + log.lines.len() as u64))
            .collect()
    }

    /// How many lines of a log match, from the line `from` on, and the last few lines there are.
    ///
    /// # Errors
    /// When there is no such log, or no longer all of it.
    pub fn count(
        &self,
        of: &str,
        from: u64,
        matches: impl Fn(&str) -> bool,
    ) -> Result<(u64, String), String> {
        let logs = lock(&self.of);
        let Some(log) = logs.get(of) else {
            let known: Vec<&str> = logs.keys().map(String::as_str).collect();
            return Err(format!(
                "there is no log of `{of}`; there are those of: {}",
                known.join(", ")
            ));
        };
        let skip = match from.checked_sub(log.dropped) {
            Some(skip) => skip as usize,
            None => {
                return Err(format!(
                    "the log of `{of}` is longer than {} MiB: its first {} lines are no longer \
                     kept. Take a `snapshot` nearer to what is looked for, and say `since`",
                    KEPT >> 20,
                    log.dropped
                ));
            }
        };
        let lines = || log.lines.iter().skip(skip);
        let found = lines().filter(|line| matches(line)).count() as u64;
        let last = lines().count().saturating_sub(5);
        let tail: Vec<&str> = lines().skip(last).map(String::as_str).collect();
        Ok((found, tail.join(" | ")))
    }
}

/// Makes lines of pieces of text that end anywhere.
#[derive(Default)]
pub struct Lines {
    rest: String,
}

impl Lines {
    /// Adds a piece; each line that is whole now goes to `line`.
    pub fn add(&mut self, text: &str, mut line: impl FnMut(&str)) {
        self.rest.push_str(text);
        while let Some(end) = self.rest.find('\n') {
            line(&self.rest[..end]);
            self.rest.drain(..=end);
        }
        // A line without an end is cut: what writes it may never end it.
        if self.rest.len() > LINE {
            line(&self.rest);
            self.rest.clear();
        }
    }

    /// What is left when nothing more comes.
    pub fn end(self) -> Option<String> {
        (!self.rest.is_empty()).then_some(self.rest)
    }
}

/// Follows the kernel's log from its beginning, for ever.
pub fn follow_kernel(logs: &Logs) -> std::io::Result<()> {
    logs.begin(KERNEL);
    let mut kmsg = File::open("/dev/kmsg")?;
    let mut record = vec![0u8; 16 << 10];
    loop {
        match kmsg.read(&mut record) {
            Ok(0) => return Ok(()),
            Ok(got) => {
                for line in message(&String::from_utf8_lossy(&record[..got])) {
                    logs.push(KERNEL, line);
                }
            }
            // The kernel was faster than we: it goes on behind the gap.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PIPE.raw_os_error()) => {
                logs.push(
                    KERNEL,
                    "[vmtest-agent: lines of the kernel's log were lost here]",
                );
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The text of a record of /dev/kmsg: what stands before the semicolon is about it, and lines that
/// begin with a space are, too.
fn message(record: &str) -> impl Iterator<Item = &str> {
    let text = record.split_once(';').map_or(record, |(_, text)| text);
    text.lines().filter(|line| !line.starts_with(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_a_position_on() {
        let logs = Logs::default();
        logs.push("a", "one");
        let then = logs.positions();
        logs.push("a", "two");
        logs.push("a", "one again");
        let count = |from| logs.count("a", from, |line| line.contains("one"));
        assert_eq!(count(0).unwrap().0, 2);
        assert_eq!(count(then["a"]).unwrap().0, 1);
        let error = logs.count("b", 0, |_| true).unwrap_err();
        assert!(error.contains("no log of `b`"), "{error}");
        assert!(error.ends_with(": a"), "{error}");
    }

    #[test]
    fn a_log_without_end_costs_a_bounded_amount_and_says_so() {
        let logs = Logs::default();
        let long = "x".repeat(2 * LINE);
        for _ in 0..2 * KEPT / LINE {
            logs.push("a", &long);
        }
        let kept = lock(&logs.of)["a"].bytes;
        assert!(kept <= KEPT, "{kept}");
        let error = logs.count("a", 0, |_| true).unwrap_err();
        assert!(error.contains("no longer"), "{error}");
        let last = logs.positions()["a"] - 1;
        assert_eq!(logs.count("a", last, |_| true).unwrap().0, 1);
    }

    #[test]
    fn pieces_become_lines() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for piece in ["a", "b\nc\n", "", "d"] {
            lines.add(piece, |line| seen.push(line.to_owned()));
        }
        assert_eq!(seen, ["ab", "c"]);
        assert_eq!(lines.end().as_deref(), Some("d"));
    }

    #[test]
    fn a_record_of_the_kernel_is_its_text() {
        let record = "4,1234,98765,-;CacheFiles: I/O Error: Open file failed\n SUBSYSTEM=x\n";
        let lines: Vec<&str> = message(record).collect();
        assert_eq!(lines, ["CacheFiles: I/O Error: Open file failed"]);
    }
}
