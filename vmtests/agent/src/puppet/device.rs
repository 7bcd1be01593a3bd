// SPDX-License-Identifier: GPL-2.0-or-later
//! Actions on the device, and raw system calls on any descriptor.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use cachefiles_core::wire;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use vmtest_protocol::step::MessageKind;
use vmtest_protocol::step::PuppetCommand;
use vmtest_protocol::step::PuppetIoctl;
use vmtest_protocol::step::PuppetOpen;
use vmtest_protocol::step::PuppetPoll;
use vmtest_protocol::step::PuppetRead;
use vmtest_protocol::step::PuppetReadState;
use vmtest_protocol::step::PuppetWriteRaw;
use vmtest_protocol::value::ErrnoName;
use vmtest_protocol::value::Size;

use super::descriptors::Descriptor;
use super::descriptors::TABLE;
use super::hand::Hand;
use super::hand::Ids;
use super::hand::Patience;
use super::hand::Saved;
use super::hand::free_name;
use super::hand::in_memory;
use super::message;
use super::serve;
use super::serve::Object;
use crate::engine::lock;
use crate::sys;
use crate::worker::child::Verdict;
use crate::worker::child::judge;

const DEVICE: &str = "/dev/cachefiles";

/// How long one look at the device takes at most, so that a storm's end is noticed.
const TICK: Duration = Duration::from_millis(20);

/// The pause before looking again, where nothing tells when it is worth it.
const PAUSE: Duration = Duration::from_millis(1);

impl Hand {
    pub(super) fn open(&self, open: &PuppetOpen) -> Result<Verdict> {
        let patience = self.patience(open.retry_busy.as_ref())?;
        let result = loop {
            let result = TABLE.make(|| OpenOptions::new().read(true).write(true).open(DEVICE));
            match &result {
                Err(error) if is(error, rustix::io::Errno::BUSY) && patience.sleep(PAUSE * 10) => {}
                _ => break result,
            }
        };
        let result = result.map(|device| self.shared.device.set(device.into()));
        let what = format!("opening {DEVICE}");
        Ok(judge(&what, result, &open.expect_errno))
    }

    pub(super) fn close_device(&self) -> Result<Verdict> {
        anyhow::ensure!(
            lock(&self.shared.server).is_none(),
            "the puppet still serves: `stop_serving` first, or `kill` it"
        );
        anyhow::ensure!(self.shared.device.close(), "the device is not open");
        Ok(Verdict::passed())
    }

    pub(super) fn command(&self, command: &PuppetCommand) -> Result<Verdict> {
        let result = write_command(self.device()?, &command.text);
        let what = format!("the command `{}`", command.text);
        Ok(judge(&what, result, &command.expect_errno))
    }

    pub(super) fn write_raw(&self, write: &PuppetWriteRaw) -> Result<Verdict> {
        let bytes = raw_bytes(write)?;
        let target = self.target(&write.on)?;
        let what = format!(
            "writing {} bytes ({}) to {}",
            bytes.len(),
            excerpt(&bytes),
            write.on
        );
        let result = rustix::io::write(target, &bytes).map_err(io::Error::from);
        let expected = Expected {
            errno: &write.expect_errno,
            written: &write.expect_written,
            length: bytes.len(),
        };
        expected.judge(&what, result)
    }

    pub(super) fn ioctl(&self, ioctl: &PuppetIoctl) -> Result<Verdict> {
        let request = ioctl.request.get().map_err(anyhow::Error::msg)?.0;
        let argument = ioctl.argument.get().map_err(anyhow::Error::msg)?.0;
        let what = format!("ioctl {request:#x} on {} with {argument:#x}", ioctl.on);
        let request = u32::try_from(request)
            .with_context(|| format!("{what}: a request has 32 bits and not more"))?;
        let argument = usize::try_from(argument)
            .with_context(|| format!("{what}: the argument is longer than a machine word"))?;
        let result = sys::ioctl(self.target(&ioctl.on)?, request, argument);
        if let Err(error) = &result {
            // Refused before it got to the kernel: no verdict on the kernel.
            anyhow::ensure!(error.raw_os_error().is_some(), "{what}: {error}");
        }
        Ok(judge(&what, result.map(drop), &ioctl.expect_errno))
    }

    pub(super) fn poll(&self, poll: &PuppetPoll) -> Result<Verdict> {
        let target = self.target(&poll.on)?;
        let patience = self.patience(poll.within.as_ref())?;
        loop {
            let seen = poll_once(&target).with_context(|| format!("cannot poll {}", poll.on))?;
            let fits = |wanted: Option<bool>, flag| wanted.is_none_or(|w| w == seen.contains(flag));
            if fits(poll.readable, PollFlags::IN) && fits(poll.writable, PollFlags::OUT) {
                return Ok(Verdict::passed());
            }
            if !patience.sleep(PAUSE) {
                return Ok(Verdict::Failed(poll_reason(poll, seen)));
            }
        }
    }

