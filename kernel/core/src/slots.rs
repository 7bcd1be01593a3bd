// SPDX-License-Identifier: GPL-2.0-or-later
//! Where the request table keeps its records: numbered slots, linked by index.
//!
//! The table lives under a lock that may neither sleep nor allocate, so it owns no memory of its
//! own: whoever embeds it implements [`Slots`] over chunks that were allocated before the lock was
//! taken. Lists run through the slots as indices instead of pointers, which is what lets the whole
//! table be safe code.
//!
//! There are slots, each *free* or a *request*, and anchors, each *free* or of one cache object, whose
//! requests hang off it. Objects are many and requests few, so an anchor is small: an object that
//! nobody asks for costs nothing else.

/// No slot: the end of a list.
pub(super) const NIL: u32 = u32::MAX;

/// Storage for a table's slots and anchors.
///
/// Both are numbered from 0. [`Slots::capacity`] and [`Slots::anchors`] may grow between two calls of
/// the table (see `Table::grow`) but never shrink, and a number always leads to the same slot or
/// anchor. A table given a store that breaks this forgets requests, but neither panics nor reads
/// foreign memory.
pub trait Slots {
    /// What a request carries for its sender.
    type Payload;
    /// What is kept per cache object, under the table's lock.
    type Object;

    /// The slot of that number.
    fn get(&self, index: u32) -> Option<&Slot<Self::Payload>>;

    /// The slot of that number, to change it.
    fn get_mut(&mut self, index: u32) -> Option<&mut Slot<Self::Payload>>;

    /// How many slots there are.
    fn capacity(&self) -> u32;

    /// The anchor of that number.
    fn anchor(&self, index: u32) -> Option<&Anchor<Self::Object>>;

    /// The anchor of that number, to change it.
    fn anchor_mut(&mut self, index: u32) -> Option<&mut Anchor<Self::Object>>;

    /// How many anchors there are.
    fn anchors(&self) -> u32;
}

/// What a request asks the daemon for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// The size of an object that is looked up (or opened anew).
    Open,
    /// Nothing: tells that an object is withdrawn.
    Close,
    /// A range of an object.
    Read {
        /// First missing byte.
        off: u64,
        /// Bytes that are missing.
        len: u64,
    },
}

impl Op {
    /// The kind of this request, without its range.
    pub fn kind(self) -> Kind {
        match self {
            Op::Open => Kind::Open,
            Op::Close => Kind::Close,
            Op::Read { .. } => Kind::Read,
        }
    }
}

/// The kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Answered by `copen`.
    Open,
    /// Complete as soon as it is read.
    Close,
    /// Answered by the ioctl on the object's fd.
    Read,
}

/// Names one request for as long as it is in the table, whatever happens to its message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// Names one cache object for as long as it is in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectQueue {
    pub(super) anchor: u32,
    pub(super) generation: u32,
}

/// One numbered slot. Opaque: only the table looks inside.
pub struct Slot<P> {
    /// Counts the uses of this slot, so that an old name does not lead to a new record.
    pub(super) generation: u32,
    /// The upper part of the last message id that was made here.
    pub(super) epoch: u32,
    queue: Links,
    own: Links,
    age: Links,
    pub(super) request: Option<Request<P>>,
}

impl<P> Slot<P> {
    /// An unused slot, to build storage from.
    pub const fn new() -> Self {
        Slot {
            generation: 0,
            epoch: 0,
            queue: Links::NONE,
            own: Links::NONE,
            age: Links::NONE,
            request: None,
        }
    }

    fn links(&mut self, chain: Chain) -> &mut Links {
        match chain {
            Chain::Queue => &mut self.queue,
            Chain::Own => &mut self.own,
            Chain::Age => &mut self.age,
        }
    }

    fn links_ref(&self, chain: Chain) -> Links {
        match chain {
            Chain::Queue => self.queue,
            Chain::Own => self.own,
            Chain::Age => self.age,
        }
    }
}

impl<P> Default for Slot<P> {
    fn default() -> Self {
        Self::new()
    }
}

/// The record of one cache object. Opaque: only the table looks inside.
pub struct Anchor<O> {
    /// Counts the uses, as a slot's does.
    pub(super) generation: u32,
    /// What is kept for the object; `None` while the anchor is free.
    pub(super) value: Option<O>,
    /// Every request of this object, oldest first. While the anchor is free: the next free one.
    pub(super) own: Ends,
    /// Those of them that wait for the object to be opened anew, oldest first.
    pub(super) parked: Ends,
    /// Whether an OPEN that opens this object anew is in the table.
    pub(super) reopening: bool,
}

impl<O> Anchor<O> {
    /// A free anchor, to build storage from.
    pub const fn new() -> Self {
        Anchor {
            generation: 0,
            value: None,
            own: Ends::EMPTY,
            parked: Ends::EMPTY,
            reopening: false,
        }
    }

