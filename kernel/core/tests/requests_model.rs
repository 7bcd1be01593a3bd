// SPDX-License-Identifier: GPL-2.0-or-later
//! The request table against a model: a vector of requests and a vector that is the FIFO. Any
//! sequence of operations, with names that may be out of date, has the same results on both.

mod support;

use std::collections::HashSet;

use cachefiles_core::requests::Id;
use cachefiles_core::requests::Kind;
use cachefiles_core::requests::ObjectQueue;
use cachefiles_core::requests::Op;
use cachefiles_core::requests::SendError;
use cachefiles_core::requests::Table;
use cachefiles_core::requests::Taken;
use cachefiles_core::requests::Ticket;
use proptest::prelude::*;
use proptest::sample::Index;
use support::Store;
use support::Tag;

/// Slots that the table begins with, and gains at a time.
const CHUNK: usize = 12;

/// Anchors likewise.
const ANCHORS: usize = 3;

/// One operation. An index picks from all names that were ever given out.
#[derive(Debug, Clone)]
enum Step {
    AddObject,
    RemoveObject(Index),
    Enqueue(Index, Kind),
    Reopen(Index),
    Deliver,
    HandBack(Index),
    Done(Index),
    Park,
    Unpark(Index),
    Complete(Index, Kind, Option<Index>),
    Remove(Index),
    Restore,
    Renew(Index),
    PopObject(Index),
    PopWaiting(Index, Kind),
    PopAny,
    Grow,
    GrowAnchors,
    Die,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        1 => Just(Kind::Open),
        1 => Just(Kind::Close),
        3 => Just(Kind::Read),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    prop_oneof![
        3 => Just(Step::AddObject),
        1 => index().prop_map(Step::RemoveObject),
        20 => (index(), kind()).prop_map(|(o, k)| Step::Enqueue(o, k)),
        2 => index().prop_map(Step::Reopen),
        16 => Just(Step::Deliver),
        3 => index().prop_map(Step::HandBack),
        4 => index().prop_map(Step::Done),
        4 => Just(Step::Park),
        2 => index().prop_map(Step::Unpark),
        12 => (index(), kind(), proptest::option::of(index()))
            .prop_map(|(m, k, o)| Step::Complete(m, k, o)),
        3 => index().prop_map(Step::Remove),
        2 => Just(Step::Restore),
        2 => index().prop_map(Step::Renew),
        2 => index().prop_map(Step::PopObject),
        2 => (index(), kind()).prop_map(|(o, k)| Step::PopWaiting(o, k)),
        1 => Just(Step::PopAny),
        1 => Just(Step::Grow),
        1 => Just(Step::GrowAnchors),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Waiting,
    Out,
    Parked,
}

/// A request, as the model has it. `tag` is its name and its age.
#[derive(Debug, Clone)]
struct Entry {
    tag: u32,
    id: Id,
    op: Op,
    object: usize,
    place: Place,
    /// The id under which it was delivered, until it loses it.
    msg_id: Option<u32>,
    turn: u32,
    reopening: bool,
}

struct Both {
    table: Table<Store>,
    /// Every object ever added; `None` when it was removed.
    objects: Vec<(ObjectQueue, Option<u32>)>,
    live: Vec<Entry>,
    fifo: Vec<u32>,
    /// Per object, what is parked.
    parked: Vec<Vec<u32>>,
    slots: usize,
    anchors: usize,
    dead: bool,
    next_tag: u32,
    ids: Vec<(Id, u32)>,
    tickets: Vec<(Ticket, u32, u32)>,
    msg_ids: Vec<u32>,
    seen: HashSet<u32>,
}

impl Both {
    fn new() -> Both {
        Both {
            table: Table::new(Store::new(CHUNK, ANCHORS)),
            objects: Vec::new(),
            live: Vec::new(),
            fifo: Vec::new(),
            parked: Vec::new(),
            slots: CHUNK,
            anchors: ANCHORS,
            dead: false,
            next_tag: 0,
            ids: Vec::new(),
            tickets: Vec::new(),
            msg_ids: Vec::new(),
            seen: HashSet::new(),
        }
    }

    /// Slots that are neither used nor set aside: one is for each object that has requests, and
    /// none of them the OPEN that it is set aside for.
    fn available(&self) -> usize {
        let with_requests: HashSet<usize> = self.live.iter().map(|e| e.object).collect();
        let reopening = self.live.iter().filter(|e| e.reopening).count();
        self.slots - self.live.len() - (with_requests.len() - reopening)
    }

