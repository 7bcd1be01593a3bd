// SPDX-License-Identifier: GPL-2.0-or-later
//! The line of text that reading the device returns in classic mode.

use super::limits::Limits;

/// Bytes that always hold a status line.
pub const STATUS_MAX: usize = 256;

/// What the line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Whether the daemon is asked to cull.
    pub culling: bool,
    /// The cache's limits.
    pub limits: Limits,
    /// Objects that went out of use since the last line.
    pub files_released: u32,
    /// What they occupied, in units of 512 bytes.
    pub blocks_released: u64,
}

/// A line under construction; it always fits.
struct Line<'a> {
    rest: core::slice::IterMut<'a, u8>,
    len: usize,
}

impl Line<'_> {
    fn text(&mut self, text: &[u8]) {
        for byte in text {
            if let Some(to) = self.rest.next() {
                *to = *byte;
                self.len = self.len.saturating_add(1);
            }
        }
    }

    fn hex(&mut self, number: u64) {
        let digits = u64::BITS
            .saturating_sub(number.leading_zeros())
            .saturating_add(3)
            / 4;
        for digit in (0..digits.max(1)).rev() {
            let nibble = number.wrapping_shr(digit.saturating_mul(4)) & 0xf;
            let text = u32::try_from(nibble)
                .ok()
                .and_then(|nibble| char::from_digit(nibble, 16))
                .and_then(|c| u8::try_from(c).ok())
                .unwrap_or(b'0');
            self.text(&[text]);
        }
    }
}

impl Status {
    /// Writes the line, without a newline at its end, and returns its length in bytes. Numbers are
    /// hexadecimal without a prefix.
    pub fn format(&self, out: &mut [u8; STATUS_MAX]) -> usize {
        let mut line = Line {
            rest: out.iter_mut(),
            len: 0,
        };
        line.text(if self.culling { b"cull=1" } else { b"cull=0" });
        let fields: [(&[u8], u64); 8] = [
            (b" frun=", self.limits.frun),
            (b" fcull=", self.limits.fcull),
            (b" fstop=", self.limits.fstop),
            (b" brun=", self.limits.brun),
            (b" bcull=", self.limits.bcull),
            (b" bstop=", self.limits.bstop),
            (b" freleased=", u64::from(self.files_released)),
            (b" breleased=", self.blocks_released),
        ];
        for (name, number) in fields {
            line.text(name);
            line.hex(number);
        }
        line.len
    }
}
