// SPDX-License-Identifier: GPL-2.0-or-later
//! What is seen while runs are under way: on a terminal a line per machine with its stage and step,
//! and a line for all of them; elsewhere plain lines, and a sign of life from runs that take long.
//! Results go to standard output, everything else to standard error.

use std::fmt;
use std::io::IsTerminal;
use std::io::Write;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use indicatif::MultiProgress;
use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressStyle;

use crate::report;
use crate::results::Outcome;
use crate::timeline::clean;

/// How often something is said about runs under way where there is no terminal.
const SIGN_OF_LIFE: Duration = Duration::from_secs(60);
/// How often the lines on a terminal are drawn again.
const TICK: Duration = Duration::from_millis(250);

/// Characters of a run's name on a terminal.
const NAME: usize = 32;

/// Where progress is shown. Clones show it in the same place.
#[derive(Clone)]
pub struct Progress(Arc<Inner>);

struct Inner {
    bars: Option<Bars>,
    verbose: bool,
    runs: Mutex<Runs>,
}

struct Bars {
    all: MultiProgress,
    total: ProgressBar,
}

/// The runs under way, and what came of the others.
#[derive(Default)]
struct Runs {
    under_way: Vec<UnderWay>,
    planned: usize,
    ended: usize,
    bad: usize,
    next: u64,
    said: Option<Instant>,
}

struct UnderWay {
    id: u64,
    name: String,
    stage: String,
    began: Instant,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

impl Progress {
    /// Looks at where standard error goes. `verbose` prints every stage and the consoles as lines.
    pub fn new(verbose: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bars = (terminal && !verbose).then(|| {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
            let total = ProgressBar::hidden();
            Bars { all, total }
        });
        Progress(Arc::new(Inner {
            bars,
            verbose,
            runs: Mutex::default(),
        }))
    }

    fn runs(&self) -> std::sync::MutexGuard<'_, Runs> {
        self.0.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints a result. Lines of different runs never mix.
    pub fn line(&self, text: &str) {
        self.print(|| {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{text}");
            let _ = out.flush();
        });
    }

    /// Prints something that is no result.
    pub fn remark(&self, text: &str) {
        self.print(|| {
            let mut err = std::io::stderr().lock();
            let _ = writeln!(err, "{text}");
        });
    }

    fn print(&self, print: impl FnOnce()) {
        match &self.0.bars {
            Some(bars) => bars.all.suspend(print),
            None => print(),
        }
    }

