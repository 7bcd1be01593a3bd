// SPDX-License-Identifier: GPL-2.0-or-later
//! What the operator asks for: the configuration file, and the settings it makes together with the
//! command line.
//!
//! The command line wins. The sections of the file are the subjects of the daemon (`cache`,
//! `backend`, `serve`, `log`), so that each can grow.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use cachefiles_core::limits::Limit;
use cachefiles_core::limits::Percent;
use cachefiles_core::limits::Percents;
use clap::ValueEnum;
use serde::Deserialize;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::range::PAGE;

/// The device that is opened when none is named.
const DEVICE: &str = "/dev/cachefiles";
/// Threads that answer requests.
const THREADS: usize = 4;
/// How much is filled around a hole.
const FILL: u64 = 1 << 20;
/// The most threads that make sense: each has a buffer of a fetch's size.
const THREADS_MAX: usize = 1024;
/// The most that is filled around a hole.
const FILL_MAX: u64 = 1 << 30;

/// The configuration file, as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// The device's path.
    pub device: Option<PathBuf>,
    /// The cache that is bound.
    pub cache: CacheSection,
    /// Where the data comes from.
    pub backend: BackendSection,
    /// How requests are answered.
    pub serve: ServeSection,
    /// What is logged.
    pub log: LogSection,
}

/// The cache that is bound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSection {
    /// Its directory.
    pub dir: Option<PathBuf>,
    /// Its name for the kernel.
    pub tag: Option<String>,
    /// The security context in which the kernel accesses it.
    pub secctx: Option<String>,
    /// Free blocks in percent above which culling ends.
    pub brun: Option<u64>,
    /// Free blocks in percent below which culling begins.
    pub bcull: Option<u64>,
    /// Free blocks in percent below which nothing is stored.
    pub bstop: Option<u64>,
    /// As `brun`, for files.
    pub frun: Option<u64>,
    /// As `bcull`, for files.
    pub fcull: Option<u64>,
    /// As `bstop`, for files.
    pub fstop: Option<u64>,
}

/// Where the data comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackendSection {
    /// Blobs that are files of a folder.
    pub directory: Option<DirectorySection>,
}

/// Blobs that are files of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DirectorySection {
    /// The folder.
    pub path: Option<PathBuf>,
    /// Milliseconds that every request to it takes at least.
    pub delay_ms: Option<u64>,
}

/// How requests are answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServeSection {
    /// Threads that answer.
    pub threads: Option<usize>,
    /// Bytes that are filled around a hole, aligned.
    pub fill: Option<u64>,
}

/// What is logged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// Text or JSON.
    pub format: Option<LogFormat>,
    /// From which level on.
    pub level: Option<String>,
    /// The file for protocol events.
    pub events: Option<PathBuf>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The cache's part of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSettings {
    /// Its directory; absolute.
    pub dir: PathBuf,
    /// Its name for the kernel; the kernel's own without it.
    pub tag: Option<String>,
    /// The security context in which the kernel accesses it.
    pub secctx: Option<String>,
    /// When to cull and when to store nothing more.
    pub limits: Percents,
}

/// Which device is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceSettings {
    /// One to open.
    Path(PathBuf),
    /// One that was left open.
    Inherited(i32),
}

/// Everything, checked. No path in it is relative: the working directory changes while culling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Which device.
    pub device: DeviceSettings,
    /// Which cache.
    pub cache: CacheSettings,
    /// The folder of blobs.
    pub blobs: PathBuf,
    /// How long every request to it takes at least.
    pub delay: Duration,
    /// Threads that answer; at least 1.
    pub threads: usize,
    /// Bytes that are filled around a hole: a power of two, at least a page.
    pub fill: u64,
    /// Text or JSON.
    pub log_format: LogFormat,
    /// From which level on.
    pub log_level: String,
    /// The file for protocol events.
    pub event_log: Option<PathBuf>,
}

