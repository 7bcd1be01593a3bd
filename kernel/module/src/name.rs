// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! Names of files and directories of the cache, as C strings.

use crate::compat::with_nul;
use crate::prelude::*;
use crate::pure::key;
use crate::sys::fscache::Cookie;
use crate::sys::list::Bytes;
use kernel::str::CStr;

fn without_nul(bytes: &[u8]) -> &[u8] {
    match bytes {
        [text @ .., 0] => text,
        _ => bytes,
    }
}

/// A name with its NUL, on the heap.
pub(crate) struct Name(Bytes);

impl Name {
    /// # Errors
    /// EINVAL for a name with a NUL in it, ENOMEM.
    fn new(bytes: &[u8]) -> Result<Name> {
        let mut name = Bytes::zeroed(bytes.len().saturating_add(1))?;
        for (to, from) in name.iter_mut().zip(bytes) {
            *to = *from;
        }
        CStr::from_bytes_with_nul(&name).map_err(|_| EINVAL)?;
        Ok(Name(name))
    }

    /// The name.
    pub(crate) fn as_c_str(&self) -> &CStr {
        // `new` has made sure of it.
        CStr::from_bytes_with_nul(&self.0).unwrap_or(kernel::c_str!(""))
    }

    /// A copy of a C string.
    ///
    /// # Errors
    /// ENOMEM.
    pub(crate) fn of(text: &CStr) -> Result<Name> {
        Name::new(without_nul(with_nul(text)))
    }

    /// A copy of a string that is not empty.
    ///
    /// # Errors
    /// ENOMEM.
    pub(crate) fn copy(text: &[u8]) -> Result<Name> {
        Name::new(text)
    }
}

/// Room for the name of an object's file with its NUL.
type ObjectName = [u8; key::NAME_MAX + 1];

/// Calls `f` with the name of the file of the object of `cookie`. The name is in place, and is not
/// moved: an object is opened and closed often enough.
///
/// # Errors
/// EINVAL for a key that is too long to be a name.
pub(crate) fn of_object<R>(cookie: &Cookie, f: impl FnOnce(&CStr) -> R) -> Result<R> {
    let mut buf: ObjectName = [0; key::NAME_MAX + 1];
    let len = encode_object(cookie, &mut buf)?;
    let name = buf.get(..=len).ok_or(EINVAL)?;
    CStr::from_bytes_with_nul(name).map(f).map_err(|_| EINVAL)
}

/// The key of `cookie`, encoded; returns its length in bytes. A NUL is behind it.
#[inline(never)]
fn encode_object(cookie: &Cookie, buf: &mut ObjectName) -> Result<usize> {
    let key = cookie.key();
    let limit = match () {
        () if cfg!(cachefiles_mutant = "scale") => 8,
        () if cfg!(cachefiles_mutant = "long-key") => key::KEY_MAX,
        () if cfg!(cachefiles_mutant = "long-odd-key") => 189,
        () if cfg!(cachefiles_mutant = "probe-keys") => 189,
        () => usize::MAX,
    };
    let key = key.get(..limit).unwrap_or(key);
    let (name, _nul) = buf.split_at_mut(key::NAME_MAX);
    key::encode(key, name).map_err(|_| EINVAL)
}

/// The name of a volume's directory; `key` is the volume's key with its NUL.
///
/// # Errors
/// EINVAL for a key that cannot be a name: too long, or with a slash in it. ENOMEM.
pub(crate) fn volume(key: &[u8]) -> Result<Name> {
    let key = without_nul(key);
    let mut buf = [0u8; key::NAME_MAX];
    let named = match key::volume_dir_name(key, &mut buf) {
        Err(_) if cfg!(cachefiles_mutant = "odd-volume") => key::volume_dir_name(b"odd", &mut buf),
        named => named,
    };
    let len = named.map_err(|_| EINVAL)?;
    Name::new(buf.get(..len).ok_or(EINVAL)?)
}

/// A short name in place: `N` bytes with the NUL.
pub(crate) struct Short<const N: usize>([u8; N]);

impl<const N: usize> Short<N> {
    /// The name.
    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_with_nul(&self.0).unwrap_or(kernel::c_str!(""))
    }
}

impl<const N: usize> core::ops::Deref for Short<N> {
    type Target = CStr;

    fn deref(&self) -> &CStr {
        self.as_c_str()
    }
}

fn hex_digit(value: u32, shift: u32) -> u8 {
    let digit = (value.wrapping_shr(shift) & 15) as u8;
    if digit < 10 {
        digit.wrapping_add(b'0')
    } else {
        digit.wrapping_sub(10).wrapping_add(b'a')
    }
}

/// The name of the directory of a volume for the hashes that end in `index`: `@` and two digits.
pub(crate) fn fan(index: u8) -> Short<4> {
    let index = match cfg!(cachefiles_mutant = "shared-cache-ondemand")
        || cfg!(cachefiles_mutant = "shared-cache-classic")
    {
        true => index ^ 1,
        false => index,
    };
    let [at, high, low] = key::fanout_dir_name(index);
    Short([at, high, low, 0])
}

/// A name in the graveyard: the time in seconds and a number, eight hexadecimal digits each.
///
/// # Errors
/// None; a result for the caller's convenience.
pub(crate) fn grave(seconds: u32, number: u32) -> Result<Short<17>> {
    let mut name = [0u8; 17];
    let (head, tail) = name.split_at_mut(8);
    for (half, value) in [(head, seconds), (tail, number)] {
        for (place, shift) in half.iter_mut().take(8).zip([28, 24, 20, 16, 12, 8, 4, 0]) {
            *place = hex_digit(value, shift);
        }
    }
    Ok(Short(name))
}
