// SPDX-License-Identifier: GPL-2.0-or-later
//! The request protocol under loom: the code that the kernel runs, in every order of its steps.
//!
//! Each scenario has up to three threads that meet over one object. Whatever their order, every
//! request ends exactly once, none is lost, none is delivered twice unless it was restored, handed
//! back or lost its fd, and nobody waits for ever (loom tells when no thread can go on). Each of
//! these is shown to be seen: with a bug planted in the protocol its scenario fails.
//!
//! `LOOM_MAX_PREEMPTIONS` bounds how often a thread is stopped where it need not be; 2 when unset.

mod world;

use std::panic::catch_unwind;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use cachefiles_core::protocol;
use cachefiles_core::protocol::Bug;
use cachefiles_core::protocol::Failure;
use loom::thread;
use world::planted;
use world::Failed;
use world::World;

/// Tries every order of the steps of `scenario` and returns how many there were.
fn explore(scenario: fn()) -> usize {
    let orders = Arc::new(AtomicUsize::new(0));
    let counted = orders.clone();
    let mut model = loom::model::Builder::new();
    model.preemption_bound = model.preemption_bound.or(Some(2));
    model.max_branches = 10_000;
    model.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        scenario();
    });
    orders.load(Ordering::Relaxed)
}

/// The protocol as it is passes in every order.
fn holds(name: &str, scenario: fn()) {
    let orders = explore(scenario);
    println!("{name}: {orders} orders");
    assert!(orders > 1, "{name} has only one order: nothing was tried");
}

/// The protocol with that bug fails in some order, saying this.
fn found(bug: Bug, scenario: fn(), said: &str) {
    let failure = catch_unwind(AssertUnwindSafe(|| explore(scenario)))
        .expect_err(&format!("{bug:?} was not found"));
    let message = failure
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| {
            failure
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
        })
        .unwrap_or_default();
    assert!(
        message.contains(said),
        "{bug:?} shows as {message:?}, not as {said:?}"
    );
}

/// Starts a thread that has the world too.
fn beside<const B: usize, T: 'static>(
    world: &Arc<World<B>>,
    act: impl FnOnce(Arc<World<B>>) -> T + 'static,
) -> thread::JoinHandle<T> {
    let world = world.clone();
    thread::spawn(move || act(world))
}

/// One READ, one daemon.
fn send_and_answer<const B: usize>() {
    let world = World::<B>::new(true, 1, 0);
    let daemon = beside(&world, move |world| world.serve());
    assert_eq!(world.read(0), Ok(()));
    daemon.join().unwrap();
    world.audit();
}

/// Two READs wait, and two threads of a daemon read one message each.
fn two_readers<const B: usize>() {
    let world = World::<B>::new(true, 0, 0);
    let waiters = [0, 1].map(|off| world.reader_waits(off));
    let other = beside(&world, move |world| {
        let delivery = world.take().expect("there is one for each");
        assert!(world.answer(&delivery));
    });
    let delivery = world.take().expect("there is one for each");
    assert!(world.answer(&delivery));
    drop(delivery);
    other.join().unwrap();
    for (off, waiter) in (0..).zip(&waiters) {
        assert_eq!(world.reader_ends(off, waiter), Ok(()));
    }
    world.audit();
}

/// A sender is killed while the daemon answers.
fn kill_and_answer<const B: usize>() {
    let world = World::<B>::new(true, 1, 0);
    let waiter = world.waiter();
    let daemon = beside(&world, move |world| world.serve());
    let killer = {
        let waiter = waiter.clone();
        thread::spawn(move || waiter.kill())
    };
    let result = world.read_as(0, &waiter);
    assert!(matches!(
        result,
        Ok(()) | Err(Failed::Protocol(Failure::Killed))
    ));
    daemon.join().unwrap();
    killer.join().unwrap();
    world.audit();
}

/// Two threads of the daemon answer the same READ: the second one is told that there is none.
fn answer_twice<const B: usize>() {
    let world = World::<B>::new(true, 1, 0);
    let sender = beside(&world, move |world| assert_eq!(world.read(0), Ok(())));
    let delivery = Arc::new(world.next().expect("a READ is sent"));
    let other = {
        let (world, delivery) = (world.clone(), delivery.clone());
        thread::spawn(move || world.answer(&delivery))
    };
    let mine = world.answer(&delivery);
    assert!(mine != other.join().unwrap(), "one answer counts");
    sender.join().unwrap();
    drop(delivery);
    world.audit();
}

