// SPDX-License-Identifier: GPL-2.0-or-later
//! Where the kernels differ in what Rust sees. The rest of the drift is in shim/drift.h; the logic
//! knows nothing of either.

use super::bindings;
use super::errno::Result;
use core::ffi::c_void;
use kernel::alloc::Allocator;
use kernel::alloc::Flags;
use kernel::alloc::Vec;
use kernel::str::CStr;

/// The function that the caller of a transfer gives, to be called when it ends.
type Terminated = bindings::netfs_io_terminated_t;

/// Calls `func`, if there is one, with its `data` and how many bytes were transferred, or a negative
/// error. Kernels before 7.x also want to know whether this happens behind the caller's back.
///
/// # Safety
/// Both come from one caller, who waits for this call, and it is made once.
#[cfg(not(kernel_ge_7002))]
pub(super) unsafe fn terminate(func: Terminated, data: *mut c_void, value: isize, behind: bool) {
    if let Some(func) = func {
        // SAFETY: the caller's promise.
        unsafe { func(data, value, behind) };
    }
}

/// As above.
///
/// # Safety
/// As above.
#[cfg(kernel_ge_7002)]
pub(super) unsafe fn terminate(func: Terminated, data: *mut c_void, value: isize, _behind: bool) {
    if let Some(func) = func {
        // SAFETY: the caller's promise.
        unsafe { func(data, value) };
    }
}

/// Address of a C string.
#[cfg(not(kernel_ge_7002))]
pub(super) fn c_ptr(text: &CStr) -> *const u8 {
    text.as_char_ptr()
}

/// Address of a C string: here the kernel's are those of Rust's own library.
#[cfg(kernel_ge_7002)]
pub(super) fn c_ptr(text: &CStr) -> *const u8 {
    text.as_ptr().cast()
}

#[cfg(not(kernel_ge_7002))]
fn with_nul(text: &CStr) -> &[u8] {
    text.as_bytes_with_nul()
}

#[cfg(kernel_ge_7002)]
fn with_nul(text: &CStr) -> &[u8] {
    text.to_bytes_with_nul()
}

/// Address and length, in bytes without the NUL, of a C string.
pub(super) fn c_text(text: &CStr) -> (*const u8, u32) {
    // Both libraries' own length subtracts with an overflow check, whose panic stays in the code.
    let len = with_nul(text).len().saturating_sub(1);
    (c_ptr(text), u32::try_from(len).unwrap_or(u32::MAX))
}

/// Appends to a vector.
///
/// # Errors
/// ENOMEM.
#[cfg(not(kernel_ge_7002))]
#[inline(always)]
pub(crate) fn push<T, A: Allocator>(vec: &mut Vec<T, A>, value: T, flags: Flags) -> Result {
    Ok(vec.push(value, flags)?)
}

/// As above. The plain `push` of these kernels subtracts with an overflow check, whose panic the
/// compiler cannot leave out; this one compares first.
#[cfg(kernel_ge_7002)]
#[inline(always)]
pub(crate) fn push<T, A: Allocator>(vec: &mut Vec<T, A>, value: T, flags: Flags) -> Result {
    vec.reserve(1, flags)?;
    vec.push_within_capacity(value)
        .map_err(|_| super::errno::ENOMEM)
}
