// SPDX-License-Identifier: GPL-2.0-or-later
//! A device without a kernel: it hands out messages and checks the answers; and a backend that
//! remembers what it was asked for. Each test file uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use cachefiles_core::command::Command;
use cachefiles_core::command::parse;
use cachefiles_core::wire;
use cachefilesd::backend::Backend;
use cachefilesd::backend::Blob;
use cachefilesd::device::Device;
use cachefilesd::device::Interest;
use cachefilesd::device::ObjectFile;
use cachefilesd::device::Wake;
use cachefilesd::event_log::EventLog;
use cachefilesd::reload::Tuning;
use cachefilesd::serve::Context;
use cachefilesd::serve::Ended;
use cachefilesd::serve::Objects;
use cachefilesd::serve::Workers;
use cachefilesd::stats::Stats;
use cachefilesd::stop::Stop;
use rustix::io::Errno;

/// Longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const PAGE: u64 = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Open,
    Read { object: u32 },
}

#[derive(Default)]
struct State {
    queue: VecDeque<Vec<u8>>,
    next_msg: u32,
    next_object: u32,
    next_fd: i32,
    /// Delivered or not, and not answered.
    pending: HashMap<u32, Asked>,
    answers: HashMap<u32, i64>,
    /// By descriptor, until it is adopted.
    files: HashMap<i32, Arc<FileState>>,
    culling: bool,
    dead: bool,
    in_use: HashSet<OsString>,
    commands: Vec<String>,
    wrong: Vec<String>,
}

/// The device.
#[derive(Default)]
pub struct Fake {
    state: Mutex<State>,
    changed: Condvar,
}

/// An object's file, and how it misbehaves.
pub struct FileState {
    object: u32,
    size: Mutex<u64>,
    pages: Mutex<BTreeMap<u64, Vec<u8>>>,
    /// No write stores more than this.
    pub longest_write: Mutex<u64>,
    /// A longer write is refused with ENOSPC.
    pub room: Mutex<u64>,
    pub writes: Mutex<Vec<(u64, u64)>>,
    pub closed: Mutex<bool>,
}

impl FileState {
    /// What is stored at `offset`; `None` when some of it is a hole.
    pub fn bytes(&self, offset: u64, length: u64) -> Option<Vec<u8>> {
        let pages = self.pages.lock().unwrap();
        let mut bytes = Vec::new();
        for page in offset / PAGE..(offset + length).div_ceil(PAGE) {
            bytes.extend_from_slice(pages.get(&page)?);
        }
        let skip = (offset % PAGE) as usize;
        Some(bytes[skip..skip + length as usize].to_vec())
    }

    /// As found by a daemon that comes after another one.
    pub fn store(&self, offset: u64, data: &[u8]) {
        assert_eq!((offset % PAGE, data.len() as u64 % PAGE), (0, 0));
        let mut pages = self.pages.lock().unwrap();
        for (index, page) in data.chunks(PAGE as usize).enumerate() {
            pages.insert(offset / PAGE + index as u64, page.to_vec());
        }
    }
}

impl Fake {
    pub fn new() -> Arc<Fake> {
        Arc::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn send(&self, asked: Option<Asked>, encode: impl FnOnce(&mut [u8], u32) -> usize) -> u32 {
        let mut state = self.state();
        state.next_msg += 1;
        let msg_id = state.next_msg;
        let mut message = vec![0; wire::MSG_MAX];
        let length = encode(&mut message, msg_id);
        message.truncate(length);
        state.queue.push_back(message);
        if let Some(asked) = asked {
            state.pending.insert(msg_id, asked);
        }
        drop(state);
        self.changed.notify_all();
        msg_id
    }

    fn answer_of(&self, msg_id: u32) -> i64 {
        let state = self.state();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| {
                !state.answers.contains_key(&msg_id)
            })
            .unwrap();
        *state
            .answers
            .get(&msg_id)
            .unwrap_or_else(|| panic!("request {msg_id} was never answered"))
    }

