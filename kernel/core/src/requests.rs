// SPDX-License-Identifier: GPL-2.0-or-later
//! The on-demand request table: every OPEN, READ and CLOSE between its sender and the daemon.
//!
//! A pure state machine. The caller keeps it under one leaf lock; no operation allocates, sleeps,
//! wakes or drops a payload: whatever leaves the table is handed to the caller, who deals with it
//! after unlocking. A request leaves exactly once, by whichever of [`Table::complete`],
//! [`Table::deliver_done`], [`Table::remove`], [`Table::pop_object`] and [`Table::pop_any`] comes
//! first.
//!
//! A request is in one of three places:
//! - *waiting*, in the one FIFO of what no daemon has yet, served strictly from the front, so that
//!   nobody starves;
//! - *out*, delivered, with its answer awaited;
//! - *parked*, because its object has no fd at the moment: the OPEN that gets it one goes first.
//!
//! Two names: an [`Id`] is the sender's and lasts as long as the request. The message id is the
//! daemon's: it is `slot | epoch << 18`, positive as an `i32`, never 0, made anew when a request is
//! handed back, and does not return before its slot's 8,191 epochs are used up. Free slots are
//! used in turn, so with the [`LOW_WATER`] kept free that is half a million requests later.
//!
//! Every operation takes constant time but [`Table::restore`], which takes the time of what was
//! delivered, and those that are said to handle all requests of one object.

use super::slots::{join, next, prev, push_back, unlink, Chain, Ends, Place, NIL};
pub use super::slots::{Id, Kind, ObjectQueue, Op, Slots};
pub use super::table::{NotFound, SendError, Table, Taken, Ticket, View, LOW_WATER, MAX_SLOTS};

impl<S: Slots> Table<S> {
    /// A table over the slots that there are.
    pub fn new(slots: S) -> Self {
        let mut table = Table {
            slots,
            grown: 0,
            fresh: 0,
            free: Ends::EMPTY,
            free_count: 0,
            set_aside: 0,
            fresh_anchor: 0,
            free_anchor: NIL,
            fifo: Ends::EMPTY,
            age: Ends::EMPTY,
            live: 0,
            out: 0,
            dead: false,
        };
        table.grow();
        table
    }

    /// Whether the caller should make a chunk of slots, add it to [`Table::slots_mut`] and call
    /// [`Table::grow`] before it enqueues more.
    pub fn needs_chunk(&self) -> bool {
        self.grown < MAX_SLOTS && self.available() < LOW_WATER
    }

    /// Whether the caller should make a chunk of anchors and add it to [`Table::slots_mut`] before
    /// it adds an object.
    pub fn needs_anchors(&self) -> bool {
        self.free_anchor == NIL && self.fresh_anchor >= self.slots.anchors()
    }

    /// The storage, to add a chunk to it.
    pub fn slots_mut(&mut self) -> &mut S {
        &mut self.slots
    }

    /// Takes over the slots that the storage has gained.
    pub fn grow(&mut self) {
        let to = self.slots.capacity().min(MAX_SLOTS).max(self.grown);
        let gained = to.saturating_sub(self.grown);
        self.free_count = self.free_count.saturating_add(gained);
        self.grown = to;
    }

    /// How many requests are in the table.
    pub fn live(&self) -> u32 {
        self.live
    }

    /// How many requests are delivered and unanswered.
    pub fn out(&self) -> u32 {
        self.out
    }

    /// Whether a daemon that reads now gets a request (or sets an object's reopening going).
    pub fn has_waiting(&self) -> bool {
        !self.fifo.is_empty()
    }

    /// Whether [`Table::die`] was called.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// From now on nothing is taken in. What is in the table stays until it is popped.
    pub fn die(&mut self) {
        self.dead = true;
    }

    /// Takes in an object. A dead table takes objects too, but refuses their requests.
    ///
    /// # Errors
    /// `Full`, with the value back.
    pub fn add_object(&mut self, value: S::Object) -> Result<ObjectQueue, (SendError, S::Object)> {
        self.claim_anchor(value)
            .map_err(|value| (SendError::Full, value))
    }

    /// Lets go of an object and returns what was kept for it, or `None` while it still has
    /// requests: pop those first.
    pub fn remove_object(&mut self, object: ObjectQueue) -> Option<S::Object> {
        if !self.anchor(object)?.own.is_empty() {
            return None;
        }
        self.release_anchor(object.anchor)
    }

    /// What is kept for an object.
    pub fn object(&self, object: ObjectQueue) -> Option<&S::Object> {
        self.anchor(object)?.value.as_ref()
    }

    /// What is kept for an object, to change it.
    pub fn object_mut(&mut self, object: ObjectQueue) -> Option<&mut S::Object> {
        self.anchor(object)?;
        self.anchor_at(object.anchor)?.value.as_mut()
    }

    /// Whether an object has any request in the table.
    pub fn has_requests(&self, object: ObjectQueue) -> bool {
        self.anchor(object)
            .is_some_and(|anchor| !anchor.own.is_empty())
    }

