// SPDX-License-Identifier: GPL-2.0-or-later
//! The bookkeeping under the request table: its fields, and the steps that its operations in
//! `requests.rs` are made of.
//!
//! What holds between two operations: every request is on the age list, on its object's list, and
//! either in the FIFO, on its object's parked list, or counted in `out`; every slot below `grown`
//! is a request, on the free list, or not used yet (from `fresh` on); `set_aside` counts the objects
//! of which [`Anchor::sets_aside`] is true, and at least as many slots are free.

use super::slots::{
    push_back, push_front, unlink, Anchor, Chain, Ends, Id, Kind, ObjectQueue, Op, Place, Request,
    Slots, NIL,
};

/// Bits of a message id that number the slot.
const SLOT_BITS: u32 = 18;

/// The most requests that can be in a table.
pub const MAX_SLOTS: u32 = 1 << SLOT_BITS;

/// The last epoch; with the slot's bits below it, a message id fills 31 bits.
const LAST_EPOCH: u32 = (1 << (31 - SLOT_BITS)) - 1;

/// While fewer free slots than this are left, [`Table::needs_chunk`] asks for more.
pub const LOW_WATER: u32 = 64;

/// The seeded bug of the fair-distribution mutant: the youngest request is served first.
#[allow(unexpected_cfgs)]
const LAST_IN_FIRST_OUT: bool = cfg!(cachefiles_mutant = "fair-distribution");

/// The seeded bug of the late-copen mutant: a message id comes back as soon as its slot is free.
#[allow(unexpected_cfgs)]
const IDS_COME_BACK: bool = cfg!(cachefiles_mutant = "late-copen");

/// The seeded bug of the cread-rules mutant: a request may be answered before it is delivered.
#[allow(unexpected_cfgs)]
const UNREAD_IS_ANSWERED: bool = cfg!(cachefiles_mutant = "cread-rules");

/// Why a request or an object was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// The daemon is gone: [`Table::die`] was called.
    Dead,
    /// No slot or anchor is free: give the table a chunk of them and try again.
    Full,
    /// The object is not in the table (any more), or is being opened anew already.
    NoObject,
}

/// No request of that kind, for that object, with that id, has been delivered and is unanswered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFound;

/// Names one delivery of one request, so that undoing it cannot undo a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub(super) id: Id,
    pub(super) turn: u32,
}

impl Ticket {
    /// The request that was delivered.
    pub fn id(self) -> Id {
        self.id
    }
}

/// A look at a request that stays in the table.
pub struct View<'a, P> {
    /// For [`Table::deliver_done`] and [`Table::hand_back`].
    pub ticket: Ticket,
    /// The daemon's name for it.
    pub msg_id: u32,
    /// What it asks for.
    pub op: Op,
    /// Whose it is.
    pub object: ObjectQueue,
    /// What its sender attached.
    pub payload: &'a P,
}

/// A request that has left the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken<P> {
    /// What it asked for.
    pub op: Op,
    /// Whose it was.
    pub object: ObjectQueue,
    /// What its sender attached: to be answered and dropped after unlocking.
    pub payload: P,
}

/// The table. `S` is the storage of its slots.
pub struct Table<S: Slots> {
    pub(super) slots: S,
    /// Slots below this number have been taken over from the storage.
    pub(super) grown: u32,
    /// Slots from this number on have never been used.
    pub(super) fresh: u32,
    /// Slots that have been used before and are free, the one that has been for longest first.
    pub(super) free: Ends,
    /// How many slots are free, used before or not.
    pub(super) free_count: u32,
    /// Free slots that may be used for nothing but opening an object anew.
    pub(super) set_aside: u32,
    /// Anchors from this number on have never been used.
    pub(super) fresh_anchor: u32,
    /// An anchor that has been used before and is free, at the head of a list of such.
    pub(super) free_anchor: u32,
    pub(super) fifo: Ends,
    pub(super) age: Ends,
    pub(super) live: u32,
    pub(super) out: u32,
    pub(super) dead: bool,
}

impl<S: Slots> Table<S> {
    /// Free slots that are not set aside.
    pub(super) fn available(&self) -> u32 {
        self.free_count.saturating_sub(self.set_aside)
    }

