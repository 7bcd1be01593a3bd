// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! What a call brings: a name, a cache's name, and data.

use crate::abi::call::flag;
use crate::abi::call::Call;
use crate::abi::call::INPUT_MAX;
use crate::prelude::*;
use crate::sys::device;
use crate::vectors::zeroed;
use crate::vectors::KVec;

/// Longest decimal number of 64 bits.
const DIGITS: usize = 20;

/// The three parts of a call's input.
pub(crate) struct Input {
    bytes: KVec<u8>,
    name: usize,
    cache: usize,
    numbered: bool,
}

impl Input {
    /// Copies it in.
    ///
    /// # Errors
    /// EINVAL when a part is too long; EFAULT, ENOMEM.
    pub(crate) fn of(call: &Call) -> Result<Input> {
        let part = |len: u64| match usize::try_from(len) {
            Ok(len) if len as u64 <= INPUT_MAX => Ok(len),
            _ => Err(EINVAL),
        };
        let (name, cache, aux) = (
            part(call.name_len)?,
            part(call.cache_len)?,
            part(call.aux_len)?,
        );
        let all = name.checked_add(cache).and_then(|len| len.checked_add(aux));
        let mut bytes = zeroed(all.ok_or(EINVAL)?)?;
        device::input(call.input, bytes.len()).read(&mut bytes)?;
        Ok(Input {
            bytes,
            name,
            cache,
            numbered: call.flags & flag::NUMBERED != 0,
        })
    }

    /// The name of entry `number`.
    ///
    /// # Errors
    /// ENOMEM.
    pub(crate) fn name(&self, number: u64) -> Result<KVec<u8>> {
        let mut name = KVec::with_capacity(self.name.saturating_add(DIGITS), GFP_KERNEL)?;
        name.extend_from_slice(self.bytes.get(..self.name).unwrap_or(&[]), GFP_KERNEL)?;
        if self.numbered {
            let mut digits = [0u8; DIGITS];
            let mut rest = number;
            let mut used = 0usize;
            for digit in digits.iter_mut().rev() {
                *digit = b'0'.wrapping_add((rest % 10) as u8);
                rest /= 10;
                used = used.saturating_add(1);
                if rest == 0 {
                    break;
                }
            }
            let from = DIGITS.saturating_sub(used);
            name.extend_from_slice(digits.get(from..).unwrap_or(&[]), GFP_KERNEL)?;
        }
        Ok(name)
    }

    /// The cache's name; empty for any cache.
    pub(crate) fn cache(&self) -> &[u8] {
        let end = self.name.saturating_add(self.cache);
        self.bytes.get(self.name..end).unwrap_or(&[])
    }

    /// Auxiliary or coherency data.
    pub(crate) fn aux(&self) -> &[u8] {
        let from = self.name.saturating_add(self.cache);
        self.bytes.get(from..).unwrap_or(&[])
    }

    /// As [`aux`](Self::aux); `None` without any.
    pub(crate) fn given_aux(&self) -> Option<&[u8]> {
        Some(self.aux()).filter(|aux| !aux.is_empty())
    }
}
