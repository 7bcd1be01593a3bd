// SPDX-License-Identifier: GPL-2.0-or-later
//! What a developer sees while a build runs: on a terminal a bar with the step, its last line
//! and the time; elsewhere plain lines. A run that has nothing to build says nothing.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressStyle;

/// How often a long step says in a plain log that it still runs.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Reports steps to stderr; stdout is for results.
#[derive(Debug)]
pub struct Progress {
    start: Instant,
    out: Output,
}

#[derive(Debug)]
enum Output {
    Bar(ProgressBar),
    Plain(Mutex<Plain>),
    Silent,
}

#[derive(Debug)]
struct Plain {
    step: String,
    step_start: Instant,
    last_word: Instant,
}

impl Progress {
    /// A bar if stderr is a terminal, plain lines if it is not.
    pub fn new() -> Self {
        let now = Instant::now();
        let out = if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
            bar.set_style(
                ProgressStyle::with_template(
                    "[{elapsed_precise}] {bar:20} {pos}/{len} {prefix}  {wide_msg:.dim}",
                )
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            Output::Bar(bar)
        } else {
            Output::Plain(Mutex::new(Plain {
                step: String::new(),
                step_start: now,
                last_word: now,
            }))
        };
        Self { start: now, out }
    }

    /// Says nothing: for tests and for callers with a display of their own.
    pub fn silent() -> Self {
        Self {
            start: Instant::now(),
            out: Output::Silent,
        }
    }

    /// A piece of work begins that has `steps` steps.
    pub fn expect(&self, steps: u64) {
        if let Output::Bar(bar) = &self.out {
            let running = u64::from(!bar.prefix().is_empty());
            bar.set_length(bar.position() + running + steps);
        }
    }

    /// A step begins; `text` says what is done to what.
    pub fn step(&self, text: &str) {
        match &self.out {
            Output::Bar(bar) => {
                bar.enable_steady_tick(Duration::from_millis(200));
                if !bar.prefix().is_empty() {
                    bar.inc(1);
                }
                // Work that nobody announced makes the bar longer.
                if bar.length().unwrap_or(0) <= bar.position() {
                    bar.set_length(bar.position() + 1);
                }
                bar.set_prefix(text.to_owned());
                bar.set_message("");
            }
            Output::Plain(plain) => {
                eprintln!("[{:7.1} s] {text}", self.start.elapsed().as_secs_f64());
                if let Ok(mut plain) = plain.lock() {
                    let now = Instant::now();
                    *plain = Plain {
                        step: text.to_owned(),
                        step_start: now,
                        last_word: now,
                    };
                }
            }
            Output::Silent => {}
        }
    }

    /// The latest word from a running step: shown on the bar, and from time to time in a log.
    pub fn detail(&self, line: &str) {
        match &self.out {
            Output::Bar(bar) => bar.set_message(line.trim().to_owned()),
            Output::Plain(plain) => {
                let Ok(mut plain) = plain.lock() else { return };
                if plain.last_word.elapsed() >= HEARTBEAT {
                    plain.last_word = Instant::now();
                    eprintln!(
                        "[{:7.1} s] {}: {} s so far; {}",
                        self.start.elapsed().as_secs_f64(),
                        plain.step,
                        plain.step_start.elapsed().as_secs(),
                        line.trim()
                    );
                }
            }
            Output::Silent => {}
        }
    }

    /// A line that stays.
    pub fn note(&self, text: &str) {
        match &self.out {
            Output::Bar(bar) => bar.println(text),
            Output::Plain(_) => {
                eprintln!("[{:7.1} s] {text}", self.start.elapsed().as_secs_f64());
            }
            Output::Silent => {}
        }
    }

    /// Takes the bar away; what follows on the terminal is not drawn over.
    pub fn finish(&self) {
        if let Output::Bar(bar) = &self.out {
            bar.finish_and_clear();
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}
