// SPDX-License-Identifier: GPL-2.0-or-later
//! Reading the configuration again while the cache is served (SIGHUP).
//!
//! What can change without a new bind changes at once, for the requests that are taken from then
//! on; if anything else has changed, nothing does, and the log says what needs a restart.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::cli::Cli;
use crate::config::File;
use crate::config::Settings;
use crate::failure::Failure;

/// The settings that may change while the cache is served.
#[derive(Debug)]
pub struct Tuning {
    fill: AtomicU64,
    delay_ms: AtomicU64,
}

impl Tuning {
    /// As the settings say.
    pub fn new(fill: u64, delay: Duration) -> Tuning {
        let tuning = Tuning {
            fill: AtomicU64::new(0),
            delay_ms: AtomicU64::new(0),
        };
        tuning.set(fill, delay);
        tuning
    }

    /// Bytes to fill around a hole: a power of two, at least a page.
    pub fn fill(&self) -> u64 {
        self.fill.load(Ordering::Relaxed)
    }

    /// How long every request to the backend takes at least.
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms.load(Ordering::Relaxed))
    }

    fn set(&self, fill: u64, delay: Duration) {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        // Each is of use without the other: nobody has to see both change at once.
        self.fill.store(fill, Ordering::Relaxed);
        self.delay_ms.store(delay_ms, Ordering::Relaxed);
    }
}

/// What SIGHUP needs to know.
#[derive(Debug)]
pub struct Reload {
    cli: Cli,
    running: Settings,
}

impl Reload {
    /// For a daemon that was started with `cli` and serves with `running`.
    pub fn new(cli: Cli, running: Settings) -> Reload {
        Reload { cli, running }
    }

    /// Reads the configuration again and changes `tuning`.
    ///
    /// # Errors
    /// Why nothing was changed: the file cannot be read, is wrong, or has another value for
    /// something that a running daemon cannot change.
    pub fn again(&mut self, tuning: &Tuning) -> Result<(), Failure> {
        let path: &PathBuf = self.cli.config.as_ref().ok_or_else(|| {
            Failure::Usage(
                "there is no configuration to read again: the daemon was started without --config"
                    .to_owned(),
            )
        })?;
        let wanted = Settings::new(self.cli.clone(), File::read(path)?)?;
        // Everything that may change is taken over first: what then differs cannot.
        let mut same = self.running.clone();
        same.fill = wanted.fill;
        same.delay = wanted.delay;
        if same != wanted {
            return Err(Failure::Usage(format!(
                "the configuration {} changes {}: restart the daemon for that (nothing was changed; \
                 serve.fill and backend.directory.delay_ms can change while it runs)",
                path.display(),
                differing(&same, &wanted).join(", ")
            )));
        }
        tuning.set(wanted.fill, wanted.delay);
        self.running = wanted;
        Ok(())
    }
}

/// Names of the settings that differ, as they are called in the file.
fn differing(running: &Settings, wanted: &Settings) -> Vec<&'static str> {
    let (a, b) = (running, wanted);
    [
        ("device", a.device != b.device),
        ("cache.dir", a.cache.dir != b.cache.dir),
        ("cache.tag", a.cache.tag != b.cache.tag),
        ("cache.secctx", a.cache.secctx != b.cache.secctx),
        ("the limits of the cache", a.cache.limits != b.cache.limits),
        ("backend.directory.path", a.blobs != b.blobs),
        ("serve.threads", a.threads != b.threads),
        ("log.format", a.log_format != b.log_format),
        ("log.level", a.log_level != b.log_level),
        ("log.events", a.event_log != b.event_log),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    const START: &str = "cache: {dir: /c}\nbackend: {directory: {path: /b}}\n";

    struct Running {
        folder: tempfile::TempDir,
        reload: Reload,
        tuning: Tuning,
    }

    impl Running {
        fn with(arguments: &[&str]) -> Running {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("config.yaml");
            std::fs::write(&path, START).unwrap();
            let config = path.to_str().unwrap();
            let cli = Cli::parse_from([&["cachefilesd", "--config", config], arguments].concat());
            let running = Settings::new(cli.clone(), File::read(&path).unwrap()).unwrap();
            let tuning = Tuning::new(running.fill, running.delay);
            Running {
                folder,
                reload: Reload::new(cli, running),
                tuning,
            }
        }

        fn again(&mut self, more: &str) -> Result<(), String> {
            std::fs::write(self.folder.path().join("config.yaml"), more).unwrap();
            self.reload.again(&self.tuning).map_err(|e| e.to_string())
        }
    }

    #[test]
    fn fill_and_delay_change_and_change_back() {
        let mut running = Running::with(&[]);
        let built_in = running.tuning.fill();
        let slow = "cache: {dir: /c}\nbackend: {directory: {path: /b, delay_ms: 70}}\n\
                    serve: {fill: 65536}\n";
        running.again(slow).unwrap();
        assert_eq!(running.tuning.fill(), 65536);
        assert_eq!(running.tuning.delay(), Duration::from_millis(70));
        running.again(START).unwrap();
        assert_eq!(running.tuning.fill(), built_in);
        assert_eq!(running.tuning.delay(), Duration::ZERO);
    }

    #[test]
    fn what_needs_a_restart_is_named_and_nothing_changes() {
        let mut running = Running::with(&[]);
        let before = running.tuning.fill();
        let error = running
            .again("cache: {dir: /c, tag: t, brun: 50}\nbackend: {directory: {path: /b}}\nserve: {fill: 8192, threads: 9}\n")
            .unwrap_err();
        for part in ["cache.tag", "limits", "serve.threads", "restart"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(!error.contains("cache.dir"), "{error}");
        assert_eq!(running.tuning.fill(), before);
    }

    #[test]
    fn a_wrong_file_changes_nothing_and_the_command_line_still_wins() {
        let mut running = Running::with(&["--fill", "16384"]);
        assert!(
            running
                .again("serve: {fil: 1}\n")
                .unwrap_err()
                .contains("fil")
        );
        running
            .again("cache: {dir: /c}\nbackend: {directory: {path: /b}}\nserve: {fill: 65536}\n")
            .unwrap();
        assert_eq!(running.tuning.fill(), 16384);
    }

    #[test]
    fn without_a_file_the_error_says_so() {
        let cli = Cli::parse_from(["cachefilesd", "--dir", "/c", "--blobs", "/b"]);
        let running = Settings::new(cli.clone(), File::default()).unwrap();
        let tuning = Tuning::new(running.fill, running.delay);
        let error = Reload::new(cli, running).again(&tuning).unwrap_err();
        assert!(error.to_string().contains("--config"), "{error}");
    }
}