impl File {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// [`Failure::Usage`] with the place of the mistake.
    pub fn read(path: &Path) -> Result<File, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::Usage(format!(
                "cannot read the configuration {}: {error}",
                path.display()
            ))
        })?;
        if text.trim().is_empty() {
            return Ok(File::default());
        }
        serde_yaml::from_str(&text).map_err(|error| {
            Failure::Usage(format!(
                "the configuration {} is wrong: {error}",
                path.display()
            ))
        })
    }
}

impl Settings {
    /// Puts the file and the command line together, and checks them.
    ///
    /// # Errors
    /// [`Failure::Usage`] that says what to give.
    pub fn new(cli: Cli, file: File) -> Result<Settings, Failure> {
        let device = match (cli.device_fd, cli.device.or(file.device)) {
            (Some(number), _) => DeviceSettings::Inherited(number),
            (None, Some(path)) => DeviceSettings::Path(path),
            (None, None) => DeviceSettings::Path(DEVICE.into()),
        };
        let dir = cli.dir.or(file.cache.dir).ok_or_else(|| {
            usage("no cache directory: give --dir DIR, or cache.dir in the configuration")
        })?;
        let directory = file.backend.directory.unwrap_or_default();
        let blobs = cli.blobs.or(directory.path).ok_or_else(|| {
            usage(
                "no blob folder: give --blobs DIR, or backend.directory.path in the configuration",
            )
        })?;
        let limits = limits(&[
            ("brun", cli.brun.or(file.cache.brun), Limit::BlocksRun),
            ("bcull", cli.bcull.or(file.cache.bcull), Limit::BlocksCull),
            ("bstop", cli.bstop.or(file.cache.bstop), Limit::BlocksStop),
            ("frun", cli.frun.or(file.cache.frun), Limit::FilesRun),
            ("fcull", cli.fcull.or(file.cache.fcull), Limit::FilesCull),
            ("fstop", cli.fstop.or(file.cache.fstop), Limit::FilesStop),
        ])?;
        let threads = cli.threads.or(file.serve.threads).unwrap_or(THREADS);
        if !(1..=THREADS_MAX).contains(&threads) {
            return Err(usage(format!("{threads} threads: give 1 to {THREADS_MAX}")));
        }
        let fill = cli.fill.or(file.serve.fill).unwrap_or(FILL);
        if !fill.is_power_of_two() || !(PAGE..=FILL_MAX).contains(&fill) {
            return Err(usage(format!(
                "cannot fill {fill} bytes at a time: give a power of two from {PAGE} to {FILL_MAX}"
            )));
        }
        let one_line = |what: &str, text: Option<String>| match text {
            Some(text) if text.is_empty() || text.contains(['\n', '\0']) => {
                Err(usage(format!("{what} {text:?}: give one line of text")))
            }
            text => Ok(text),
        };
        Ok(Settings {
            device,
            cache: CacheSettings {
                dir: absolute(dir)?,
                tag: one_line("the tag", cli.tag.or(file.cache.tag))?,
                secctx: one_line("the security context", file.cache.secctx)?,
                limits,
            },
            blobs: absolute(blobs)?,
            delay: Duration::from_millis(cli.delay_ms.or(directory.delay_ms).unwrap_or(0)),
            threads,
            fill,
            log_format: cli.log_format.or(file.log.format).unwrap_or_default(),
            log_level: cli
                .log_level
                .or(file.log.level)
                .unwrap_or_else(|| "info".to_owned()),
            event_log: cli
                .event_log
                .or(file.log.events)
                .map(absolute)
                .transpose()?,
        })
    }
}

fn usage(message: impl Into<String>) -> Failure {
    Failure::Usage(message.into())
}

/// The path from the root on.
///
/// # Errors
/// [`Failure::Usage`] when it is empty or the working directory is gone.
pub fn absolute(path: PathBuf) -> Result<PathBuf, Failure> {
    std::path::absolute(&path)
        .map_err(|error| usage(format!("the path {}: {error}", path.display())))
}

