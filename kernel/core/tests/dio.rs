// SPDX-License-Identifier: GPL-2.0-or-later
//! What of a write reaches the disk, and which accesses fail on request.

use cachefiles_core::dio;
use cachefiles_core::dio::Fit;
use cachefiles_core::dio::Misfit;
use cachefiles_core::dio::BLOCK;
use cachefiles_core::inject::fault;
use cachefiles_core::inject::Access;
use cachefiles_core::inject::Fault;
use proptest::prelude::*;

const NOWHERE: u64 = u64::MAX;

#[test]
fn whole_blocks_pass_as_they_are() {
    let whole = Fit {
        skip: 0,
        grow: 0,
        len: 8192,
    };
    assert_eq!(dio::fit(4096, 8192, NOWHERE, 0), Ok(whole));
    assert_eq!(dio::fit(0, 8192, 8192, 4096), Ok(whole));
}

#[test]
fn ragged_ends_are_left_out() {
    let cut = Fit {
        skip: 4095,
        grow: 0,
        len: 4096,
    };
    assert_eq!(dio::fit(1, 4095 + 4096 + 1, NOWHERE, 0), Ok(cut));
}

#[test]
fn without_a_whole_block_nothing_is_written() {
    assert_eq!(dio::fit(0, 4095, NOWHERE, 4096), Err(Misfit));
    assert_eq!(dio::fit(1, 4095, NOWHERE, 4096), Err(Misfit));
    assert_eq!(dio::fit(1, 8190, NOWHERE, 4096), Err(Misfit));
    assert_eq!(dio::fit(0, 0, 0, 4096), Err(Misfit));
}

#[test]
fn the_last_block_of_the_file_is_filled_up() {
    let filled = Fit {
        skip: 0,
        grow: 4095,
        len: 4096,
    };
    assert_eq!(dio::fit(8192, 1, 8193, 4095), Ok(filled));
    // Not without the memory for it, and not inside of the file.
    assert_eq!(dio::fit(8192, 1, 8193, 4094), Err(Misfit));
    assert_eq!(dio::fit(8192, 1, 8194, 4095), Err(Misfit));
}

#[test]
fn sizes_round_up_to_what_a_file_can_have() {
    assert_eq!(dio::round_up(0), Some(0));
    assert_eq!(dio::round_up(1), Some(4096));
    assert_eq!(dio::round_up(4096), Some(4096));
    assert_eq!(dio::round_up(i64::MAX as u64), None);
    assert_eq!(dio::round_up(u64::MAX), None);
}

proptest! {
    #[test]
    fn what_remains_is_aligned_and_inside(
        start in prop_oneof![0..40_000u64, u64::MAX - 20_000..=u64::MAX],
        len in 0..40_000usize,
        tail in 0..2u64,
        spare in 0..5000usize,
    ) {
        let end = start.saturating_add(len as u64);
        let Ok(fit) = dio::fit(start, len, end.saturating_add(tail), spare) else {
            return Ok(());
        };
        prop_assert!(fit.len > 0);
        prop_assert_eq!(fit.len as u64 % BLOCK, 0);
        prop_assert_eq!((start + fit.skip as u64) % BLOCK, 0);
        prop_assert!((fit.skip as u64) < BLOCK);
        prop_assert!(fit.grow <= spare);
        prop_assert!(fit.grow == 0 || tail == 0);
        prop_assert!(fit.skip + fit.len <= len + fit.grow);
        // No whole block is left out.
        prop_assert!(((len + fit.grow - fit.skip - fit.len) as u64) < BLOCK);
    }

    #[test]
    fn a_misfit_has_no_whole_block(start in 0..40_000u64, len in 0..20_000usize) {
        if dio::fit(start, len, NOWHERE, 0) == Err(Misfit) {
            let first = start.next_multiple_of(BLOCK);
            prop_assert!(first + BLOCK > start + len as u64);
        }
    }
}

#[test]
fn errors_on_request() {
    use Access::Read;
    use Access::Remove;
    use Access::Write;
    for access in [Read, Write, Remove] {
        assert_eq!(fault(0, access), None);
        assert_eq!(fault(2, access), Some(Fault::Io));
        assert_eq!(fault(3, access), Some(Fault::Io));
        // Bits without a meaning have none.
        assert_eq!(fault(0xffff_fffc, access), None);
    }
    assert_eq!(fault(1, Write), Some(Fault::NoSpace));
    assert_eq!(fault(1, Read), None);
    assert_eq!(fault(1, Remove), None);
}
