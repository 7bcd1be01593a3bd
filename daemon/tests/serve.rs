// SPDX-License-Identifier: GPL-2.0-or-later
//! What the serving threads promise, against a device without a kernel.

mod support;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use support::BlobState;
use support::PAGE;
use support::Server;
use support::content;
use support::eventually;

const MIB: u64 = 1 << 20;

/// How often each page was fetched.
fn most_fetches_of_a_page(blob: &BlobState) -> usize {
    let reads = blob.reads.lock().unwrap();
    (0..blob.size.div_ceil(PAGE))
        .map(|page| {
            let at = page * PAGE;
            reads
                .iter()
                .filter(|(off, len)| (*off..off + len).contains(&at))
                .count()
        })
        .max()
        .unwrap_or(0)
}

#[test]
fn one_fetch_serves_all_who_ask_for_the_same_range() {
    let server = Server::start(16);
    let (object, file, blob) = server.opened(b"image", 3 * MIB + 5);
    *blob.delay.lock().unwrap() = Duration::from_millis(60);
    let asked: Vec<u32> = (0..16)
        .map(|reader| server.fake.send_read(object, reader % 4 * 8192, 16384))
        .collect();
    for msg_id in asked {
        server.fake.wait_for(msg_id);
    }
    assert_eq!(blob.reads.lock().unwrap().len(), 1, "one fetch of 1 MiB");
    assert_eq!(file.bytes(0, MIB).unwrap(), content(0, MIB, blob.size));
    assert!(server.context.stats.reads_joined.get() >= 1);
    server.fake.assert_clean();
}

#[test]
fn a_read_that_waits_for_anothers_fetch_holds_no_thread() {
    let server = Server::start(2);
    let (slow, _, blob) = server.opened(b"slow", MIB);
    let (quick, file, _) = server.opened(b"quick", MIB);
    let gate = blob.gate.lock().unwrap();
    let asked: Vec<u32> = (0..10)
        .map(|_| server.fake.send_read(slow, 0, PAGE))
        .collect();
    // The other thread takes all ten, one after the other, and is free for this one.
    server.fake.read(quick, 0, PAGE);
    assert!(file.bytes(0, PAGE).is_some());
    assert!(asked.iter().all(|msg_id| !server.fake.is_answered(*msg_id)));
    drop(gate);
    for msg_id in asked {
        server.fake.wait_for(msg_id);
    }
    assert_eq!(blob.reads.lock().unwrap().len(), 1);
    server.fake.assert_clean();
}

#[test]
fn around_a_hole_an_aligned_mebibyte_is_filled_and_the_end_is_padded_with_zeros() {
    let server = Server::start(1);
    let size = 2 * MIB + 100;
    let (object, file, blob) = server.opened(b"image", size);
    server.fake.read(object, MIB + 12288, PAGE);
    assert_eq!(file.bytes(MIB, MIB).unwrap(), content(MIB, MIB, size));
    assert!(file.bytes(MIB - 1, 1).is_none());
    server.fake.read(object, 2 * MIB, 100);
    assert_eq!(
        file.bytes(2 * MIB, PAGE).unwrap(),
        content(2 * MIB, PAGE, size)
    );
    eventually("the fill ends", || {
        server.context.stats.filled.get() == MIB + PAGE
    });
    assert_eq!(*blob.reads.lock().unwrap(), [(MIB, MIB), (2 * MIB, 100)]);
    server.fake.assert_clean();
}

#[test]
fn what_an_earlier_daemon_left_is_not_fetched_again() {
    let server = Server::start(2);
    let (object, file, blob) = server.opened(b"image", MIB);
    for page in [0, 1, 7, 255] {
        let at = page * PAGE;
        file.store(at, &content(at, PAGE, MIB));
    }
    server.fake.read(object, 100 * PAGE, PAGE);
    eventually("the rest is filled", || file.bytes(0, MIB).is_some());
    assert_eq!(file.bytes(0, MIB).unwrap(), content(0, MIB, MIB));
    let mut reads = blob.reads.lock().unwrap().clone();
    assert_eq!(
        reads[0],
        (8 * PAGE, 247 * PAGE),
        "what is asked for comes first"
    );
    reads.sort();
    assert_eq!(reads, [(2 * PAGE, 5 * PAGE), (8 * PAGE, 247 * PAGE)]);
    // All is there: the kernel only has to look again.
    server.fake.read(object, 0, MIB);
    assert_eq!(blob.reads.lock().unwrap().len(), 2);
    server.fake.assert_clean();
}

