// SPDX-License-Identifier: GPL-2.0-or-later
//! A user namespace, as an idmapped mount wants one.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::sys;

/// The second argument that makes a worker a mere holder of a user namespace.
pub const ROLE: &str = "user-namespace";

/// What the holder says when the namespace is there.
const READY: &[u8] = b"ready\n";
/// Inside, outside, how many: user 0 is user 100000.
const MAP: &str = "0 100000 65536";

/// A user namespace whose users have other numbers outside.
pub struct Users {
    /// The namespace; it lives as long as this, or a mount, refers to it.
    pub namespace: OwnedFd,
}

impl Users {
    /// One in which user and group 0 are 100000 outside, and so on.
    ///
    /// A process can only enter a new namespace for itself, and would lose its rights outside: a
    /// helper does it, and ends as soon as the descriptor is here.
    pub fn shifted() -> Result<Users> {
        let mut helper = Command::new("/proc/self/exe")
            .args([crate::WORKER, ROLE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a process that holds a user namespace")?;
        let users = Self::of(&mut helper);
        // Its input ends with this, and it with its input.
        drop(helper.stdin.take());
        let ended = helper.wait().context("cannot wait for that process");
        let users = users?;
        let ended = ended?;
        match ended.success() {
            true => Ok(users),
            false => bail!("the process that held a user namespace ended with {ended}"),
        }
    }

    fn of(helper: &mut Child) -> Result<Users> {
        let mut said = Vec::new();
        let output = helper.stdout.as_mut().context("a child without a pipe")?;
        output
            .take(READY.len() as u64)
            .read_to_end(&mut said)
            .context("cannot hear from the process that holds a user namespace")?;
        if said != READY {
            bail!("cannot make a user namespace: see the guest's console for why");
        }
        let folder = format!("/proc/{}", helper.id());
        for map in ["uid_map", "gid_map"] {
            // The kernel takes it in one write, and only once.
            fs::write(format!("{folder}/{map}"), MAP)
                .with_context(|| format!("cannot write `{MAP}` to {folder}/{map}"))?;
        }
        let path = format!("{folder}/ns/user");
        let namespace = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        Ok(Users {
            namespace: namespace.into(),
        })
    }
}

/// The holder: enters a new namespace, says so, and stays until its input ends.
pub fn main() {
    if let Err(error) = hold() {
        eprintln!("worker {ROLE}: {error}");
        std::process::exit(3);
    }
}

fn hold() -> io::Result<()> {
    sys::enter_user_namespace()?;
    let mut output = io::stdout().lock();
    output.write_all(READY)?;
    output.flush()?;
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}
