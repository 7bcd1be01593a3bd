// SPDX-License-Identifier: GPL-2.0-or-later
//! Scalars of the step language.
//!
//! Each accepts its literal form or a text with `${...}` in it, which is filled in and parsed when
//! the step runs. Literals are checked when the file is read.

use std::fmt;
use std::str::FromStr;
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
/// A number of bytes: `4096`, `16KiB`, `64MiB`, `1GiB`.
pub type Size = Late<Bytes>;
/// A span of time: `500ms`, `10s`, `2m`, or a number of seconds.
pub type Span = Late<Time>;

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

/// A span of `seconds`, for defaults.
pub const fn seconds(seconds: u64) -> Span {
    Late::Now(Time(Duration::from_secs(seconds)))
}

/// What a literal of the type looks like.
pub trait Scalar: Sized {
    /// For messages: what would have been right.
    const EXPECTED: &'static str;
    /// The value of a bare number.
    fn from_number(number: u64) -> Self;
    /// The value of a text, or `None`.
    fn parse(text: &str) -> Option<Self>;
    /// The shortest text that parses to the value.
    fn to_text(&self) -> String;
}

impl Scalar for u64 {
    const EXPECTED: &'static str = "a whole number";
    fn from_number(number: u64) -> Self {
        number
    }
    fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }
    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl Scalar for Bytes {
    const EXPECTED: &'static str = "a size such as 4096, 16KiB, 64MiB or 1GiB";
    fn from_number(number: u64) -> Self {
        Bytes(number)
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

impl Scalar for Time {
    const EXPECTED: &'static str = "a span of time such as 500ms, 10s or 2m";
    fn from_number(number: u64) -> Self {
        Time(Duration::from_secs(number))
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
        impl<T: Scalar> de::Visitor<'_> for Visitor<T> {
            type Value = Late<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Late<T>, E> {
                Ok(Late::Now(T::from_number(number)))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Late<T>, E> {
                match u64::try_from(number) {
                    Ok(number) => self.visit_u64(number),
                    Err(_) => Err(E::custom(format!("`{number}` is not {}", T::EXPECTED))),
                }
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Late<T>, E> {
                if text.contains("${") {
                    return Ok(Late::Template(text.to_owned()));
                }
                T::parse(text)
                    .map(Late::Now)
                    .ok_or_else(|| E::custom(format!("`{text}` is not {}", T::EXPECTED)))
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
    ENODATA = 61, EBADFD = 77, EMSGSIZE = 90, EOPNOTSUPP = 95, ENOBUFS = 105, ETIMEDOUT = 110,
    EALREADY = 114, EINPROGRESS = 115, ESTALE = 116, EUCLEAN = 117, EDQUOT = 122,
    ECANCELED = 125,
}

/// An error by its name, such as `EIO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl FromStr for Errno {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        ERRNOS
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, number)| Errno(*number))
            .ok_or_else(|| format!("`{text}` is not an error name such as EIO or EBUSY"))
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

impl<'de> Deserialize<'de> for Errno {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Errno {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
