// SPDX-License-Identifier: GPL-2.0-or-later
//! The virtio-serial port to the runner, and the console for what cannot go there.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use vmtest_protocol::FromAgent;
use vmtest_protocol::PORT_NAME;
use vmtest_protocol::frame;
use vmtest_protocol::message::Level;

/// How long the port may take to appear after boot.
const PORT_LIMIT: Duration = Duration::from_secs(20);

/// The sending half: any thread may send.
pub struct Sender {
    port: Mutex<File>,
}

/// The receiving half. A read of nothing means that the runner is not connected, not the end.
pub struct Receiver {
    port: File,
}

/// Finds the port by its name, opens it and waits until somebody listens on the host.
pub fn open() -> Result<(Sender, Receiver)> {
    let path = find_port()?;
    let port = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open the runner's port {}", path.display()))?;
    wait_for_listener(&port);
    let receiver = port
        .try_clone()
        .context("cannot duplicate the runner's port")?;
    Ok((
        Sender {
            port: Mutex::new(port),
        },
        Receiver { port: receiver },
    ))
}

fn find_port() -> Result<PathBuf> {
    let class = "/sys/class/virtio-ports";
    let give_up = Instant::now() + PORT_LIMIT;
    loop {
        for entry in fs::read_dir(class).into_iter().flatten().flatten() {
            let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            if name.trim() == PORT_NAME {
                return Ok(PathBuf::from("/dev").join(entry.file_name()));
            }
        }
        if Instant::now() > give_up {
            bail!(
                "no virtio-serial port named {PORT_NAME} under {class} after {} s: the runner's \
                 QEMU command line must have `-device virtserialport,name={PORT_NAME}`",
                PORT_LIMIT.as_secs()
            );
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// QEMU throws away what is written while nobody is connected: without this wait the first
/// message could be lost.
fn wait_for_listener(port: &File) {
    loop {
        let mut fds = [PollFd::new(port, PollFlags::OUT)];
        let hung_up = match rustix::event::poll(&mut fds, None) {
            Ok(_) => fds[0].revents().contains(PollFlags::HUP),
            Err(_) => true,
        };
        if !hung_up {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Sender {
    /// Sends a message; what cannot be sent is told on the console.
    pub fn send(&self, message: &FromAgent) {
        let mut port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = frame::write(&mut *port, message) {
            console(&format!("cannot send to the runner: {error}"));
        }
    }

    /// A line for the agent's log.
    pub fn log(&self, level: Level, text: impl Into<String>) {
        self.send(&FromAgent::Log {
            level,
            uptime_ms: uptime_ms(),
            text: text.into(),
        });
    }
}

impl Read for Receiver {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.port.read(buffer) {
                Ok(0) => std::thread::sleep(Duration::from_millis(10)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

/// Milliseconds since the kernel started.
pub fn uptime_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// Writes a line to the kernel's log, and so to the console, which needs no runner.
pub fn console(text: &str) {
    if let Ok(mut kmsg) = OpenOptions::new().write(true).open("/dev/kmsg") {
        for line in text.lines() {
            // One write is one record; the console is all that is left if this fails.
            let _ = kmsg.write_all(format!("<2>vmtest-agent: {line}\n").as_bytes());
        }
    } else {
        eprintln!("vmtest-agent: {text}");
    }
}
