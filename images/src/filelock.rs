// SPDX-License-Identifier: GPL-2.0-or-later
//! A lock between processes: one builds, the others wait and say for whom.
//!
//! The lock is `flock` on a file that stays; the kernel drops it when its holder dies, however
//! it dies, so there is no stale lock to clean up. The file's text names the holder.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use rustix::fs::FlockOperation;
use rustix::fs::flock;
use rustix::io::Errno;

use crate::progress::Progress;

/// How often a waiter looks again.
const POLL: Duration = Duration::from_millis(100);

/// Held until dropped.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The lock file cannot be made or locked.
    #[error("cannot lock {}: {source}; is the cache folder writable?", path.display())]
    File {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Somebody else kept it for longer than the waiter was ready to wait.
    #[error(
        "waited {waited} s for {holder}, which builds {what}; wait for it to end, end it, or give \
         --lock-wait more seconds"
    )]
    Limit {
        /// What is being built.
        what: String,
        /// Who holds the lock.
        holder: String,
        /// How long the wait was, in seconds.
        waited: u64,
    },
}

impl FileLock {
    /// Takes the lock at `path`, waiting for its holder up to `limit`, and says so once.
    ///
    /// # Errors
    /// When the file cannot be locked, or the holder outlasts `limit`.
    pub fn take(
        path: &Path,
        what: &str,
        limit: Duration,
        progress: &Progress,
    ) -> Result<Self, LockError> {
        let failed = |source: std::io::Error| LockError::File {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        let start = Instant::now();
        let mut announced = false;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(failed(error.into())),
            }
            let holder = holder(path);
            if start.elapsed() >= limit {
                return Err(LockError::Limit {
                    what: what.to_owned(),
                    holder,
                    waited: start.elapsed().as_secs(),
                });
            }
            if !announced {
                announced = true;
                progress.note(&format!(
                    "waiting for {holder}, which builds {what} (at most {} s)",
                    limit.as_secs()
                ));
            }
            thread::sleep(POLL);
        }
        // Who holds it is a help for waiters only: failing to write it must not fail the build.
        let _ = file.set_len(0);
        let _ = writeln!(file, "process {}", std::process::id());
        Ok(Self { file })
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing would do, unless some thread is just starting a program: until that program's
        // exec, it has a copy of the file and with it the lock. An error leaves it to closing.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Names the holder as well as the lock file can.
fn holder(path: &Path) -> String {
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_is_waited_for_only_up_to_the_limit_and_the_holder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let progress = Progress::silent();
        let first = FileLock::take(&path, "a thing", Duration::ZERO, &progress).unwrap();
        let error =
            FileLock::take(&path, "a thing", Duration::from_millis(150), &progress).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&format!("process {}", std::process::id())),
            "{text}"
        );
        assert!(text.contains("a thing"), "{text}");
        drop(first);
        FileLock::take(&path, "a thing", Duration::ZERO, &progress).unwrap();
    }
}
