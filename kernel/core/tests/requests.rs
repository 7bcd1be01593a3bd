// SPDX-License-Identifier: GPL-2.0-or-later
//! The request table's promises, one by one.

mod support;

use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;

use cachefiles_core::requests::Id;
use cachefiles_core::requests::Kind;
use cachefiles_core::requests::NotFound;
use cachefiles_core::requests::ObjectQueue;
use cachefiles_core::requests::Op;
use cachefiles_core::requests::SendError;
use cachefiles_core::requests::Table;
use cachefiles_core::requests::Ticket;
use cachefiles_core::requests::LOW_WATER;
use cachefiles_core::requests::MAX_SLOTS;
use rand::Rng;
use rand::SeedableRng;
use support::Store;
use support::Tag;

const READ: Op = Op::Read { off: 0, len: 4096 };

/// Anchors of a table of which a test wants to know nothing: enough.
const ANCHORS: usize = 64;

fn table(slots: usize) -> Table<Store> {
    Table::new(Store::new(slots, ANCHORS))
}

fn object(table: &mut Table<Store>) -> ObjectQueue {
    table.add_object(0).expect("a slot for the object")
}

fn send(table: &mut Table<Store>, object: ObjectQueue, op: Op, tag: u32) -> Id {
    table.enqueue(op, object, Tag(tag)).expect("a slot")
}

/// Delivers the next request: what to call it, and whose it is.
fn deliver(table: &mut Table<Store>) -> Option<(Ticket, u32, u32)> {
    table
        .deliver()
        .map(|view| (view.ticket, view.msg_id, view.payload.0))
}

/// The tags of everything that waits, in the order in which it would be delivered.
fn drain(table: &mut Table<Store>) -> Vec<u32> {
    std::iter::from_fn(|| deliver(table).map(|(_, _, tag)| tag)).collect()
}

#[test]
fn requests_are_delivered_in_the_order_of_their_arrival() {
    let mut table = table(32);
    let (a, b) = (object(&mut table), object(&mut table));
    for tag in 0..10 {
        let to = if tag % 3 == 0 { a } else { b };
        send(&mut table, to, READ, tag);
    }
    assert_eq!(drain(&mut table), (0..10).collect::<Vec<_>>());
    assert!(!table.has_waiting());
    assert_eq!((table.live(), table.out()), (10, 10));
}

#[test]
fn a_request_is_handed_out_once() {
    let mut table = table(8);
    let a = object(&mut table);
    send(&mut table, a, READ, 1);
    assert!(deliver(&mut table).is_some());
    assert!(deliver(&mut table).is_none());
}

#[test]
fn peek_shows_what_deliver_would_take_and_takes_nothing() {
    let mut table = table(8);
    let a = object(&mut table);
    send(&mut table, a, Op::Open, 1);
    for _ in 0..2 {
        let view = table.peek().expect("it waits");
        assert_eq!((view.op, view.object, view.payload), (Op::Open, a, &Tag(1)));
    }
    let seen = table.peek().map(|view| view.msg_id);
    assert_eq!(deliver(&mut table).map(|(_, msg_id, _)| msg_id), seen);
}

#[test]
fn a_reply_completes_what_was_delivered_and_only_once() {
    let mut table = table(8);
    let a = object(&mut table);
    send(&mut table, a, READ, 7);
    let (_, msg_id, _) = deliver(&mut table).unwrap();
    let taken = table.complete(msg_id, Kind::Read, Some(a)).unwrap();
    assert_eq!((taken.op, taken.object, taken.payload), (READ, a, Tag(7)));
    assert_eq!(table.complete(msg_id, Kind::Read, Some(a)), Err(NotFound));
    assert_eq!((table.live(), table.out()), (0, 0));
}

#[test]
fn what_was_not_delivered_cannot_be_completed() {
    let mut table = table(8);
    let a = object(&mut table);
    send(&mut table, a, READ, 1);
    let msg_id = table.peek().unwrap().msg_id;
    assert_eq!(table.complete(msg_id, Kind::Read, None), Err(NotFound));
    assert!(table.find(msg_id, Kind::Read).is_none());
    assert!(table.has_waiting());
}

