// SPDX-License-Identifier: GPL-2.0-or-later
//! Which part of an image stands for which of its files.
//!
//! The probe knows nothing of erofs's layout, and need not: every part of an image is as good to be
//! fetched, found again and compared as any other. So the image behind its first page, which mounting
//! reads, is dealt out to its regular files in the manifest's order, in whole pages, by their sizes.

use std::ops::Range;

use crate::worker::manifest::Entry;

/// The unit that is dealt out, in bytes: a page, which is what a client reads at least.
pub const PAGE: u64 = 4096;

/// For each entry, in the same order, its part of an image of `length` bytes; empty for what is no
/// regular file or has not a page of its own. Together the parts are the image without its first page.
pub fn of(entries: &[Entry], length: u64) -> Vec<Range<u64>> {
    let pages = |entry: &Entry| match entry {
        Entry::File { size, .. } => size / PAGE,
        Entry::Dir { .. } | Entry::Symlink { .. } => 0,
    };
    let weights: Vec<u64> = entries.iter().map(pages).collect();
    let total: u64 = weights.iter().sum();
    let room = length.div_ceil(PAGE).saturating_sub(1);
    let place = |before: u64| {
        let page = match total {
            0 => 0,
            // Two numbers of pages, multiplied.
            total => u128::from(room) * u128::from(before) / u128::from(total),
        };
        let page = u64::try_from(page).unwrap_or(room);
        ((1 + page) * PAGE).min(length)
    };
    let mut before = 0;
    let parts = weights.iter().map(|weight| {
        let from = place(before);
        before += weight;
        from..place(before)
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn file(size: u64) -> Entry {
        Entry::File {
            path: size.to_string(),
            mode: 0o644,
            size,
            sha256: String::new(),
            xattrs: BTreeMap::new(),
        }
    }

    fn folder() -> Entry {
        Entry::Dir {
            path: "d".to_owned(),
            mode: 0o755,
            xattrs: BTreeMap::new(),
        }
    }

    #[test]
    fn parts_are_pages_in_order_and_make_up_the_image_without_its_first_page() {
        let entries = [file(10_000), folder(), file(4096), file(100), file(900_000)];
        for length in [1_000_000u64, 8 << 20, 950_272] {
            let parts = of(&entries, length);
            assert_eq!(parts.len(), entries.len());
            assert_eq!(parts[0].start, PAGE);
            assert_eq!(parts[4].end, length);
            for two in parts.windows(2) {
                assert_eq!(two[0].end, two[1].start);
            }
            for (part, entry) in parts.iter().zip(&entries) {
                assert_eq!(part.start % PAGE, 0, "{part:?}");
                let own = matches!(entry, Entry::File { size, .. } if *size >= PAGE);
                assert_eq!(part.is_empty(), !own, "{part:?}");
            }
        }
    }

    #[test]
    fn without_files_of_a_page_nothing_is_dealt_out() {
        for parts in [of(&[file(100)], 1 << 20), of(&[file(1 << 20)], 0)] {
            assert!(parts.iter().all(Range::is_empty), "{parts:?}");
        }
    }
}
