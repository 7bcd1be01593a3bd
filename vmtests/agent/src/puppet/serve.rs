// SPDX-License-Identifier: GPL-2.0-or-later
//! What a puppet does in the background: answer requests with exactly what was asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use cachefiles_core::wire;
use cachefiles_probe_abi::content::Content;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;

use super::descriptors::Descriptor;
use super::descriptors::TABLE;
use super::device::write_command;
use crate::engine::lock;
use crate::events::Event;
use crate::sys;

/// Unit of the ranges that are written, and alignment of the memory they are written from.
pub const BLOCK: u64 = 4096;

/// An object that is open here.
pub struct Object {
    fd: Arc<Descriptor>,
    known: Known,
}

/// What is known of an object's content.
#[derive(Clone)]
struct Known {
    /// The name of its blob.
    name: String,
    /// What a probe expects of it, in generation 0.
    content: Content,
}

impl Object {
    /// With its descriptor, from the OPEN that brought it.
    pub fn new(fd: Arc<Descriptor>, open: &wire::Open<'_>) -> Object {
        let key = String::from_utf8_lossy(open.cookie_key);
        let known = Known {
            name: key.trim_end_matches('\0').to_owned(),
            content: Content::new(open.volume_key, open.cookie_key, 0),
        };
        Object { fd, known }
    }
}

/// Where the bytes come from with which a puppet answers in the background.
pub enum Supply {
    /// From the files of a folder, which have the objects' names.
    Blobs(String),
    /// Made from the objects' keys, as a probe expects them.
    Content {
        /// The size that every object has.
        size: i64,
        /// The generation of the content.
        generation: u64,
    },
}

impl Supply {
    /// The answer to an OPEN: a size, or a negative error number.
    fn size(&self, known: &Known) -> i64 {
        match self {
            Supply::Content { size, .. } => *size,
            Supply::Blobs(folder) => std::fs::metadata(Path::new(folder).join(&known.name))
                .map(|meta| meta.len() as i64)
                .unwrap_or_else(|_| -i64::from(rustix::io::Errno::NOENT.raw_os_error())),
        }
    }

    /// Fills a range of an object.
    fn fill(&self, known: &Known, object: &OwnedFd, offset: u64, length: u64) -> io::Result<()> {
        match self {
            Supply::Content { generation, .. } => {
                let content = known.content.generation(*generation);
                write_range(object, offset, length, |part, at| {
                    content.fill(at, part);
                    Ok(())
                })
            }
            Supply::Blobs(folder) => {
                let blob = TABLE.make(|| File::open(Path::new(folder).join(&known.name)))?;
                copy_range(Some(&blob), object, offset, length)
            }
        }
    }
}

/// The objects that are open here, by object id: ids rise, so this is also the order of opening.
#[derive(Default)]
pub struct Objects {
    open: Mutex<BTreeMap<u32, Object>>,
}

impl Objects {
    /// Adds one.
    pub fn insert(&self, id: u32, object: Object) {
        lock(&self.open).insert(id, object);
    }

    /// Closes one, under whatever names it is known here.
    pub fn close(&self, id: u32) {
        let object = lock(&self.open).remove(&id);
        if let Some(object) = object {
            object.fd.close();
        }
    }

    /// Forgets the object of this descriptor, which is about to be closed.
    pub fn forget(&self, fd: &Arc<Descriptor>) {
        lock(&self.open).retain(|_, object| !Arc::ptr_eq(&object.fd, fd));
    }

    /// The descriptor of one.
    pub fn fd(&self, id: u32) -> Option<Arc<Descriptor>> {
        lock(&self.open)
            .get(&id)
            .map(|object| Arc::clone(&object.fd))
    }

    fn find(&self, id: u32) -> Option<(Arc<OwnedFd>, Known)> {
        let open = lock(&self.open);
        let object = open.get(&id)?;
        Some((object.fd.get()?, object.known.clone()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        lock(&self.open).len()
    }

    /// Their ids, in the order of opening.
    pub fn ids(&self) -> Vec<u32> {
        lock(&self.open).keys().copied().collect()
    }
}

/// The event log.
pub struct Log {
    file: Mutex<File>,
}

impl Log {
    /// Begins it.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Log> {
        let log = Log {
            file: Mutex::new(File::create(path)?),
        };
        log.write(&Event {
            ev: "ready".to_owned(),
            ..Event::default()
        });
        Ok(log)
    }

    fn write(&self, event: &Event) {
        let mut event = event.clone();
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        event.t_ns = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
        let mut line = serde_json::to_vec(&event).unwrap_or_default();
        line.push(b'\n');
        // The log lies in memory; without room there the guest is lost anyway.
        let _ = lock(&self.file).write_all(&line);
    }

    /// A message was read.
    pub fn deliver(&self, message: &wire::Message<'_>) {
        let mut event = Event {
            ev: "deliver".to_owned(),
            msg_id: Some(message.msg_id().into()),
            object_id: Some(message.object_id().into()),
            ..Event::default()
        };
        event.op = Some(
            match message {
                wire::Message::Open(open) => {
                    event.fsid = Some(String::from_utf8_lossy(open.cookie_key).into_owned());
                    "open"
                }
                wire::Message::Read(read) => {
                    event.off = Some(read.off);
                    event.len = Some(read.len);
                    "read"
                }
                wire::Message::Close { .. } => "close",
            }
            .to_owned(),
        );
        self.write(&event);
    }

    /// A request was answered.
    pub fn reply(&self, op: &str, msg_id: u32) {
        self.write(&Event {
            ev: "reply".to_owned(),
            op: Some(op.to_owned()),
            msg_id: Some(msg_id.into()),
            ..Event::default()
        });
    }
}

/// A thread that answers requests.
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Server {
    /// Begins to answer; a `stubborn` one goes on after whatever error.
    pub fn start(
        device: Arc<OwnedFd>,
        supply: Supply,
        objects: Arc<Objects>,
        log: Arc<Log>,
        stubborn: bool,
    ) -> Result<Server> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("puppet-serve".to_owned())
            .spawn(move || {
                while !seen.load(Ordering::Acquire) {
                    if wait_readable(&device, Duration::from_millis(20))? {
                        let answered = answer(&device, &supply, &objects, &log);
                        answered.or_else(|error| stubborn.then_some(()).ok_or(error))?;
                    }
                }
                Ok(())
            })
            .context("cannot start the serving thread")?;
        Ok(Server { stop, thread })
    }

