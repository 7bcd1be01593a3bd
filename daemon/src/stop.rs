// SPDX-License-Identifier: GPL-2.0-or-later
//! Asking every thread of the daemon to end, wherever it waits.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::event::EventfdFlags;
use rustix::event::eventfd;

/// Once requested, it stays requested. Also lets a pause be cut short without ending anything.
#[derive(Debug)]
pub struct Stop {
    fd: OwnedFd,
    requested: AtomicBool,
    roused: Mutex<bool>,
    rouse: Condvar,
}

impl Stop {
    /// Nothing requested yet.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> io::Result<Stop> {
        Ok(Stop {
            fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            requested: AtomicBool::new(false),
            roused: Mutex::new(false),
            rouse: Condvar::new(),
        })
    }

    /// Asks everybody to end.
    pub fn request(&self) {
        self.requested.store(true, Ordering::SeqCst);
        // Only a full counter could refuse, and then the descriptor is readable anyhow.
        let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        self.rouse();
    }

    /// Whether it was requested.
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// Ends the present or next [`Stop::pause`] at once.
    pub fn rouse(&self) {
        *self.roused.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.rouse.notify_all();
    }

    /// Sleeps until `limit` has passed or somebody rouses. Returns whether somebody did.
    pub fn pause(&self, limit: Duration) -> bool {
        let roused = self.roused.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut roused, _) = self
            .rouse
            .wait_timeout_while(roused, limit, |roused| !*roused && !self.is_requested())
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *roused)
    }
}

impl AsFd for Stop {
    /// Readable for ever once it was requested.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_when_somebody_rouses_even_before_it_began() {
        let stop = Stop::new().unwrap();
        stop.rouse();
        assert!(stop.pause(Duration::from_secs(60)));
        assert!(!stop.pause(Duration::from_millis(1)), "once is once");
        stop.request();
        let began = std::time::Instant::now();
        stop.pause(Duration::from_secs(60));
        stop.pause(Duration::from_secs(60));
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
