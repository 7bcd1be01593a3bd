// SPDX-License-Identifier: GPL-2.0-or-later
//! What acts: one thread of a puppet, with the names that it knows, and what all threads share.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use vmtest_protocol::message::Measurement;
use vmtest_protocol::step::DEVICE;
use vmtest_protocol::step::PuppetAction;
use vmtest_protocol::value::Size;
use vmtest_protocol::value::Span;

use super::descriptors::Descriptor;
use super::descriptors::TABLE;
use super::serve::Log;
use super::serve::Objects;
use super::serve::Server;
use crate::worker::child::Verdict;

/// What the threads of a puppet share.
pub struct Shared {
    /// The device, open or not.
    pub device: Descriptor,
    /// The objects that are open.
    pub objects: Arc<Objects>,
    /// The thread that answers in the background.
    pub server: Mutex<Option<Server>>,
    /// Files kept open by `open_file`.
    pub files: Mutex<BTreeMap<String, File>>,
    /// The event log.
    pub log: Arc<Log>,
}

impl Shared {
    /// Of a puppet that has done nothing yet.
    pub fn new(log: Arc<Log>) -> Shared {
        Shared {
            device: Descriptor::default(),
            objects: Arc::default(),
            server: Mutex::default(),
            files: Mutex::default(),
            log,
        }
    }
}

/// The ids of a message that was read by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// The message's own.
    pub message: u32,
    /// Its object's.
    pub object: u32,
}

/// What a name stands for.
#[derive(Debug, Clone)]
pub struct Saved {
    /// The message, if it was one that was read.
    pub ids: Option<Ids>,
    /// The descriptor, which may be closed by now.
    pub descriptor: Option<Arc<Descriptor>>,
}

/// When a storm is over.
#[derive(Debug, Default)]
pub struct End {
    /// At this time at the latest.
    pub at: Option<Instant>,
    /// Something has ended it before.
    pub stop: AtomicBool,
}

impl End {
    /// Whether it is over.
    pub fn reached(&self) -> bool {
        self.stop.load(Ordering::Acquire) || self.at.is_some_and(|at| Instant::now() >= at)
    }
}

/// How long an action waits.
pub struct Patience {
    until: Instant,
    end: Option<Arc<End>>,
}

impl Patience {
    /// How long it still waits; nothing when the storm around it is over.
    pub fn left(&self) -> Duration {
        match &self.end {
            Some(end) if end.reached() => Duration::ZERO,
            _ => self.until.saturating_duration_since(Instant::now()),
        }
    }

    /// Sleeps for `pause` or what is left, whatever is less; false when nothing was left.
    pub fn sleep(&self, pause: Duration) -> bool {
        let left = self.left();
        std::thread::sleep(pause.min(left));
        !left.is_zero()
    }
}

/// One thread of a puppet.
pub struct Hand {
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// What it knows by names.
    pub saved: BTreeMap<String, Saved>,
    /// The storm that it belongs to.
    pub end: Option<Arc<End>>,
}

impl Hand {
    /// One that knows no names.
    pub fn new(shared: Arc<Shared>) -> Hand {
        Hand {
            shared,
            saved: BTreeMap::new(),
            end: None,
        }
    }

    /// Carries out one action.
    pub fn act(&mut self, action: &PuppetAction) -> Result<Verdict> {
        match action {
            PuppetAction::Open(step) => self.open(step),
            PuppetAction::Command(step) => self.command(step),
            PuppetAction::WriteRaw(step) => self.write_raw(step),
            PuppetAction::ReadMessage(step) => self.read_message(step),
            PuppetAction::ReadState(step) => self.read_state(step),
            PuppetAction::Ioctl(step) => self.ioctl(step),
            PuppetAction::Poll(step) => self.poll(step),
            PuppetAction::CloseDevice(_) => self.close_device(),

            PuppetAction::Copen(step) => self.copen(step),
            PuppetAction::Write(step) => self.write(step),
            PuppetAction::Seek(step) => self.seek(step),
            PuppetAction::Complete(step) => self.complete(step),

            PuppetAction::AwaitObjects(step) => self.await_objects(step),
            PuppetAction::Close(step) => self.close(step),
            PuppetAction::CloseObjects(step) => self.close_objects(step),
            PuppetAction::CloseNext(_) => self.close_next(),
            PuppetAction::Dup(step) => self.dup(step),

            PuppetAction::Serve(step) => self.serve(step),
            PuppetAction::StopServing(_) => self.stop_serving(),
            PuppetAction::OpenFile(step) => self.open_file(step),
            PuppetAction::StartReading(step) => self.start_reading(step),
            PuppetAction::CloseFile(step) => self.close_file(step),
            PuppetAction::LimitFiles(step) => self.limit_files(step),
            PuppetAction::DropCapabilities(_) => self.drop_capabilities(),
            PuppetAction::ChangeDir(step) => self.change_dir(step),
            PuppetAction::Storm(step) => self.storm(step),

            // The agent's init process does its part of these, and never asks for them like this.
            PuppetAction::Take(_) | PuppetAction::Kill(_) => {
                anyhow::bail!("`{}` is not for the puppet alone", action.key())
            }
        }
    }