#[test]
fn a_reply_of_another_kind_or_from_another_object_has_no_effect() {
    let mut table = table(16);
    let (a, b) = (object(&mut table), object(&mut table));
    send(&mut table, a, READ, 1);
    send(&mut table, a, Op::Close, 2);
    let (_, read, _) = deliver(&mut table).unwrap();
    let (_, close, _) = deliver(&mut table).unwrap();
    assert_eq!(table.complete(read, Kind::Open, None), Err(NotFound));
    assert_eq!(table.complete(read, Kind::Read, Some(b)), Err(NotFound));
    assert_eq!(table.complete(close, Kind::Read, Some(a)), Err(NotFound));
    assert!(table.complete(read, Kind::Read, Some(a)).is_ok());
}

#[test]
fn no_number_that_was_not_handed_out_completes_anything() {
    let mut table = table(8);
    let a = object(&mut table);
    send(&mut table, a, READ, 1);
    let (_, msg_id, _) = deliver(&mut table).unwrap();
    for bit in 0..32 {
        let other = msg_id ^ (1 << bit);
        assert_eq!(table.complete(other, Kind::Read, None), Err(NotFound));
    }
    for other in [0, u32::MAX, msg_id & (MAX_SLOTS - 1)] {
        assert_eq!(table.complete(other, Kind::Read, None), Err(NotFound));
    }
    assert!(table.complete(msg_id, Kind::Read, None).is_ok());
}

#[test]
fn what_is_handed_back_is_next_and_has_a_new_id() {
    let mut table = table(16);
    let a = object(&mut table);
    for tag in 0..3 {
        send(&mut table, a, Op::Open, tag);
    }
    let (ticket, old, _) = deliver(&mut table).unwrap();
    assert!(table.hand_back(ticket));
    assert_eq!(table.complete(old, Kind::Open, None), Err(NotFound));
    let (_, new, tag) = deliver(&mut table).unwrap();
    assert_eq!(tag, 0);
    assert_ne!(new, old);
    assert_eq!(table.complete(old, Kind::Open, None), Err(NotFound));
    assert_eq!(
        table.complete(new, Kind::Open, None).unwrap().payload,
        Tag(0)
    );
    assert_eq!(drain(&mut table), [1, 2]);
}

#[test]
fn an_open_can_be_refused_after_its_fd_was_closed() {
    let mut table = table(16);
    let a = object(&mut table);
    send(&mut table, a, Op::Open, 0);
    let (_, id, _) = deliver(&mut table).unwrap();
    assert_eq!(table.renew_object(a), 1);
    let taken = table.complete(id, Kind::Open, None).unwrap();
    assert_eq!(taken.payload, Tag(0));
    assert!(!table.has_waiting());
}

#[test]
fn what_is_handed_back_last_lets_the_others_go_first() {
    let mut table = table(16);
    let a = object(&mut table);
    for tag in 0..3 {
        send(&mut table, a, READ, tag);
    }
    let (ticket, old, _) = deliver(&mut table).unwrap();
    assert!(table.hand_back_last(ticket));
    assert_eq!(table.complete(old, Kind::Read, None), Err(NotFound));
    assert_eq!(drain(&mut table), [1, 2, 0]);
}

#[test]
fn handing_back_does_not_undo_another_delivery() {
    let mut table = table(16);
    let a = object(&mut table);
    send(&mut table, a, READ, 1);
    let (first, msg_id, _) = deliver(&mut table).unwrap();
    table.restore();
    let (_, again, _) = deliver(&mut table).unwrap();
    assert_eq!(again, msg_id);
    assert!(!table.hand_back(first));
    assert!(!table.has_waiting());
    assert!(table.complete(msg_id, Kind::Read, Some(a)).is_ok());
    assert!(!table.hand_back(first));
}

#[test]
fn a_failed_delivery_of_what_was_restored_meanwhile_changes_nothing() {
    let mut table = table(16);
    let a = object(&mut table);
    send(&mut table, a, READ, 1);
    send(&mut table, a, READ, 2);
    let (ticket, msg_id, _) = deliver(&mut table).unwrap();
    table.restore();
    assert!(!table.is_current(ticket));
    assert!(!table.hand_back(ticket));
    assert!(table.complete(msg_id, Kind::Read, None).is_ok());
    assert_eq!(drain(&mut table), [2]);
}

#[test]
fn a_close_completes_when_it_is_read() {
    let mut table = table(8);
    let a = object(&mut table);
    send(&mut table, a, Op::Close, 4);
    let (ticket, msg_id, _) = deliver(&mut table).unwrap();
    let taken = table.deliver_done(ticket).expect("it is out");
    assert_eq!((taken.op, taken.payload), (Op::Close, Tag(4)));
    assert!(table.deliver_done(ticket).is_none());
    assert_eq!(table.complete(msg_id, Kind::Close, None), Err(NotFound));
}