    /// Takes a slot that was never used, or else the one that has been free for longest.
    pub(super) fn claim(&mut self) -> Option<Id> {
        let first_the_used = IDS_COME_BACK && !self.free.is_empty();
        let any_fresh = self.fresh < self.grown && !first_the_used;
        let at = match any_fresh {
            true => self.fresh,
            false => self.free.head,
        };
        let slot = self.slots.get_mut(at)?;
        slot.generation = slot.generation.wrapping_add(1);
        let id = Id {
            slot: at,
            generation: slot.generation,
        };
        if any_fresh {
            self.fresh = self.fresh.saturating_add(1);
        } else {
            unlink(&mut self.slots, Chain::Queue, &mut self.free, at);
        }
        self.free_count = self.free_count.saturating_sub(1);
        Some(id)
    }

    /// Takes a free anchor for `value`, or gives it back.
    pub(super) fn claim_anchor(&mut self, value: S::Object) -> Result<ObjectQueue, S::Object> {
        let used_before = self.free_anchor != NIL;
        let at = match used_before {
            true => self.free_anchor,
            false => self.fresh_anchor,
        };
        let Some(anchor) = self.slots.anchor_mut(at) else {
            return Err(value);
        };
        if used_before {
            self.free_anchor = anchor.own.head;
        } else {
            self.fresh_anchor = self.fresh_anchor.saturating_add(1);
        }
        let generation = anchor.generation.wrapping_add(1);
        *anchor = Anchor::new();
        anchor.generation = generation;
        anchor.value = Some(value);
        Ok(ObjectQueue {
            anchor: at,
            generation,
        })
    }

    /// Frees an anchor that no request hangs off.
    pub(super) fn release_anchor(&mut self, at: u32) -> Option<S::Object> {
        let next = self.free_anchor;
        let anchor = self.slots.anchor_mut(at)?;
        let value = anchor.value.take()?;
        anchor.own.head = next;
        self.free_anchor = at;
        Some(value)
    }

    /// Puts an emptied slot on the free list.
    pub(super) fn release(&mut self, at: u32) {
        if IDS_COME_BACK {
            push_front(&mut self.slots, Chain::Queue, &mut self.free, at);
        } else {
            push_back(&mut self.slots, Chain::Queue, &mut self.free, at);
        }
        self.free_count = self.free_count.saturating_add(1);
    }

    /// Puts a request into a slot and on its lists. The caller has checked everything.
    pub(super) fn admit(
        &mut self,
        op: Op,
        object: ObjectQueue,
        payload: S::Payload,
        reopens: bool,
    ) -> Result<Id, (SendError, S::Payload)> {
        let Some(id) = self.claim() else {
            return Err((SendError::Full, payload));
        };
        let at = id.slot;
        let Some(slot) = self.slots.get_mut(at) else {
            return Err((SendError::Full, payload));
        };
        slot.request = Some(Request {
            payload,
            op,
            object: object.anchor,
            msg_id: 0,
            place: Place::Waiting,
            delivered: false,
            turn: 0,
            reopens,
        });
        self.rename(at);
        self.change_own(object.anchor, |slots, own| {
            push_back(slots, Chain::Own, own, at);
            reopens.then_some(true)
        });
        push_back(&mut self.slots, Chain::Age, &mut self.age, at);
        if reopens || LAST_IN_FIRST_OUT {
            push_front(&mut self.slots, Chain::Queue, &mut self.fifo, at);
        } else {
            push_back(&mut self.slots, Chain::Queue, &mut self.fifo, at);
        }
        self.live = self.live.saturating_add(1);
        Ok(id)
    }

    /// Takes a request out of everything.
    pub(super) fn take(&mut self, at: u32) -> Option<Taken<S::Payload>> {
        let request = self.request(at)?;
        let (owner, reopens) = (request.object, request.reopens);
        self.leave_place(at);
        unlink(&mut self.slots, Chain::Age, &mut self.age, at);
        self.change_own(owner, |slots, own| {
            unlink(slots, Chain::Own, own, at);
            reopens.then_some(false)
        });
        self.live = self.live.saturating_sub(1);
        let generation = self.slots.anchor(owner).map_or(0, |a| a.generation);
        let request = self.slots.get_mut(at)?.request.take()?;
        self.release(at);
        Some(Taken {
            op: request.op,
            object: ObjectQueue {
                anchor: owner,
                generation,
            },
            payload: request.payload,
        })
    }

    /// Changes the list of an object's requests and, where `change` says so, whether an OPEN that
    /// opens it anew is one of them; and sets a slot aside for that, or no longer.
    fn change_own(&mut self, at: u32, change: impl FnOnce(&mut S, &mut Ends) -> Option<bool>) {
        let Some(anchor) = self.anchor_at(at) else {
            return;
        };
        let (mut own, before) = (anchor.own, anchor.sets_aside());
        let reopening = change(&mut self.slots, &mut own);
        let Some(anchor) = self.anchor_at(at) else {
            return;
        };
        anchor.own = own;
        anchor.reopening = reopening.unwrap_or(anchor.reopening);
        self.set_aside = match (before, anchor.sets_aside()) {
            (false, true) => self.set_aside.saturating_add(1),
            (true, false) => self.set_aside.saturating_sub(1),
            _ => self.set_aside,
        };
    }

