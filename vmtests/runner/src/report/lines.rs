// SPDX-License-Identifier: GPL-2.0-or-later
//! What of a run's timeline is shown: never all of it, and always what matters.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::path::Path;

use serde::Serialize;

use super::text;
use crate::timeline;
use crate::timeline::Entry;
use crate::timeline::Level;
use crate::timeline::Mark;
use crate::timeline::Source;

/// Lines that matter by themselves: of more than these, the last ones are shown.
const MAX_WEIGHTY: usize = 200;

/// A line, or a gap between lines.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    time: String,
    source: &'static str,
    level: &'static str,
    text: String,
    /// Lines that are left out before this one; 0 for none.
    gap: u64,
}

/// What is shown of a timeline.
#[derive(Debug, Default, Serialize)]
pub(super) struct Lines {
    lines: Vec<Line>,
    /// All lines there are.
    pub total: u64,
    /// The same as text.
    total_text: String,
    shown: usize,
    /// Lines that are left out at the end.
    gap: u64,
}

/// Chooses lines of the timeline: all that matter, and of the others the last `most` (where
/// `from_end` is set, because the end explains a failure) or half of them from each end.
pub(super) fn choose(file: &Path, most: usize, from_end: bool) -> Lines {
    let mut weighty: VecDeque<(u64, Entry)> = VecDeque::new();
    let mut first = Vec::new();
    let mut last: VecDeque<(u64, Entry)> = VecDeque::new();
    let (head, tail) = match from_end {
        true => (0, most),
        false => (most / 2, most - most / 2),
    };
    let mut total = 0;
    // A timeline that cannot be read has no lines; its link shows that there is none.
    let _ = timeline::read(file, |entry| {
        let number = total;
        total += 1;
        if matters(&entry) {
            weighty.push_back((number, entry));
            if weighty.len() > MAX_WEIGHTY {
                weighty.pop_front();
            }
        } else if first.len() < head {
            first.push((number, entry));
        } else {
            last.push_back((number, entry));
            if last.len() > tail {
                last.pop_front();
            }
        }
    });
    let chosen: BTreeMap<u64, Entry> = weighty.into_iter().chain(first).chain(last).collect();
    let mut lines = Vec::new();
    let mut next = 0;
    for (number, entry) in chosen {
        lines.push(Line {
            time: format!("{:.3}", entry.t_s),
            source: entry.source.word(),
            level: entry.level.word(),
            text: text::block(&entry.text, 1),
            gap: number - next,
        });
        next = number + 1;
    }
    Lines {
        shown: lines.len(),
        lines,
        total,
        total_text: text::count(total as i64),
        gap: total - next,
    }
}

fn matters(entry: &Entry) -> bool {
    entry.level >= Level::Warn
        || entry.source == Source::Host
        || matches!(entry.mark, Some(Mark::Begins | Mark::Ended))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::Recorder;
    use std::time::Instant;

    fn chosen(from_end: bool) -> Lines {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::create(dir.path(), Instant::now()).unwrap();
        for number in 0..1000 {
            recorder.line(&format!("line {number}"));
            if number == 400 {
                recorder.host(Level::Warn, "matters");
            }
        }
        choose(&dir.path().join(timeline::FILE), 10, from_end)
    }

    #[test]
    fn the_end_of_a_failure_and_what_matters_are_shown_with_the_gaps_between() {
        let lines = chosen(true);
        assert_eq!((lines.total, lines.shown, lines.gap), (1001, 11, 0));
        assert_eq!(lines.lines[0].text, "matters");
        assert_eq!(lines.lines[0].gap, 401);
        assert_eq!(lines.lines[1].text, "line 990");
        assert_eq!(lines.lines[1].gap, 589);
    }

    #[test]
    fn both_ends_of_a_good_run_are_shown() {
        let lines = chosen(false);
        assert_eq!(lines.lines[0].text, "line 0");
        assert_eq!(lines.lines.last().unwrap().text, "line 999");
        assert_eq!(lines.shown, 11);
    }

    #[test]
    fn no_timeline_is_no_lines() {
        assert_eq!(choose(Path::new("/nonexistent"), 10, true).total, 0);
    }
}
