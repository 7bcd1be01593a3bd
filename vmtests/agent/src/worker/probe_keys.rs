// SPDX-License-Identifier: GPL-2.0-or-later
//! Keys of many lengths, of the kinds that a cache has to encode differently.

use std::ops::RangeInclusive;

use vmtest_protocol::step::KeyKind;

/// A key of each length; all of them are different, and the same each time.
pub fn of(kind: KeyKind, lengths: RangeInclusive<u64>) -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = lengths.map(|length| key(kind, length as usize)).collect();
    // Lengths that were rounded to the same make one key.
    keys.dedup();
    keys.retain(|key| !key.is_empty());
    keys
}

fn key(kind: KeyKind, length: usize) -> Vec<u8> {
    let letters = || (0..length).map(|at| b'a' + (at % 26) as u8);
    match kind {
        KeyKind::Text => letters().collect(),
        KeyKind::Slashes => vec![b'/'; length],
        KeyKind::Zeros => vec![0; length],
        KeyKind::Ones => vec![0xff; length],
        KeyKind::Terminated => letters()
            .take(length.saturating_sub(1))
            .chain([0])
            .collect(),
        KeyKind::Mixed => (0..length as u64)
            .map(|at| {
                (at.wrapping_add(length as u64 * 31)
                    .wrapping_mul(0x9e37_79b9)
                    >> 11) as u8
            })
            .collect(),
        KeyKind::Words => (0..length / 4)
            .flat_map(|at| (at as u32 + 1).to_le_bytes())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_have_every_length_and_differ() {
        for kind in [
            KeyKind::Text,
            KeyKind::Slashes,
            KeyKind::Zeros,
            KeyKind::Ones,
            KeyKind::Terminated,
            KeyKind::Mixed,
        ] {
            let keys = of(kind, 1..=255);
            let lengths: Vec<usize> = keys.iter().map(Vec::len).collect();
            assert_eq!(lengths, (1..=255).collect::<Vec<_>>(), "{kind:?}");
            assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 255);
        }
        let words = of(KeyKind::Words, 1..=255);
        assert_eq!(words.len(), 63);
        assert_eq!(words[1], [1, 0, 0, 0, 2, 0, 0, 0]);
    }

    #[test]
    fn a_terminated_key_ends_with_its_only_nul() {
        assert_eq!(of(KeyKind::Terminated, 3..=3), [b"ab\0".to_vec()]);
    }
}
