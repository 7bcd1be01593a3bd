// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! Vectors of the kernel crate, filled without panics.

use crate::prelude::*;
use kernel::alloc::Allocator;
use kernel::alloc::Flags;
use kernel::alloc::Vec;
pub(crate) use kernel::prelude::KVVec;
pub(crate) use kernel::prelude::KVec;

/// Appends to a vector. The kernel's own `push` adds and doubles with overflow checks, whose panics
/// the compiler can only leave out when it sees that the numbers are small.
///
/// # Errors
/// ENOMEM.
#[inline(always)]
pub(crate) fn push<T, A: Allocator>(vec: &mut Vec<T, A>, value: T, flags: Flags) -> Result {
    let (len, capacity) = (vec.len(), vec.capacity());
    if len > capacity || capacity > u32::MAX as usize || len >= u32::MAX as usize {
        return Err(ENOMEM);
    }
    push_unchecked(vec, value, flags)
}

/// A vector of `len` zeros.
///
/// # Errors
/// ENOMEM.
pub(crate) fn zeroed(len: usize) -> Result<KVec<u8>> {
    Ok(KVec::from_elem(0u8, len, GFP_KERNEL)?)
}

/// As [`push`], when the numbers are known to be small.
///
/// # Errors
/// ENOMEM.
#[cfg(not(kernel_ge_7002))]
#[inline(always)]
fn push_unchecked<T, A: Allocator>(vec: &mut Vec<T, A>, value: T, flags: Flags) -> Result {
    Ok(vec.push(value, flags)?)
}

/// The plain `push` of these kernels subtracts with an overflow check, whose panic the
/// compiler cannot leave out; this one compares first.
///
/// # Errors
/// ENOMEM.
#[cfg(kernel_ge_7002)]
#[inline(always)]
fn push_unchecked<T, A: Allocator>(vec: &mut Vec<T, A>, value: T, flags: Flags) -> Result {
    vec.reserve(1, flags)?;
    vec.push_within_capacity(value).map_err(|_| ENOMEM)
}
