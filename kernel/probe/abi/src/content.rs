// SPDX-License-Identifier: GPL-2.0-or-later
//! What an object holds: bytes made from its keys, so that a byte of another object, of another
//! place or of an older generation is seen to be wrong.

/// Bytes that are made at a time.
const WORD: u64 = 8;
/// Offset basis and prime of 64-bit FNV-1a.
const FNV: (u64, u64) = (0xcbf2_9ce4_8422_2325, 0x0100_0000_01b3);

/// 64-bit FNV-1a of `bytes`, carried on from `state`.
fn fnv(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(FNV.1)
    })
}

/// The numbers from `first` on. They wrap, where a range would panic.
fn numbers(first: u64) -> impl Iterator<Item = u64> {
    core::iter::successors(Some(first), |number| Some(number.wrapping_add(1)))
}

/// A digest of some bytes, to compare what the module read with what was expected.
pub fn digest(bytes: &[u8]) -> u64 {
    more_digest(FNV.0, bytes)
}

/// The digest of what `state` is the digest of with `bytes` behind it.
pub fn more_digest(state: u64, bytes: &[u8]) -> u64 {
    fnv(state, bytes)
}

/// The content of one object in one generation: endless, the same wherever it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    seed: u64,
}

impl Content {
    /// Of the object with these keys. A volume's key counts without the NUL that an OPEN shows.
    /// `generation` tells what an object held before and after it was changed.
    pub fn new(volume_key: &[u8], cookie_key: &[u8], generation: u64) -> Content {
        let volume = volume_key.strip_suffix(&[0]).unwrap_or(volume_key);
        // Lengths go in, so that no two pairs of keys look alike when put together.
        let mut seed = fnv(FNV.0, &(volume.len() as u64).to_le_bytes());
        seed = fnv(seed, volume);
        seed = fnv(seed, cookie_key);
        Content { seed }.generation(generation)
    }

    /// The same object's content in another generation, from that of generation 0.
    pub fn generation(self, generation: u64) -> Content {
        Content {
            seed: self.seed ^ generation.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        }
    }

    /// The eight bytes number `index`: the finalizer of splitmix64, which spreads every bit.
    fn word(self, index: u64) -> [u8; 8] {
        let mut z = self
            .seed
            .wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    }

    /// The bytes from `offset` on.
    fn bytes_from(self, offset: u64) -> impl Iterator<Item = u8> {
        let skip = usize::try_from(offset % WORD).unwrap_or(0);
        numbers(offset / WORD)
            .flat_map(move |index| self.word(index))
            .skip(skip)
    }

    /// Writes the content at `offset` to `part`.
    pub fn fill(self, offset: u64, part: &mut [u8]) {
        if offset % WORD == 0 {
            for (index, eight) in numbers(offset / WORD).zip(part.chunks_mut(8)) {
                for (to, from) in eight.iter_mut().zip(self.word(index)) {
                    *to = from;
                }
            }
            return;
        }
        for (to, from) in part.iter_mut().zip(self.bytes_from(offset)) {
            *to = from;
        }
    }

    /// How many bytes of `part`, which lies at `offset`, are not as they should be, and where the
    /// first of them lies.
    pub fn check(self, offset: u64, part: &[u8]) -> Option<(u64, u64)> {
        let wrong = |(_, (is, should)): &(u64, (&u8, u8))| **is != *should;
        let mut wrong = numbers(offset)
            .zip(part.iter().zip(self.bytes_from(offset)))
            .filter(wrong);
        let (first, _) = wrong.next()?;
        let more = u64::try_from(wrong.count()).unwrap_or(u64::MAX);
        Some((more.saturating_add(1), first))
    }
}