/// The daemon dies while one READ is sent and another is answered.
fn send_and_die<const B: usize>() {
    let world = World::<B>::new(true, 2, 0);
    let senders = [0, 1].map(|off| {
        let world = world.clone();
        thread::spawn(move || world.read(off))
    });
    if let Some(delivery) = world.take() {
        world.answer(&delivery);
    }
    protocol::die(&*world);
    for sender in senders {
        let result = sender.join().unwrap();
        assert!(matches!(
            result,
            Ok(()) | Err(Failed::Protocol(Failure::Gone))
        ));
    }
    world.audit();
}

/// The daemon dies in one thread, answers in another, and the sender is killed.
fn kill_answer_and_die<const B: usize>() {
    let world = World::<B>::new(true, 1, 0);
    let waiter = world.waiter();
    let sender = {
        let (world, waiter) = (world.clone(), waiter.clone());
        thread::spawn(move || world.read_as(0, &waiter))
    };
    let dying = beside(&world, move |world| protocol::die(&*world));
    if let Some(delivery) = world.take() {
        waiter.kill();
        world.answer(&delivery);
    }
    dying.join().unwrap();
    let _ = sender.join().unwrap();
    world.audit();
}

/// An object goes while one of its READs is under way.
fn read_and_close<const B: usize>() {
    let world = World::<B>::new(true, 2, 1);
    let reader = beside(&world, move |world| world.read(0));
    let closer = beside(&world, move |world| world.close());
    world.serve();
    closer.join().unwrap();
    let result = reader.join().unwrap();
    assert!(matches!(
        result,
        Ok(()) | Err(Failed::Protocol(Failure::Gone))
    ));
    world.audit();
}

/// An object goes while READs of it are sent, with no daemon that would answer them.
fn read_and_withdraw<const B: usize>() {
    let world = World::<B>::new(true, 2, 0);
    let senders = [0, 1].map(|off| {
        let world = world.clone();
        thread::spawn(move || world.read(off))
    });
    protocol::withdraw(&*world, world.queue);
    for sender in senders {
        assert_eq!(sender.join().unwrap(), Err(Failed::Protocol(Failure::Gone)));
    }
    world.audit();
}

/// A delivery fails: the READ comes again.
fn hand_back<const B: usize>() {
    let world = World::<B>::new(true, 1, 1);
    let failing = beside(&world, move |world| {
        if let Some(failed) = world.take() {
            assert!(protocol::hand_back(&*world, &failed));
        }
    });
    let daemon = beside(&world, move |world| world.serve());
    assert_eq!(world.read(0), Ok(()));
    failing.join().unwrap();
    daemon.join().unwrap();
    world.audit();
}

/// As before, and an answer to what was handed back comes all the same: it does not count.
fn hand_back_and_late_answer<const B: usize>() {
    let world = World::<B>::new(true, 1, 1);
    let sender = beside(&world, move |world| assert_eq!(world.read(0), Ok(())));
    let failed = world.next().expect("a READ is sent");
    assert!(protocol::hand_back(&*world, &failed));
    let daemon = beside(&world, move |world| world.serve());
    assert!(!world.answer(&failed), "an answer to what was handed back");
    drop(failed);
    sender.join().unwrap();
    daemon.join().unwrap();
    world.audit();
}

/// A delivery fails late: another daemon has restored and read the READ meanwhile. Its answer
/// counts, whenever it comes.
fn hand_back_after_restore<const B: usize>() {
    let world = World::<B>::new(true, 1, 2);
    let sender = beside(&world, move |world| assert_eq!(world.read(0), Ok(())));
    let failed = world.next().expect("a READ is sent");
    let heir = beside(&world, move |world| {
        protocol::restore(&*world);
        while let Some(delivery) = world.next() {
            assert!(
                world.answer(&delivery),
                "the latest delivery's answer counts"
            );
        }
    });
    protocol::hand_back(&*world, &failed);
    drop(failed);
    sender.join().unwrap();
    heir.join().unwrap();
    world.audit();
}

/// A daemon dies with a READ in its hands; one that polls already gets it when another restores.
fn restore<const B: usize>() {
    let world = World::<B>::new(true, 1, 1);
    let heir = beside(&world, move |world| world.serve());
    let dying = beside(&world, move |world| {
        drop(world.take());
        protocol::restore(&*world);
    });
    assert_eq!(world.read(0), Ok(()));
    heir.join().unwrap();
    dying.join().unwrap();
    world.audit();
}

/// As before, but the old daemon answers too, late: one of the two answers counts.
fn restore_and_late_answer<const B: usize>() {
    let world = World::<B>::new(true, 1, 1);
    let sender = beside(&world, move |world| assert_eq!(world.read(0), Ok(())));
    let old = world.next().expect("a READ is sent");
    let heir = beside(&world, move |world| {
        protocol::restore(&*world);
        world.serve();
    });
    world.answer(&old);
    drop(old);
    sender.join().unwrap();
    heir.join().unwrap();
    world.audit();
}

