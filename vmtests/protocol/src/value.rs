// SPDX-License-Identifier: GPL-2.0-or-later
//! Scalars of the step language.
//!
//! Each accepts its literal form or a text with `${...}` in it, which is filled in and parsed when
//! the step runs. Literals are checked when the file is read.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de;

/// A value, or a template that becomes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Late<T> {
    /// Known now.
    Now(T),
    /// Contains `${`; known when the step runs.
    Template(String),
}

impl<T: Copy> Late<T> {
    /// The value; an error names the template that nobody filled in.
    pub fn get(&self) -> Result<T, String> {
        match self {
            Late::Now(value) => Ok(*value),
            Late::Template(text) => Err(format!("`{text}` was not filled in")),
        }
    }
}

impl<T> From<T> for Late<T> {
    fn from(value: T) -> Self {
        Late::Now(value)
    }
}

/// A whole number.
pub type Count = Late<u64>;
/// A whole number that may be negative.
pub type Number = Late<i64>;
/// A number of bytes: `4096`, `16KiB`, `64MiB`, `1GiB`.
pub type Size = Late<Bytes>;
/// A place in a file, which may be a wrong one: `4096`, `16KiB`, `-1`.
pub type Position = Late<Offset>;
/// A span of time: `500ms`, `10s`, `2m`, or a number of seconds.
pub type Span = Late<Time>;
/// A number as system calls want it: `17`, `0x40049801`.
pub type Raw = Late<Word>;
/// A factor: `3`, `1.5`.
pub type Factor = Late<Ratio>;
/// An error's name, such as `EIO`.
pub type ErrnoName = Late<Errno>;

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offset(pub i64);

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

/// A machine word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word(pub u64);

/// A factor; finite and not negative.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Ratio(pub f64);

/// A span of `seconds`, for defaults.
pub const fn seconds(seconds: u64) -> Span {
    Late::Now(Time(Duration::from_secs(seconds)))
}

/// What a literal of the type looks like.
pub trait Scalar: Sized {
    /// The name of the type in the JSON Schema.
    const NAME: &'static str;
    /// For messages: what would have been right.
    const EXPECTED: &'static str;
    /// A regular expression for the literals that are texts, without the edges.
    const PATTERN: &'static str;
    /// The literals and what they mean, where they can be listed.
    const WORDS: &'static [(&'static str, &'static str)] = &[];
    /// The JSON types of bare literals, and the least of them that is right.
    const BARE: Bare = Bare::Integer(Some(0));
    /// The value of a bare whole number, or `None`.
    fn from_number(number: i128) -> Option<Self>;
    /// The value of a bare number with a fraction, or `None`.
    fn from_fraction(_number: f64) -> Option<Self> {
        None
    }
    /// The value of a text, or `None`.
    fn parse(text: &str) -> Option<Self>;
    /// The shortest text that parses to the value.
    fn to_text(&self) -> String;
}

/// Which bare literals a scalar has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bare {
    /// Whole numbers, from this on.
    Integer(Option<i64>),
    /// Numbers from 0 on.
    Number,
    /// None: only texts.
    None,
}

impl Scalar for u64 {
    const NAME: &'static str = "Count";
    const EXPECTED: &'static str = "a whole number";
    const PATTERN: &'static str = "[0-9]+";
    fn from_number(number: i128) -> Option<Self> {
        number.try_into().ok()
    }
    fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }
    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl Scalar for i64 {
    const NAME: &'static str = "Number";
    const EXPECTED: &'static str = "a whole number, which may be negative";
    const PATTERN: &'static str = "-?[0-9]+";
    const BARE: Bare = Bare::Integer(None);
    fn from_number(number: i128) -> Option<Self> {
        number.try_into().ok()
    }
    fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }
    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl Scalar for Bytes {
    const NAME: &'static str = "Size";
    const EXPECTED: &'static str = "a size such as 4096, 16KiB, 64MiB or 1GiB";
    const PATTERN: &'static str = "[0-9]+ *(B|KiB|MiB|GiB)?";
    fn from_number(number: i128) -> Option<Self> {
        number.try_into().ok().map(Bytes)
    }
    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split_unit(text);
        let scale: u64 = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(scale).map(Bytes)
    }
    fn to_text(&self) -> String {
        for (unit, scale) in [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 != 0 && self.0 % scale == 0 {
                return format!("{}{unit}", self.0 / scale);
            }
        }
        self.0.to_string()
    }
}

impl Scalar for Offset {
    const NAME: &'static str = "Position";
    const EXPECTED: &'static str = "a place in a file such as 4096, 16KiB or -1";
    const PATTERN: &'static str = "-?[0-9]+ *(B|KiB|MiB|GiB)?";
    const BARE: Bare = Bare::Integer(None);
    fn from_number(number: i128) -> Option<Self> {
        number.try_into().ok().map(Offset)
    }
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (sign, size) = match text.strip_prefix('-') {
            Some(size) => (-1, size),
            None => (1, text),
        };
        let Bytes(size) = Bytes::parse(size)?;
        i64::try_from(sign * i128::from(size)).ok().map(Offset)
    }
    fn to_text(&self) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        format!("{sign}{}", Bytes(self.0.unsigned_abs()).to_text())
    }
}

