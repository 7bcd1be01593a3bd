// SPDX-License-Identifier: GPL-2.0-or-later
//! This end's terminal: raw while a person sits in the guest, and as it was whatever happens then.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Mutex;
use std::sync::Once;
use std::sync::PoisonError;

use rustix::termios;
use rustix::termios::OptionalActions;
use rustix::termios::Termios;

/// How the terminal was before it was made raw, for the hook of a panic.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);
static HOOK: Once = Once::new();

/// The terminal is raw as long as this lives.
#[derive(Debug)]
pub(super) struct Raw(());

impl Raw {
    /// Makes standard input's terminal raw.
    pub(super) fn enter() -> io::Result<Self> {
        HOOK.call_once(|| {
            let next = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                // First, so that the message is readable.
                restore();
                next(panic);
            }));
        });
        let stdin = rustix::stdio::stdin();
        let before = termios::tcgetattr(stdin)?;
        *lock() = Some(before.clone());
        let mut raw = before;
        raw.make_raw();
        termios::tcsetattr(stdin, OptionalActions::Flush, &raw)?;
        Ok(Raw(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if let Some(before) = lock().take() {
        // When it fails, the terminal has gone.
        let _ = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &before);
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lines and characters of standard input's terminal, or what terminals used to have.
pub(super) fn size() -> (u16, u16) {
    size_of(rustix::stdio::stdin())
}

fn size_of(terminal: BorrowedFd<'_>) -> (u16, u16) {
    match termios::tcgetwinsize(terminal) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row, size.ws_col),
        _ => (24, 80),
    }
}
