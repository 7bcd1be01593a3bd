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

/// Exit code after an interruption.
pub const EXIT_INTERRUPTED: i32 = 130;

/// Whether somebody asked for the end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens for the signals from now on.
    pub fn install() -> anyhow::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let what = "cannot listen for signals";
            // In this order: the second signal finds the flag set and ends the process.
            signal_hook::flag::register_conditional_shutdown(
                signal,
                EXIT_INTERRUPTED,
                Arc::clone(&asked),
            )
            .context(what)?;
            signal_hook::flag::register(signal, Arc::clone(&asked)).context(what)?;
        }
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