#[test]
fn being_read_completes_nothing_but_a_close() {
    let mut table = table(8);
    let a = object(&mut table);
    send(&mut table, a, READ, 1);
    send(&mut table, a, Op::Open, 2);
    while let Some((ticket, _, _)) = deliver(&mut table) {
        assert!(table.deliver_done(ticket).is_none());
    }
    assert_eq!(table.live(), 2);
}

#[test]
fn a_killed_waiter_wins_the_removal_or_learns_that_it_lost() {
    let mut table = table(8);
    let a = object(&mut table);
    let waiting = send(&mut table, a, READ, 1);
    let out = send(&mut table, a, READ, 2);
    assert_eq!(table.remove(waiting).unwrap().payload, Tag(1));
    assert!(table.remove(waiting).is_none());
    let (_, msg_id, _) = deliver(&mut table).unwrap();
    assert!(table.complete(msg_id, Kind::Read, None).is_ok());
    assert!(table.remove(out).is_none());
}

#[test]
fn a_waiters_name_survives_handing_back_and_not_the_request() {
    let mut table = table(4);
    let a = object(&mut table);
    let id = send(&mut table, a, READ, 1);
    let (ticket, _, _) = deliver(&mut table).unwrap();
    assert_eq!(ticket.id(), id);
    table.hand_back(ticket);
    assert!(table.remove(id).is_some());
    // Two slots are left for requests, so that this one has the old one's slot soon.
    for tag in 0..5 {
        let next = send(&mut table, a, READ, tag);
        assert!(table.remove(id).is_none());
        assert!(table.remove(next).is_some());
    }
}

#[test]
fn restore_renews_what_is_out_oldest_first_and_before_younger_requests() {
    let mut table = table(32);
    let a = object(&mut table);
    for tag in 0..8 {
        send(&mut table, a, READ, tag);
    }
    // 0 to 3 are out, and 1 and 0 came out twice, so that they are no longer in order.
    let tickets: Vec<_> = (0..4).map(|_| deliver(&mut table).unwrap().0).collect();
    table.hand_back(tickets[0]);
    table.hand_back(tickets[1]);
    deliver(&mut table).unwrap();
    assert_eq!(table.restore(), 3);
    assert_eq!(table.out(), 0);
    assert_eq!(drain(&mut table), (0..8).collect::<Vec<_>>());
}

#[test]
fn restore_keeps_ids_and_replies_to_earlier_deliveries_stay_good() {
    let mut table = table(16);
    let a = object(&mut table);
    for tag in 0..3 {
        send(&mut table, a, READ, tag);
    }
    let ids: Vec<_> = (0..3).map(|_| deliver(&mut table).unwrap().1).collect();
    table.restore();
    // The old daemon's reply, before anyone has read the request again.
    assert!(table.complete(ids[1], Kind::Read, Some(a)).is_ok());
    let (_, again, tag) = deliver(&mut table).unwrap();
    assert_eq!((again, tag), (ids[0], 0));
    assert_eq!(drain(&mut table), [2]);
}

#[test]
fn restore_of_a_table_without_deliveries_changes_nothing() {
    let mut table = table(16);
    let a = object(&mut table);
    assert_eq!(table.restore(), 0);
    send(&mut table, a, READ, 0);
    send(&mut table, a, READ, 1);
    assert_eq!(table.restore(), 0);
    assert_eq!(drain(&mut table), [0, 1]);
}

#[test]
fn a_dead_table_takes_nothing_in_and_gives_everything_back() {
    let mut table = table(16);
    let a = object(&mut table);
    for tag in 0..4 {
        send(&mut table, a, READ, tag);
    }
    let (_, msg_id, _) = deliver(&mut table).unwrap();
    table.die();
    assert_eq!(
        table.enqueue(READ, a, Tag(9)),
        Err((SendError::Dead, Tag(9)))
    );
    assert_eq!(
        table.enqueue_reopen(a, Tag(9)),
        Err((SendError::Dead, Tag(9)))
    );
    let popped: Vec<_> = std::iter::from_fn(|| table.pop_any())
        .map(|taken| taken.payload.0)
        .collect();
    assert_eq!(popped, [0, 1, 2, 3]);
    assert_eq!(table.complete(msg_id, Kind::Read, None), Err(NotFound));
    assert_eq!((table.live(), table.out()), (0, 0));
    assert_eq!(table.remove_object(a), Some(0));
}