    /// Sends an OPEN and does not wait.
    pub fn send_open(&self, key: &[u8]) -> (u32, u32, Arc<FileState>) {
        let (object, fd) = {
            let mut state = self.state();
            state.next_object += 1;
            state.next_fd += 1;
            (state.next_object, 1000 + state.next_fd)
        };
        let file = Arc::new(FileState {
            object,
            size: Mutex::new(0),
            pages: Mutex::default(),
            longest_write: Mutex::new(u64::MAX),
            room: Mutex::new(u64::MAX),
            writes: Mutex::default(),
            closed: Mutex::new(false),
        });
        self.state().files.insert(fd, Arc::clone(&file));
        let msg_id = self.send(Some(Asked::Open), |buffer, msg_id| {
            wire::encode_open(buffer, msg_id, object, fd, 0, b"erofs,v\0", key).unwrap()
        });
        (msg_id, object, file)
    }

    /// Opens an object: its number and file, or the errno.
    pub fn open(&self, key: &[u8]) -> Result<(u32, Arc<FileState>), i64> {
        let (msg_id, object, file) = self.send_open(key);
        match self.answer_of(msg_id) {
            size if size >= 0 => {
                *file.size.lock().unwrap() = (size as u64).next_multiple_of(PAGE);
                Ok((object, file))
            }
            errno => Err(errno),
        }
    }

    /// Sends a READ and does not wait.
    pub fn send_read(&self, object: u32, off: u64, len: u64) -> u32 {
        self.send(Some(Asked::Read { object }), |buffer, msg_id| {
            wire::encode_read(buffer, msg_id, object, off, len).unwrap()
        })
    }

    /// Waits until a READ is completed.
    pub fn wait_for(&self, msg_id: u32) {
        self.answer_of(msg_id);
    }

    pub fn is_answered(&self, msg_id: u32) -> bool {
        self.state().answers.contains_key(&msg_id)
    }

    pub fn read(&self, object: u32, off: u64, len: u64) {
        self.wait_for(self.send_read(object, off, len));
    }

    pub fn close(&self, object: u32) {
        self.send(None, |buffer, msg_id| {
            wire::encode_close(buffer, msg_id, object).unwrap()
        });
    }

    /// Requests that nobody has taken.
    pub fn untaken(&self) -> usize {
        self.state().queue.len()
    }

    pub fn want_culling(&self, wanted: bool) {
        self.state().culling = wanted;
        self.changed.notify_all();
    }

    pub fn die(&self) {
        self.state().dead = true;
        self.changed.notify_all();
    }

    pub fn use_file(&self, name: &str) {
        self.state().in_use.insert(name.into());
    }

    pub fn release_file(&self, name: &str) {
        self.state().in_use.remove(&OsString::from(name));
    }

    /// The commands so far, with a prefix.
    pub fn commands(&self, prefix: &str) -> Vec<String> {
        let state = self.state();
        let all = state.commands.iter();
        all.filter(|command| command.starts_with(prefix))
            .cloned()
            .collect()
    }

    /// Nothing is unanswered, and nothing was answered wrongly or twice.
    pub fn assert_clean(&self) {
        let state = self.state();
        assert_eq!(state.wrong, Vec::<String>::new());
        assert!(state.pending.is_empty(), "unanswered: {:?}", state.pending);
    }

    pub fn assert_nothing_wrong(&self) {
        assert_eq!(self.state().wrong, Vec::<String>::new());
    }

    fn answer(&self, msg_id: u32, expected: Asked, answer: i64) -> io::Result<()> {
        let mut state = self.state();
        if state.pending.get(&msg_id) != Some(&expected) {
            let wrong = format!("{msg_id} answered as {expected:?} with {answer}, and is not that");
            state.wrong.push(wrong);
            return Err(Errno::INVAL.into());
        }
        state.pending.remove(&msg_id);
        state.answers.insert(msg_id, answer);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }
}

/// The device as the daemon has it; a type of its own because objects refer to it.
pub struct FakeDevice(pub Arc<Fake>);