    /// Takes a request off the list of its place, or out of the count of what is out.
    pub(super) fn leave_place(&mut self, at: u32) {
        let Some(request) = self.request(at) else {
            return;
        };
        let (place, owner) = (request.place, request.object);
        match place {
            Place::Waiting => unlink(&mut self.slots, Chain::Queue, &mut self.fifo, at),
            Place::Out => self.out = self.out.saturating_sub(1),
            Place::Parked => {
                let mut parked = self.anchor_at(owner).map_or(Ends::EMPTY, |a| a.parked);
                unlink(&mut self.slots, Chain::Queue, &mut parked, at);
                if let Some(anchor) = self.anchor_at(owner) {
                    anchor.parked = parked;
                }
            }
        }
    }

    /// Moves a request that is out to the front of the FIFO; one that is not stays where it is.
    pub(super) fn requeue(&mut self, at: u32) {
        if self.no_longer_out(at) {
            push_front(&mut self.slots, Chain::Queue, &mut self.fifo, at);
        }
    }

    /// Moves a request that is out to the end of the FIFO; one that is not stays where it is.
    pub(super) fn requeue_last(&mut self, at: u32) {
        if self.no_longer_out(at) {
            push_back(&mut self.slots, Chain::Queue, &mut self.fifo, at);
        }
    }

    /// Notes that a request that was out waits again; whether it was.
    fn no_longer_out(&mut self, at: u32) -> bool {
        match self.request_mut(at) {
            Some(request) if request.place == Place::Out => request.place = Place::Waiting,
            _ => return false,
        }
        self.out = self.out.saturating_sub(1);
        true
    }

    /// Gives a request a message id that no daemon has seen.
    pub(super) fn rename(&mut self, at: u32) {
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        slot.epoch = match slot.epoch.checked_add(1) {
            Some(epoch) if epoch <= LAST_EPOCH && !IDS_COME_BACK => epoch,
            _ => 1,
        };
        let msg_id = (slot.epoch << SLOT_BITS) | at;
        if let Some(request) = &mut slot.request {
            request.msg_id = msg_id;
            request.delivered = false;
        }
    }

    /// The slot of the request that a reply to `msg_id` may complete.
    pub(super) fn replied(&self, msg_id: u32, kind: Kind) -> Option<u32> {
        let at = msg_id & (MAX_SLOTS - 1);
        let request = self.request(at)?;
        let known = request.delivered || UNREAD_IS_ANSWERED;
        (request.msg_id == msg_id && known && request.op.kind() == kind).then_some(at)
    }

    pub(super) fn view(&self, at: u32) -> Option<View<'_, S::Payload>> {
        let generation = self.slots.get(at)?.generation;
        let request = self.request(at)?;
        Some(View {
            ticket: Ticket {
                id: Id {
                    slot: at,
                    generation,
                },
                turn: request.turn,
            },
            msg_id: request.msg_id,
            op: request.op,
            object: ObjectQueue {
                anchor: request.object,
                generation: self.slots.anchor(request.object)?.generation,
            },
            payload: &request.payload,
        })
    }

    pub(super) fn by_id(&self, id: Id) -> Option<&Request<S::Payload>> {
        if self.slots.get(id.slot)?.generation != id.generation {
            return None;
        }
        self.request(id.slot)
    }

    pub(super) fn request(&self, at: u32) -> Option<&Request<S::Payload>> {
        self.slots.get(at)?.request.as_ref()
    }

    pub(super) fn request_mut(&mut self, at: u32) -> Option<&mut Request<S::Payload>> {
        self.slots.get_mut(at)?.request.as_mut()
    }

    /// The record of an object, if the name is not out of date.
    pub(super) fn anchor(&self, object: ObjectQueue) -> Option<&Anchor<S::Object>> {
        self.slots
            .anchor(object.anchor)
            .filter(|anchor| anchor.value.is_some() && anchor.generation == object.generation)
    }

    /// The record with that number, which is known to be an object's.
    pub(super) fn anchor_at(&mut self, at: u32) -> Option<&mut Anchor<S::Object>> {
        self.slots.anchor_mut(at)
    }
}