#[test]
fn an_objects_requests_are_cancelled_wherever_they_are_and_no_others() {
    let mut table = table(32);
    let (a, b) = (object(&mut table), object(&mut table));
    for tag in 0..6 {
        send(&mut table, a, READ, tag);
        send(&mut table, b, READ, 100 + tag);
    }
    for _ in 0..3 {
        deliver(&mut table).unwrap();
    }
    assert!(table.park());
    assert!(table.park());
    let popped: Vec<_> = std::iter::from_fn(|| table.pop_object(b))
        .map(|taken| taken.payload.0)
        .collect();
    assert_eq!(popped, (100..106).collect::<Vec<_>>());
    assert!(!table.has_requests(b));
    assert_eq!(table.remove_object(b), Some(0));
    table.unpark(a);
    assert_eq!(drain(&mut table), [2, 3, 4, 5]);
}

#[test]
fn parked_requests_wait_for_the_reopening_and_keep_their_turn() {
    let mut table = table(32);
    let (a, b) = (object(&mut table), object(&mut table));
    send(&mut table, a, READ, 0);
    send(&mut table, a, READ, 1);
    send(&mut table, b, READ, 2);
    assert!(table.park());
    table.enqueue_reopen(a, Tag(50)).expect("set aside");
    let (_, open, tag) = deliver(&mut table).unwrap();
    assert_eq!(tag, 50);
    assert!(table.park());
    assert_eq!(deliver(&mut table).map(|(_, _, tag)| tag), Some(2));
    assert!(!table.has_waiting());
    assert!(!table.park());
    assert!(table.complete(open, Kind::Open, None).is_ok());
    assert!(table.unpark(a));
    assert!(!table.unpark(a));
    assert_eq!(drain(&mut table), [0, 1]);
}

#[test]
fn an_object_can_be_opened_anew_when_no_slot_is_free() {
    let mut table = table(4);
    let (a, b) = (object(&mut table), object(&mut table));
    send(&mut table, a, READ, 0);
    send(&mut table, a, READ, 1);
    // The last but one is free, but could not be opened anew.
    assert_eq!(
        table.enqueue(READ, b, Tag(2)),
        Err((SendError::Full, Tag(2)))
    );
    send(&mut table, a, READ, 1);
    assert_eq!(
        table.enqueue(READ, a, Tag(2)),
        Err((SendError::Full, Tag(2)))
    );
    let reopen = table.enqueue_reopen(a, Tag(3)).expect("set aside");
    assert_eq!(
        table.enqueue_reopen(a, Tag(4)),
        Err((SendError::NoObject, Tag(4)))
    );
    table.remove(reopen).expect("it waits");
    assert_eq!(
        table.enqueue(READ, a, Tag(2)),
        Err((SendError::Full, Tag(2)))
    );
    assert!(table.enqueue_reopen(a, Tag(5)).is_ok());
}

#[test]
fn an_object_without_requests_uses_no_slot() {
    let mut table = Table::new(Store::new(3, 2));
    let (a, b) = (object(&mut table), object(&mut table));
    assert!(table.needs_anchors());
    assert_eq!(table.add_object(5), Err((SendError::Full, 5)));
    for tag in 0..100 {
        let id = send(&mut table, if tag % 2 == 0 { a } else { b }, READ, tag);
        table.remove(id).expect("it waits");
    }
    // Nobody's request, so that no slot is set aside for it.
    let first = send(&mut table, a, READ, 0);
    send(&mut table, a, READ, 1);
    assert_eq!(
        table.enqueue_reopen(b, Tag(2)),
        Err((SendError::Full, Tag(2)))
    );
    table.remove(first).expect("it waits");
    table.enqueue_reopen(b, Tag(2)).expect("a slot");
    table.slots_mut().extend_anchors(1);
    assert!(!table.needs_anchors());
    object(&mut table);
}

#[test]
fn closing_an_objects_fd_makes_what_was_out_new_again() {
    let mut table = table(32);
    let (a, b) = (object(&mut table), object(&mut table));
    send(&mut table, a, Op::Open, 0);
    send(&mut table, b, READ, 1);
    send(&mut table, a, READ, 2);
    send(&mut table, a, READ, 3);
    let ids: Vec<_> = (0..4).map(|_| deliver(&mut table).unwrap().1).collect();
    send(&mut table, b, READ, 4);
    assert_eq!(table.renew_object(a), 3);
    let (_, open, tag) = deliver(&mut table).unwrap();
    assert_eq!((open, tag), (ids[0], 0));
    assert!(table.complete(ids[2], Kind::Read, Some(a)).is_ok());
    assert_eq!(drain(&mut table), [3, 4]);
}

