// SPDX-License-Identifier: GPL-2.0-or-later
//! Interactive programs on terminals of their own, for a person at the runner's end.
//!
//! Each has two threads: one that takes what was typed to the terminal, since a program that does
//! not read must not make the agent deaf, and one that sends what the program writes.

use std::collections::BTreeMap;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::process::Signal;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use vmtest_protocol::FromAgent;
use vmtest_protocol::message::Data;
use vmtest_protocol::message::Exit;
use vmtest_protocol::message::Level;

use crate::channel::Sender;
use crate::children::Children;
use crate::engine::lock;

/// The program with which a shell gets its controlling terminal, and the shell itself.
const BUSYBOX: &str = "/bin/busybox";
/// How long the last output of a program that has ended is waited for.
const LAST_OUTPUT: Duration = Duration::from_millis(200);
/// How long a program may go on after it was hung up.
const HANG_UP_LIMIT: Duration = Duration::from_secs(2);
/// Pieces of input that may wait for a program that does not read.
const INPUT_WAITING: usize = 256;

/// The shells that live.
#[derive(Default)]
pub struct Shells {
    living: Mutex<BTreeMap<u64, Shell>>,
}

struct Shell {
    input: mpsc::SyncSender<Vec<u8>>,
    terminal: Arc<OwnedFd>,
    pid: u32,
}

impl Shells {
    /// Starts one. Whatever happens is told as [`FromAgent::ShellEnded`].
    pub fn start(
        self: &Arc<Self>,
        sender: &Arc<Sender>,
        children: &Arc<Children>,
        id: u64,
        size: Winsize,
        argv: &[String],
    ) {
        if let Err(error) = self.try_start(sender, children, id, size, argv) {
            sender.send(&FromAgent::ShellEnded {
                id,
                exit: None,
                error: Some(format!("cannot start a shell: {error:#}")),
            });
        }
    }

    fn try_start(
        self: &Arc<Self>,
        sender: &Arc<Sender>,
        children: &Arc<Children>,
        id: u64,
        size: Winsize,
        argv: &[String],
    ) -> Result<()> {
        if lock(&self.living).contains_key(&id) {
            bail!("the number {id} is that of a shell that lives");
        }
        let (terminal, theirs) = open_terminal(size)?;
        let stdio = || theirs.try_clone().map(Stdio::from);
        let default = [BUSYBOX.to_owned(), "sh".to_owned()];
        let argv = match argv {
            [] => &default[..],
            given => given,
        };
        let mut command = Command::new(BUSYBOX);
        // A session of its own, with this terminal: Ctrl-C goes to the program and not to init.
        command
            .args(["setsid", "-c"])
            .args(argv)
            .env("TERM", "linux")
            .env("PS1", "guest:\\w# ")
            .env("PATH", "/bin:/sbin:/usr/bin:/usr/sbin")
            .env("HOME", "/")
            .current_dir("/")
            .stdin(stdio().context("cannot duplicate the terminal")?)
            .stdout(stdio().context("cannot duplicate the terminal")?)
            .stderr(stdio().context("cannot duplicate the terminal")?);
        let child = children
            .spawn(&mut command)
            .with_context(|| format!("cannot start {}", argv.join(" ")))?;
        let pid = child.id();
        // What is left of it in here goes, so that the program's end is the end of the terminal.
        drop(command);
        drop(theirs);
        let (input, typed) = mpsc::sync_channel(INPUT_WAITING);
        let writer = terminal
            .try_clone()
            .context("cannot duplicate the terminal")?;
        std::thread::Builder::new()
            .name(format!("shell-{id}-in"))
            .spawn(move || type_in(File::from(writer), &typed))
            .context("cannot start a thread")?;
        let terminal = Arc::new(terminal);
        lock(&self.living).insert(
            id,
            Shell {
                input,
                terminal: Arc::clone(&terminal),
                pid,
            },
        );
        let shells = Arc::clone(self);
        let sender = Arc::clone(sender);
        let children = Arc::clone(children);
        std::thread::Builder::new()
            .name(format!("shell-{id}-out"))
            .spawn(move || {
                let exit = send_out(&sender, &children, id, pid, &terminal);
                lock(&shells.living).remove(&id);
                let error = exit
                    .is_none()
                    .then(|| "it was hung up and does not end".to_owned());
                sender.send(&FromAgent::ShellEnded { id, exit, error });
            })
            .context("cannot start a thread")?;
        Ok(())
    }