impl Device for FakeDevice {
    fn wait(&self, interest: Interest, stop: &Stop, limit: Option<Duration>) -> io::Result<Wake> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        let mut state = self.0.state();
        loop {
            if stop.is_requested() {
                return Ok(Wake::Stopped);
            }
            let ready = match interest {
                Interest::Request => !state.queue.is_empty(),
                Interest::Culling => state.culling,
            };
            if ready || state.dead {
                return Ok(Wake::Ready);
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(Wake::TimedOut);
            }
            // `stop` does not wake this one.
            let tick = Duration::from_millis(2);
            state = self.0.changed.wait_timeout(state, tick).unwrap().0;
        }
    }

    fn wants_culling(&self) -> io::Result<bool> {
        Ok(self.0.state().culling)
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.state();
        if state.dead {
            return Err(Errno::IO.into());
        }
        let Some(message) = state.queue.pop_front() else {
            return Ok(0);
        };
        assert!(buffer.len() >= message.len(), "EMSGSIZE");
        buffer[..message.len()].copy_from_slice(&message);
        Ok(message.len())
    }

    fn adopt(&self, number: i32) -> io::Result<Box<dyn ObjectFile>> {
        let file = self.0.state().files.remove(&number);
        let file = file.ok_or(Errno::BADF)?;
        Ok(Box::new(FakeFile {
            device: Arc::clone(&self.0),
            state: file,
        }))
    }

    fn command(&self, command: &[u8]) -> io::Result<()> {
        if self.0.state().dead {
            return Err(Errno::IO.into());
        }
        let text = String::from_utf8_lossy(command).into_owned();
        self.0.state().commands.push(text);
        match parse(command) {
            Ok(Command::Copen { id, size }) => {
                self.0.answer(id.unwrap(), Asked::Open, size.unwrap())
            }
            Ok(_) => Ok(()),
            Err(_) => Err(Errno::OPNOTSUPP.into()),
        }
    }

    fn command_in(&self, folder: &File, command: &[u8]) -> io::Result<()> {
        self.command(command)?;
        let (name, cull) = match parse(command) {
            Ok(Command::Cull(name)) => (name, true),
            Ok(Command::Inuse(name)) => (name, false),
            other => panic!("{other:?} is not for a folder"),
        };
        let name = OsString::from_vec(name.to_vec());
        if self.0.state().in_use.contains(&name) {
            return Err(Errno::BUSY.into());
        }
        let folder = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        let path = folder.join(name);
        match (cull, std::fs::symlink_metadata(&path)?.is_dir()) {
            (false, _) => Ok(()),
            (true, true) => std::fs::remove_dir_all(path),
            (true, false) => std::fs::remove_file(path),
        }
    }
}

struct FakeFile {
    device: Arc<Fake>,
    state: Arc<FileState>,
}

impl ObjectFile for FakeFile {
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize> {
        let length = data.len() as u64;
        let aligned = [data.as_ptr() as u64, offset, length]
            .iter()
            .all(|number| number % PAGE == 0);
        if !aligned {
            let wrong = format!("unaligned write of {length} at {offset}");
            self.device.state().wrong.push(wrong);
            return Err(Errno::INVAL.into());
        }
        if length > *self.state.room.lock().unwrap() {
            return Err(Errno::NOSPC.into());
        }
        let stored = length.min(*self.state.longest_write.lock().unwrap());
        self.state.writes.lock().unwrap().push((offset, stored));
        // Only whole pages are there afterwards, as on a disk.
        let whole = stored / PAGE * PAGE;
        self.state.store(offset, &data[..whole as usize]);
        Ok(stored as usize)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        let pages = self.state.pages.lock().unwrap();
        let page = pages.range(offset / PAGE..).next();
        Ok(page.map(|(page, _)| (page * PAGE).max(offset)))
    }

    fn next_hole(&self, offset: u64) -> io::Result<Option<u64>> {
        let pages = self.state.pages.lock().unwrap();
        let hole = (offset / PAGE..).find(|page| !pages.contains_key(page));
        Ok(hole.map(|page| (page * PAGE).max(offset)))
    }

    fn complete(&self, msg_id: u32) -> io::Result<()> {
        let object = self.state.object;
        self.device.answer(msg_id, Asked::Read { object }, 0)
    }
}

impl Drop for FakeFile {
    fn drop(&mut self) {
        *self.state.closed.lock().unwrap() = true;
    }
}

/// Byte `at` of every blob.
pub fn byte(at: u64) -> u8 {
    (at / 7 + at / PAGE * 31 + 1) as u8
}

