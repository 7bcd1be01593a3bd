// SPDX-License-Identifier: GPL-2.0-or-later
//! A puppet process's side: carries out actions on /dev/cachefiles, one by one.

use std::collections::HashMap;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use cachefiles_core::wire;
use vmtest_protocol::frame;
use vmtest_protocol::frame::FrameError;
use vmtest_protocol::step::CloseOrder;
use vmtest_protocol::step::MessageKind;
use vmtest_protocol::step::PuppetAction;
use vmtest_protocol::step::PuppetAwait;
use vmtest_protocol::step::PuppetClose;
use vmtest_protocol::step::PuppetOpen;
use vmtest_protocol::step::PuppetRead;
use vmtest_protocol::step::PuppetWrite;

use super::serve;
use super::serve::Log;
use super::serve::Object;
use super::serve::Objects;
use super::serve::Server;
use crate::sys;
use crate::worker::Answer;
use crate::worker::child::Verdict;
use crate::worker::child::judge;

const DEVICE: &str = "/dev/cachefiles";

/// A message that was read by hand.
struct Saved {
    msg_id: u32,
    object: Option<Arc<OwnedFd>>,
}

struct Puppet {
    device: Option<Arc<File>>,
    objects: Arc<Objects>,
    saved: HashMap<String, Saved>,
    server: Option<Server>,
    log: Arc<Log>,
}

/// Serves actions until standard input ends.
pub fn main() {
    let log = match std::env::args().nth(2).map(Log::create) {
        Some(Ok(log)) => Arc::new(log),
        Some(Err(error)) => {
            eprintln!("puppet: cannot write the event log: {error}");
            std::process::exit(3);
        }
        None => {
            eprintln!("puppet: the path of the event log is missing");
            std::process::exit(2);
        }
    };
    let mut puppet = Puppet {
        device: None,
        objects: Arc::default(),
        saved: HashMap::new(),
        server: None,
        log,
    };
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    loop {
        let action: PuppetAction = match frame::read(&mut input) {
            Ok(action) => action,
            Err(FrameError::Closed) => return,
            Err(error) => {
                eprintln!("puppet: cannot read an action: {error}");
                std::process::exit(3);
            }
        };
        let answer = match puppet.act(action) {
            Ok(Verdict::Passed(measurements)) => Answer::Done(measurements),
            Ok(Verdict::Failed(reason)) => Answer::Failed(reason),
            Err(error) => Answer::Error(format!("{error:#}")),
        };
        if let Err(error) = frame::write(&mut output, &answer) {
            eprintln!("puppet: cannot answer: {error}");
            std::process::exit(3);
        }
    }
}

impl Puppet {
    fn act(&mut self, action: PuppetAction) -> Result<Verdict> {
        match action {
            PuppetAction::Open(open) => self.open(&open),
            PuppetAction::Command(command) => {
                let result = write_command(self.device()?, &command.text);
                let what = format!("the command `{}`", command.text);
                Ok(judge(&what, result, &command.expect_errno))
            }
            PuppetAction::ReadMessage(read) => self.read_message(&read),
            PuppetAction::Copen(copen) => {
                let command = format!(
                    "copen {},{}",
                    self.saved(copen.of.as_deref().unwrap_or_default())?.msg_id,
                    copen.size
                );
                let result = write_command(self.device()?, &command);
                let what = format!("the command `{command}`");
                Ok(judge(&what, result, &copen.expect_errno))
            }
            PuppetAction::Write(write) => self.write(&write),
            PuppetAction::Complete(complete) => {
                let msg_id = self
                    .saved(complete.of.as_deref().unwrap_or_default())?
                    .msg_id;
                let on = complete
                    .on
                    .as_deref()
                    .or(complete.of.as_deref())
                    .unwrap_or_default();
                let object = self.object(on)?;
                let what = format!("completing READ {msg_id}");
                let result = sys::read_complete(object.as_ref(), msg_id);
                Ok(judge(&what, result, &complete.expect_errno))
            }
            PuppetAction::Serve(options) => {
                anyhow::ensure!(self.server.is_none(), "this puppet serves already");
                let device = Arc::clone(self.device()?);
                let objects = Arc::clone(&self.objects);
                let log = Arc::clone(&self.log);
                self.server = Some(Server::start(device, options.blobs, objects, log)?);
                Ok(Verdict::passed())
            }
            PuppetAction::StopServing(_) => {
                let server = self.server.take().context("this puppet does not serve")?;
                server.stop()?;
                Ok(Verdict::passed())
            }
            PuppetAction::AwaitObjects(wait) => self.await_objects(&wait),
            PuppetAction::CloseDevice(_) => {
                anyhow::ensure!(
                    self.server.is_none(),
                    "the puppet still serves: `stop_serving` first, or `kill` it"
                );
                let device = self.device.take().context("the device is not open")?;
                drop(device);
                Ok(Verdict::passed())
            }
            PuppetAction::CloseObjects(close) => self.close_objects(&close),
            _ => anyhow::bail!("a puppet does not kill itself"),
        }
    }

    fn device(&self) -> Result<&Arc<File>> {
        self.device
            .as_ref()
            .context("the device is not open: the action `open` first")
    }

    fn saved(&self, name: &str) -> Result<&Saved> {
        self.saved
            .get(name)
            .with_context(|| format!("no message was saved as `{name}`"))
    }

    fn object(&self, name: &str) -> Result<Arc<OwnedFd>> {
        self.saved(name)?
            .object
            .clone()
            .with_context(|| format!("the object of the message `{name}` is not open here"))
    }