/// The daemon closes the object's fd with a READ in its hands: it gets an OPEN, then the READ again.
fn fd_goes<const B: usize>() {
    let world = World::<B>::new(true, 1, 1);
    let waiter = world.waiter();
    let sender = {
        let (world, waiter) = (world.clone(), waiter.clone());
        thread::spawn(move || world.read_as(0, &waiter))
    };
    let daemon = beside(&world, move |world| {
        drop(world.next());
        protocol::fd_released(&*world, world.queue, 1);
        world.serve();
    });
    sender.join().unwrap().unwrap();
    daemon.join().unwrap();
    // The OPEN has nobody who waits for it: it may be left when the READ has its answer.
    protocol::withdraw(&*world, world.queue);
    world.audit();
}

/// As before, and the sender is killed.
fn fd_goes_and_kill<const B: usize>() {
    let world = World::<B>::new(true, 1, 1);
    let waiter = world.waiter();
    let daemon = beside(&world, move |world| {
        drop(world.next());
        protocol::fd_released(&*world, world.queue, 1);
        world.serve();
    });
    let killer = {
        let waiter = waiter.clone();
        thread::spawn(move || waiter.kill())
    };
    let _ = world.read_as(0, &waiter);
    killer.join().unwrap();
    daemon.join().unwrap();
    protocol::withdraw(&*world, world.queue);
    world.audit();
}

/// A READ waits for an object that has no fd, and the OPEN that would get it one is refused or the
/// object goes.
fn reopen_refused_and_close<const B: usize>() {
    let world = World::<B>::new(false, 2, 0);
    let reader = beside(&world, move |world| world.read(0));
    let closer = beside(&world, move |world| world.close());
    while let Some(delivery) = world.next() {
        world.refuse(&delivery);
    }
    closer.join().unwrap();
    assert_eq!(reader.join().unwrap(), Err(Failed::Protocol(Failure::Gone)));
    world.audit();
}

/// An object is opened, by its sender and, for a READ that came first, anew; and the daemon dies.
fn open_and_die<const B: usize>() {
    let world = World::<B>::new(false, 2, 0);
    let opener = beside(&world, move |world| world.open());
    let reader = beside(&world, move |world| world.read(0));
    while let Some(delivery) = world.take() {
        world.answer(&delivery);
    }
    protocol::die(&*world);
    let _ = opener.join().unwrap();
    let _ = reader.join().unwrap();
    world.audit();
}

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        /// No bug is planted.
        mod holds {
            $(
                #[test]
                fn $name() {
                    super::holds(stringify!($name), super::$name::<0>);
                }
            )*
        }
    };
}

scenarios!(
    send_and_answer,
    two_readers,
    kill_and_answer,
    answer_twice,
    send_and_die,
    kill_answer_and_die,
    read_and_close,
    read_and_withdraw,
    hand_back,
    hand_back_and_late_answer,
    hand_back_after_restore,
    restore,
    restore_and_late_answer,
    fd_goes,
    fd_goes_and_kill,
    reopen_refused_and_close,
    open_and_die,
);

macro_rules! bugs {
    ($($test:ident: $bug:ident in $scenario:ident says $said:literal),* $(,)?) => {
        /// What each property is worth: a bug against it is found.
        mod found {
            use super::*;

            $(
                #[test]
                fn $test() {
                    let scenario = $scenario::<{ planted(Bug::$bug) }>;
                    super::found(Bug::$bug, scenario, $said);
                }
            )*
        }
    };
}

bugs!(
    delivered_twice: LooksThenDelivers in two_readers says "is delivered 2 times",
    ended_twice: FindsThenTakes in answer_twice says "ended twice",
    ended_after_a_kill: FindsThenTakes in kill_and_answer says "after its sender has left",
    left_too_early: LeavesWhenKilled in kill_and_answer says "after its sender has left",
    lost_in_death: DiesLate in send_and_die says "deadlock",
    lost_in_withdrawal: WithdrawsLate in read_and_withdraw says "deadlock",
    daemon_sleeps: WakesEarly in send_and_answer says "deadlock",
    lost_in_delivery: ForgetsToHandBack in hand_back says "deadlock",
    answered_late: ForgetsToHandBack in hand_back_and_late_answer says "what was handed back",
    anothers_delivery: HandsBackAnothers in hand_back_after_restore says "answer counts",
    restored_unheard: RestoresSilently in restore says "deadlock",
    lost_with_the_fd: ForgetsTheFd in fd_goes says "deadlock",
);
