// SPDX-License-Identifier: GPL-2.0-or-later
//! Ranges of bytes and what is left of them.

/// The unit of everything that is written to the cache: length and offset are multiples of it,
/// and the buffer is aligned to it.
pub const PAGE: u64 = 4096;

/// Rounds down to a multiple of `unit`, a power of two.
fn down(value: u64, unit: u64) -> u64 {
    value & !(unit - 1)
}

/// Rounds up to a multiple of `unit`, a power of two; to the highest one that there is when the
/// next one is beyond 64 bits.
pub fn up(value: u64, unit: u64) -> u64 {
    down(value.saturating_add(unit - 1), unit)
}

/// The bytes from `start` up to, not including, `end`. Never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    start: u64,
    end: u64,
}

impl Range {
    /// `None` when there would be no byte in it.
    pub fn new(start: u64, end: u64) -> Option<Range> {
        (start < end).then_some(Range { start, end })
    }

    /// First byte.
    pub fn start(self) -> u64 {
        self.start
    }

    /// First byte behind it.
    pub fn end(self) -> u64 {
        self.end
    }

    /// Bytes in it.
    pub fn length(self) -> u64 {
        self.end - self.start
    }

    /// What both have.
    pub fn intersect(self, other: Range) -> Option<Range> {
        Range::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// Whether both have a byte in common.
    pub fn overlaps(self, other: Range) -> bool {
        self.intersect(other).is_some()
    }

    /// Whether all of `other` is in this one.
    pub fn contains(self, other: Range) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// What is left without any of `others`, in order.
    pub fn without(self, others: &[Range]) -> Vec<Range> {
        let mut left = vec![self];
        for other in others {
            left = left
                .into_iter()
                .flat_map(|piece| {
                    let before = Range::new(piece.start, piece.end.min(other.start));
                    let behind = Range::new(piece.start.max(other.end), piece.end);
                    before.into_iter().chain(behind)
                })
                .collect();
        }
        left
    }

    /// Cut at the multiples of `unit`, a power of two.
    pub fn chunks(self, unit: u64) -> impl Iterator<Item = Range> {
        let mut rest = Some(self);
        std::iter::from_fn(move || {
            let whole = rest?;
            let cut = up(whole.start + 1, unit).min(whole.end);
            rest = Range::new(cut, whole.end);
            Range::new(whole.start, cut)
        })
    }

    /// Widened to multiples of `unit` (a power of two, at least [`PAGE`]), but not beyond the page
    /// that ends an object of `size` bytes. `None` when it begins behind that.
    pub fn widened(self, unit: u64, size: u64) -> Option<Range> {
        Range::new(
            down(self.start, unit),
            up(self.end, unit).min(up(size, PAGE)),
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn small() -> impl Strategy<Value = Range> {
        (0u64..64, 1u64..32).prop_map(|(start, length)| Range::new(start, start + length).unwrap())
    }

    fn bytes(range: Range) -> impl Iterator<Item = u64> {
        range.start()..range.end()
    }

    proptest! {
        #[test]
        fn what_is_left_are_the_bytes_that_no_other_has(
            range in small(),
            others in proptest::collection::vec(small(), 0..6),
        ) {
            let left: Vec<u64> = range.without(&others).into_iter().flat_map(bytes).collect();
            let expected: Vec<u64> = bytes(range)
                .filter(|byte| !others.iter().any(|other| bytes(*other).any(|b| b == *byte)))
                .collect();
            prop_assert_eq!(left, expected);
        }

        #[test]
        fn chunks_are_the_same_bytes_cut_at_multiples(range in small(), power in 0u32..5) {
            let unit = 1u64 << power;
            let chunks: Vec<Range> = range.chunks(unit).collect();
            let all: Vec<u64> = chunks.iter().copied().flat_map(bytes).collect();
            prop_assert_eq!(all, bytes(range).collect::<Vec<_>>());
            for chunk in chunks {
                prop_assert!(chunk.length() <= unit);
                prop_assert_eq!(down(chunk.start(), unit), down(chunk.end() - 1, unit));
            }
        }

        #[test]
        fn widening_keeps_what_is_in_the_object_and_aligns_it(
            start in any::<u64>(),
            length in 1u64..1 << 40,
            size in any::<u64>(),
            power in 12u32..24,
        ) {
            let unit = 1u64 << power;
            let Some(range) = Range::new(start, start.saturating_add(length)) else {
                return Ok(());
            };
            let object = Range::new(0, up(size, PAGE));
            let inside = object.and_then(|object| range.intersect(object));
            match range.widened(unit, size) {
                Some(wide) => {
                    prop_assert_eq!(wide.start() % unit, 0);
                    prop_assert_eq!(wide.end() % PAGE, 0);
                    prop_assert!(object.unwrap().contains(wide));
                    if let Some(inside) = inside {
                        prop_assert!(wide.contains(inside));
                    }
                }
                None => prop_assert_eq!(inside, None),
            }
        }

        #[test]
        fn overlapping_is_having_a_byte_in_common(a in small(), b in small()) {
            prop_assert_eq!(a.overlaps(b), bytes(a).any(|byte| bytes(b).any(|c| c == byte)));
            prop_assert_eq!(a.contains(b), bytes(b).all(|byte| bytes(a).any(|c| c == byte)));
        }
    }
}
