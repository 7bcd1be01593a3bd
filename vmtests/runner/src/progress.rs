// SPDX-License-Identifier: GPL-2.0-or-later
//! What is seen while runs are under way: on a terminal a line per machine with its stage, and
//! elsewhere plain lines only. Results go to standard output, everything else to standard error.

use std::io::IsTerminal;
use std::io::Write;
use std::time::Duration;

use indicatif::MultiProgress;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;

/// Where progress is shown.
#[derive(Debug, Clone)]
pub struct Progress {
    bars: Option<MultiProgress>,
    verbose: bool,
}

impl Progress {
    /// Looks at where standard error goes. `verbose` prints every stage as a line.
    pub fn new(verbose: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Progress {
            bars: (terminal && !verbose).then(MultiProgress::new),
            verbose,
        }
    }

    /// Prints a result. Lines of different runs never mix.
    pub fn line(&self, text: &str) {
        let print = || {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{text}");
            let _ = out.flush();
        };
        match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }

    /// Prints something that is no result.
    pub fn remark(&self, text: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// Begins to show a run.
    pub fn begin(&self, name: &str) -> Shown {
        let bar = self.bars.as_ref().map(|bars| {
            let style = ProgressStyle::with_template("{spinner} {elapsed:>4} {prefix}: {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = bars.add(ProgressBar::new_spinner().with_style(style));
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Shown {
            bar,
            name: name.to_owned(),
            progress: self.clone(),
        }
    }
}

/// A run that is shown; ends when it is dropped.
#[derive(Debug)]
pub struct Shown {
    bar: Option<ProgressBar>,
    name: String,
    progress: Progress,
}

impl Shown {
    /// What is under way.
    pub fn stage(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None if self.progress.verbose => {
                self.progress.remark(&format!("{}: {text}", self.name));
            }
            None => {}
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
