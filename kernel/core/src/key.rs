// SPDX-License-Identifier: GPL-2.0-or-later
//! How keys become names on disk.
//!
//! An object's key becomes a file name, whichever of these is right for it:
//! - `D` and the key itself, when every byte is printable and none is `/`;
//! - `S` (big-endian) or `T` (little-endian) and the key's 32-bit words in hexadecimal, with commas
//!   between them and nothing for a zero, when that is shorter (without what is said below) than
//! - `E`, the number of bytes missing to a multiple of three, and four characters for every three
//!   bytes, least significant first.
//!
//! A volume's key becomes the name of a directory, `I` and the key. In it are 256 directories `@00`
//! to `@ff`; an object is in the one that the low byte of its cookie's key hash names.
//!
//! The names are byte for byte those of `fs/cachefiles/key.c` and `volume.c` in Linux 6.12, so that
//! either module can use the other's cache, but for two kinds of keys, whose objects share a file
//! there with the objects of other keys:
//! - A key whose name would not fit is refused: Linux 6.12 keeps the length of a name in one byte, and
//!   such names are cut short.
//! - A key that is not a whole number of words has its last word padded with zeros, and would be named
//!   as the key that has those zeros. Here the name of the shorter one ends in `.` and the number of
//!   bytes missing, which no name of C does. Keys of whole words keep their names: those of 9p, AFS,
//!   Ceph and SMB are such, and NFS file handles of a Linux server.
//!
//! So no two keys have one name.

/// The longest name that a filesystem takes, in bytes.
pub const NAME_MAX: usize = 255;

/// The longest object key that is given a name, in bytes.
pub const KEY_MAX: usize = NAME_MAX - 3;

/// How many directories a volume's objects are spread over.
pub const FANOUT: usize = 256;

/// Why a key has no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// The name would be longer than [`NAME_MAX`] or than the buffer, or the key is longer than
    /// [`KEY_MAX`].
    TooLong,
    /// A volume key with `/` or NUL in it, which no directory name can have.
    NotAName,
}

/// The seeded bug of the padded-keys mutant: what C does.
#[allow(unexpected_cfgs)]
const SHARED_NAMES: bool = cfg!(cachefiles_mutant = "padded-keys");

/// The digits of the three-bytes-in-four encoding.
const DIGITS: [u8; 64] = *b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-";

/// The digits of hexadecimal numbers, as `%x` prints them.
const HEX: [u8; 16] = *b"0123456789abcdef";

/// A name under construction. Writing beyond its end is remembered and reported once, at the end.
struct Name<'a> {
    rest: core::iter::Take<core::slice::IterMut<'a, u8>>,
    len: usize,
    overflowed: bool,
}

impl<'a> Name<'a> {
    fn new(out: &'a mut [u8]) -> Self {
        Name {
            rest: out.iter_mut().take(NAME_MAX),
            len: 0,
            overflowed: false,
        }
    }

    #[inline(always)]
    fn push(&mut self, byte: u8) {
        match self.rest.next() {
            Some(to) => {
                *to = byte;
                self.len = self.len.saturating_add(1);
            }
            None => self.overflowed = true,
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.push(*byte);
        }
    }

    /// As `%x` prints it, but nothing at all for zero.
    fn hex(&mut self, word: u32) {
        for digit in (0..hex_digits(word)).rev() {
            let nibble = word.wrapping_shr(digit.saturating_mul(4)) & 0xf;
            self.push(pick(&HEX, nibble));
        }
    }

    fn finish(self) -> Result<usize, KeyError> {
        if self.overflowed {
            Err(KeyError::TooLong)
        } else {
            Ok(self.len)
        }
    }
}

/// The digit with that value; the tables cover every value that is asked for.
fn pick(digits: &[u8], value: u32) -> u8 {
    usize::try_from(value)
        .ok()
        .and_then(|value| digits.get(value))
        .copied()
        .unwrap_or(b'0')
}

/// How many hexadecimal digits a number has; none for zero.
fn hex_digits(word: u32) -> u32 {
    u32::BITS
        .saturating_sub(word.leading_zeros())
        .saturating_add(3)
        / 4
}

/// Whether a byte may stand in a file name as it is. DEL counts as printable in the format.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b'!'..=b'.' | b'0'..=0x7f)
}