#[test]
fn short_reads_and_short_writes_go_on_until_all_is_there() {
    let server = Server::start(2);
    let (object, file, blob) = server.opened(b"image", MIB);
    *blob.longest_read.lock().unwrap() = 70_001;
    // Not whole pages: the last page of each is written again.
    *file.longest_write.lock().unwrap() = 10_000;
    server.fake.read(object, 0, PAGE);
    assert_eq!(file.bytes(0, MIB).unwrap(), content(0, MIB, MIB));
    assert!(file.writes.lock().unwrap().len() >= 128);
    server.fake.assert_clean();
}

#[test]
fn when_the_disk_is_full_what_is_asked_for_is_tried_alone() {
    let server = Server::start(2);
    let (object, file, blob) = server.opened(b"image", 2 * MIB);
    *file.room.lock().unwrap() = 4 * PAGE;
    server.fake.read(object, 8 * PAGE, 2 * PAGE);
    let expected = content(8 * PAGE, 2 * PAGE, 2 * MIB);
    assert_eq!(file.bytes(8 * PAGE, 2 * PAGE).unwrap(), expected);
    assert!(file.bytes(0, PAGE).is_none());
    assert_eq!(
        blob.reads.lock().unwrap().len(),
        1,
        "fetched once all the same"
    );
    assert_eq!(server.context.stats.reads_failed.get(), 0);

    *file.room.lock().unwrap() = 0;
    server.fake.read(object, MIB, PAGE);
    assert!(file.bytes(MIB, PAGE).is_none());
    assert_eq!(
        server.context.stats.reads_failed.get(),
        1,
        "completed without data"
    );

    *file.room.lock().unwrap() = u64::MAX;
    server.fake.read(object, MIB, PAGE);
    assert_eq!(file.bytes(MIB, MIB).unwrap(), content(MIB, MIB, 2 * MIB));
    server.fake.assert_clean();
}

#[test]
fn while_the_kernel_wants_room_only_what_is_asked_for_is_fetched() {
    let server = Server::start(1);
    let (object, file, blob) = server.opened(b"image", MIB);
    server.fake.want_culling(true);
    server.fake.read(object, 5 * PAGE + 10, 20);
    assert_eq!(*blob.reads.lock().unwrap(), [(5 * PAGE, PAGE)]);
    server.fake.want_culling(false);
    server.fake.read(object, 0, 1);
    eventually("all is filled", || file.bytes(0, MIB).is_some());
    server.fake.assert_clean();
}

#[test]
fn a_missing_blob_fails_its_open_alone() {
    let server = Server::start(2);
    let (before, _, _) = server.opened(b"before", MIB);
    assert_eq!(server.fake.open(b"missing").err(), Some(-2));
    let (after, _, _) = server.opened(b"after", MIB);
    server.fake.read(before, 0, PAGE);
    server.fake.read(after, 0, PAGE);
    assert_eq!(server.context.stats.opens_failed.get(), 1);
    server.fake.assert_clean();
}

#[test]
fn a_blob_that_shrinks_fails_the_readers_of_what_is_gone_and_never_becomes_zeros() {
    let server = Server::start(4);
    let (object, file, blob) = server.opened(b"image", 2 * MIB);
    let (other, other_file, _) = server.opened(b"other", MIB);
    *blob.now.lock().unwrap() = MIB / 2 + 10;
    server.fake.read(object, MIB / 2, PAGE);
    assert!(
        file.bytes(MIB / 2, 1).is_none(),
        "not even the page that is there in part"
    );
    server.fake.read(object, MIB, PAGE);
    assert!(file.bytes(MIB, 1).is_none());
    assert_eq!(server.context.stats.reads_failed.get(), 2);

    server.fake.read(object, 0, PAGE);
    assert_eq!(
        file.bytes(0, PAGE).unwrap(),
        content(0, PAGE, 2 * MIB),
        "what is left is served"
    );
    server.fake.read(other, 0, PAGE);
    assert!(other_file.bytes(0, MIB).is_some());
    assert_eq!(server.context.stats.reads_failed.get(), 2);
    server.fake.assert_clean();
}

#[test]
fn readers_parked_behind_a_failing_fetch_fail_with_it_and_the_rest_look_again() {
    let server = Server::start(8);
    let (object, file, blob) = server.opened(b"image", MIB);
    *blob.bad_from.lock().unwrap() = 10 * PAGE;
    let gate = blob.gate.lock().unwrap();
    let first = server.fake.send_read(object, 20 * PAGE, PAGE);
    eventually("it is taken", || server.fake.untaken() == 0);
    std::thread::sleep(Duration::from_millis(20));
    let same: Vec<u32> = (0..5)
        .map(|_| server.fake.send_read(object, 20 * PAGE, PAGE))
        .collect();
    let good = server.fake.send_read(object, PAGE, PAGE);
    eventually("all are parked", || {
        server.context.stats.reads_joined.get() == 6
    });
    drop(gate);
    for msg_id in same.into_iter().chain([first, good]) {
        server.fake.wait_for(msg_id);
    }
    assert_eq!(server.context.stats.reads_failed.get(), 6);
    // The mebibyte and the page alone for the first; for the good one the same.
    assert_eq!(server.context.stats.fetches.get(), 4);
    assert!(file.bytes(PAGE, PAGE).is_some());
    server.fake.assert_clean();
}

