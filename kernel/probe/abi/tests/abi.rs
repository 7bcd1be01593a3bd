// SPDX-License-Identifier: GPL-2.0-or-later
//! Records survive the crossing, and content tells objects apart.

use cachefiles_probe_abi::call;
use cachefiles_probe_abi::call::Call;
use cachefiles_probe_abi::call::State;
use cachefiles_probe_abi::content::Content;

#[test]
fn a_record_comes_back_as_it_went() {
    let call = Call {
        op: 1,
        flags: u64::MAX,
        output_len: 7,
        digest: 0x0102_0304_0506_0708,
        ..Call::default()
    };
    let bytes = call.to_bytes();
    assert_eq!(Call::from_bytes(&bytes), call);
    assert_eq!(&bytes[bytes.len() - 8..], call.digest.to_ne_bytes());
    // The size stands in the ioctl's number, and must fit its 14 bits.
    assert_eq!((call::IOC_CALL >> 16) & 0x3fff, call::BYTES as u32);
}

#[test]
fn a_state_comes_back_as_it_went() {
    let state = State {
        state: 3,
        flags: 4,
        active: 1,
        accesses: 2,
        invalidations: 5,
        size: 4096,
    };
    let bytes: Vec<u8> = state.words().iter().flat_map(|w| w.to_ne_bytes()).collect();
    assert_eq!(bytes.len(), State::BYTES);
    assert_eq!(State::from_bytes(&bytes), state);
}

#[test]
fn content_is_the_same_wherever_it_is_made() {
    let content = Content::new(b"erofs,vol\0", b"key\0\xff", 0);
    let mut whole = [0; 100];
    content.fill(0, &mut whole);
    for from in 0..40 {
        let mut part = [0; 33];
        content.fill(from as u64, &mut part);
        assert_eq!(part, whole[from..from + 33], "from {from}");
        assert_eq!(content.check(from as u64, &part), None);
    }
    assert_eq!(content, Content::new(b"erofs,vol", b"key\0\xff", 0));
}

#[test]
fn a_wrong_byte_is_found_and_counted() {
    let content = Content::new(b"v", b"k", 0);
    let mut part = [0; 64];
    content.fill(4096, &mut part);
    part[10] ^= 1;
    part[63] ^= 0x80;
    assert_eq!(content.check(4096, &part), Some((2, 4106)));
}

#[test]
fn content_differs_by_key_place_and_generation() {
    let bytes = |content: Content, at| {
        let mut part = [0; 16];
        content.fill(at, &mut part);
        part
    };
    let base = Content::new(b"ab", b"c", 0);
    let first = bytes(base, 0);
    assert_ne!(first, bytes(base, 4096));
    assert_ne!(first, bytes(Content::new(b"ab", b"c\0", 0), 0));
    // The same bytes in a row, cut elsewhere.
    assert_ne!(first, bytes(Content::new(b"a", b"bc", 0), 0));
    assert_ne!(first, bytes(Content::new(b"ab", b"c", 1), 0));
    assert_eq!(Content::new(b"ab", b"c", 7), base.generation(7));
    assert_ne!(first, [0; 16]);
}
