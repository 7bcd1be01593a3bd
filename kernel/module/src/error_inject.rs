// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! Errors on request, at the places where fs/cachefiles of Linux 6.12 has them: each function is
//! called just before the backing filesystem is asked, and its error stands for the filesystem's.
//! What the sysctl's bits mean is `core/src/inject.rs`.

use crate::prelude::*;
use crate::pure::inject::fault;
use crate::pure::inject::Access;
use crate::pure::inject::Fault;
use crate::sys::sysctl;

fn inject(access: Access) -> Result {
    match fault(sysctl::error_injection(), access) {
        None => Ok(()),
        Some(Fault::Io) => Err(EIO),
        Some(Fault::NoSpace) => Err(ENOSPC),
    }
}

/// Before something is read or looked up.
///
/// # Errors
/// EIO when the sysctl says so.
pub(crate) fn read() -> Result {
    inject(Access::Read)
}

/// Before something is written or made.
///
/// # Errors
/// EIO or ENOSPC when the sysctl says so.
pub(crate) fn write() -> Result {
    if cfg!(cachefiles_mutant = "error-injection") {
        return Ok(());
    }
    inject(Access::Write)
}

/// Before something is removed or cut off.
///
/// # Errors
/// EIO when the sysctl says so.
pub(crate) fn remove() -> Result {
    inject(Access::Remove)
}