    fn open(&mut self, open: &PuppetOpen) -> Result<Verdict> {
        let retry = match &open.retry_busy {
            Some(span) => span.get().map_err(anyhow::Error::msg)?.0,
            None => Duration::ZERO,
        };
        let give_up = Instant::now() + retry;
        let result = loop {
            match OpenOptions::new().read(true).write(true).open(DEVICE) {
                Err(error)
                    if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error())
                        && Instant::now() < give_up =>
                {
                    std::thread::sleep(Duration::from_millis(10));
                }
                other => break other,
            }
        };
        let result = result.map(|device| self.device = Some(Arc::new(device)));
        Ok(judge(
            &format!("opening {DEVICE}"),
            result,
            &open.expect_errno,
        ))
    }

    fn read_message(&mut self, read: &PuppetRead) -> Result<Verdict> {
        let size = read.buffer.get().map_err(anyhow::Error::msg)? as usize;
        let within = match &read.within {
            Some(span) => span.get().map_err(anyhow::Error::msg)?.0,
            None => Duration::ZERO,
        };
        let device = Arc::clone(self.device()?);
        if !within.is_zero() {
            serve::wait_readable(&device, within)?;
        }
        let mut buffer = vec![0u8; size];
        let got = match rustix::io::read(&*device, &mut buffer[..]) {
            Ok(got) => got,
            Err(error) => {
                let what = "reading a message";
                return Ok(judge(what, Err(error.into()), &read.expect_errno));
            }
        };
        if read.expect_errno.is_some() {
            return Ok(judge("reading a message", Ok(()), &read.expect_errno));
        }
        let (kind, saved) = match got {
            0 => (MessageKind::None, None),
            _ => {
                let message = wire::parse(&buffer[..got])
                    .map_err(|error| anyhow::anyhow!("a message of {got} bytes: {error}"))?;
                self.log.deliver(&message);
                let (kind, object) = self.take(&message)?;
                let msg_id = message.msg_id();
                (kind, Some(Saved { msg_id, object }))
            }
        };
        if let (Some(name), Some(saved)) = (&read.save, saved) {
            self.saved.insert(name.clone(), saved);
        }
        match read.expect {
            Some(expected) if expected != kind => Ok(Verdict::Failed(format!(
                "the message is {kind:?}, {expected:?} was expected"
            ))),
            _ => Ok(Verdict::passed()),
        }
    }

    /// Keeps the descriptor of an OPEN, or finds the one that a message is about.
    fn take(&self, message: &wire::Message<'_>) -> Result<(MessageKind, Option<Arc<OwnedFd>>)> {
        let object_id = message.object_id();
        Ok(match message {
            wire::Message::Open(open) => {
                let fd = Arc::new(sys::adopt(open.fd)?);
                let key = String::from_utf8_lossy(open.cookie_key).into_owned();
                self.objects
                    .insert(object_id, Object::new(Arc::clone(&fd), &key));
                (MessageKind::Open, Some(fd))
            }
            wire::Message::Read(_) => (MessageKind::Read, self.objects.fd(object_id)),
            wire::Message::Close { .. } => (MessageKind::Close, self.objects.fd(object_id)),
        })
    }

    fn write(&self, write: &PuppetWrite) -> Result<Verdict> {
        let object = self.object(&write.of)?;
        let offset = write
            .offset
            .as_ref()
            .context("no offset")?
            .get()
            .map_err(anyhow::Error::msg)?
            .0;
        let length = write.length.get().map_err(anyhow::Error::msg)?.0;
        let blob = match &write.blob {
            Some(path) => Some(File::open(path).with_context(|| format!("cannot open {path}"))?),
            None => None,
        };
        let what = format!("writing {length} bytes at {offset}");
        let result = serve::copy_range(blob.as_ref(), &object, offset, length);
        Ok(judge(&what, result, &write.expect_errno))
    }

    fn await_objects(&self, wait: &PuppetAwait) -> Result<Verdict> {
        let count = wait.count.get().map_err(anyhow::Error::msg)? as usize;
        let give_up = Instant::now() + wait.within.get().map_err(anyhow::Error::msg)?.0;
        loop {
            let open = self.objects.len();
            if open == count {
                return Ok(Verdict::passed());
            }
            if Instant::now() > give_up {
                return Ok(Verdict::Failed(format!(
                    "{open} objects are open, {count} were expected"
                )));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn close_objects(&mut self, close: &PuppetClose) -> Result<Verdict> {
        // Messages saved by hand hold descriptors too.
        self.saved.clear();
        let mut order = self.objects.ids();
        match close.order {
            CloseOrder::Opened => {}
            CloseOrder::Reversed => order.reverse(),
            CloseOrder::Interleaved => {
                let numbered = order.iter().enumerate();
                let first = numbered.clone().filter(|(at, _)| at % 3 == 0);
                let then = numbered.rev().filter(|(at, _)| at % 3 != 0);
                order = first.chain(then).map(|(_, id)| *id).collect();
            }
        }
        let count = match &close.count {
            Some(count) => count.get().map_err(anyhow::Error::msg)? as usize,
            None => order.len(),
        };
        for id in order.iter().take(count) {
            self.objects.remove(*id);
        }
        Ok(Verdict::passed())
    }
}

/// One command is one write.
pub fn write_command(mut device: &File, text: &str) -> io::Result<()> {
    let written = device.write(text.as_bytes())?;
    match written == text.len() {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "{written} of {} bytes were taken",
            text.len()
        ))),
    }
}
