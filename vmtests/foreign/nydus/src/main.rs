// SPDX-License-Identifier: GPL-2.0-or-later
//! A foreign on-demand daemon: the fscache handler of the crate `nydus-service`, as it is published,
//! with as much around it as it takes to start, stop and replace it. The same program makes the
//! image that it serves, with the crate `nydus-builder`.

mod image;
mod keeper;
mod serve;

use std::env;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use anyhow::bail;

/// Hidden subcommand: what the keeper starts.
const WORKER: &str = "__worker";

const USAGE: &str = "usage:
  nydus-guest image TREE OUT    makes OUT/bootstrap and OUT/BLOB-ID of a folder; prints BLOB-ID
  nydus-guest serve DIR CONFIG  binds the cache in DIR and serves what CONFIG (JSON: {\"blobs\": ..}) lists
                                SIGHUP: the worker is killed, and another one takes over
                                SIGTERM: the end";

/// What the crates have to say goes to stderr, a line each.
struct Stderr;

impl log::Log for Stderr {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Info
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            // There is nobody to tell that stderr is gone.
            let _ = writeln!(std::io::stderr(), "{}: {}", record.level(), record.args());
        }
    }

    fn flush(&self) {}
}

fn main() -> ExitCode {
    // Set once, before any thread: it cannot have been set already.
    let _ = log::set_logger(&Stderr);
    log::set_max_level(log::LevelFilter::Info);
    match run(&env::args_os().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nydus-guest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[OsString]) -> Result<()> {
    let [task, first, second] = args else {
        bail!("{USAGE}");
    };
    let (first, second) = (Path::new(first), Path::new(second));
    match task.to_str() {
        Some("image") => {
            println!("{}", image::make(first, second)?);
            Ok(())
        }
        Some("serve") => keeper::run(first, second),
        Some(WORKER) => serve::run(first, second),
        _ => bail!("{USAGE}"),
    }
}
