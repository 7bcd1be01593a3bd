// SPDX-License-Identifier: GPL-2.0-or-later
//! Elements in chunks: every index has its own place, and memory grows with what is in it.

use cachefiles_core::chunks;
use cachefiles_core::chunks::CHUNKS;

#[test]
fn indices_fill_one_chunk_after_the_other() {
    let (mut chunk, mut at) = (0, 0);
    for index in 0..chunks::capacity(CHUNKS) {
        assert_eq!(chunks::locate(index), (chunk, at), "of {index}");
        at += 1;
        if at == chunks::len(chunk) {
            chunk += 1;
            at = 0;
            assert_eq!(chunks::capacity(chunk), index + 1);
        }
    }
    assert_eq!((chunk, at), (CHUNKS, 0));
}

#[test]
fn a_chunk_is_a_seventh_to_a_quarter_of_what_there_is_and_256() {
    let mut before = chunks::capacity(0);
    assert_eq!(before, 0);
    for chunk in 0..CHUNKS {
        let len = chunks::len(chunk) as u32;
        let of = before + 256;
        assert!((of / 7..=of / 4).contains(&len), "{chunk}: {len} of {of}");
        before += len;
        assert_eq!(chunks::capacity(chunk + 1), before);
    }
    assert_eq!(before, 16_776_960);
}

#[test]
fn beyond_the_last_chunk_nothing_is_found() {
    assert_eq!(chunks::len(CHUNKS), 0);
    assert_eq!(chunks::len(usize::MAX), 0);
    assert_eq!(chunks::capacity(usize::MAX), chunks::capacity(CHUNKS));
    for index in [chunks::capacity(CHUNKS), 1 << 30, u32::MAX] {
        assert!(chunks::locate(index).0 >= CHUNKS, "of {index}");
    }
}