/// What a blob of `size` bytes has from `offset` on, and zeros behind its end.
pub fn content(offset: u64, length: u64, size: u64) -> Vec<u8> {
    (offset..offset + length)
        .map(|at| if at < size { byte(at) } else { 0 })
        .collect()
}

/// A blob, and how it misbehaves.
pub struct BlobState {
    pub size: u64,
    /// It has become as short as this.
    pub now: Mutex<u64>,
    pub delay: Mutex<Duration>,
    /// Nothing is read while this is held.
    pub gate: Mutex<()>,
    /// Reading at or behind this fails.
    pub bad_from: Mutex<u64>,
    pub longest_read: Mutex<u64>,
    /// What was asked for, and how much of it was given.
    pub reads: Mutex<Vec<(u64, u64)>>,
}

/// Blobs by their keys.
#[derive(Default)]
pub struct FakeBackend {
    pub blobs: Mutex<HashMap<Vec<u8>, Arc<BlobState>>>,
}

impl FakeBackend {
    pub fn add(&self, key: &[u8], size: u64) -> Arc<BlobState> {
        let blob = Arc::new(BlobState {
            size,
            now: Mutex::new(size),
            delay: Mutex::default(),
            gate: Mutex::default(),
            bad_from: Mutex::new(u64::MAX),
            longest_read: Mutex::new(u64::MAX),
            reads: Mutex::default(),
        });
        let mut blobs = self.blobs.lock().unwrap();
        blobs.insert(key.to_vec(), Arc::clone(&blob));
        blob
    }
}

struct FakeBlob(Arc<BlobState>);

impl Backend for FakeBackend {
    fn open(&self, key: &[u8]) -> io::Result<Box<dyn Blob>> {
        let blob = self.blobs.lock().unwrap().get(key).cloned();
        Ok(Box::new(FakeBlob(blob.ok_or(Errno::NOENT)?)))
    }
}

impl Blob for FakeBlob {
    fn size(&self) -> u64 {
        self.0.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        drop(self.0.gate.lock().unwrap());
        let delay = *self.0.delay.lock().unwrap();
        std::thread::sleep(delay);
        let length = buffer.len() as u64;
        if offset + length > *self.0.bad_from.lock().unwrap() {
            return Err(Errno::IO.into());
        }
        let longest = *self.0.longest_read.lock().unwrap();
        let there = self.0.now.lock().unwrap().saturating_sub(offset);
        let given = length.min(longest).min(there);
        self.0.reads.lock().unwrap().push((offset, given));
        buffer[..given as usize].copy_from_slice(&content(offset, given, u64::MAX));
        Ok(given as usize)
    }
}

/// A daemon's serving part, running.
pub struct Server {
    pub fake: Arc<Fake>,
    pub backend: Arc<FakeBackend>,
    pub context: Arc<Context>,
    pub ends: mpsc::Receiver<Ended>,
    workers: Option<Workers>,
}

impl Server {
    pub fn start(threads: usize) -> Server {
        let fake = Fake::new();
        let backend = Arc::new(FakeBackend::default());
        let context = Arc::new(Context {
            device: Arc::new(FakeDevice(Arc::clone(&fake))),
            backend: backend.clone(),
            events: Arc::new(EventLog::none()),
            stats: Arc::new(Stats::default()),
            stop: Arc::new(Stop::new().unwrap()),
            tuning: Arc::new(Tuning::new(1 << 20, Duration::ZERO)),
            objects: Objects::default(),
        });
        let (sender, ends) = mpsc::channel();
        let workers = Workers::start(&context, threads, &sender).unwrap();
        Server {
            fake,
            backend,
            context,
            ends,
            workers: Some(workers),
        }
    }

    /// Opens a blob of that size that works well.
    pub fn opened(&self, key: &[u8], size: u64) -> (u32, Arc<FileState>, Arc<BlobState>) {
        let blob = self.backend.add(key, size);
        let (object, file) = self.fake.open(key).unwrap();
        (object, file, blob)
    }

    /// Asks the threads to end and waits until they have.
    pub fn stop(&mut self) {
        self.context.stop.request();
        if let Some(workers) = self.workers.take() {
            workers.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits until `done`, and fails after a while.
pub fn eventually(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