    /// Whether a slot is set aside for opening the object anew: while there is a request that may
    /// make it necessary, and no such OPEN yet.
    pub(super) fn sets_aside(&self) -> bool {
        !self.own.is_empty() && !self.reopening
    }
}

impl<O> Default for Anchor<O> {
    fn default() -> Self {
        Self::new()
    }
}

/// The record of one request.
pub(super) struct Request<P> {
    pub(super) payload: P,
    pub(super) op: Op,
    /// The object's anchor.
    pub(super) object: u32,
    pub(super) msg_id: u32,
    pub(super) place: Place,
    /// Whether a daemon may know `msg_id`: only then does a reply count.
    pub(super) delivered: bool,
    /// Counts deliveries, so that one that failed does not undo another's.
    pub(super) turn: u32,
    /// Whether it is the OPEN that opens its object anew.
    pub(super) reopens: bool,
}

/// Which of the lists through `Slot::queue` a request is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Not yet delivered: in the FIFO.
    Waiting,
    /// Delivered, and the answer is awaited: on no list.
    Out,
    /// On its object's list of parked requests.
    Parked,
}

/// A slot's neighbours on one list.
#[derive(Clone, Copy)]
pub(super) struct Links {
    prev: u32,
    next: u32,
}

impl Links {
    const NONE: Links = Links {
        prev: NIL,
        next: NIL,
    };
}

/// Which pair of links a list runs through.
#[derive(Clone, Copy)]
pub(super) enum Chain {
    /// The FIFO, an object's parked requests, or the free list.
    Queue,
    /// All requests of one object.
    Own,
    /// All requests, oldest first.
    Age,
}

/// Both ends of a list.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) head: u32,
    tail: u32,
}

impl Ends {
    pub(super) const EMPTY: Ends = Ends {
        head: NIL,
        tail: NIL,
    };

    /// The first and the last slot, for a walk from the back.
    pub(super) fn last(self) -> u32 {
        self.tail
    }

    pub(super) fn is_empty(self) -> bool {
        self.head == NIL
    }
}

fn set_next<S: Slots>(slots: &mut S, chain: Chain, at: u32, next: u32) {
    if let Some(slot) = slots.get_mut(at) {
        slot.links(chain).next = next;
    }
}

fn set_prev<S: Slots>(slots: &mut S, chain: Chain, at: u32, prev: u32) {
    if let Some(slot) = slots.get_mut(at) {
        slot.links(chain).prev = prev;
    }
}

/// The slot after `at`, or [`NIL`].
pub(super) fn next<S: Slots>(slots: &S, chain: Chain, at: u32) -> u32 {
    slots.get(at).map_or(NIL, |slot| slot.links_ref(chain).next)
}

/// The slot before `at`, or [`NIL`].
pub(super) fn prev<S: Slots>(slots: &S, chain: Chain, at: u32) -> u32 {
    slots.get(at).map_or(NIL, |slot| slot.links_ref(chain).prev)
}

/// Puts a slot that is on no such list at the end of one.
pub(super) fn push_back<S: Slots>(slots: &mut S, chain: Chain, ends: &mut Ends, at: u32) {
    let Some(slot) = slots.get_mut(at) else {
        return;
    };
    *slot.links(chain) = Links {
        prev: ends.tail,
        next: NIL,
    };
    if ends.tail == NIL {
        ends.head = at;
    } else {
        set_next(slots, chain, ends.tail, at);
    }
    ends.tail = at;
}

/// Puts a slot that is on no such list at the front of one.
pub(super) fn push_front<S: Slots>(slots: &mut S, chain: Chain, ends: &mut Ends, at: u32) {
    let Some(slot) = slots.get_mut(at) else {
        return;
    };
    *slot.links(chain) = Links {
        prev: NIL,
        next: ends.head,
    };
    if ends.head == NIL {
        ends.tail = at;
    } else {
        set_prev(slots, chain, ends.head, at);
    }
    ends.head = at;
}

/// Takes a slot off the list that it is on.
pub(super) fn unlink<S: Slots>(slots: &mut S, chain: Chain, ends: &mut Ends, at: u32) {
    let Some(slot) = slots.get_mut(at) else {
        return;
    };
    let Links { prev, next } = *slot.links(chain);
    *slot.links(chain) = Links::NONE;
    if prev == NIL {
        ends.head = next;
    } else {
        set_next(slots, chain, prev, next);
    }
    if next == NIL {
        ends.tail = prev;
    } else {
        set_prev(slots, chain, next, prev);
    }
}

/// Makes one list of two, `first` before `second`.
pub(super) fn join<S: Slots>(slots: &mut S, chain: Chain, first: Ends, second: Ends) -> Ends {
    if first.is_empty() {
        return second;
    }
    if second.is_empty() {
        return first;
    }
    set_next(slots, chain, first.tail, second.head);
    set_prev(slots, chain, second.head, first.tail);
    Ends {
        head: first.head,
        tail: second.tail,
    }
}