    pub(super) fn read_state(&self, read: &PuppetReadState) -> Result<Verdict> {
        let size = read.buffer.get().map_err(anyhow::Error::msg)?;
        let size = in_memory(&Size::Now(vmtest_protocol::value::Bytes(size)), "a buffer")?;
        let mut buffer = vec![0u8; size];
        let what = format!("reading the state, up to {size} bytes");
        let got = match rustix::io::read(self.device()?, &mut buffer[..]) {
            Ok(got) => got,
            Err(error) => return Ok(judge(&what, Err(error.into()), &read.expect_errno)),
        };
        let line = String::from_utf8_lossy(&buffer[..got]);
        if read.expect_errno.is_some() {
            let verdict = judge(&what, Ok(()), &read.expect_errno);
            return Ok(message::because(verdict, &line));
        }
        let Some(text) = &read.regex else {
            return Ok(Verdict::passed());
        };
        let pattern = crate::engine::pattern(text)
            .map_err(|stop| anyhow::anyhow!("the pattern `{text}` of `read_state`: {stop:?}"))?;
        Ok(match pattern.is_match(&line) {
            true => Verdict::passed(),
            false => Verdict::Failed(format!("{what}: `{line}` does not match `{text}`")),
        })
    }

    pub(super) fn read_message(&mut self, read: &PuppetRead) -> Result<Verdict> {
        if let Some(name) = &read.save {
            free_name(name)?;
        }
        let size = read.buffer.get().map_err(anyhow::Error::msg)?;
        let size = in_memory(&Size::Now(vmtest_protocol::value::Bytes(size)), "a buffer")?;
        let patience = self.patience(read.within.as_ref())?;
        let device = self.device()?;
        let mut buffer = vec![0u8; size];
        let what = match read.bad_pointer {
            true => format!("reading a message of up to {size} bytes to a bad address"),
            false => format!("reading a message of up to {size} bytes"),
        };
        let result = read_patiently(&device, &patience, || match read.bad_pointer {
            true => sys::read_to_nowhere(&device, size),
            false => rustix::io::read(&device, &mut buffer[..]).map_err(Into::into),
        })?;
        let got = match result {
            Ok(got) => got,
            Err(error) if error.raw_os_error().is_none() => anyhow::bail!("{what}: {error}"),
            Err(error) => return Ok(judge(&what, Err(error), &read.expect_errno)),
        };
        if got == 0 {
            return Ok(nothing_pending(read, &what));
        }
        let bytes = &buffer[..got];
        let parsed = wire::parse(bytes).map_err(|error| {
            anyhow::anyhow!(
                "{what}: {got} bytes are no message: {error} ({})",
                excerpt(bytes)
            )
        })?;
        self.shared.log.deliver(&parsed);
        let saved = self.keep(&parsed)?;
        if read.expect_errno.is_some() {
            let verdict = judge(&what, Ok(()), &read.expect_errno);
            return Ok(message::because(verdict, &message::describe(&parsed)));
        }
        let wrong = message::wrong(&parsed, read.expect, read.expect_fields.as_ref(), |name| {
            self.ids(name)
        })?;
        if let Some(name) = &read.save {
            self.save(name, saved)?;
        }
        match wrong.as_slice() {
            [] => Ok(Verdict::passed()),
            wrong => Ok(Verdict::Failed(format!(
                "{what}: it is {}, but {}",
                message::describe(&parsed),
                wrong.join(" and ")
            ))),
        }
    }

    /// Keeps the descriptor of an OPEN, or finds the one that a message is about.
    fn keep(&self, message: &wire::Message<'_>) -> Result<Saved> {
        let object = message.object_id();
        let objects = &self.shared.objects;
        let descriptor = match message {
            wire::Message::Open(open) => {
                let fd = TABLE.claim(open.fd).context("the descriptor of an OPEN")?;
                let fd = fd.map(|fd| Arc::new(Descriptor::new(fd)));
                if let Some(fd) = &fd {
                    objects.insert(object, Object::new(Arc::clone(fd), open));
                }
                fd
            }
            wire::Message::Read(_) | wire::Message::Close { .. } => objects.fd(object),
        };
        Ok(Saved {
            ids: Some(Ids {
                message: message.msg_id(),
                object,
            }),
            descriptor,
        })
    }
}

/// The verdict when there was no message.
fn nothing_pending(read: &PuppetRead, what: &str) -> Verdict {
    let wanted = read.expect_fields.is_some() || read.save.is_some();
    match (&read.expect_errno, read.expect) {
        (Some(_), _) => {
            let verdict = judge(what, Ok(()), &read.expect_errno);
            message::because(verdict, "nothing is pending")
        }
        (None, Some(MessageKind::None)) => Verdict::passed(),
        (None, None) if !wanted => Verdict::passed(),
        (None, expected) => Verdict::Failed(format!(
            "{what}: nothing is pending, {} was expected",
            message::wanted(expected, read.expect_fields.as_ref())
        )),
    }
}

