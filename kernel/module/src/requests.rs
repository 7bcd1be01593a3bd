// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! The cache's table of on-demand requests: the memory and the lock for the pure table of
//! `core/src/requests.rs`, and what the protocol around it (`core/src/protocol.rs`) needs besides.
//!
//! The lock is a leaf. Whatever leaves the table is answered and dropped after unlocking: it may
//! hold the last reference to an object, whose end sleeps.

use crate::cache::Cache;
use crate::chunked::Chunked;
use crate::prelude::*;
use crate::pure::protocol;
use crate::pure::protocol::Event;
use crate::pure::protocol::Failure;
use crate::pure::protocol::Hold;
use crate::pure::protocol::Host;
use crate::pure::protocol::Killed;
use crate::pure::protocol::Lock;
use crate::pure::protocol::State;
use crate::pure::requests::Table;
use crate::pure::slots::Anchor;
use crate::pure::slots::Slot;
use crate::pure::slots::Slots;
use crate::sys::complete::Completion;
use crate::sys::ids::IdSpace;
use crate::sys::object::ObjRef;
use crate::sys::object::RefReason;
use crate::sys::waitq::EPOLLIN;
use kernel::new_spinlock;
use kernel::sync::Arc;
use kernel::sync::SpinLock;

/// What a request carries here.
pub(crate) type Pending = protocol::Pending<ObjRef, Arc<Completion>>;

/// The table's memory: chunks that are made before the lock is taken.
pub(crate) struct Chunks {
    slots: Chunked<Slot<Pending>>,
    anchors: Chunked<Anchor<State>>,
}

impl Slots for Chunks {
    type Payload = Pending;
    type Object = State;

    fn get(&self, index: u32) -> Option<&Slot<Pending>> {
        self.slots.get(index)
    }

    fn get_mut(&mut self, index: u32) -> Option<&mut Slot<Pending>> {
        self.slots.get_mut(index)
    }

    fn capacity(&self) -> u32 {
        self.slots.capacity()
    }

    fn anchor(&self, index: u32) -> Option<&Anchor<State>> {
        self.anchors.get(index)
    }

    fn anchor_mut(&mut self, index: u32) -> Option<&mut Anchor<State>> {
        self.anchors.get_mut(index)
    }

    fn anchors(&self) -> u32 {
        self.anchors.capacity()
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
                Table::new(Chunks { slots: Chunked::new()?, anchors: Chunked::new()? }),
                "Requests::table"
            ),
            ids <- IdSpace::new(),
        }? KernelError)
    }

    /// Makes sure that some slots are free, so that what comes next need not allocate.
    ///
    /// # Errors
    /// ENOMEM.
    fn make_room(&self) -> Result {
        if cfg!(cachefiles_mutant = "ondemand-read--atomic-sleep") {
            drop(self.table.with(|_| KBox::new([0u64; 8], GFP_KERNEL))?);
        }
        if cfg!(cachefiles_mutant = "ondemand-read--lockdep") {
            self.table.with(|_| self.table.with(|_| ()));
        }
        let most = match cfg!(cachefiles_mutant = "probe-scale") {
            true => 4,
            false => usize::MAX,
        };
        let needs = |table: &mut Table<Chunks>| {
            table.needs_chunk() && table.slots_mut().slots.chunks() < most
        };
        self.widen(needs, |chunks| &mut chunks.slots, Slot::new)
    }

    /// The same for an object.
    ///
    /// # Errors
    /// ENOMEM.
    fn make_object_room(&self) -> Result {
        let needs = |table: &mut Table<Chunks>| table.needs_anchors();
        self.widen(needs, |chunks| &mut chunks.anchors, Anchor::new)
    }

    /// Adds a chunk to one of the two kinds of memory, if it `needs` one.
    ///
    /// # Errors
    /// ENOMEM.
    fn widen<T>(
        &self,
        needs: impl FnOnce(&mut Table<Chunks>) -> bool,
        kind: fn(&mut Chunks) -> &mut Chunked<T>,
        element: fn() -> T,
    ) -> Result {
        let number = self
            .table
            .with(|table| needs(table).then(|| kind(table.slots_mut()).chunks()));
        let Some(number) = number else {
            return Ok(());
        };
        let chunk = Chunked::make(number, element)?;
        // Where others were faster theirs is enough, and this one is dropped after unlocking.
        let surplus = self.table.with(|table| {
            let surplus = kind(table.slots_mut()).add(number, chunk);
            table.grow();
            surplus
        });
        drop(surplus);
        Ok(())
    }
}

// A value that must stay where it is cannot be lent out as `&mut` (7.3 says so in its types).
impl<T: Unpin> Lock<T> for SpinLock<T> {
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.lock())
    }
}

impl Event for Arc<Completion> {
    type Error = Errno;

    fn complete(&self, result: Result) {
        Completion::complete(self, result);
    }

    fn wait_killable(&self) -> core::result::Result<Result, Killed> {
        Completion::wait_killable(self).map_err(|()| Killed)
    }

    fn wait(&self) -> Result {
        Completion::wait(self)
    }
}

impl Hold for ObjRef {
    fn hold(&self) -> ObjRef {
        self.get(RefReason::Request)
    }
}

impl From<Failure> for Errno {
    fn from(failure: Failure) -> Errno {
        match failure {
            Failure::Gone => EIO,
            Failure::NotOpen => ENOENT,
            Failure::Killed => EINTR,
            Failure::NoRoom => EBUSY,
            Failure::NoMemory => ENOMEM,
        }
    }
}

impl Host for Cache {
    type Object = ObjRef;
    type Event = Arc<Completion>;
    type Slots = Chunks;
    type Lock = SpinLock<Table<Chunks>>;

    fn table(&self) -> &Self::Lock {
        &self.ondemand.table
    }

    fn make_room(&self) -> Result {
        self.ondemand.make_room()
    }

    fn make_object_room(&self) -> Result {
        self.ondemand.make_object_room()
    }

    fn wake_daemon(&self) {
        self.pollq().wake(EPOLLIN);
    }
}