    fn has_requests(&self, object: usize) -> bool {
        self.live.iter().any(|e| e.object == object)
    }

    fn objects_in_it(&self) -> usize {
        self.objects.iter().filter(|o| o.1.is_some()).count()
    }

    fn object(&self, index: &Index) -> Option<(usize, ObjectQueue, bool)> {
        if self.objects.is_empty() {
            return None;
        }
        let at = index.index(self.objects.len());
        let (queue, value) = self.objects[at];
        Some((at, queue, value.is_some()))
    }

    fn position(&self, tag: u32) -> Option<usize> {
        self.live.iter().position(|entry| entry.tag == tag)
    }

    /// Takes an entry out of the model.
    fn forget(&mut self, at: usize) -> Entry {
        let entry = self.live.remove(at);
        self.fifo.retain(|tag| *tag != entry.tag);
        self.parked[entry.object].retain(|tag| *tag != entry.tag);
        entry
    }

    /// What the table took is what the model says, which forgets it too.
    fn expect_taken(&mut self, taken: Option<Taken<Tag>>, at: Option<usize>) {
        let expected = at.map(|at| self.forget(at));
        match (taken, expected) {
            (None, None) => {}
            (Some(taken), Some(entry)) => {
                assert_eq!(taken.payload, Tag(entry.tag));
                assert_eq!(taken.op, entry.op);
                assert_eq!(taken.object, self.objects[entry.object].0);
            }
            (taken, expected) => panic!("table took {taken:?}, model {expected:?}"),
        }
    }

    /// Puts an entry that is out at the front of the FIFO.
    fn requeue(&mut self, at: usize) {
        let entry = &mut self.live[at];
        if entry.place == Place::Out {
            entry.place = Place::Waiting;
            self.fifo.insert(0, entry.tag);
        }
    }

    fn admit(&mut self, id: Id, op: Op, object: usize, reopening: bool) {
        let tag = self.next_tag;
        self.next_tag += 1;
        self.ids.push((id, tag));
        self.live.push(Entry {
            tag,
            id,
            op,
            object,
            place: Place::Waiting,
            msg_id: None,
            turn: 0,
            reopening,
        });
        if reopening {
            self.fifo.insert(0, tag);
        } else {
            self.fifo.push(tag);
        }
    }

    fn enqueue(&mut self, index: &Index, kind: Kind) {
        let Some((at, queue, exists)) = self.object(index) else {
            return;
        };
        let tag = self.next_tag;
        let op = match kind {
            Kind::Open => Op::Open,
            Kind::Close => Op::Close,
            Kind::Read => Op::Read {
                off: u64::from(tag) * 4096,
                len: 4096,
            },
        };
        let expected = if self.dead {
            Err(SendError::Dead)
        } else if !exists {
            Err(SendError::NoObject)
        } else if self.available() < if self.has_requests(at) { 1 } else { 2 } {
            Err(SendError::Full)
        } else {
            Ok(())
        };
        match self.table.enqueue(op, queue, Tag(tag)) {
            Ok(id) => {
                assert_eq!(expected, Ok(()));
                self.admit(id, op, at, false);
            }
            Err((error, payload)) => {
                assert_eq!(expected, Err(error));
                assert_eq!(payload, Tag(tag));
            }
        }
    }

    fn reopen(&mut self, index: &Index) {
        let Some((at, queue, exists)) = self.object(index) else {
            return;
        };
        let tag = self.next_tag;
        let busy = self.live.iter().any(|e| e.object == at && e.reopening);
        let expected = if self.dead {
            Err(SendError::Dead)
        } else if !exists || busy {
            Err(SendError::NoObject)
        } else if !self.has_requests(at) && self.available() == 0 {
            Err(SendError::Full)
        } else {
            Ok(())
        };
        match self.table.enqueue_reopen(queue, Tag(tag)) {
            Ok(id) => {
                assert_eq!(expected, Ok(()));
                self.admit(id, Op::Open, at, true);
            }
            Err((error, payload)) => {
                assert_eq!(payload, Tag(tag));
                assert_eq!(expected, Err(error));
            }
        }
    }

