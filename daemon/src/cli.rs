// SPDX-License-Identifier: GPL-2.0-or-later
//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::config::LogFormat;

/// What stands at the end of `--help`.
const AFTER: &str = "\
A configuration file says the same in YAML; the command line wins:
  device: /dev/cachefiles
  cache: {dir: /var/cache/fscache, tag: images, brun: 10, bcull: 7, bstop: 3}
  backend: {directory: {path: /srv/blobs}}
  serve: {threads: 8, fill: 1048576}
  log: {format: json, level: info, events: /run/cachefilesd/events.jsonl}

When the cache is served, `cachefilesd: ready` is printed to standard output. SIGTERM and SIGINT
end the daemon after it has finished what it took; a second one ends it at once. SIGHUP reads the
configuration file again: serve.fill and backend.directory.delay_ms change at once, a change of
anything else is refused, with what needs a restart in the log.

Exit codes:
  0  asked to end, all requests that were taken are answered
  1  the system failed in another way, or a request did not finish within 30 s of being asked to end
  2  wrong command line or configuration
  3  no device: the module is not loaded
  4  the device is busy: another daemon has it
  5  the kernel refused to bind the cache
  6  the blob folder cannot be used
  7  the cache is dead: its disk failed, or the kernel gave it up
  8  not allowed to open the device

Example:
  mkdir -p /var/cache/fscache
  cachefilesd --dir /var/cache/fscache --blobs /srv/blobs &
  mount -t erofs -o fsid=small none /mnt        # reads /srv/blobs/small as it is needed";

/// Serves an on-demand cachefiles cache: fetches what erofs misses, and culls when the disk fills.
///
/// Binds the cache in DIR, answers the kernel's requests from the blobs of a folder, whose file
/// names are the fsids and device names that images are mounted by, and removes the least recently
/// used objects when the kernel asks for room.
#[derive(Debug, Clone, Default, Parser)]
#[command(version, after_help = AFTER, max_term_width = 100)]
pub struct Cli {
    /// Configuration file (YAML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Cache directory: on a filesystem with extended attributes and O_TMPFILE (ext4, xfs, btrfs)
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// Folder of blobs; a blob's file name is the fsid or device name it is mounted by
    #[arg(long, value_name = "DIR")]
    pub blobs: Option<PathBuf>,

    /// The cache's name for the kernel [default: the kernel's, CacheFiles]
    #[arg(long)]
    pub tag: Option<String>,

    /// Culling ends when this percentage of the disk's blocks is free [default: 7]
    #[arg(long, value_name = "N")]
    pub brun: Option<u64>,

    /// Culling begins when less than this percentage of the blocks is free [default: 5]
    #[arg(long, value_name = "N")]
    pub bcull: Option<u64>,

    /// Nothing is stored when less than this percentage of the blocks is free [default: 1]
    #[arg(long, value_name = "N")]
    pub bstop: Option<u64>,

    /// As --brun, for files [default: 7]
    #[arg(long, value_name = "N")]
    pub frun: Option<u64>,

    /// As --bcull, for files [default: 5]
    #[arg(long, value_name = "N")]
    pub fcull: Option<u64>,

    /// As --bstop, for files [default: 1]
    #[arg(long, value_name = "N")]
    pub fstop: Option<u64>,

    /// Threads that answer requests: so many slow fetches can run at once [default: 4]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,

    /// Bytes to fill around a hole, a power of two; only what is asked when space is short
    /// [default: 1048576]
    #[arg(long, value_name = "BYTES")]
    pub fill: Option<u64>,

    /// Delay every request to the blob folder, as a slow network would (for tests)
    #[arg(long, value_name = "N")]
    pub delay_ms: Option<u64>,

    /// The device [default: /dev/cachefiles]
    #[arg(long, value_name = "PATH")]
    pub device: Option<PathBuf>,

    /// Take over an already open device at this descriptor: bind it, or, when its cache is bound,
    /// restore the pending requests of the daemon before
    #[arg(long, value_name = "N", conflicts_with = "device")]
    pub device_fd: Option<i32>,

    /// Append every request, answer, fill and cull to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub event_log: Option<PathBuf>,

    /// How the log on standard error looks [default: text]
    #[arg(long, value_enum)]
    pub log_format: Option<LogFormat>,

    /// error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}
