// SPDX-License-Identifier: GPL-2.0-or-later
//! Ctrl-C and SIGTERM: the first asks every run to end in order, the second ends at once (the
//! children die with us).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use anyhow::Context;
use signal_hook::consts::SIGHUP;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

/// Exit code after an interruption.
pub const EXIT_INTERRUPTED: i32 = 130;

/// Whether somebody asked for the end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens for the signals from now on.
    pub fn install() -> anyhow::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let mut signals =
            Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot listen for signals")?;
        let flag = Arc::clone(&asked);
        // One thread takes them one after the other: in handlers, two signals that come at once, to
        // two threads, could both take themselves for the first.
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for _ in signals.forever() {
                    if flag.swap(true, Ordering::SeqCst) {
                        signal_hook::low_level::exit(EXIT_INTERRUPTED);
                    }
                }
            })
            .context("cannot start the thread that listens for signals")?;
        Ok(Interrupt(asked))
    }

    /// Whether the end was asked for.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Asks for the end, as a signal would.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
