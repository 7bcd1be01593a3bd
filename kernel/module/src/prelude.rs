// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! What most files of the module use: the kernel's prelude without its errors, and ours.

pub(crate) use crate::sys::errno::*;
pub(crate) use kernel::alloc::flags::GFP_ATOMIC;
pub(crate) use kernel::alloc::flags::GFP_KERNEL;
pub(crate) use kernel::prelude::pin_data;
pub(crate) use kernel::prelude::pr_err;
pub(crate) use kernel::prelude::pr_info;
pub(crate) use kernel::prelude::pr_notice;
pub(crate) use kernel::prelude::pr_warn;
pub(crate) use kernel::prelude::try_pin_init;
pub(crate) use kernel::prelude::InPlaceInit;
pub(crate) use kernel::prelude::KBox;
pub(crate) use kernel::prelude::KVVec;
pub(crate) use kernel::prelude::KVec;
pub(crate) use kernel::prelude::PinInit;

/// The kernel crate's error, which its constructors need.
pub(crate) use kernel::error::Error as KernelError;

/// Appends to a vector. The kernel's own `push` adds and doubles with overflow checks, whose panics
/// the compiler can only leave out when it sees that the numbers are small.
///
/// # Errors
/// ENOMEM.
#[inline(always)]
pub(crate) fn push<T, A: kernel::alloc::Allocator>(
    vec: &mut kernel::alloc::Vec<T, A>,
    value: T,
    flags: kernel::alloc::Flags,
) -> Result {
    let (len, capacity) = (vec.len(), vec.capacity());
    if len > capacity || capacity > u32::MAX as usize || len >= u32::MAX as usize {
        return Err(ENOMEM);
    }
    crate::compat::push(vec, value, flags)
}

/// A vector of `len` zeros.
///
/// # Errors
/// ENOMEM.
pub(crate) fn zeroed(len: usize) -> Result<KVec<u8>> {
    Ok(KVec::from_elem(0u8, len, GFP_KERNEL)?)
}