    fn deliver(&mut self) {
        let Some(view) = self.table.deliver() else {
            assert!(self.fifo.is_empty());
            return;
        };
        let tag = self.fifo.remove(0);
        let at = self.live.iter().position(|e| e.tag == tag).unwrap();
        let entry = &mut self.live[at];
        assert_eq!(view.payload, &Tag(tag));
        assert_eq!((view.op, view.ticket.id()), (entry.op, entry.id));
        assert_eq!(view.object, self.objects[entry.object].0);
        entry.place = Place::Out;
        entry.turn += 1;
        match entry.msg_id {
            Some(msg_id) => assert_eq!(view.msg_id, msg_id),
            None => assert!(self.seen.insert(view.msg_id), "{} came back", view.msg_id),
        }
        entry.msg_id = Some(view.msg_id);
        self.msg_ids.push(view.msg_id);
        self.tickets.push((view.ticket, tag, entry.turn));
    }

    fn hand_back(&mut self, index: &Index) {
        if self.tickets.is_empty() {
            return;
        }
        let (ticket, tag, turn) = self.tickets[index.index(self.tickets.len())];
        let at = self.position(tag).filter(|at| {
            let entry = &self.live[*at];
            entry.turn == turn && entry.place == Place::Out
        });
        assert_eq!(self.table.is_current(ticket), at.is_some());
        assert_eq!(self.table.hand_back(ticket), at.is_some());
        if let Some(at) = at {
            self.live[at].msg_id = None;
            self.requeue(at);
        }
    }

    fn done(&mut self, index: &Index) {
        if self.tickets.is_empty() {
            return;
        }
        let (ticket, tag, _) = self.tickets[index.index(self.tickets.len())];
        let at = self.position(tag).filter(|at| {
            let entry = &self.live[*at];
            entry.op == Op::Close && entry.msg_id.is_some()
        });
        let taken = self.table.deliver_done(ticket);
        self.expect_taken(taken, at);
    }

    fn park(&mut self) {
        assert_eq!(self.table.park(), !self.fifo.is_empty());
        if self.fifo.is_empty() {
            return;
        }
        let tag = self.fifo.remove(0);
        let at = self.position(tag).unwrap();
        self.live[at].place = Place::Parked;
        self.parked[self.live[at].object].push(tag);
    }

    fn unpark(&mut self, index: &Index) {
        let Some((at, queue, _)) = self.object(index) else {
            return;
        };
        let mut parked = std::mem::take(&mut self.parked[at]);
        assert_eq!(self.table.unpark(queue), !parked.is_empty());
        for tag in &parked {
            let at = self.position(*tag).unwrap();
            self.live[at].place = Place::Waiting;
        }
        parked.append(&mut self.fifo);
        self.fifo = parked;
    }

    fn complete(&mut self, msg_id: &Index, kind: Kind, object: &Option<Index>) {
        if self.msg_ids.is_empty() {
            return;
        }
        let msg_id = self.msg_ids[msg_id.index(self.msg_ids.len())];
        let object = object.as_ref().and_then(|index| self.object(index));
        let found = self
            .live
            .iter()
            .position(|e| e.msg_id == Some(msg_id) && e.op.kind() == kind);
        let seen = self.table.find(msg_id, kind).map(|view| view.payload.0);
        assert_eq!(seen, found.map(|at| self.live[at].tag));
        let at = found.filter(|at| match object {
            Some((object, _, exists)) => exists && self.live[*at].object == object,
            None => true,
        });
        let taken = self
            .table
            .complete(msg_id, kind, object.map(|(_, queue, _)| queue))
            .ok();
        self.expect_taken(taken, at);
    }

    fn restore(&mut self) {
        let out: Vec<u32> = self
            .live
            .iter()
            .filter(|e| e.place == Place::Out)
            .map(|e| e.tag)
            .collect();
        assert_eq!(self.table.restore() as usize, out.len());
        let Some(youngest) = out.last().copied() else {
            return;
        };
        // `live` is in order of age: everything up to the youngest that was out comes first.
        let mut fifo = Vec::new();
        for entry in &mut self.live {
            if entry.tag <= youngest && entry.place != Place::Parked {
                entry.place = Place::Waiting;
                fifo.push(entry.tag);
            }
        }
        let rest = self.fifo.iter().filter(|tag| **tag > youngest);
        fifo.extend(rest);
        self.fifo = fifo;
    }