    /// The device.
    pub fn device(&self) -> Result<Arc<OwnedFd>> {
        self.shared
            .device
            .get()
            .context("the device is not open here: the action `open` first")
    }

    /// What was saved under a name.
    pub fn saved(&self, name: &str) -> Result<&Saved> {
        self.saved.get(name).with_context(|| {
            let known: Vec<&str> = self.saved.keys().map(String::as_str).collect();
            match known.as_slice() {
                [] => format!("nothing was saved as `{name}`, nor under any other name"),
                _ => format!("nothing was saved as `{name}`, only: {}", known.join(", ")),
            }
        })
    }

    /// The ids of the message saved under a name.
    pub fn ids(&self, name: &str) -> Result<Ids> {
        self.saved(name)?
            .ids
            .with_context(|| format!("`{name}` is a descriptor and not a message: it has no id"))
    }

    /// The descriptor saved under a name, open or not.
    pub fn descriptor(&self, name: &str) -> Result<Arc<Descriptor>> {
        self.saved(name)?.descriptor.clone().with_context(|| {
            format!("the message `{name}` has no descriptor: its object is not open here")
        })
    }

    /// The open descriptor saved under a name.
    pub fn object(&self, name: &str) -> Result<Arc<OwnedFd>> {
        self.descriptor(name)?
            .get()
            .with_context(|| format!("the descriptor of `{name}` has been closed"))
    }

    /// The device, or the open descriptor saved under a name.
    pub fn target(&self, name: &str) -> Result<Arc<OwnedFd>> {
        match name {
            DEVICE => self.device(),
            name => self.object(name),
        }
    }

    /// The number of the device, or of the descriptor saved under a name.
    pub fn number(&self, of: &str) -> Result<i32> {
        Ok(self.target(of)?.as_raw_fd())
    }

    /// Remembers something under a name.
    pub fn save(&mut self, name: &str, saved: Saved) -> Result<()> {
        free_name(name)?;
        self.saved.insert(name.to_owned(), saved);
        Ok(())
    }

    /// Closes whatever the next descriptor's number is opened for while it tries.
    fn close_next(&self) -> Result<Verdict> {
        let closed = TABLE
            .close_next()
            .context("cannot find out the next descriptor's number")?;
        // That there was none to close is how it usually ends.
        Ok(Verdict::Passed(vec![Measurement {
            name: "close_next.closed".to_owned(),
            value: f64::from(u8::from(closed)),
            unit: "count".to_owned(),
        }]))
    }

    /// Waits for so long, at most until the storm's end; not at all without a span.
    pub fn patience(&self, span: Option<&Span>) -> Result<Patience> {
        let span = match span {
            Some(span) => span.get().map_err(anyhow::Error::msg)?.0,
            None => Duration::ZERO,
        };
        Ok(Patience {
            until: Instant::now() + span,
            end: self.end.clone(),
        })
    }
}

/// A name under which something can be saved.
pub fn free_name(name: &str) -> Result<()> {
    anyhow::ensure!(
        name != DEVICE,
        "`{DEVICE}` always means the device: save under another name"
    );
    Ok(())
}

/// A number of bytes that memory is taken for.
pub fn in_memory(size: &Size, what: &str) -> Result<usize> {
    const MOST: u64 = 64 << 20;
    let bytes = size.get().map_err(anyhow::Error::msg)?.0;
    anyhow::ensure!(
        bytes <= MOST,
        "{what}: {bytes} bytes are too many for one system call of a puppet; {MOST} are the most"
    );
    Ok(bytes as usize)
}
