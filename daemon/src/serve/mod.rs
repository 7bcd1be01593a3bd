// SPDX-License-Identifier: GPL-2.0-or-later
//! The threads that answer requests.
//!
//! Every thread waits for the device and reads from it itself. The kernel hands requests out in
//! order of arrival, so a request waits for no more than those before it; nothing is queued in the
//! daemon, so a killed daemon has taken at most one request a thread, plus those that were parked
//! behind a fetch of the same range. A slow fetch holds one thread and no other: a READ that needs
//! the same bytes is parked without a thread (see [`object`]). One reader and a queue of workers
//! would take requests that nobody works on yet, and lose the kernel's order among them.

pub mod buffer;
mod fill;
pub mod object;
mod requests;
mod ticket;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use cachefiles_core::wire::MSG_MAX;
use rustix::io::Errno;

use crate::backend::Backend;
use crate::device;
use crate::device::Device;
use crate::device::Interest;
use crate::device::Wake;
use crate::event_log::EventLog;
use crate::reload::Tuning;
use crate::stats::Stats;
use crate::stop::Stop;
use buffer::AlignedBuffer;
use object::Object;

/// How long a thread waits when the device says that there is something and gives nothing.
const IDLE_MIN: Duration = Duration::from_millis(1);
/// The longest such wait.
const IDLE_MAX: Duration = Duration::from_millis(50);
/// So many empty reads in a row are the other threads' doing, and no reason to wait.
const IDLE_FREE: u32 = 3;

/// What all threads share.
pub struct Context {
    /// Where requests come from.
    pub device: Arc<dyn Device>,
    /// Where data comes from.
    pub backend: Arc<dyn Backend>,
    /// What happened, for the record.
    pub events: Arc<EventLog>,
    /// What happened, counted.
    pub stats: Arc<Stats>,
    /// Whether to end.
    pub stop: Arc<Stop>,
    /// What may change while requests are answered.
    pub tuning: Arc<Tuning>,
    /// What is open.
    pub objects: Objects,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("stats", &self.stats)
            .field("tuning", &self.tuning)
            .finish_non_exhaustive()
    }
}

/// The open objects by their numbers.
#[derive(Debug, Default)]
pub struct Objects {
    by_id: Mutex<HashMap<u32, Arc<Object>>>,
}

impl Objects {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Arc<Object>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, object: Arc<Object>) {
        let old = self.lock().insert(object.id, object);
        if let Some(old) = old {
            tracing::warn!(
                object_id = old.id,
                blob = old.name,
                "the kernel used an object's number again"
            );
        }
    }

    fn get(&self, id: u32) -> Option<Arc<Object>> {
        self.lock().get(&id).cloned()
    }

    fn remove(&self, id: u32) -> Option<Arc<Object>> {
        self.lock().remove(&id)
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Closes all of them.
    pub fn clear(&self) {
        let all = std::mem::take(&mut *self.lock());
        // Without the lock: closing the last descriptor unbinds the cache, which takes its time.
        drop(all);
    }
}

/// Why a thread has ended.
#[derive(Debug)]
pub enum Ended {
    /// It was asked to.
    Stopped,
    /// The cache is dead.
    Dead(String),
}

/// The running threads.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` threads. Each reports its end to `ended`.
    ///
    /// # Errors
    /// When the system has no thread left; those that were started are asked to end.
    pub fn start(
        context: &Arc<Context>,
        count: usize,
        ended: &mpsc::Sender<Ended>,
    ) -> io::Result<Workers> {
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let shared = Arc::clone(context);
            let ended = ended.clone();
            let body = move || {
                let end = work(&shared);
                // Nobody listens any more when the daemon gave up waiting.
                let _ = ended.send(end);
            };
            let thread = std::thread::Builder::new()
                .name(format!("serve-{index}"))
                .spawn(body)
                .inspect_err(|_| context.stop.request())?;
            threads.push(thread);
        }
        Ok(Workers { threads })
    }

    /// The names of those that still run.
    pub fn running(&self) -> Vec<&str> {
        self.threads
            .iter()
            .filter(|thread| !thread.is_finished())
            .map(|thread| thread.thread().name().unwrap_or("?"))
            .collect()
    }

    /// Waits until all have ended.
    pub fn join(self) {
        for thread in self.threads {
            // A panic was reported when it happened, by the hook that ends the process.
            let _ = thread.join();
        }
    }
}

fn work(context: &Arc<Context>) -> Ended {
    let mut message = [0; MSG_MAX];
    let mut buffer = AlignedBuffer::new(object::CHUNK as usize);
    let mut empty = 0u32;
    loop {
        let wake = context.device.wait(Interest::Request, &context.stop, None);
        let received = match wake {
            Ok(Wake::Stopped) => return Ended::Stopped,
            Ok(Wake::TimedOut) => continue,
            Ok(Wake::Ready) => context.device.receive(&mut message),
            Err(error) => Err(error),
        };
        match received {
            // Another thread was faster; or the kernel has a READ for an object that it reopens.
            Ok(0) => empty += 1,
            Ok(length) => {
                empty = 0;
                requests::handle(context, &message[..length], &mut buffer);
                continue;
            }
            Err(error) => {
                empty += 1;
                complain(&error);
                if device::is_dead(&*context.device) {
                    return Ended::Dead(format!("reading the device: {error}"));
                }
                // Never at full speed against an error that stays.
                empty = empty.max(IDLE_FREE + 4);
            }
        }
        if empty > IDLE_FREE {
            let doubled = IDLE_MIN.saturating_mul(1 << (empty - IDLE_FREE).min(6));
            std::thread::sleep(doubled.min(IDLE_MAX));
        }
    }
}

fn complain(error: &io::Error) {
    let advice = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE) => {
            "too many objects are open: raise the limit of open files (ulimit -Hn)"
        }
        Some(Errno::NFILE) => "the system has no descriptor left: raise fs.file-max",
        Some(Errno::NOMEM) => "the system has no memory left",
        _ => "the kernel's log may say more (dmesg)",
    };
    tracing::error!(%error, "cannot take a request: {advice}");
}