#[test]
fn an_end_waits_for_what_was_taken_and_takes_nothing_more() {
    let mut server = Server::start(3);
    let (object, file, blob) = server.opened(b"image", 64 * MIB);
    let gate = blob.gate.lock().unwrap();
    let taken: Vec<u32> = (0..3)
        .map(|at| server.fake.send_read(object, at * MIB, PAGE))
        .collect();
    eventually("three are taken", || server.fake.untaken() == 0);
    let late: Vec<u32> = (10..20)
        .map(|at| server.fake.send_read(object, at * MIB, PAGE))
        .collect();
    server.context.stop.request();
    std::thread::sleep(Duration::from_millis(30));
    assert!(taken.iter().all(|msg_id| !server.fake.is_answered(*msg_id)));
    drop(gate);
    server.stop();
    assert!(taken.iter().all(|msg_id| server.fake.is_answered(*msg_id)));
    assert!(file.bytes(0, PAGE).is_some());
    assert_eq!(server.fake.untaken(), late.len(), "left for a successor");
    server.fake.assert_nothing_wrong();
}

#[test]
fn a_close_closes_the_descriptor_and_a_late_read_does_no_harm() {
    let server = Server::start(2);
    let (object, file, _) = server.opened(b"image", MIB);
    server.fake.close(object);
    eventually("it is closed", || *file.closed.lock().unwrap());
    server.fake.send_read(object, 0, PAGE);
    let (next, next_file, _) = server.opened(b"next", MIB);
    server.fake.read(next, 0, PAGE);
    assert!(!*next_file.closed.lock().unwrap());
    assert_eq!(server.context.objects.count(), 1);
    server.fake.assert_nothing_wrong();
}

#[test]
fn reads_of_nothing_are_completed_too() {
    let server = Server::start(1);
    let (empty, _, _) = server.opened(b"empty", 0);
    let (object, _, _) = server.opened(b"image", 100);
    for (object, off, len) in [
        (empty, 0, PAGE),
        (object, PAGE, PAGE),
        (object, 0, 0),
        (object, u64::MAX, 5),
    ] {
        server.fake.read(object, off, len);
    }
    assert_eq!(server.context.stats.reads_failed.get(), 4);
    // As far as there is something.
    server.fake.read(object, 0, u64::MAX);
    assert_eq!(server.context.stats.reads_failed.get(), 4);
    server.fake.assert_clean();
}

#[test]
fn a_dead_cache_ends_every_thread() {
    let server = Server::start(3);
    server.fake.die();
    for _ in 0..3 {
        let end = server.ends.recv_timeout(support::PATIENCE).unwrap();
        assert!(matches!(end, cachefilesd::serve::Ended::Dead(_)), "{end:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever is asked for in whatever order, and whatever goes wrong: each request is answered
    /// once, what is stored is right, and nothing is fetched twice while nothing goes wrong.
    #[test]
    fn every_request_is_answered_exactly_once(
        size in 1u64..5 * MIB,
        reads in proptest::collection::vec((0u64..5 * MIB, 1u64..300_000), 1..60),
        threads in 1usize..9,
        room in proptest::option::of(0u64..2 * MIB),
        bad in proptest::option::of(0u64..5 * MIB),
        present in proptest::collection::vec(0u64..1280, 0..20),
    ) {
        let server = Server::start(threads);
        let (object, file, blob) = server.opened(b"image", size);
        for page in present {
            if page * PAGE < size {
                file.store(page * PAGE, &content(page * PAGE, PAGE, size));
            }
        }
        *file.room.lock().unwrap() = room.unwrap_or(u64::MAX);
        *blob.bad_from.lock().unwrap() = bad.unwrap_or(u64::MAX);
        let asked: Vec<u32> = reads
            .iter()
            .map(|(off, len)| server.fake.send_read(object, *off, *len))
            .collect();
        for msg_id in asked {
            server.fake.wait_for(msg_id);
        }
        let failing = room.is_some() || bad.is_some();
        for (off, len) in reads {
            let end = (off + len).min(size);
            if off >= end {
                continue;
            }
            let stored = file.bytes(off, end - off);
            prop_assert!(failing || stored.is_some());
            if let Some(stored) = stored {
                prop_assert!(stored == content(off, end - off, size));
            }
        }
        if !failing {
            prop_assert!(most_fetches_of_a_page(&blob) <= 1);
        }
        drop(Arc::clone(&server.context));
        server.fake.assert_clean();
    }
}
