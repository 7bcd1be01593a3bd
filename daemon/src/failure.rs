// SPDX-License-Identifier: GPL-2.0-or-later
//! Why the daemon ends other than by being asked to, and the exit code of each reason.

use std::io;
use std::path::PathBuf;

/// A reason to end. Each kind has an exit code of its own, listed in `--help`.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was asked for makes no sense. Exit code 2, as for a wrong command line.
    #[error("{0}")]
    Usage(String),
    /// There is no device. Exit code 3.
    #[error(
        "cannot open {path}: {source}. Is the cachefiles module loaded (modprobe cachefiles), and \
         built with CONFIG_CACHEFILES_ONDEMAND?"
    )]
    DeviceMissing {
        /// Where it was looked for.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Somebody has the device, or still uses a cache that was closed. Exit code 4.
    #[error(
        "cannot open {path}: {source}. Only one daemon can have it: end the other one (fuser \
         {path} names it). After it ended, its cache lives until the last anonymous descriptor \
         is closed"
    )]
    DeviceBusy {
        /// The device.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The cache could not be set up. Exit code 5.
    #[error("the kernel refused `{command}`: {source}. {hint}")]
    BindRefused {
        /// The command that was refused.
        command: String,
        /// What the kernel said.
        source: io::Error,
        /// What to look at.
        hint: &'static str,
    },
    /// The place where the data comes from cannot be used. Exit code 6.
    #[error("cannot use the blob folder {path}: {source}. Give a readable folder with --blobs")]
    Blobs {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The cache died while it was served. Exit code 7.
    #[error(
        "the cache is dead: {0}. The kernel gives a cache up when its disk fails (see the kernel's \
         log); repair the disk and start again"
    )]
    DeviceDead(String),
    /// Not allowed to open the device. Exit code 8.
    #[error("cannot open {path}: {source}. The daemon needs CAP_SYS_ADMIN: run it as root")]
    NotAllowed {
        /// The device.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Anything else of the system that failed. Exit code 1.
    #[error("{what}: {source}")]
    System {
        /// What was being done, with what.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A thread did not finish in time when the daemon was to end. Exit code 1.
    #[error("{0}")]
    Stuck(String),
}

impl Failure {
    /// A [`Failure::System`].
    pub fn system(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Failure::System {
            what: what.into(),
            source: source.into(),
        }
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::System { .. } | Failure::Stuck(_) => 1,
            Failure::Usage(_) => 2,
            Failure::DeviceMissing { .. } => 3,
            Failure::DeviceBusy { .. } => 4,
            Failure::BindRefused { .. } => 5,
            Failure::Blobs { .. } => 6,
            Failure::DeviceDead(_) => 7,
            Failure::NotAllowed { .. } => 8,
        }
    }
}
