// SPDX-License-Identifier: GPL-2.0-or-later
//! Numbers as the kernel reads them from text.
//!
//! Two ways, as the commands of `/dev/cachefiles` use two: the strict one takes the whole text or
//! nothing, the loose one takes the digits that there are and returns what follows them.
//! Both find out the base by the prefix: `0x` and a hexadecimal digit, `0`, or neither.

/// The seeded bug of the limits mutants: a percentage is what is left of it modulo 2^64.
#[allow(unexpected_cfgs)]
const WRAPS: bool = cfg!(any(
    cachefiles_mutant = "limits",
    cachefiles_mutant = "limits-classic"
));

/// Why a text is no number for the strict way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberError {
    /// No digits, or something else beside them.
    Malformed,
    /// More than the type holds.
    OutOfRange,
}

/// Digits that were read from the front of a text.
struct Digits<'a> {
    /// The value modulo 2^64.
    value: u64,
    overflowed: bool,
    count: usize,
    rest: &'a [u8],
}

/// The value of a digit, in any base up to 16.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a').wrapping_add(10)),
        b'A'..=b'F' => Some(byte.wrapping_sub(b'A').wrapping_add(10)),
        _ => None,
    }
}

/// Finds out the base, and takes the `0x` off. The `0` of an octal number stays: it is a digit.
fn split_base(text: &[u8]) -> (u8, &[u8]) {
    match text {
        [b'0', b'x' | b'X', rest @ ..] if rest.first().is_some_and(|b| digit(*b).is_some()) => {
            (16, rest)
        }
        [b'0', ..] => (8, text),
        _ => (10, text),
    }
}

fn digits(base: u8, text: &[u8]) -> Digits<'_> {
    let mut out = Digits {
        value: 0,
        overflowed: false,
        count: 0,
        rest: text,
    };
    while let Some((first, rest)) = out.rest.split_first() {
        let Some(digit) = digit(*first).filter(|digit| *digit < base) else {
            break;
        };
        let (product, over) = out.value.overflowing_mul(u64::from(base));
        let (sum, over_too) = product.overflowing_add(u64::from(digit));
        out.value = sum;
        out.overflowed |= over | over_too;
        out.count = out.count.saturating_add(1);
        out.rest = rest;
    }
    out
}

/// Reads decimal digits off the front; none at all count as 0. `None` for the value when it does
/// not fit.
pub fn loose_decimal(text: &[u8]) -> (Option<u64>, &[u8]) {
    let read = digits(10, text);
    let fits = !read.overflowed || WRAPS;
    (fits.then_some(read.value), read.rest)
}

/// Reads digits in the base that their prefix tells off the front; none at all count as 0. Wraps
/// at 64 bits.
pub fn loose_wrapping(text: &[u8]) -> (u64, &[u8]) {
    let (base, text) = split_base(text);
    let read = digits(base, text);
    (read.value, read.rest)
}

/// Reads the whole text as digits in the base that their prefix tells, without a sign. One newline
/// may follow.
fn strict_digits(text: &[u8]) -> Result<u64, NumberError> {
    let (base, text) = split_base(text);
    let read = digits(base, text);
    if read.overflowed {
        return Err(NumberError::OutOfRange);
    }
    if read.count == 0 || !matches!(read.rest, [] | [b'\n']) {
        return Err(NumberError::Malformed);
    }
    Ok(read.value)
}

/// Reads the whole text as a number with an optional `+`.
pub fn strict_unsigned(text: &[u8]) -> Result<u64, NumberError> {
    match text {
        [b'+', text @ ..] => strict_digits(text),
        _ => strict_digits(text),
    }
}

/// Reads the whole text as a number with an optional `+` or `-`.
pub fn strict_signed(text: &[u8]) -> Result<i64, NumberError> {
    match text {
        [b'-', text @ ..] => 0i64
            .checked_sub_unsigned(strict_digits(text)?)
            .ok_or(NumberError::OutOfRange),
        _ => i64::try_from(strict_unsigned(text)?).map_err(|_| NumberError::OutOfRange),
    }
}
