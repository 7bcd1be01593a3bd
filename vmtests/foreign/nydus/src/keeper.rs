// SPDX-License-Identifier: GPL-2.0-or-later
//! The keeper: keeps the device open while workers come and go, as a snapshotter does for its
//! daemon.

use std::env;
use std::io;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use sendfd::RecvWithFd;
use sendfd::SendWithFd;
use signal_hook::consts::SIGCHLD;
use signal_hook::consts::SIGHUP;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

use crate::WORKER;

/// A running worker.
struct Worker {
    child: Child,
    /// Closed, it tells the worker to stop.
    channel: UnixStream,
}

/// Serves until SIGTERM; at SIGHUP kills the worker and starts another one on the same device.
///
/// # Errors
/// When a worker cannot be started, or ends without being told to.
pub fn run(dir: &Path, config: &Path) -> Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGTERM, SIGCHLD])?;
    let (mut worker, device) = start(dir, config, None)?;
    for signal in signals.forever() {
        match signal {
            SIGHUP => {
                worker.child.kill().context("cannot kill the worker")?;
                worker.child.wait()?;
                eprintln!("nydus-guest: the worker was killed");
                // The copy of the device that this worker sends is one more, and does no harm.
                (worker, _) = start(dir, config, Some(device))?;
            }
            SIGTERM => break,
            _ => {
                if let Some(status) = worker.child.try_wait()? {
                    bail!("the worker ended by itself: {status}");
                }
            }
        }
    }
    drop(worker.channel);
    let status = worker.child.wait()?;
    if !status.success() {
        bail!("the worker did not stop well: {status}");
    }
    Ok(())
}

/// Starts a worker, on the device that an earlier one had opened if there was one, and waits until
/// it serves. Returns the device's descriptor here.
fn start(dir: &Path, config: &Path, device: Option<RawFd>) -> Result<(Worker, RawFd)> {
    let (channel, theirs) = UnixStream::pair()?;
    let child = Command::new(env::current_exe()?)
        .arg(WORKER)
        .arg(dir)
        .arg(config)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .context("cannot start a worker")?;
    channel.send_with_fd(b"k", device.as_slice())?;
    let (mut byte, mut fds) = ([0; 1], [-1; 1]);
    // A worker that fails closes its end: no byte.
    let kept = match channel.recv_with_fd(&mut byte, &mut fds) {
        Ok((1, 1)) => fds[0],
        Ok(_) => bail!("the worker did not come as far as serving; see above"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
            bail!("the worker ended before it served; see above")
        }
        Err(error) => return Err(error).context("cannot hear the worker"),
    };
    Ok((Worker { child, channel }, kept))
}