/// The key in pieces of `size` bytes, at most four, each padded with zeros to four.
fn pieces(mut key: &[u8], size: usize) -> impl Iterator<Item = [u8; 4]> + '_ {
    core::iter::from_fn(move || {
        if key.is_empty() {
            return None;
        }
        let (piece, rest) = key.split_at_checked(size).unwrap_or((key, &[]));
        key = rest;
        let mut padded = [0; 4];
        for (to, from) in padded.iter_mut().zip(piece) {
            *to = *from;
        }
        Some(padded)
    })
}

/// The key's 32-bit words as bytes, the last one padded with zeros.
fn words(key: &[u8]) -> impl Iterator<Item = [u8; 4]> + '_ {
    pieces(key, 4)
}

/// Length of a name made of words: one character before each, and its digits.
fn words_len(key: &[u8], read: fn([u8; 4]) -> u32) -> usize {
    words(key).fold(0usize, |len, word| {
        let digits = usize::try_from(hex_digits(read(word))).unwrap_or(usize::MAX);
        len.saturating_add(1).saturating_add(digits)
    })
}

/// Writes the file name of an object's key to the front of `out` and returns its length in bytes.
/// [`NAME_MAX`] bytes are always enough.
///
/// # Errors
/// [`KeyError::TooLong`]; what `out` then holds means nothing.
pub fn encode(key: &[u8], out: &mut [u8]) -> Result<usize, KeyError> {
    if key.len() > KEY_MAX {
        return Err(KeyError::TooLong);
    }
    let mut name = Name::new(out);
    if key.iter().all(|byte| is_plain(*byte)) {
        name.push(b'D');
        name.extend(key);
        return name.finish();
    }

    let big = words_len(key, u32::from_be_bytes);
    let little = words_len(key, u32::from_le_bytes);
    let triples = key.len().div_ceil(3);
    let dense = triples.saturating_mul(4).saturating_add(2);
    if big.min(little) < dense {
        let (mark, read): (u8, fn([u8; 4]) -> u32) = if big <= little {
            (b'S', u32::from_be_bytes)
        } else {
            (b'T', u32::from_le_bytes)
        };
        let marks = core::iter::once(mark).chain(core::iter::repeat(b','));
        for (mark, word) in marks.zip(words(key)) {
            name.push(mark);
            name.hex(read(word));
        }
        let missing = key.len().wrapping_neg() & 3;
        if missing != 0 && !SHARED_NAMES {
            name.push(b'.');
            name.push(pick(&HEX, u32::try_from(missing).unwrap_or(0)));
        }
    } else {
        let missing = triples.saturating_mul(3).saturating_sub(key.len());
        name.push(b'E');
        name.push(pick(&HEX, u32::try_from(missing).unwrap_or(0)));
        for triple in pieces(key, 3) {
            let bits = u32::from_le_bytes(triple);
            for shift in [0, 6, 12, 18] {
                name.push(pick(&DIGITS, bits.wrapping_shr(shift) & 63));
            }
        }
    }
    name.finish()
}

/// Writes the directory name of a volume's key (without a NUL at its end) to the front of `out`
/// and returns its length in bytes. [`NAME_MAX`] bytes are always enough.
///
/// # Errors
/// [`KeyError`]; what `out` then holds means nothing.
pub fn volume_dir_name(key: &[u8], out: &mut [u8]) -> Result<usize, KeyError> {
    if key.iter().any(|byte| matches!(byte, b'/' | 0)) {
        return Err(KeyError::NotAName);
    }
    let mut name = Name::new(out);
    name.push(b'I');
    name.extend(key);
    name.finish()
}

/// Which of a volume's directories an object is in, by its cookie's key hash.
pub fn fanout_index(key_hash: u32) -> u8 {
    let [low, _, _, _] = key_hash.to_le_bytes();
    low
}

/// The name of a volume's directory of that number: `@` and two hexadecimal digits.
pub fn fanout_dir_name(index: u8) -> [u8; 3] {
    let index = u32::from(index);
    [
        b'@',
        pick(&HEX, index.wrapping_shr(4)),
        pick(&HEX, index & 0xf),
    ]
}