    /// So many runs are to be done.
    pub fn expect(&self, planned: usize) {
        {
            let mut runs = self.runs();
            *runs = Runs {
                planned,
                said: Some(Instant::now()),
                ..Runs::default()
            };
        }
        if let Some(bars) = &self.0.bars {
            let style =
                ProgressStyle::with_template("{bar:16.green/dim} {pos}/{len} runs  {wide_msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar())
                    .progress_chars("━━─");
            bars.total.set_style(style);
            bars.total.set_length(planned as u64);
            bars.total.reset();
            bars.all.add(bars.total.clone());
        }
    }

    /// About so much longer it will take.
    pub fn left(&self, left: Duration) {
        let mut runs = self.runs();
        let failed = match runs.bad {
            0 => String::new(),
            bad => format!("{bad} failed, "),
        };
        let left = about(left);
        if let Some(bars) = &self.0.bars {
            bars.total.set_message(format!("{failed}about {left} left"));
            return;
        }
        let due = runs.said.is_some_and(|said| said.elapsed() >= SIGN_OF_LIFE);
        if self.0.verbose || !due || runs.under_way.is_empty() {
            return;
        }
        runs.said = Some(Instant::now());
        let names: Vec<String> = runs
            .under_way
            .iter()
            .map(|run| {
                let since = report::duration(run.began.elapsed().as_secs_f64());
                format!("{} ({}, {since})", run.name, run.stage)
            })
            .collect();
        let text = format!(
            "{} of {} runs ended, {failed}about {left} left; under way: {}",
            runs.ended,
            runs.planned,
            names.join(", ")
        );
        drop(runs);
        self.remark(&text);
    }

    /// A run ended.
    pub fn ended(&self, outcome: Outcome) {
        let mut runs = self.runs();
        runs.ended += 1;
        if outcome.is_bad() {
            runs.bad += 1;
        }
        runs.said = Some(Instant::now());
        if let Some(bars) = &self.0.bars {
            bars.total.inc(1);
        }
    }

    /// All runs ended: nothing is left on the terminal but the results.
    pub fn done(&self) {
        if let Some(bars) = &self.0.bars {
            bars.total.finish_and_clear();
            bars.all.remove(&bars.total);
        }
    }

    /// Begins to show a run.
    pub fn begin(&self, name: &str) -> Shown {
        let bar = self.0.bars.as_ref().map(|bars| {
            let style = ProgressStyle::with_template("  {elapsed:>4} {prefix}  {wide_msg:.dim}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = ProgressBar::new_spinner().with_style(style);
            let bar = bars.all.insert_before(&bars.total, bar);
            bar.set_prefix(shortened(name));
            bar.enable_steady_tick(TICK);
            bar
        });
        let mut runs = self.runs();
        runs.next += 1;
        let id = runs.next;
        runs.under_way.push(UnderWay {
            id,
            name: name.to_owned(),
            stage: String::new(),
            began: Instant::now(),
        });
        Shown {
            bar,
            id,
            name: name.to_owned(),
            progress: self.clone(),
        }
    }
}

/// A guess, to the next five seconds.
fn about(time: Duration) -> String {
    let seconds = time.as_secs().next_multiple_of(5).max(5);
    match seconds {
        0..60 => format!("{seconds} s"),
        _ => report::duration(seconds as f64),
    }
}

/// A name with its middle left out where it is too long: stage and step must have room beside it.
fn shortened(name: &str) -> String {
    let length = name.chars().count();
    if length <= NAME {
        return name.to_owned();
    }
    let end = NAME / 2;
    let first: String = name.chars().take(NAME - end - 1).collect();
    let last: String = name.chars().skip(length - end).collect();
    format!("{first}…{last}")
}

/// A run that is shown; ends when it is dropped.
#[derive(Debug)]
pub struct Shown {
    bar: Option<ProgressBar>,
    id: u64,
    name: String,
    progress: Progress,
}

impl Shown {
    /// What is under way.
    pub fn stage(&self, text: &str) {
        let text = clean::line(text);
        match &self.bar {
            Some(bar) => bar.set_message(text.clone()),
            None if self.progress.0.verbose => {
                self.progress.remark(&format!("{}: {text}", self.name));
            }
            None => {}
        }
        let mut runs = self.progress.runs();
        if let Some(run) = runs.under_way.iter_mut().find(|run| run.id == self.id) {
            run.stage = text;
        }
    }

    /// A line of its console, shown where everything is.
    pub fn console(&self, line: &str) {
        if self.progress.0.verbose {
            self.progress
                .remark(&format!("{} | {}", self.name, clean::line(line)));
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.progress
            .runs()
            .under_way
            .retain(|run| run.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_are_round() {
        assert_eq!(about(Duration::from_secs(0)), "5 s");
        assert_eq!(about(Duration::from_secs(41)), "45 s");
        assert_eq!(about(Duration::from_secs(61)), "1 m 05 s");
    }

    #[test]
    fn long_names_keep_their_beginning_and_their_end() {
        assert_eq!(shortened("short-6.12-c"), "short-6.12-c");
        let long = shortened("a-scenario-with-a-long-name-fs=ext4-n=12-6.12-rust");
        assert_eq!(long.chars().count(), NAME);
        assert!(
            long.starts_with("a-scenario") && long.ends_with("12-6.12-rust"),
            "{long}"
        );
    }
}
