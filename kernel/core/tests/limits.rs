// SPDX-License-Identifier: GPL-2.0-or-later
//! Limits, room, culling, and the status line that tells of them.

use cachefiles_core::limits::Free;
use cachefiles_core::limits::Limit;
use cachefiles_core::limits::Limits;
use cachefiles_core::limits::OutOfOrder;
use cachefiles_core::limits::Percent;
use cachefiles_core::limits::Percents;
use cachefiles_core::limits::Verdict;
use cachefiles_core::status::Status;
use cachefiles_core::status::STATUS_MAX;
use proptest::prelude::*;

const ALL: [Limit; 6] = [
    Limit::BlocksRun,
    Limit::BlocksCull,
    Limit::BlocksStop,
    Limit::FilesRun,
    Limit::FilesCull,
    Limit::FilesStop,
];

fn percent(number: u64) -> Percent {
    Percent::new(number).expect("below 100")
}

fn limits() -> Limits {
    Limits::new(&Percents::DEFAULT, 1000, 10_000)
}

fn check(files: u64, blocks: u64) -> Verdict {
    let free = Free {
        files,
        blocks,
        writing: 0,
    };
    limits().check(&free, 0, 0)
}

#[test]
fn the_defaults_are_seven_five_and_one() {
    let percents = Percents::default();
    let numbers = ALL.map(|limit| percents.get(limit).get());
    assert_eq!(numbers, [7, 5, 1, 7, 5, 1]);
    assert_eq!(percents.validate(), Ok(()));
}

#[test]
fn a_hundred_percent_is_no_limit() {
    assert_eq!(percent(99).get(), 99);
    for number in [100, 256, 256 + 7, u64::MAX] {
        assert_eq!(Percent::new(number), None, "{number}");
    }
}

#[test]
fn a_limit_that_does_not_fit_the_others_is_refused_and_changes_nothing() {
    let refused = [
        (Limit::BlocksRun, 5),
        (Limit::BlocksCull, 7),
        (Limit::BlocksCull, 1),
        (Limit::BlocksStop, 5),
        (Limit::FilesRun, 4),
        (Limit::FilesCull, 8),
        (Limit::FilesStop, 99),
    ];
    let mut percents = Percents::DEFAULT;
    for (limit, number) in refused {
        assert_eq!(percents.set(limit, percent(number)), Err(OutOfOrder));
    }
    assert_eq!(percents, Percents::DEFAULT);
}

#[test]
fn blocks_and_files_have_limits_of_their_own() {
    let mut percents = Percents::DEFAULT;
    percents.set(Limit::BlocksRun, percent(50)).unwrap();
    percents.set(Limit::BlocksCull, percent(40)).unwrap();
    percents.set(Limit::FilesStop, percent(0)).unwrap();
    let numbers = ALL.map(|limit| percents.get(limit).get());
    assert_eq!(numbers, [50, 40, 1, 7, 5, 0]);
}

#[test]
fn limits_are_whole_hundredths_of_the_filesystem() {
    let limits = Limits::new(&Percents::DEFAULT, 1099, 1_000_099);
    assert_eq!((limits.frun, limits.fcull, limits.fstop), (70, 50, 10));
    assert_eq!(
        (limits.brun, limits.bcull, limits.bstop),
        (70_000, 50_000, 10_000)
    );
    let small = Limits::new(&Percents::DEFAULT, 99, 99);
    assert_eq!(small, Limits::default());
}

#[test]
fn the_verdict_changes_exactly_at_the_limits() {
    let cases = [
        (1000, 10_000, Verdict::Plenty),
        (70, 700, Verdict::Plenty),
        (70, 699, Verdict::Enough),
        (69, 700, Verdict::Enough),
        (50, 500, Verdict::Enough),
        (70, 499, Verdict::Cull),
        (49, 700, Verdict::Cull),
        (10, 100, Verdict::Cull),
        (70, 99, Verdict::Stop),
        (9, 700, Verdict::Stop),
        (0, 0, Verdict::Stop),
    ];
    for (files, blocks, expected) in cases {
        assert_eq!(check(files, blocks), expected, "{files} {blocks}");
        assert_eq!(expected.has_room(), expected != Verdict::Stop);
    }
}

