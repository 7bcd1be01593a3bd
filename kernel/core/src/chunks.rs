// SPDX-License-Identifier: GPL-2.0-or-later
//! Where numbered elements lie that are spread over chunks of memory, which are made when they are
//! needed and never move. Each chunk is a seventh to a quarter of what there is before it (and of 256
//! more): so little memory is made in vain, few chunks are enough, and an element is found without a
//! search.
//!
//! Chunks come in groups of four of the same length, each group's twice that of the one before, as
//! the numbers do that a float with two binary digits has between powers of two. The first group is
//! where it is because the indices are moved up: as if smaller groups had come before.

/// As many chunks as there can be: for 16,776,960 elements.
pub const CHUNKS: usize = 64;

/// Elements in a chunk of the first group, as a power of two.
const FIRST_BITS: u32 = 6;

/// Chunks in a group, as a power of two.
const GROUP_BITS: u32 = 2;

const GROUP: u32 = 1 << GROUP_BITS;

/// By how much indices are moved up.
const BIAS: u32 = GROUP << FIRST_BITS;

/// How many elements the first `chunks` have in all; no more than [`CHUNKS`] count.
pub fn capacity(chunks: usize) -> u32 {
    let chunks = chunks.min(CHUNKS) as u32;
    let group = FIRST_BITS.wrapping_add(chunks >> GROUP_BITS);
    (GROUP | (chunks & (GROUP - 1)))
        .wrapping_shl(group)
        .wrapping_sub(BIAS)
}

/// How many elements chunk `number` has; 0 when there is no such chunk.
pub fn len(number: usize) -> usize {
    let next = number.saturating_add(1);
    capacity(next).wrapping_sub(capacity(number)) as usize
}

/// The chunk that has element `index`, and the element's place in it. Beyond the last chunk there
/// are more, which nobody has made.
pub fn locate(index: u32) -> (usize, usize) {
    let moved = index.saturating_add(BIAS);
    let bits = (u32::BITS - 1 - GROUP_BITS).wrapping_sub(moved.leading_zeros());
    let group = bits.wrapping_sub(FIRST_BITS);
    let leading = moved.wrapping_shr(bits);
    let chunk = (group << GROUP_BITS) | (leading & (GROUP - 1));
    let at = moved & 1u32.wrapping_shl(bits).wrapping_sub(1);
    (chunk as usize, at as usize)
}