#[test]
fn only_what_no_daemon_has_is_popped_as_waiting() {
    let mut table = table(16);
    let a = object(&mut table);
    send(&mut table, a, Op::Close, 0);
    send(&mut table, a, READ, 1);
    send(&mut table, a, Op::Close, 2);
    deliver(&mut table).unwrap();
    let taken = table.pop_object_waiting(a, Kind::Close).unwrap();
    assert_eq!(taken.payload, Tag(2));
    assert!(table.pop_object_waiting(a, Kind::Close).is_none());
    assert_eq!(table.live(), 2);
}

#[test]
fn an_object_with_requests_stays_and_one_that_is_gone_is_refused() {
    let mut table = table(16);
    let a = table.add_object(11).unwrap();
    *table.object_mut(a).unwrap() += 1;
    let id = send(&mut table, a, READ, 0);
    assert_eq!(table.remove_object(a), None);
    table.remove(id);
    assert_eq!(table.object(a), Some(&12));
    assert_eq!(table.remove_object(a), Some(12));
    assert_eq!(table.remove_object(a), None);
    assert_eq!(table.object(a), None);
    assert_eq!(
        table.enqueue(READ, a, Tag(1)),
        Err((SendError::NoObject, Tag(1)))
    );
    // Whoever has the slot now is not mistaken for it.
    for _ in 0..8 {
        object(&mut table);
    }
    assert_eq!(table.object(a), None);
    assert!(table.pop_object(a).is_none());
}

#[test]
fn a_table_asks_for_slots_in_time_and_uses_new_ones() {
    let mut table = table(0);
    assert!(table.needs_chunk());
    table.slots_mut().extend(LOW_WATER as usize + 8);
    table.grow();
    assert!(!table.needs_chunk());
    let a = object(&mut table);
    let mut sent = 0;
    while !table.needs_chunk() {
        send(&mut table, a, READ, sent);
        sent += 1;
    }
    table.slots_mut().extend(1000);
    table.grow();
    assert!(!table.needs_chunk());
    for tag in sent..1000 {
        send(&mut table, a, READ, tag);
    }
    assert_eq!(drain(&mut table), (0..1000).collect::<Vec<_>>());
}

#[test]
fn ids_are_positive_as_an_int_and_come_back_late() {
    // The worst case: all the time only as many slots are free as the table keeps.
    let mut table = table(LOW_WATER as usize + 2);
    let a = object(&mut table);
    let mut seen = HashSet::new();
    for cycle in 0..u32::from(u16::MAX) * 8 {
        send(&mut table, a, READ, cycle);
        let (_, msg_id, _) = deliver(&mut table).unwrap();
        assert!(i32::try_from(msg_id).is_ok_and(|id| id > 0), "{msg_id}");
        assert!(seen.insert(msg_id), "{msg_id} came back in cycle {cycle}");
        table.complete(msg_id, Kind::Read, Some(a)).unwrap();
    }
}

/// Many readers and a daemon of several threads that sometimes fails to take a request: between a
/// request's enqueueing and its own delivery there are never more deliveries than there were
/// requests pending then, and threads.
#[test]
fn distribution_is_fair() {
    const THREADS: usize = 4;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(6);
    let mut table = table(4096);
    let objects: Vec<_> = (0..40).map(|_| object(&mut table)).collect();
    let mut bounds: HashMap<u32, (u64, u64)> = HashMap::new();
    let mut taken: VecDeque<u32> = VecDeque::new();
    let (mut deliveries, mut tag, mut checked) = (0u64, 0u32, 0u32);
    for _ in 0..100_000 {
        if rng.random_bool(0.5) && table.live() < 1000 {
            let at = objects[rng.random_range(0..objects.len())];
            bounds.insert(tag, (deliveries, u64::from(table.live())));
            send(&mut table, at, READ, tag);
            tag += 1;
        } else if taken.len() < THREADS {
            let Some((_, msg_id, tag)) = deliver(&mut table) else {
                continue;
            };
            let (before, pending) = bounds.remove(&tag).expect("delivered once");
            assert!(deliveries - before <= pending + THREADS as u64);
            checked += 1;
            deliveries += 1;
            taken.push_back(msg_id);
        } else {
            let msg_id = taken.remove(rng.random_range(0..THREADS)).unwrap();
            table.complete(msg_id, Kind::Read, None).unwrap();
        }
    }
    assert!(checked > 10_000);
}
