// SPDX-License-Identifier: GPL-2.0-or-later
//! What the request protocol needs of its surroundings, and what it keeps: see `protocol.rs`.

use super::requests::{Slots, Table};

/// Mutual exclusion around a value.
pub trait Lock<T> {
    /// Runs `f` while nobody else has the value. In the kernel `f` may neither sleep nor drop a
    /// reference: what it returns may hold some.
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R;
}

/// A fatal signal came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Killed;

/// What the sender of a request waits on. Clones share one event.
pub trait Event: Clone {
    /// How a request fails.
    type Error: Copy + From<Failure>;

    /// Ends the wait with that result. Called once.
    fn complete(&self, result: Result<(), Self::Error>);

    /// Waits for the end, or for a fatal signal.
    ///
    /// # Errors
    /// [`Killed`] when the signal comes first.
    fn wait_killable(&self) -> Result<Result<(), Self::Error>, Killed>;

    /// Waits for an end that is known to be coming.
    ///
    /// # Errors
    /// What the request ended with.
    fn wait(&self) -> Result<(), Self::Error>;
}

/// A counted reference, from which another can be had under the lock.
pub trait Hold {
    /// Another reference to the same.
    #[must_use]
    fn hold(&self) -> Self;
}

/// How a request fails by the protocol's own doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// `EIO`: the daemon is gone, or the object is going.
    Gone,
    /// `ENOENT`: a CLOSE of what is not open.
    NotOpen,
    /// `EINTR`: the sender was killed.
    Killed,
    /// `EBUSY`: others took every slot, however often room was made.
    NoRoom,
    /// `ENOMEM`.
    NoMemory,
}

/// Whether the daemon has an object open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// No anonymous fd, or one that the daemon has not answered for yet.
    Closed,
    /// The daemon has answered and holds the fd.
    Open,
    /// The fd went while it was needed: an OPEN is under way.
    Reopening,
    /// The object is being withdrawn: nothing is asked any more.
    Dropping,
}

/// An object's on-demand state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Whether the daemon has it open.
    pub phase: Phase,
    /// Id of its anonymous fd, zero while it has none.
    pub id: u32,
}

/// What a request carries: its object, and who waits for it. Nobody waits for the OPEN by which an
/// object is opened anew.
pub struct Pending<O, E> {
    /// A reference, so that no request outlives its object.
    pub object: O,
    /// Who waits.
    pub waiter: Option<E>,
}

impl<O, E: Event> Pending<O, E> {
    /// Ends the request. Not to be called under the lock.
    pub(super) fn end(self, result: Result<(), E::Error>) {
        let Pending { object, waiter } = self;
        // Before the waiter is woken: until then its caller holds the object, so that this is not
        // the last reference, whose end takes locks that the caller of this may hold.
        drop(object);
        if let Some(waiter) = waiter {
            waiter.complete(result);
        }
    }
}

/// What the protocol needs of its surroundings.
pub trait Host {
    /// A counted reference to an object.
    type Object: Hold;
    /// What senders wait on.
    type Event: Event;
    /// The table's storage.
    type Slots: Slots<Payload = Pending<Self::Object, Self::Event>, Object = State>;
    /// What guards the table.
    type Lock: Lock<Table<Self::Slots>>;

    /// A bug to plant, for the model check to find; none in earnest, and then no code either.
    const BUG: Option<Bug> = None;

    /// The table.
    fn table(&self) -> &Self::Lock;

    /// Makes sure that some slots are free, so that what is sent next need not allocate.
    ///
    /// # Errors
    /// When there is no memory for more of them; some may be free all the same.
    fn make_room(&self) -> Result<(), ErrorOf<Self>>;

    /// The same for the next object.
    ///
    /// # Errors
    /// When there is no memory.
    fn make_object_room(&self) -> Result<(), ErrorOf<Self>>;

    /// Wakes the daemon: there may be something to read.
    fn wake_daemon(&self);
}

/// How requests fail with this host.
pub type ErrorOf<H> = <<H as Host>::Event as Event>::Error;

/// What a host's table holds for a request.
pub(super) type PendingOf<H> = Pending<<H as Host>::Object, <H as Host>::Event>;

/// A mistake that the protocol might have made: the proof that the model check would see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A request is looked at in one critical section and delivered in the next.
    LooksThenDelivers,
    /// An answer finds its request in one critical section and takes it in the next.
    FindsThenTakes,
    /// A killed sender leaves although somebody else has its request.
    LeavesWhenKilled,
    /// What is pending is ended first, and then the table is closed.
    DiesLate,
    /// What is pending of an object is ended first, and then the object is marked as going.
    WithdrawsLate,
    /// The daemon is woken before there is something to read.
    WakesEarly,
    /// A delivery that failed is not handed back.
    ForgetsToHandBack,
    /// A delivery that failed takes back a later one, too.
    HandsBackAnothers,
    /// What is out is made new again, but nobody hears of it.
    RestoresSilently,
    /// An fd goes, but what was delivered through it is not made new again.
    ForgetsTheFd,
}

/// Whether the host has planted that bug.
pub(super) fn has<H: Host>(bug: Bug) -> bool {
    H::BUG == Some(bug)
}
