// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! The cache's table of on-demand requests: the pure table of `core/src/requests.rs`, its memory and
//! its lock.
//!
//! The lock is a leaf. Whatever leaves the table is answered and dropped after unlocking: it may
//! hold the last reference to an object, whose end sleeps.

use crate::prelude::*;
use crate::pure::requests::Kind;
use crate::pure::requests::ObjectQueue;
use crate::pure::requests::Table;
use crate::pure::requests::Taken;
use crate::pure::requests::MAX_SLOTS;
use crate::pure::slots::Slot;
use crate::pure::slots::Slots;
use crate::sys::complete::Completion;
use crate::sys::ids::IdSpace;
use crate::sys::object::ObjRef;
use kernel::new_spinlock;
use kernel::sync::Arc;
use kernel::sync::SpinLock;

/// Whether the daemon has an object open.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No anonymous fd, or one that the daemon has not answered for yet.
    Closed,
    /// The daemon has answered and holds the fd.
    Open,
    /// The fd went while it was needed: an OPEN is under way.
    Reopening,
    /// The object is being withdrawn: nothing is asked any more.
    Dropping,
}

/// An object's on-demand state. `id` is that of its anonymous fd, zero while it has none.
pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) id: u32,
}

/// What a request carries: its object, and who waits for it. Nobody waits for the OPEN by which an
/// object is opened anew.
pub(crate) struct Pending {
    pub(crate) object: ObjRef,
    pub(crate) waiter: Option<Arc<Completion>>,
}

impl Pending {
    /// Ends the request. Not to be called under the table's lock.
    pub(crate) fn end(self, result: Result) {
        let Pending { object, waiter } = self;
        // Before the waiter is woken: until then its caller holds the object, so that this is not
        // the last reference, whose end takes locks that the caller of this may hold.
        drop(object);
        if let Some(waiter) = waiter {
            waiter.complete(result);
        }
    }
}

/// How often room is made before giving up, when others keep taking it.
pub(crate) const TRIES: u32 = 16;

/// Slots in a chunk, and the bits that number them.
const CHUNK_BITS: u32 = 8;
const CHUNK: usize = 1 << CHUNK_BITS;
const CHUNKS: usize = (MAX_SLOTS >> CHUNK_BITS) as usize;

type Chunk = KVVec<Slot<Pending, State>>;

/// The table's memory: chunks that are made before the lock is taken.
pub(crate) struct Chunks {
    chunks: KVec<Chunk>,
}

impl Chunks {
    fn locate(index: u32) -> (usize, usize) {
        let index = index as usize;
        (index >> CHUNK_BITS, index & (CHUNK - 1))
    }
}

impl Slots for Chunks {
    type Payload = Pending;
    type Object = State;

    fn get(&self, index: u32) -> Option<&Slot<Pending, State>> {
        let (chunk, at) = Chunks::locate(index);
        self.chunks.get(chunk)?.get(at)
    }

    fn get_mut(&mut self, index: u32) -> Option<&mut Slot<Pending, State>> {
        let (chunk, at) = Chunks::locate(index);
        self.chunks.get_mut(chunk)?.get_mut(at)
    }

    fn capacity(&self) -> u32 {
        self.chunks.len().wrapping_mul(CHUNK) as u32
    }
}

/// The table with its lock, and the ids of anonymous fds.
#[pin_data]
pub(crate) struct Requests {
    #[pin]
    table: SpinLock<Table<Chunks>>,
    #[pin]
    pub(crate) ids: IdSpace,
}

impl Requests {
    /// An empty table.
    pub(crate) fn new() -> impl PinInit<Requests, KernelError> {
        try_pin_init!(Requests {
            table <- new_spinlock!(
                Table::new(Chunks { chunks: KVec::with_capacity(CHUNKS, GFP_KERNEL)? }),
                "Requests::table"
            ),
            ids <- IdSpace::new(),
        }? KernelError)
    }

    /// Runs `f` under the table's lock. What it returns may hold references; it must not drop any.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Table<Chunks>) -> R) -> R {
        f(&mut self.table.lock())
    }

    /// Makes sure that some slots are free, so that what comes next need not allocate.
    ///
    /// # Errors
    /// ENOMEM.
    pub(crate) fn make_room(&self) -> Result {
        if !self.with(|table| table.needs_chunk()) {
            return Ok(());
        }
        let mut chunk = Chunk::with_capacity(CHUNK, GFP_KERNEL)?;
        for _ in 0..CHUNK {
            push(&mut chunk, Slot::new(), GFP_KERNEL)?;
        }
        // The list of chunks has its full length from the beginning, so that this does not
        // allocate; a chunk too many is dropped after unlocking.
        let most = match cfg!(cachefiles_mutant = "probe-scale") {
            true => 4,
            false => CHUNKS,
        };
        let surplus = self.with(|table| {
            let chunks = &mut table.slots_mut().chunks;
            if chunks.len() >= most.min(chunks.capacity()) {
                return Some(chunk);
            }
            let pushed = push(chunks, chunk, GFP_ATOMIC);
            table.grow();
            pushed.err().map(|_| Chunk::new())
        });
        drop(surplus);
        Ok(())
    }

    /// Takes an object into the table.
    ///
    /// # Errors
    /// ENOMEM.
    pub(crate) fn add_object(&self) -> Result<ObjectQueue> {
        for _ in 0..TRIES {
            self.make_room()?;
            let state = State {
                phase: Phase::Closed,
                id: 0,
            };
            // When it is full again, others were faster.
            if let Ok(queue) = self.with(|table| table.add_object(state)) {
                return Ok(queue);
            }
        }
        Err(ENOMEM)
    }

    /// Ends everything that is in the table, and lets nothing in any more.
    pub(crate) fn flush(&self) {
        self.with(|table| table.die());
        if !cfg!(cachefiles_mutant = "kill-pending") {
            self.end_all(Err(EIO), |table| table.pop_any());
        }
    }

    /// Ends the requests of one object that no daemon has yet and that are of this kind.
    pub(crate) fn end_waiting(&self, object: ObjectQueue, kind: Kind, result: Result) {
        self.end_all(result, |table| table.pop_object_waiting(object, kind));
    }

    /// Ends requests one by one, each after unlocking.
    pub(crate) fn end_all(
        &self,
        result: Result,
        mut pop: impl FnMut(&mut Table<Chunks>) -> Option<Taken<Pending>>,
    ) {
        while let Some(taken) = self.with(&mut pop) {
            taken.payload.end(result);
        }
    }
}