/// The kernel's limits with some of them replaced.
fn limits(given: &[(&str, Option<u64>, Limit)]) -> Result<Percents, Failure> {
    let mut limits = Percents::DEFAULT;
    let mut pending = Vec::new();
    for (name, value, limit) in given {
        if let Some(value) = value {
            let percent = Percent::new(*value)
                .ok_or_else(|| usage(format!("--{name} {value}: a percentage is below 100")))?;
            pending.push((*limit, percent));
        }
    }
    // Each is checked against the others as they are, so the order decides which can be set.
    while let Some(next) = pending
        .iter()
        .position(|(limit, percent)| limits.set(*limit, *percent).is_ok())
    {
        pending.remove(next);
    }
    if pending.is_empty() {
        return Ok(limits);
    }
    let shown: Vec<String> = given
        .iter()
        .map(|(name, value, limit)| {
            format!(
                "{name} {}",
                value.unwrap_or(u64::from(limits.get(*limit).get()))
            )
        })
        .collect();
    Err(usage(format!(
        "the limits are not in order ({}): both for blocks and for files, stop < cull < run < 100",
        shown.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn settings(arguments: &[&str], yaml: &str) -> Result<Settings, String> {
        let arguments = [&["cachefilesd"], arguments].concat();
        let cli = Cli::try_parse_from(arguments).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, yaml).unwrap();
        File::read(&path)
            .and_then(|file| Settings::new(cli, file))
            .map_err(|failure| {
                assert_eq!(failure.exit_code(), 2);
                failure.to_string()
            })
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_what_is_built_in() {
        let yaml = "cache: {dir: /c, tag: t, brun: 30}\nbackend: {directory: {path: /b}}\nserve: {threads: 9}\n";
        let made = settings(&["--dir", "/d", "--bcull", "20"], yaml).unwrap();
        assert_eq!(made.cache.dir, Path::new("/d"));
        assert_eq!(made.cache.tag.as_deref(), Some("t"));
        assert_eq!(made.threads, 9);
        assert_eq!(made.fill, FILL);
        let percent = |limit| made.cache.limits.get(limit).get();
        assert_eq!(percent(Limit::BlocksRun), 30);
        assert_eq!(percent(Limit::BlocksCull), 20);
        assert_eq!(percent(Limit::BlocksStop), 1);
        assert_eq!(made.device, DeviceSettings::Path(DEVICE.into()));
    }

    #[test]
    fn relative_paths_become_absolute_because_culling_changes_the_working_directory() {
        let made = settings(&["--dir", "c", "--blobs", "b", "--event-log", "e"], "").unwrap();
        assert!(made.cache.dir.is_absolute());
        assert!(made.blobs.is_absolute());
        assert!(made.event_log.unwrap().is_absolute());
    }

    #[test]
    fn an_unknown_key_names_itself_and_its_line() {
        let error = settings(&[], "cache:\n  dir: /c\n  bcul: 3\n").unwrap_err();
        assert!(
            error.contains("bcul") && error.contains("line 3"),
            "{error}"
        );
    }

    #[test]
    fn limits_out_of_order_are_refused_with_all_of_them_shown() {
        let base = ["--dir", "/c", "--blobs", "/b"];
        let error = settings(&[&base[..], &["--bcull", "9"]].concat(), "").unwrap_err();
        assert!(
            error.contains("bcull 9") && error.contains("brun 7"),
            "{error}"
        );
        let error = settings(&[&base[..], &["--frun", "100"]].concat(), "").unwrap_err();
        assert!(error.contains("below 100"), "{error}");
        let low = ["--brun", "3", "--bcull", "2", "--bstop", "0"];
        assert!(settings(&[&base[..], &low].concat(), "").is_ok());
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        let base = ["--dir", "/c", "--blobs", "/b"];
        for wrong in [
            ["--threads", "0"],
            ["--fill", "5000"],
            ["--fill", "2048"],
            ["--tag", "a\nb"],
            ["--tag", ""],
        ] {
            let error = settings(&[&base[..], &wrong].concat(), "").unwrap_err();
            assert!(error.contains("give"), "{error}");
        }
        assert!(
            settings(&["--dir", "/c"], "")
                .unwrap_err()
                .contains("--blobs")
        );
        assert!(settings(&[], "").unwrap_err().contains("--dir"));
    }
}