    /// Puts a request at the end of the FIFO. That the daemon lives is checked in the same step:
    /// what is taken in before [`Table::die`] will be seen by [`Table::pop_any`]. With an object's
    /// first request a second slot is set aside, for opening the object anew.
    ///
    /// # Errors
    /// Why not, with the payload back.
    pub fn enqueue(
        &mut self,
        op: Op,
        object: ObjectQueue,
        payload: S::Payload,
    ) -> Result<Id, (SendError, S::Payload)> {
        if self.dead {
            return Err((SendError::Dead, payload));
        }
        let Some(anchor) = self.anchor(object) else {
            return Err((SendError::NoObject, payload));
        };
        let needed = if anchor.own.is_empty() { 2 } else { 1 };
        if self.available() < needed {
            return Err((SendError::Full, payload));
        }
        self.admit(op, object, payload, false)
    }

    /// Puts an OPEN at the front of the FIFO, in the slot that is set aside for the object while it
    /// has requests: it goes before the READs that wait for it, and cannot fail for want of memory.
    ///
    /// # Errors
    /// `NoObject` also when such an OPEN is under way; `Full` only for an object without requests;
    /// the payload comes back.
    pub fn enqueue_reopen(
        &mut self,
        object: ObjectQueue,
        payload: S::Payload,
    ) -> Result<Id, (SendError, S::Payload)> {
        if self.dead {
            return Err((SendError::Dead, payload));
        }
        let Some(anchor) = self.anchor(object).filter(|anchor| !anchor.reopening) else {
            return Err((SendError::NoObject, payload));
        };
        if !anchor.sets_aside() && self.available() == 0 {
            return Err((SendError::Full, payload));
        }
        self.admit(Op::Open, object, payload, true)
    }