    /// Types something to one. What no shell wants is lost, as with any terminal.
    pub fn input(&self, sender: &Sender, id: u64, data: Vec<u8>) {
        let input = lock(&self.living).get(&id).map(|shell| shell.input.clone());
        // Full: the program has not read for hundreds of pieces. Waiting would make us deaf.
        if input.is_some_and(|input| input.try_send(data).is_err()) {
            sender.log(
                Level::Warn,
                format!("shell {id} does not read: what was typed is lost"),
            );
        }
    }

    /// Tells one the new size of its terminal.
    pub fn resize(&self, id: u64, size: Winsize) {
        if let Some(shell) = lock(&self.living).get(&id) {
            // A program that does not learn its size draws badly; nothing depends on it.
            let _ = rustix::termios::tcsetwinsize(&shell.terminal, size);
        }
    }

    /// Hangs one up.
    pub fn hang_up(&self, children: &Children, id: u64) {
        let pid = lock(&self.living).get(&id).map(|shell| shell.pid);
        if let Some(pid) = pid {
            // The leader of the session ends, and with it the session loses its terminal.
            let _ = children.signal(pid, Signal::HUP);
            let _ = children.signal(pid, Signal::CONT);
            if children.wait(pid, HANG_UP_LIMIT).is_none() {
                children.kill(pid);
            }
        }
    }

    /// Hangs all of them up, without waiting.
    pub fn hang_up_all(&self, children: &Children) {
        for shell in lock(&self.living).values() {
            let _ = children.signal(shell.pid, Signal::KILL);
        }
    }
}

/// A window's size in characters.
pub fn size(rows: u16, cols: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: cols,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

/// A new terminal: our end, and the program's.
fn open_terminal(size: Winsize) -> Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = rustix::pty::openpt(flags)
        .context("cannot open /dev/ptmx (does the kernel have CONFIG_UNIX98_PTYS?)")?;
    rustix::pty::grantpt(&ours).context("grantpt")?;
    rustix::pty::unlockpt(&ours).context("unlockpt")?;
    let name = rustix::pty::ptsname(&ours, Vec::new()).context("ptsname")?;
    let name = name.to_str().context("a terminal's name that is no text")?;
    let theirs = OpenOptions::new()
        .read(true)
        .write(true)
        .open(name)
        .with_context(|| format!("cannot open {name} (is devpts mounted?)"))?;
    rustix::termios::tcsetwinsize(&ours, size).context("cannot set the terminal's size")?;
    Ok((ours, theirs.into()))
}

fn type_in(mut terminal: File, typed: &mpsc::Receiver<Vec<u8>>) {
    for piece in typed {
        // The program has ended.
        if terminal.write_all(&piece).is_err() {
            return;
        }
    }
}

/// Sends what the program writes until it has ended, and says how.
fn send_out(
    sender: &Sender,
    children: &Children,
    id: u64,
    pid: u32,
    terminal: &OwnedFd,
) -> Option<Exit> {
    let mut buffer = vec![0u8; 16 << 10];
    let mut ended: Option<(Exit, Instant)> = None;
    let tick = Timespec {
        tv_sec: 0,
        tv_nsec: 50_000_000,
    };
    loop {
        let mut fds = [PollFd::new(terminal, PollFlags::IN)];
        // Interrupted or not: the read below finds out.
        let _ = rustix::event::poll(&mut fds, Some(&tick));
        let seen = fds[0].revents();
        if seen.contains(PollFlags::IN) {
            match rustix::io::read(terminal, &mut buffer) {
                Ok(got) if got > 0 => {
                    sender.send(&FromAgent::ShellOutput {
                        id,
                        data: Data(buffer[..got].to_vec()),
                    });
                }
                // EIO: nobody has the other end open any more.
                _ => return children.wait(pid, HANG_UP_LIMIT),
            }
        } else if seen.contains(PollFlags::HUP) {
            return children.wait(pid, HANG_UP_LIMIT);
        }
        if ended.is_none() {
            ended = children
                .wait(pid, Duration::ZERO)
                .map(|exit| (exit, Instant::now()));
        }
        // Something in the background may keep the terminal open for ever.
        if let Some((exit, since)) = &ended {
            if since.elapsed() > LAST_OUTPUT {
                return Some(exit.clone());
            }
        }
    }
}
