// SPDX-License-Identifier: GPL-2.0-or-later
//! Bytes made from a seed, so that what was written can be told from anything else later.
//!
//! Every eight bytes depend on the seed and on their place alone: any part can be made without
//! what is before it, and a block that turns up at the wrong place does not match.

/// Fills `buffer` with the bytes that `seed` has from `offset` on.
pub fn fill(seed: u64, offset: u64, buffer: &mut [u8]) {
    let mut place = offset;
    let mut rest = buffer;
    while !rest.is_empty() {
        let word = word(seed, place / 8).to_le_bytes();
        let from = (place % 8) as usize;
        let take = rest.len().min(8 - from);
        let (now, later) = rest.split_at_mut(take);
        now.copy_from_slice(&word[from..from + take]);
        rest = later;
        place = place.wrapping_add(take as u64);
    }
}

/// The eight bytes number `index`.
fn word(seed: u64, index: u64) -> u64 {
    // The seed is mixed by itself first: the streams of neighbouring seeds are not shifts of
    // each other.
    mix(mix(seed.wrapping_add(STEP)).wrapping_add(index.wrapping_mul(STEP)))
}

/// An odd number whose multiples spread over all of 64 bits.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A one-to-one map in which every bit of the input matters to every bit of the output (the last
/// part of the generator SplitMix64).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(seed: u64, offset: u64, length: usize) -> Vec<u8> {
        let mut buffer = vec![0; length];
        fill(seed, offset, &mut buffer);
        buffer
    }

    #[test]
    fn a_part_is_the_same_as_in_the_whole() {
        let whole = made(7, 0, 100);
        for (offset, length) in [(0, 100), (3, 2), (5, 8), (8, 16), (13, 87), (99, 1)] {
            assert_eq!(
                made(7, offset as u64, length),
                whole[offset..offset + length],
                "{length} bytes from {offset}"
            );
        }
    }

    #[test]
    fn another_seed_and_another_place_give_other_bytes() {
        let page = made(0, 0, 4096);
        assert_ne!(page, made(1, 0, 4096));
        assert_ne!(page, made(0, 4096, 4096));
        assert_ne!(page, made(0, 8, 4096));
        assert!(page.chunks(16).all(|part| part != [0; 16]));
    }

    #[test]
    fn the_end_of_all_places_is_no_trouble() {
        assert_eq!(made(1, u64::MAX - 2, 8).len(), 8);
    }
}
