// SPDX-License-Identifier: GPL-2.0-or-later
//! The guest's console: bytes into lines, the last of them kept for reasons.

use std::collections::VecDeque;
use std::io::Read;

use crate::timeline::clean;

/// Lines that are kept.
const KEEP: usize = 400;
/// A longer line is cut into several, in bytes.
const MAX_LINE: usize = 4096;
/// A guest that prints more than this, in bytes, is ended: it prints for ever.
pub const MAX_CONSOLE: u64 = 64 << 20;

/// What reading the console brings.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// A line, without its end.
    Line(String),
    /// [`MAX_CONSOLE`] was passed; nothing follows.
    Flood,
    /// The console is closed; nothing follows.
    End,
}

/// Reads until the end, handing out line by line. Bytes after the last line end come as a line.
pub fn read_lines(mut from: impl Read, mut hand_out: impl FnMut(Part)) {
    let mut pending: Vec<u8> = Vec::new();
    let mut buffer = [0u8; 8192];
    let mut total = 0u64;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        total += count as u64;
        for byte in &buffer[..count] {
            if *byte == b'\n' || pending.len() >= MAX_LINE {
                hand_out(Part::Line(text(&pending)));
                pending.clear();
            }
            if *byte != b'\n' {
                pending.push(*byte);
            }
        }
        if total > MAX_CONSOLE {
            hand_out(Part::Flood);
            return;
        }
    }
    if !pending.is_empty() {
        hand_out(Part::Line(text(&pending)));
    }
    hand_out(Part::End);
}

/// Printable text: the console carries colours and carriage returns.
fn text(bytes: &[u8]) -> String {
    clean::line(&String::from_utf8_lossy(bytes))
}

/// The last lines of a console.
#[derive(Debug, Default)]
pub struct Tail {
    lines: VecDeque<String>,
    count: usize,
}

impl Tail {
    /// Adds a line.
    pub fn push(&mut self, line: &str) {
        if self.lines.len() == KEEP {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_owned());
        self.count += 1;
    }

    /// How many lines have come so far.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The lines that came after the first `count`, at most `most` of them, each indented.
    pub fn since(&self, count: usize, most: usize) -> String {
        let new = (self.count - count.min(self.count)).min(self.lines.len());
        let skip = self.lines.len() - new;
        let lines: Vec<String> = self
            .lines
            .iter()
            .skip(skip)
            .take(most)
            .map(|line| format!("  {line}"))
            .collect();
        lines.join("\n")
    }

    /// The last `count` lines, for a reason: each indented, or a word when there are none.
    pub fn last(&self, count: usize) -> String {
        if self.lines.is_empty() {
            return "  (the console is empty)".to_owned();
        }
        let skip = self.lines.len().saturating_sub(count);
        let lines: Vec<String> = self
            .lines
            .iter()
            .skip(skip)
            .map(|line| format!("  {line}"))
            .collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(bytes: &[u8]) -> Vec<Part> {
        let mut parts = Vec::new();
        read_lines(bytes, |part| parts.push(part));
        parts
    }

    #[test]
    fn lines_lose_their_ends_and_the_unfinished_last_one_counts() {
        let line = |text: &str| Part::Line(text.to_owned());
        assert_eq!(
            parts(b"one\r\ntwo\n\nthr"),
            [line("one"), line("two"), line(""), line("thr"), Part::End]
        );
    }

    #[test]
    fn an_endless_line_is_cut_and_an_endless_console_ends() {
        let bytes = vec![b'x'; MAX_LINE + 1];
        assert_eq!(parts(&bytes).len(), 3);
        let mut last = None;
        read_lines(std::io::repeat(b'\n'), |part| last = Some(part));
        assert_eq!(last, Some(Part::Flood));
    }

    #[test]
    fn the_tail_keeps_the_last_lines() {
        let mut tail = Tail::default();
        assert!(tail.last(3).contains("empty"));
        for number in 0..1000 {
            tail.push(&number.to_string());
        }
        assert_eq!(tail.last(2), "  998\n  999");
        assert_eq!(tail.since(997, 2), "  997\n  998");
        assert_eq!(tail.since(tail.count(), 2), "");
        assert_eq!(tail.since(0, 1), format!("  {}", 1000 - KEEP));
    }
}