    /// Ends it; says what went wrong while it served.
    pub fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Release);
        match self.thread.join() {
            Ok(result) => result.context("while serving"),
            Err(_) => anyhow::bail!("the serving thread panicked"),
        }
    }
}

/// Waits until a message is there, or the time is up.
pub fn wait_readable(device: impl AsFd, limit: Duration) -> Result<bool> {
    let mut fds = [PollFd::new(&device, PollFlags::IN)];
    let limit = Timespec {
        tv_sec: limit.as_secs() as i64,
        tv_nsec: i64::from(limit.subsec_nanos()),
    };
    match rustix::event::poll(&mut fds, Some(&limit)) {
        Ok(_) => Ok(fds[0].revents().contains(PollFlags::IN)),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error).context("cannot poll the device"),
    }
}

/// Reads one message, if there is one, and answers it.
fn answer(device: &OwnedFd, supply: &Supply, objects: &Objects, log: &Log) -> Result<()> {
    let mut buffer = [0u8; wire::MSG_MAX];
    let got = rustix::io::read(device, &mut buffer).context("cannot read a message")?;
    if got == 0 {
        return Ok(());
    }
    let message =
        wire::parse(&buffer[..got]).map_err(|error| anyhow::anyhow!("a message: {error}"))?;
    log.deliver(&message);
    match message {
        wire::Message::Open(open) => {
            let Some(fd) = TABLE.claim(open.fd)? else {
                // `close_next` was there first: the OPEN has failed with its descriptor.
                return Ok(());
            };
            let object = Object::new(Arc::new(Descriptor::new(fd)), &open);
            let size = supply.size(&object.known);
            objects.insert(open.object_id, object);
            let command = format!("copen {},{size}", open.msg_id);
            if let Err(error) = write_command(device, &command) {
                // Nobody can answer it any more under this id.
                objects.close(open.object_id);
                return Err(error).context(command);
            }
            log.reply("open", open.msg_id);
        }
        wire::Message::Read(read) => {
            let (fd, known) = objects
                .find(read.object_id)
                .with_context(|| format!("a READ for the unknown object {}", read.object_id))?;
            let filled = supply.fill(&known, &fd, read.off, read.len);
            // Without data the reader gets its error; the READ is completed either way.
            sys::read_complete(fd.as_ref(), read.msg_id as usize)
                .with_context(|| format!("cannot complete READ {}", read.msg_id))?;
            log.reply("read", read.msg_id);
            filled.with_context(|| format!("cannot fill {} at {}", known.name, read.off))?;
        }
        wire::Message::Close { object_id, .. } => objects.close(object_id),
    }
    Ok(())
}

/// Writes a range, rounded out to whole blocks, from a blob (zeros beyond its end) or of zeros.
pub fn copy_range(
    blob: Option<&File>,
    object: &OwnedFd,
    offset: u64,
    length: u64,
) -> io::Result<()> {
    write_range(object, offset, length, |part, at| {
        part.fill(0);
        match blob {
            Some(blob) => read_all(blob, part, at),
            None => Ok(()),
        }
    })
}

/// Writes a range, rounded out to whole blocks, of whatever `fill` puts into a part at a place.
fn write_range(
    object: &OwnedFd,
    offset: u64,
    length: u64,
    fill: impl Fn(&mut [u8], u64) -> io::Result<()>,
) -> io::Result<()> {
    const CHUNK: usize = 256 << 10;
    let mut memory = Memory::new(CHUNK, 0);
    let mut at = offset - offset % BLOCK;
    let end = offset
        .checked_add(length)
        .and_then(|end| end.checked_next_multiple_of(BLOCK))
        .ok_or_else(|| io::Error::other("the range goes beyond the last place that there is"))?;
    while at < end {
        let want = (end - at).min(CHUNK as u64) as usize;
        let part = &mut memory.bytes()[..want];
        fill(part, at)?;
        let mut written = 0;
        while written < want {
            match rustix::io::pwrite(object, &part[written..], at + written as u64) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(count) => written += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        at += want as u64;
    }
    Ok(())
}

/// Memory of zeros, for direct I/O, which wants it to begin at a block's edge, or so far behind
/// one as is asked for.
pub struct Memory {
    whole: Vec<u8>,
    from: usize,
    length: usize,
}

impl Memory {
    /// `length` bytes; the first lies `misalign` behind a block's edge.
    pub fn new(length: usize, misalign: usize) -> Memory {
        let misalign = misalign % BLOCK as usize;
        let whole = vec![0u8; length + misalign + BLOCK as usize];
        let edge = whole.as_ptr().align_offset(BLOCK as usize);
        Memory {
            whole,
            from: edge + misalign,
            length,
        }
    }

    /// The bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.whole[self.from..self.from + self.length]
    }
}

/// Reads until the part is full or the blob ends.
pub fn read_all(blob: &File, part: &mut [u8], offset: u64) -> io::Result<()> {
    let mut got = 0;
    while got < part.len() {
        match blob.read_at(&mut part[got..], offset + got as u64) {
            Ok(0) => return Ok(()),
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
