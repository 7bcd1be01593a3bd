// SPDX-License-Identifier: GPL-2.0-or-later
//! Strings on their way to C.

use crate::compat::with_nul;
use kernel::str::CStr;

/// Address of a C string.
pub(super) fn c_ptr(text: &CStr) -> *const u8 {
    with_nul(text).as_ptr()
}

/// Address and length, in bytes without the NUL, of a C string.
pub(super) fn c_text(text: &CStr) -> (*const u8, u32) {
    let bytes = with_nul(text);
    // The string's own length would subtract with an overflow check, whose panic stays in the code.
    let len = bytes.len().saturating_sub(1);
    (bytes.as_ptr(), u32::try_from(len).unwrap_or(u32::MAX))
}
