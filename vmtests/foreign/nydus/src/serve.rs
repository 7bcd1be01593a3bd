// SPDX-License-Identifier: GPL-2.0-or-later
//! The worker: the crate's handler, fed with a configuration, until the keeper goes.

use std::fs::File;
use std::io;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use nydus_api::BlobCacheList;
use nydus_service::BlobCacheMgr;
use nydus_service::FsCacheHandler;
use sendfd::RecvWithFd;
use sendfd::SendWithFd;

/// The device of all on-demand daemons.
const DEVICE: &str = "/dev/cachefiles";
/// Threads that answer requests.
const THREADS: usize = 4;

/// Serves until the other end of standard input, which is the keeper's socket, is closed.
///
/// # Errors
/// When the configuration is wrong or the cache cannot be bound or taken over.
pub fn run(dir: &Path, config: &Path) -> Result<()> {
    let mut keeper = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let kept = receive(&keeper)?;
    let blobs = Arc::new(BlobCacheMgr::new());
    let text = std::fs::read_to_string(config)
        .with_context(|| format!("cannot read {}", config.display()))?;
    let list: BlobCacheList =
        serde_json::from_str(&text).with_context(|| format!("{} is wrong", config.display()))?;
    blobs
        .add_blob_list(&list)
        .context("the configuration's blobs cannot be served")?;
    let dir = dir.to_str().context("the cache's folder has an odd name")?;
    let handler = FsCacheHandler::new(DEVICE, dir, None, blobs, THREADS, kept.as_ref())
        .context("cannot bind the cache, or take it over")?;
    let handler = Arc::new(handler);
    keeper
        .send_with_fd(b"d", &[handler.get_file().as_raw_fd()])
        .context("cannot give the device to the keeper")?;
    for _ in 0..THREADS {
        let handler = Arc::clone(&handler);
        thread::spawn(move || {
            if let Err(error) = handler.run_loop() {
                eprintln!("nydus-guest: a thread ends: {error}");
                process::exit(1);
            }
        });
    }
    match kept {
        None => eprintln!("nydus-guest: serving"),
        Some(_) => eprintln!("nydus-guest: serving again"),
    }
    keeper.read_exact(&mut [0]).ok();
    eprintln!("nydus-guest: the keeper is gone, stopping");
    handler.stop();
    Ok(())
}

/// The device that an earlier worker had opened, if there was one.
fn receive(keeper: &UnixStream) -> Result<Option<File>> {
    let (mut byte, mut fds) = ([0; 1], [-1; 1]);
    match keeper.recv_with_fd(&mut byte, &mut fds)? {
        (1, 0) => Ok(None),
        // SAFETY: the kernel has just put this descriptor into this process for this message, and
        // nothing else here knows its number.
        (1, 1) => Ok(Some(unsafe { File::from_raw_fd(fds[0]) })),
        (bytes, fds) => bail!("the keeper sent {bytes} bytes and {fds} descriptors"),
    }
}