/// Reads until there is something, or an error, or no patience left.
fn read_patiently(
    device: &OwnedFd,
    patience: &Patience,
    mut read: impl FnMut() -> io::Result<usize>,
) -> Result<io::Result<usize>> {
    let mut ready = false;
    loop {
        match read() {
            Ok(0) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return Ok(result),
        }
        let left = patience.left();
        if left.is_zero() {
            return Ok(Ok(0));
        }
        // The device may say that there is something when there is nothing, and go on saying so.
        if ready {
            std::thread::sleep(PAUSE.min(left));
        }
        ready = serve::wait_readable(device, TICK.min(left))?;
    }
}

/// One command is one write.
pub fn write_command(device: impl AsFd, text: &str) -> io::Result<()> {
    let written = rustix::io::write(device, text.as_bytes())?;
    match written == text.len() {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "{written} of {} bytes were taken",
            text.len()
        ))),
    }
}

/// How a write of exact bytes is to end.
pub(super) struct Expected<'a> {
    /// With this error ...
    pub(super) errno: &'a Option<ErrnoName>,
    /// ... or having taken so many bytes ...
    pub(super) written: &'a Option<Size>,
    /// ... or all of them.
    pub(super) length: usize,
}

impl Expected<'_> {
    /// Whether it ended so.
    pub(super) fn judge(&self, what: &str, result: io::Result<usize>) -> Result<Verdict> {
        let wanted = match self.written {
            Some(size) => size.get().map_err(anyhow::Error::msg)?.0,
            None => self.length as u64,
        };
        Ok(match result {
            Ok(written) if self.errno.is_none() && written as u64 != wanted => Verdict::Failed(
                format!("{what}: {written} bytes were taken, {wanted} were expected"),
            ),
            result => judge(what, result.map(drop), self.errno),
        })
    }
}

fn is(error: &io::Error, errno: rustix::io::Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

fn raw_bytes(write: &PuppetWriteRaw) -> Result<Vec<u8>> {
    const MOST: usize = 16 << 20;
    match (&write.text, &write.hex, &write.repeat) {
        (Some(text), None, None) => Ok(text.clone().into_bytes()),
        (None, Some(digits), None) => hex::decode(digits)
            .with_context(|| format!("`{digits}` are no bytes in hexadecimal digits")),
        (None, None, Some(repeat)) => {
            let byte = repeat.byte.get().map_err(anyhow::Error::msg)?.0;
            let byte = u8::try_from(byte)
                .with_context(|| format!("{byte} is no byte: those go up to 255"))?;
            let count = in_memory(&repeat.count, "write_raw")?;
            anyhow::ensure!(
                count <= MOST,
                "{count} bytes are too many; {MOST} are the most"
            );
            Ok(vec![byte; count])
        }
        _ => anyhow::bail!("`write_raw` wants one of `text`, `hex` and `repeat`"),
    }
}

/// The first bytes, as text.
fn excerpt(bytes: &[u8]) -> String {
    const SHOWN: usize = 40;
    let shown = &bytes[..bytes.len().min(SHOWN)];
    let more = if bytes.len() > SHOWN { "..." } else { "" };
    format!("\"{}{more}\"", shown.escape_ascii())
}

fn poll_once(target: &OwnedFd) -> rustix::io::Result<PollFlags> {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::new(target, PollFlags::IN | PollFlags::OUT)];
    loop {
        match rustix::event::poll(&mut fds, Some(&now)) {
            Ok(_) => return Ok(fds[0].revents()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

fn poll_reason(poll: &PuppetPoll, seen: PollFlags) -> String {
    let state = |flag| seen.contains(flag);
    let mut wanted = Vec::new();
    wanted.extend(poll.readable.map(|wanted| format!("readable: {wanted}")));
    wanted.extend(poll.writable.map(|wanted| format!("writable: {wanted}")));
    let mut reason = format!(
        "polling {}: it is readable: {}, writable: {}",
        poll.on,
        state(PollFlags::IN),
        state(PollFlags::OUT)
    );
    for (flag, name) in [
        (PollFlags::ERR, "POLLERR"),
        (PollFlags::HUP, "POLLHUP"),
        (PollFlags::NVAL, "POLLNVAL"),
    ] {
        if state(flag) {
            reason.push_str(&format!(", with {name}"));
        }
    }
    reason.push_str(&format!("; {} was expected", wanted.join(", ")));
    if let Some(Ok(within)) = poll.within.as_ref().map(|span| span.get()) {
        reason.push_str(&format!(" within {} ms", within.0.as_millis()));
    }
    reason
}