#[test]
fn what_is_wanted_and_what_is_in_flight_count_as_gone() {
    let free = Free {
        files: 10,
        blocks: 150,
        writing: 40,
    };
    assert_eq!(limits().check(&free, 0, 10), Verdict::Cull);
    assert_eq!(limits().check(&free, 0, 11), Verdict::Stop);
    assert_eq!(limits().check(&free, 1, 0), Verdict::Stop);
    assert_eq!(limits().check(&free, u64::MAX, u64::MAX), Verdict::Stop);
}

#[test]
fn a_full_filesystem_has_room_when_the_limit_is_zero() {
    let mut percents = Percents::DEFAULT;
    percents.set(Limit::BlocksStop, percent(0)).unwrap();
    percents.set(Limit::FilesStop, percent(0)).unwrap();
    let limits = Limits::new(&percents, 1000, 10_000);
    assert_eq!(limits.check(&Free::default(), 1, 1), Verdict::Cull);
}

#[test]
fn culling_begins_below_cull_and_goes_on_until_run() {
    let mut culling = false;
    let steps = [
        (600, false),
        (499, true),
        (600, true),
        (699, true),
        (700, false),
        (600, false),
        (50, true),
        (9999, false),
    ];
    for (blocks, expected) in steps {
        culling = check(1000, blocks).culling(culling);
        assert_eq!(culling, expected, "{blocks}");
    }
}

#[test]
fn the_status_line_is_the_one_that_daemons_know() {
    let status = Status {
        culling: true,
        limits: Limits {
            brun: 0x4,
            bcull: 0x5b,
            bstop: 0xc6,
            frun: 0x1,
            fcull: 0x2a,
            fstop: 0,
        },
        files_released: 0x10,
        blocks_released: 0xabc,
    };
    let mut out = [0; STATUS_MAX];
    let len = status.format(&mut out);
    let expected = "cull=1 frun=1 fcull=2a fstop=0 brun=4 bcull=5b bstop=c6 \
                    freleased=10 breleased=abc";
    assert_eq!(std::str::from_utf8(&out[..len]), Ok(expected));
}

proptest! {
    #[test]
    fn the_status_line_always_fits(
        culling in any::<bool>(), n in any::<[u64; 7]>(), files_released in any::<u32>(),
    ) {
        let [brun, bcull, bstop, frun, fcull, fstop, blocks_released] = n;
        let limits = Limits { brun, bcull, bstop, frun, fcull, fstop };
        let status = Status { culling, limits, files_released, blocks_released };
        let expected = format!(
            "cull={} frun={frun:x} fcull={fcull:x} fstop={fstop:x} brun={brun:x} bcull={bcull:x} \
             bstop={bstop:x} freleased={files_released:x} breleased={blocks_released:x}",
            u8::from(culling),
        );
        let mut out = [0; STATUS_MAX];
        let len = status.format(&mut out);
        prop_assert_eq!(&out[..len], expected.as_bytes());
    }

    #[test]
    fn limits_stay_in_order_whatever_is_set(
        sets in proptest::collection::vec((0usize..6, 0u64..100), 0..40),
        files in any::<u64>(), blocks in any::<u64>(),
    ) {
        let mut percents = Percents::DEFAULT;
        for (at, number) in sets {
            // Refusals are part of the game.
            let _ = percents.set(ALL[at], percent(number));
        }
        prop_assert_eq!(percents.validate(), Ok(()));
        let limits = Limits::new(&percents, files, blocks);
        prop_assert!(limits.bstop <= limits.bcull && limits.bcull <= limits.brun);
        prop_assert!(limits.fstop <= limits.fcull && limits.fcull <= limits.frun);
        prop_assert!(limits.brun <= blocks && limits.frun <= files);
    }

    #[test]
    fn more_room_never_means_a_worse_verdict(
        files in 0u64..1000, blocks in 0u64..10_000, more in 0u64..5000,
    ) {
        let rank = |verdict| match verdict {
            Verdict::Stop => 0,
            Verdict::Cull => 1,
            Verdict::Enough => 2,
            Verdict::Plenty => 3,
        };
        prop_assert!(rank(check(files + more, blocks)) >= rank(check(files, blocks)));
        prop_assert!(rank(check(files, blocks + more)) >= rank(check(files, blocks)));
    }
}
