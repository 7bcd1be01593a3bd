// SPDX-License-Identifier: GPL-2.0-or-later
//! A host for the protocol whose lock, events and threads are loom's, and who watches what the
//! protocol does with them.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::sync::Mutex as Ledger;

use cachefiles_core::protocol;
use cachefiles_core::protocol::Bug;
use cachefiles_core::protocol::Event;
use cachefiles_core::protocol::Failure;
use cachefiles_core::protocol::Hold;
use cachefiles_core::protocol::Host;
use cachefiles_core::protocol::Killed;
use cachefiles_core::protocol::Lock;
use cachefiles_core::protocol::Next;
use cachefiles_core::protocol::Pending;
use cachefiles_core::protocol::Phase;
use cachefiles_core::protocol::State;
use cachefiles_core::requests::ObjectQueue;
use cachefiles_core::requests::Op;
use cachefiles_core::requests::Slots;
use cachefiles_core::requests::Table;
use cachefiles_core::slots::Anchor;
use cachefiles_core::slots::Slot;
use loom::sync::Condvar;
use loom::sync::Mutex;

/// Slots and anchors of a table: some more than any scenario has objects and requests, twice.
const SLOTS: usize = 12;

pub type Result<T = ()> = std::result::Result<T, Failed>;
pub type Delivery = protocol::Delivery<Reference>;

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// By the protocol.
    Protocol(Failure),
    /// By the daemon's answer.
    Refused,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Failed {
        Failed::Protocol(failure)
    }
}

/// Whether the table's lock is held. One flag does for all threads: loom switches between them
/// only at its own locks, and none is taken under the table's.
#[derive(Clone, Default)]
pub struct Locked(Arc<AtomicBool>);

impl Locked {
    fn refuse(&self, what: &str) {
        assert!(
            !self.0.load(Ordering::Relaxed),
            "{what} under the table's lock"
        );
    }
}

/// The table under loom's lock.
pub struct Guarded {
    table: Mutex<Table<Store>>,
    locked: Locked,
}

impl Lock<Table<Store>> for Guarded {
    fn with<R>(&self, f: impl FnOnce(&mut Table<Store>) -> R) -> R {
        let mut table = self.table.lock().unwrap();
        self.locked.0.store(true, Ordering::Relaxed);
        let result = f(&mut table);
        self.locked.0.store(false, Ordering::Relaxed);
        result
    }
}

/// A counted reference to an object, which may not be given back under the lock.
pub struct Reference {
    count: Arc<AtomicU32>,
    locked: Locked,
}