    fn renew(&mut self, index: &Index) {
        let Some((object, queue, _)) = self.object(index) else {
            return;
        };
        let mut renewed = 0;
        for at in (0..self.live.len()).rev() {
            let entry = &mut self.live[at];
            if entry.object == object && entry.place == Place::Out {
                self.requeue(at);
                renewed += 1;
            }
        }
        assert_eq!(self.table.renew_object(queue), renewed);
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::AddObject => {
                let value = self.objects.len() as u32;
                let expected = self.objects_in_it() < self.anchors;
                match self.table.add_object(value) {
                    Ok(queue) => {
                        assert!(expected);
                        self.objects.push((queue, Some(value)));
                        self.parked.push(Vec::new());
                    }
                    Err(error) => {
                        assert!(!expected);
                        assert_eq!(error, (SendError::Full, value));
                    }
                }
            }
            Step::RemoveObject(index) => {
                let Some((at, queue, _)) = self.object(index) else {
                    return;
                };
                let busy = self.has_requests(at);
                assert_eq!(self.table.has_requests(queue), busy);
                let expected = if busy {
                    None
                } else {
                    self.objects[at].1.take()
                };
                assert_eq!(self.table.remove_object(queue), expected);
            }
            Step::Enqueue(index, kind) => self.enqueue(index, *kind),
            Step::Reopen(index) => self.reopen(index),
            Step::Deliver => self.deliver(),
            Step::HandBack(index) => self.hand_back(index),
            Step::Done(index) => self.done(index),
            Step::Park => self.park(),
            Step::Unpark(index) => self.unpark(index),
            Step::Complete(msg_id, kind, object) => self.complete(msg_id, *kind, object),
            Step::Remove(index) => {
                if self.ids.is_empty() {
                    return;
                }
                let (id, tag) = self.ids[index.index(self.ids.len())];
                let at = self.position(tag);
                let taken = self.table.remove(id);
                self.expect_taken(taken, at);
            }
            Step::Restore => self.restore(),
            Step::Renew(index) => self.renew(index),
            Step::PopObject(index) => {
                let Some((object, queue, _)) = self.object(index) else {
                    return;
                };
                let at = self.live.iter().position(|e| e.object == object);
                let taken = self.table.pop_object(queue);
                self.expect_taken(taken, at);
            }
            Step::PopWaiting(index, kind) => {
                let Some((object, queue, _)) = self.object(index) else {
                    return;
                };
                let at = self.live.iter().position(|e| {
                    e.object == object && e.place != Place::Out && e.op.kind() == *kind
                });
                let taken = self.table.pop_object_waiting(queue, *kind);
                self.expect_taken(taken, at);
            }
            Step::PopAny => {
                let at = (!self.live.is_empty()).then_some(0);
                let taken = self.table.pop_any();
                self.expect_taken(taken, at);
            }
            Step::Grow => {
                self.table.slots_mut().extend(CHUNK);
                self.table.grow();
                self.slots += CHUNK;
            }
            Step::GrowAnchors => {
                self.table.slots_mut().extend_anchors(ANCHORS);
                self.anchors += ANCHORS;
            }
            Step::Die => {
                self.table.die();
                self.dead = true;
            }
        }
    }

    /// What can be seen without changing anything is the same.
    fn compare(&self) {
        let next = self.table.peek().map(|view| view.payload.0);
        assert_eq!(next, self.fifo.first().copied());
        assert_eq!(self.table.has_waiting(), !self.fifo.is_empty());
        assert_eq!(self.table.live() as usize, self.live.len());
        let out = self.live.iter().filter(|e| e.place == Place::Out).count();
        assert_eq!(self.table.out() as usize, out);
        assert_eq!(self.table.is_dead(), self.dead);
        let full = self.objects_in_it() == self.anchors;
        assert_eq!(self.table.needs_anchors(), full);
        for (queue, value) in &self.objects {
            assert_eq!(self.table.object(*queue).copied(), *value);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_table_does_what_the_model_does(
        steps in proptest::collection::vec(step(), 1..160),
        dies in any::<bool>(),
    ) {
        let mut both = Both::new();
        for step in &steps {
            both.run(step);
            both.compare();
        }
        if dies {
            both.run(&Step::Die);
        }
        for step in steps.iter().take(if dies { 40 } else { 0 }) {
            both.run(step);
            both.compare();
        }
        // Everything that went in comes out.
        while !both.live.is_empty() {
            both.run(&Step::PopAny);
            both.compare();
        }
        prop_assert!(both.table.pop_any().is_none());
        // And the table is as good as new.
        prop_assert_eq!(both.available(), both.slots);
    }
}
