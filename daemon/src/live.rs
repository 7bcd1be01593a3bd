// SPDX-License-Identifier: GPL-2.0-or-later
//! What can be changed while the daemon serves, and reading the configuration again.
//!
//! SIGHUP makes the daemon read its configuration file again. It is taken as a whole or not at
//! all: a file with a mistake in it, or one that differs in something that cannot change while a
//! cache is bound, changes nothing, and the log says why.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::cli::Cli;
use crate::config::File;
use crate::config::Settings;

/// The settings that every request looks at anew.
#[derive(Debug)]
pub struct Live {
    fill: AtomicU64,
    delay_ms: AtomicU64,
}

impl Live {
    /// As the settings say at the start.
    pub fn new(fill: u64, delay: Duration) -> Live {
        let live = Live {
            fill: AtomicU64::new(0),
            delay_ms: AtomicU64::new(0),
        };
        live.set(fill, delay);
        live
    }

    /// Bytes to fill around a hole: a power of two, at least a page.
    pub fn fill(&self) -> u64 {
        self.fill.load(Ordering::Relaxed)
    }

    /// How long every request to the blobs takes at least.
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms.load(Ordering::Relaxed))
    }

    /// Changes both. A request that is being answered may see one of them and not the other.
    pub fn set(&self, fill: u64, delay: Duration) {
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.fill.store(fill, Ordering::Relaxed);
        self.delay_ms.store(delay, Ordering::Relaxed);
    }
}

/// Reads the configuration file again and makes settings of it, together with the command line.
///
/// # Errors
/// Why they cannot be taken in place of `now` while the daemon serves.
pub fn read_again(cli: &Cli, now: &Settings) -> Result<Settings, String> {
    let Some(path) = &cli.config else {
        return Err("there is no configuration file: start the daemon with --config".to_owned());
    };
    let file = File::read(path).map_err(|failure| failure.to_string())?;
    let next = Settings::new(cli.clone(), file).map_err(|failure| failure.to_string())?;
    match fixed(now, &next) {
        fixed if fixed.is_empty() => Ok(next),
        fixed => Err(format!(
            "{} cannot change while the cache is served: end the daemon and start it again",
            fixed.join(", ")
        )),
    }
}

/// The settings that differ and that nothing can change while the cache is served.
fn fixed(now: &Settings, next: &Settings) -> Vec<&'static str> {
    let differs = [
        ("device", now.device != next.device),
        ("cache.dir", now.cache.dir != next.cache.dir),
        ("cache.tag", now.cache.tag != next.cache.tag),
        ("cache.secctx", now.cache.secctx != next.cache.secctx),
        // The kernel takes limits before `bind` only.
        ("the limits", now.cache.limits != next.cache.limits),
        ("backend.directory.path", now.blobs != next.blobs),
        ("serve.threads", now.threads != next.threads),
        ("log.format", now.log_format != next.log_format),
        ("log.level", now.log_level != next.log_level),
        ("log.events", now.event_log != next.event_log),
    ];
    differs
        .iter()
        .filter(|(_, differs)| *differs)
        .map(|(name, _)| *name)
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn again(before: &str, after: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        let cli = Cli::parse_from(["cachefilesd", "--config", path.to_str().unwrap()]);
        std::fs::write(&path, before).unwrap();
        let now = Settings::new(cli.clone(), File::read(&path).unwrap()).unwrap();
        std::fs::write(&path, after).unwrap();
        read_again(&cli, &now)
    }

    const BASE: &str = "cache: {dir: /c}\nbackend: {directory: {path: /b, delay_ms: 5}}\n";

    #[test]
    fn fill_and_delay_can_change_and_nothing_else() {
        let next = again(BASE, &format!("{BASE}serve: {{fill: 8192}}\n")).unwrap();
        assert_eq!(next.fill, 8192);
        let next = again(BASE, &BASE.replace("delay_ms: 5", "delay_ms: 7")).unwrap();
        assert_eq!(next.delay, Duration::from_millis(7));
        for (after, name) in [
            (format!("{BASE}serve: {{threads: 9}}\n"), "serve.threads"),
            (BASE.replace("dir: /c", "dir: /d"), "cache.dir"),
            (BASE.replace("dir: /c", "dir: /c, brun: 20"), "the limits"),
            (BASE.replace("path: /b", "path: /d"), "backend.directory"),
            (format!("{BASE}device: /dev/other\n"), "device"),
            (format!("{BASE}log: {{level: debug}}\n"), "log.level"),
        ] {
            let why = again(BASE, &after).unwrap_err();
            assert!(
                why.contains(name) && why.contains("start it again"),
                "{why}"
            );
        }
    }

    #[test]
    fn a_file_with_a_mistake_changes_nothing_and_is_named() {
        let why = again(BASE, "cache: {dri: /c}\n").unwrap_err();
        assert!(why.contains("config.yaml") && why.contains("dri"), "{why}");
        let why = again(BASE, &format!("{BASE}serve: {{fill: 5000}}\n")).unwrap_err();
        assert!(why.contains("power of two"), "{why}");
    }

    #[test]
    fn without_a_file_there_is_nothing_to_read_again() {
        let cli = Cli::parse_from(["cachefilesd", "--dir", "/c", "--blobs", "/b"]);
        let now = Settings::new(cli.clone(), File::default()).unwrap();
        let why = read_again(&cli, &now).unwrap_err();
        assert!(why.contains("--config"), "{why}");
    }
}
