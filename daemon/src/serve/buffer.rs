// SPDX-License-Identifier: GPL-2.0-or-later
//! The buffer that data passes through: aligned, because the cache is written by direct I/O.

use crate::range::PAGE;

/// Bytes whose address is a multiple of [`PAGE`].
#[derive(Debug)]
pub struct AlignedBuffer {
    bytes: Vec<u8>,
    begin: usize,
    length: usize,
}

impl AlignedBuffer {
    /// `length` zero bytes.
    pub fn new(length: usize) -> AlignedBuffer {
        let page = PAGE as usize;
        let bytes = vec![0; length + page];
        let begin = bytes.as_ptr().align_offset(page);
        // The offset of a byte pointer to a power of two is always known outside of const code.
        debug_assert!(begin < page);
        AlignedBuffer {
            bytes,
            begin,
            length,
        }
    }

    /// All of it.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.begin..self.begin + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_a_page() {
        for length in [1, 4096, 5000, 1 << 20] {
            let mut buffer = AlignedBuffer::new(length);
            assert_eq!(buffer.bytes_mut().as_ptr() as usize % PAGE as usize, 0);
            assert_eq!(buffer.bytes_mut().len(), length);
        }
    }
}