    /// The request that [`Table::deliver`] would deliver.
    pub fn peek(&self) -> Option<View<'_, S::Payload>> {
        self.view(self.fifo.head)
    }

    /// Hands out the request that has waited longest. Its id is good for a reply from now on.
    pub fn deliver(&mut self) -> Option<View<'_, S::Payload>> {
        let at = self.fifo.head;
        self.request(at)?;
        unlink(&mut self.slots, Chain::Queue, &mut self.fifo, at);
        self.out = self.out.saturating_add(1);
        let request = self.request_mut(at)?;
        request.place = Place::Out;
        request.delivered = true;
        request.turn = request.turn.wrapping_add(1);
        self.view(at)
    }

    /// A delivery has failed: the request goes back to the front of the FIFO under a new message
    /// id, so that a late reply to the old one is refused. Says whether this was still the
    /// delivery that counts: not so when the request has been answered, removed, or made new by
    /// [`Table::restore`], under which replies to earlier deliveries stay good.
    pub fn hand_back(&mut self, ticket: Ticket) -> bool {
        let Some(at) = self.undo_delivery(ticket) else {
            return false;
        };
        self.requeue(at);
        true
    }

    /// As [`Table::hand_back`], but the request goes to the end of the FIFO: for a delivery that is
    /// likely to fail again (the daemon can have no more fds), so that it does not keep those
    /// behind it, which may help the daemon, from being delivered.
    pub fn hand_back_last(&mut self, ticket: Ticket) -> bool {
        let Some(at) = self.undo_delivery(ticket) else {
            return false;
        };
        self.requeue_last(at);
        true
    }

    /// Whether a delivery still counts: its request has been neither answered nor removed, and not
    /// delivered again or renewed since.
    pub fn is_current(&self, ticket: Ticket) -> bool {
        self.by_id(ticket.id)
            .is_some_and(|request| request.turn == ticket.turn && request.place == Place::Out)
    }

    fn undo_delivery(&mut self, ticket: Ticket) -> Option<u32> {
        if !self.is_current(ticket) {
            return None;
        }
        self.rename(ticket.id.slot);
        Some(ticket.id.slot)
    }

    /// A CLOSE was delivered: that completes it. `None` when it is gone already, or is no CLOSE.
    pub fn deliver_done(&mut self, ticket: Ticket) -> Option<Taken<S::Payload>> {
        let request = self.by_id(ticket.id)?;
        if request.op.kind() != Kind::Close || !request.delivered {
            return None;
        }
        self.take(ticket.id.slot)
    }

    /// Sets the request that is next in the FIFO aside until its object is opened anew
    /// ([`Table::unpark`]). Says whether there was one.
    pub fn park(&mut self) -> bool {
        let at = self.fifo.head;
        let Some(request) = self.request_mut(at) else {
            return false;
        };
        request.place = Place::Parked;
        let object = request.object;
        unlink(&mut self.slots, Chain::Queue, &mut self.fifo, at);
        let mut parked = self.anchor_at(object).map_or(Ends::EMPTY, |a| a.parked);
        push_back(&mut self.slots, Chain::Queue, &mut parked, at);
        if let Some(anchor) = self.anchor_at(object) {
            anchor.parked = parked;
        }
        true
    }

    /// Puts the parked requests of an object back at the front of the FIFO, oldest first: they had
    /// reached it before. Says whether there were any. Takes the time of what was parked.
    pub fn unpark(&mut self, object: ObjectQueue) -> bool {
        if self.anchor(object).is_none() {
            return false;
        }
        let Some(anchor) = self.anchor_at(object.anchor) else {
            return false;
        };
        let parked = core::mem::replace(&mut anchor.parked, Ends::EMPTY);
        let mut at = parked.head;
        while let Some(request) = self.request_mut(at) {
            request.place = Place::Waiting;
            at = next(&self.slots, Chain::Queue, at);
        }
        self.fifo = join(&mut self.slots, Chain::Queue, parked, self.fifo);
        !parked.is_empty()
    }

    /// The delivered request that a reply to `msg_id` would complete.
    pub fn find(&self, msg_id: u32, kind: Kind) -> Option<View<'_, S::Payload>> {
        self.view(self.replied(msg_id, kind)?)
    }

    /// A daemon replies. Good for any request of that kind that was delivered at least once under
    /// this id, also when it waits again after [`Table::restore`].
    ///
    /// `object` is the one that the reply came through, where it came through one.
    ///
    /// # Errors
    /// [`NotFound`] without any effect: the id is unknown, stale, not delivered yet, of another
    /// kind or of another object.
    pub fn complete(
        &mut self,
        msg_id: u32,
        kind: Kind,
        object: Option<ObjectQueue>,
    ) -> Result<Taken<S::Payload>, NotFound> {
        let at = self.replied(msg_id, kind).ok_or(NotFound)?;
        if let Some(object) = object {
            let own = self.request(at).map(|request| request.object);
            if self.anchor(object).is_none() || own != Some(object.anchor) {
                return Err(NotFound);
            }
        }
        self.take(at).ok_or(NotFound)
    }

    /// A sender gives up (it was killed). `None` means that someone is completing the request at
    /// this moment: the sender must go on waiting for that.
    pub fn remove(&mut self, id: Id) -> Option<Taken<S::Payload>> {
        self.by_id(id)?;
        self.take(id.slot)
    }

    /// A new daemon takes over: every request that is out waits again, under the same id, oldest
    /// first and before all younger ones. Replies to deliveries before this stay good. Returns how
    /// many. Takes the time of what is out and of what waits and is older than some of it.
    pub fn restore(&mut self) -> u32 {
        let mut renewed: u32 = 0;
        let mut oldest = Ends::EMPTY;
        let mut at = self.age.head;
        while self.out > 0 {
            let Some(request) = self.request_mut(at) else {
                break;
            };
            let was = core::mem::replace(&mut request.place, Place::Waiting);
            match was {
                Place::Out => {
                    self.out = self.out.saturating_sub(1);
                    renewed = renewed.saturating_add(1);
                    push_back(&mut self.slots, Chain::Queue, &mut oldest, at);
                }
                Place::Waiting => {
                    unlink(&mut self.slots, Chain::Queue, &mut self.fifo, at);
                    push_back(&mut self.slots, Chain::Queue, &mut oldest, at);
                }
                Place::Parked => request.place = Place::Parked,
            }
            at = next(&self.slots, Chain::Age, at);
        }
        self.fifo = join(&mut self.slots, Chain::Queue, oldest, self.fifo);
        renewed
    }

    /// The object's fd is gone: what was delivered of it goes back to the front of the FIFO,
    /// oldest first. Ids stay: a daemon may close the fd first and refuse the OPEN then. (That it
    /// cannot open an object without an fd is for the caller to see to.) Returns how many. Takes
    /// the time of the object's requests.
    pub fn renew_object(&mut self, object: ObjectQueue) -> u32 {
        let mut renewed: u32 = 0;
        let mut at = self.anchor(object).map_or(NIL, |anchor| anchor.own.last());
        while let Some(request) = self.request(at) {
            if request.place == Place::Out {
                self.requeue(at);
                renewed = renewed.saturating_add(1);
            }
            at = prev(&self.slots, Chain::Own, at);
        }
        renewed
    }

    /// Takes the oldest request of an object, to cancel all of them one at a time.
    pub fn pop_object(&mut self, object: ObjectQueue) -> Option<Taken<S::Payload>> {
        let at = self.anchor(object)?.own.head;
        self.take(at)
    }

    /// Takes the oldest request of an object that no daemon has and that is of this kind. Takes
    /// the time of the object's requests.
    pub fn pop_object_waiting(
        &mut self,
        object: ObjectQueue,
        kind: Kind,
    ) -> Option<Taken<S::Payload>> {
        let mut at = self.anchor(object)?.own.head;
        loop {
            let request = self.request(at)?;
            if request.place != Place::Out && request.op.kind() == kind {
                return self.take(at);
            }
            at = next(&self.slots, Chain::Own, at);
        }
    }

    /// Takes the oldest request of all, to end a dead cache's one at a time.
    pub fn pop_any(&mut self) -> Option<Taken<S::Payload>> {
        self.take(self.age.head)
    }
}