impl Scalar for Time {
    const NAME: &'static str = "Span";
    const EXPECTED: &'static str = "a span of time such as 500ms, 10s or 2m";
    const PATTERN: &'static str = "[0-9]+ *(ms|s|m)?";
    fn from_number(number: i128) -> Option<Self> {
        number
            .try_into()
            .ok()
            .map(|seconds| Time(Duration::from_secs(seconds)))
    }
    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split_unit(text);
        let number: u64 = number.parse().ok()?;
        let milliseconds = match unit {
            "ms" => number,
            "s" | "" => number.checked_mul(1000)?,
            "m" => number.checked_mul(60_000)?,
            _ => return None,
        };
        Some(Time(Duration::from_millis(milliseconds)))
    }
    fn to_text(&self) -> String {
        let ms = self.0.as_millis();
        if ms % 60_000 == 0 && ms > 0 {
            format!("{}m", ms / 60_000)
        } else if ms % 1000 == 0 {
            format!("{}s", ms / 1000)
        } else {
            format!("{ms}ms")
        }
    }
}

impl Scalar for Word {
    const NAME: &'static str = "Raw";
    const EXPECTED: &'static str = "a number such as 17 or 0x40049801";
    const PATTERN: &'static str = "[0-9]+|0x[0-9a-fA-F]+";
    fn from_number(number: i128) -> Option<Self> {
        number.try_into().ok().map(Word)
    }
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        }
        .map(Word)
    }
    fn to_text(&self) -> String {
        self.0.to_string()
    }
}

impl Scalar for Ratio {
    const NAME: &'static str = "Factor";
    const EXPECTED: &'static str = "a factor such as 3 or 1.5";
    const PATTERN: &'static str = "[0-9]+(\\.[0-9]+)?";
    const BARE: Bare = Bare::Number;
    fn from_number(number: i128) -> Option<Self> {
        Self::from_fraction(number as f64)
    }
    fn from_fraction(number: f64) -> Option<Self> {
        (number.is_finite() && number >= 0.0).then_some(Ratio(number))
    }
    fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok().and_then(Self::from_fraction)
    }
    fn to_text(&self) -> String {
        self.0.to_string()
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    (number, unit.trim())
}

impl<'de, T: Scalar> Deserialize<'de> for Late<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<T: Scalar> Visitor<T> {
            fn take<E: de::Error>(value: Option<T>, seen: impl fmt::Display) -> Result<Late<T>, E> {
                value
                    .map(Late::Now)
                    .ok_or_else(|| E::custom(format!("`{seen}` is not {}", T::EXPECTED)))
            }
        }
        impl<T: Scalar> de::Visitor<'_> for Visitor<T> {
            type Value = Late<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Late<T>, E> {
                Self::take(T::from_number(number.into()), number)
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Late<T>, E> {
                Self::take(T::from_number(number.into()), number)
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Late<T>, E> {
                Self::take(T::from_fraction(number), number)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Late<T>, E> {
                if text.contains("${") {
                    return Ok(Late::Template(text.to_owned()));
                }
                Self::take(T::parse(text), text)
            }
        }
        deserializer.deserialize_any(Visitor(std::marker::PhantomData))
    }
}

impl<T: Scalar> Serialize for Late<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Late::Now(value) => serializer.serialize_str(&value.to_text()),
            Late::Template(text) => serializer.serialize_str(text),
        }
    }
}

macro_rules! errnos {
    ($($name:ident = $number:literal),* $(,)?) => {
        /// Error names that a step may expect, with their numbers on x86_64 and arm64.
        const ERRNOS: &[(&str, i32)] = &[$((stringify!($name), $number)),*];
    };
}

errnos! {
    EPERM = 1, ENOENT = 2, ESRCH = 3, EINTR = 4, EIO = 5, ENXIO = 6, E2BIG = 7, EBADF = 9,
    ECHILD = 10, EAGAIN = 11, ENOMEM = 12, EACCES = 13, EFAULT = 14, EBUSY = 16, EEXIST = 17,
    EXDEV = 18, ENODEV = 19, ENOTDIR = 20, EISDIR = 21, EINVAL = 22, ENFILE = 23, EMFILE = 24,
    ENOTTY = 25, ETXTBSY = 26, EFBIG = 27, ENOSPC = 28, ESPIPE = 29, EROFS = 30, EMLINK = 31,
    EPIPE = 32, ERANGE = 34, EDEADLK = 35, ENAMETOOLONG = 36, ENOTEMPTY = 39, ELOOP = 40,
    ENODATA = 61, EOVERFLOW = 75, EBADFD = 77, EMSGSIZE = 90, EOPNOTSUPP = 95, ENOBUFS = 105, ETIMEDOUT = 110,
    EALREADY = 114, EINPROGRESS = 115, ESTALE = 116, EUCLEAN = 117, EDQUOT = 122,
    ECANCELED = 125,
}

/// An error by its name, such as `EIO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Scalar for Errno {
    const NAME: &'static str = "Errno";
    const EXPECTED: &'static str = "an error name such as EIO or EBUSY";
    const PATTERN: &'static str = "E[A-Z0-9]+";
    const BARE: Bare = Bare::None;
    fn from_number(_number: i128) -> Option<Self> {
        None
    }
    fn parse(text: &str) -> Option<Self> {
        let known = ERRNOS.iter().find(|(name, _)| *name == text.trim());
        known.map(|(_, number)| Errno(*number))
    }
    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl Errno {
    /// Every name that a step may use.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ERRNOS.iter().map(|(name, _)| *name)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ERRNOS.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}