impl Reference {
    /// How many references there are.
    pub fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Hold for Reference {
    fn hold(&self) -> Reference {
        self.count.fetch_add(1, Ordering::Relaxed);
        Reference {
            count: self.count.clone(),
            locked: self.locked.clone(),
        }
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // While a failed run is taken apart nothing is worth saying.
        if !std::thread::panicking() {
            self.locked.refuse("a reference is dropped");
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Wait {
    result: Option<Result>,
    killed: bool,
    left: bool,
}

/// What a sender waits on.
#[derive(Clone)]
pub struct Waiter {
    wait: Arc<(Mutex<Wait>, Condvar)>,
    locked: Locked,
}

impl Waiter {
    /// A fatal signal for the one who waits.
    pub fn kill(&self) {
        self.wait.0.lock().unwrap().killed = true;
        self.wait.1.notify_all();
    }

    /// The sender has gone: nobody may touch its event any more.
    fn leave(&self) {
        self.wait.0.lock().unwrap().left = true;
    }
}

impl Event for Waiter {
    type Error = Failed;

    fn complete(&self, result: Result) {
        self.locked.refuse("a request is ended");
        let mut wait = self.wait.0.lock().unwrap();
        assert!(
            wait.result.is_none(),
            "a request is ended twice: {:?}, then {result:?}",
            wait.result
        );
        assert!(!wait.left, "a request is ended after its sender has left");
        wait.result = Some(result);
        drop(wait);
        self.wait.1.notify_all();
    }

    fn wait_killable(&self) -> std::result::Result<Result, Killed> {
        let mut wait = self.wait.0.lock().unwrap();
        loop {
            if let Some(result) = wait.result {
                return Ok(result);
            }
            if wait.killed {
                return Err(Killed);
            }
            wait = self.wait.1.wait(wait).unwrap();
        }
    }

    fn wait(&self) -> Result {
        let mut wait = self.wait.0.lock().unwrap();
        loop {
            if let Some(result) = wait.result {
                return result;
            }
            wait = self.wait.1.wait(wait).unwrap();
        }
    }
}

/// The table's storage.
pub struct Store {
    slots: Vec<Slot<Pending<Reference, Waiter>>>,
    anchors: Vec<Anchor<State>>,
}

impl Store {
    fn new() -> Store {
        Store {
            slots: (0..SLOTS).map(|_| Slot::new()).collect(),
            anchors: (0..SLOTS).map(|_| Anchor::new()).collect(),
        }
    }
}

impl Slots for Store {
    type Payload = Pending<Reference, Waiter>;
    type Object = State;

    fn get(&self, index: u32) -> Option<&Slot<Self::Payload>> {
        self.slots.get(index as usize)
    }

    fn get_mut(&mut self, index: u32) -> Option<&mut Slot<Self::Payload>> {
        self.slots.get_mut(index as usize)
    }

    fn capacity(&self) -> u32 {
        self.slots.len() as u32
    }

    fn anchor(&self, index: u32) -> Option<&Anchor<State>> {
        self.anchors.get(index as usize)
    }

    fn anchor_mut(&mut self, index: u32) -> Option<&mut Anchor<State>> {
        self.anchors.get_mut(index as usize)
    }

    fn anchors(&self) -> u32 {
        self.anchors.len() as u32
    }
}

/// What the daemon polls on: counts rings, and knows when there will be no more.
#[derive(Default)]
struct Bell {
    rings: u32,
    senders: u32,
}

/// What happened in a run.
#[derive(Default)]
struct Events {
    /// The READs that were delivered, by their offset.
    delivered: Vec<u64>,
    /// Those of which an answer was accepted.
    answered: Vec<u64>,
    /// How each send ended.
    ended: Vec<(u64, Result)>,
}

/// The host, with the bug of number `B` (0: none) planted in its protocol, and one object.
pub struct World<const B: usize> {
    table: Guarded,
    bell: (Mutex<Bell>, Condvar),
    /// The object's name in the table.
    pub queue: ObjectQueue,
    /// The reference that the object's cookie would hold.
    pub object: Reference,
    events: Ledger<Events>,
    locked: Locked,
    next_id: AtomicU32,
    again: usize,
}

/// The number by which [`World`] is told of a bug.
pub const fn planted(bug: Bug) -> usize {
    bug as usize + 1
}

const BUGS: [Bug; 10] = [
    Bug::LooksThenDelivers,
    Bug::FindsThenTakes,
    Bug::LeavesWhenKilled,
    Bug::DiesLate,
    Bug::WithdrawsLate,
    Bug::WakesEarly,
    Bug::ForgetsToHandBack,
    Bug::HandsBackAnothers,
    Bug::RestoresSilently,
    Bug::ForgetsTheFd,
];

impl<const B: usize> Host for World<B> {
    type Object = Reference;
    type Event = Waiter;
    type Slots = Store;
    type Lock = Guarded;

    const BUG: Option<Bug> = if B == 0 { None } else { Some(BUGS[B - 1]) };

    fn table(&self) -> &Guarded {
        &self.table
    }

    fn make_room(&self) -> Result {
        Ok(())
    }

    fn make_object_room(&self) -> Result {
        Ok(())
    }

    fn wake_daemon(&self) {
        self.bell.0.lock().unwrap().rings += 1;
        self.bell.1.notify_all();
    }
}

impl<const B: usize> World<B> {
    /// A world whose object is open (with an fd of id 1) or closed, and that so many senders will
    /// use. As often as `again` a READ may be delivered once more.
    pub fn new(open: bool, senders: u32, again: usize) -> Arc<World<B>> {
        assert!(B == 0 || planted(BUGS[B - 1]) == B);
        let mut table = Table::new(Store::new());
        let state = State {
            phase: if open { Phase::Open } else { Phase::Closed },
            id: u32::from(open),
        };
        let queue = table.add_object(state).ok().unwrap();
        let locked = Locked::default();
        Arc::new(World {
            table: Guarded {
                table: Mutex::new(table),
                locked: locked.clone(),
            },
            bell: (Mutex::new(Bell { rings: 0, senders }), Condvar::new()),
            queue,
            object: Reference {
                count: Arc::new(AtomicU32::new(1)),
                locked: locked.clone(),
            },
            events: Ledger::default(),
            locked,
            next_id: AtomicU32::new(2),
            again,
        })
    }

    /// An event that nobody has waited on.
    pub fn waiter(&self) -> Waiter {
        Waiter {
            wait: Arc::new((Mutex::new(Wait::default()), Condvar::new())),
            locked: self.locked.clone(),
        }
    }

    /// Sends a request and notes how it ended.
    fn send(&self, op: Op, waiter: &Waiter) -> Result {
        let result = protocol::send(self, self.queue, op, self.object.hold(), waiter.clone());
        waiter.leave();
        if let Op::Read { off, .. } = op {
            self.events.lock().unwrap().ended.push((off, result));
        }
        result
    }

    /// A sender of one READ, which is known by its offset, until it ends.
    pub fn read_as(&self, off: u64, waiter: &Waiter) -> Result {
        let result = self.send(Op::Read { off, len: 1 }, waiter);
        self.sender_ends();
        result
    }

    /// As [`World::read_as`], with nobody to kill it.
    pub fn read(&self, off: u64) -> Result {
        self.read_as(off, &self.waiter())
    }

    /// A sender of one READ who waits already: only its end is to come.
    pub fn reader_waits(&self, off: u64) -> Waiter {
        let waiter = self.waiter();
        let pending = Pending {
            object: self.object.hold(),
            waiter: Some(waiter.clone()),
        };
        let op = Op::Read { off, len: 1 };
        let sent = self
            .table
            .with(|table| table.enqueue(op, self.queue, pending));
        assert!(sent.is_ok());
        waiter
    }

    /// How a sender who waits already ends.
    pub fn reader_ends(&self, off: u64, waiter: &Waiter) -> Result {
        let result = waiter.wait();
        waiter.leave();
        self.events.lock().unwrap().ended.push((off, result));
        result
    }

    /// A sender of an OPEN, until it ends.
    pub fn open(&self) -> Result {
        let result = self.send(Op::Open, &self.waiter());
        self.sender_ends();
        result
    }

    /// The object goes, as a cookie's withdrawal has it.
    pub fn close(&self) {
        if protocol::is_open(self, self.queue) {
            let _ = self.send(Op::Close, &self.waiter());
        }
        protocol::withdraw(self, self.queue);
        self.sender_ends();
    }

    fn sender_ends(&self) {
        self.bell.0.lock().unwrap().senders -= 1;
        self.wake_daemon();
    }

    /// The daemon reads a message. None is too long.
    pub fn take(&self) -> Option<Delivery> {
        match protocol::next_message(self, 1, |_, _| 1) {
            Next::Message(delivery) => {
                if let Op::Read { off, .. } = delivery.op {
                    let delivered = &mut self.events.lock().unwrap().delivered;
                    delivered.push(off);
                    let times = delivered.iter().filter(|other| **other == off).count();
                    assert!(
                        times <= 1 + self.again,
                        "READ {off} is delivered {times} times"
                    );
                }
                Some(delivery)
            }
            Next::Nothing => None,
            Next::TooShort => unreachable!("messages have room"),
        }
    }

    /// The daemon polls and reads until there is a message, or no sender is left.
    pub fn next(&self) -> Option<Delivery> {
        loop {
            let (rings, senders) = {
                let bell = self.bell.0.lock().unwrap();
                (bell.rings, bell.senders)
            };
            if let Some(delivery) = self.take() {
                return Some(delivery);
            }
            if senders == 0 {
                return None;
            }
            let mut bell = self.bell.0.lock().unwrap();
            while bell.rings == rings {
                bell = self.bell.1.wait(bell).unwrap();
            }
        }
    }

    /// The daemon does what a message asks for. Says whether that was welcome.
    pub fn answer(&self, delivery: &Delivery) -> bool {
        match delivery.op {
            Op::Open => self.attach(delivery).is_some() && self.answer_open(delivery, Ok(4096)),
            Op::Close => {
                protocol::delivered_close(self, delivery);
                protocol::fd_released(self, delivery.queue, delivery.id);
                true
            }
            Op::Read { off, .. } => {
                let answer = protocol::answer_read(self, delivery.queue, delivery.msg_id, || ());
                if answer.is_ok() {
                    self.events.lock().unwrap().answered.push(off);
                }
                answer.is_ok()
            }
        }
    }

    /// The delivery of an OPEN gets an fd; its id, when that is wanted.
    fn attach(&self, delivery: &Delivery) -> Option<u32> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        if protocol::attach_fd(self, delivery, id) {
            return Some(id);
        }
        protocol::fd_released(self, delivery.queue, id);
        None
    }

    /// The daemon answers an OPEN whose fd it has. Says whether that was welcome.
    fn answer_open(&self, delivery: &Delivery, answer: Result<u64>) -> bool {
        protocol::answer_open(self, delivery.msg_id, answer, |_, _| (), |_| ()).is_ok()
    }

    /// The daemon refuses an OPEN.
    pub fn refuse(&self, delivery: &Delivery) -> bool {
        self.answer_open(delivery, Err(Failed::Refused))
    }

    /// Polls, reads and answers until no sender is left.
    pub fn serve(&self) {
        while let Some(delivery) = self.next() {
            self.answer(&delivery);
        }
    }

    /// What must hold when all is over.
    pub fn audit(&self) {
        let table = &self.table.table.lock().unwrap();
        assert_eq!(table.live(), 0, "requests are left in the table");
        assert_eq!(table.out(), 0, "requests count as out");
        assert_eq!(self.object.count(), 1, "references are left");
        let events = self.events.lock().unwrap();
        for (off, result) in &events.ended {
            let count = |offs: &[u64]| offs.iter().filter(|other| *other == off).count();
            let delivered = count(&events.delivered);
            let answered = count(&events.answered);
            assert_eq!(
                answered,
                usize::from(result.is_ok()),
                "READ {off} ended with {result:?} and {answered} answers were accepted"
            );
            assert!(answered <= delivered, "READ {off} is answered unasked");
        }
    }
}
