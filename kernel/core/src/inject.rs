// SPDX-License-Identifier: GPL-2.0-or-later
//! Errors on request: what the sysctl `cachefiles.error_injection` makes of each kind of access
//! to the backing filesystem. Bit 0 fills the disk, bit 1 breaks it.

/// What is about to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Something is read or looked up.
    Read,
    /// Something is written or made.
    Write,
    /// Something is removed or cut off.
    Remove,
}

/// How it is to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `EIO`.
    Io,
    /// `ENOSPC`.
    NoSpace,
}

/// The bit that lets writes find no space.
const NO_SPACE: u32 = 1;

/// The bit that lets everything fail.
const IO: u32 = 2;

/// Whether `access` is to fail while the sysctl has the value `state`. A broken disk outranks a full
/// one.
pub fn fault(state: u32, access: Access) -> Option<Fault> {
    if state & IO != 0 {
        Some(Fault::Io)
    } else if state & NO_SPACE != 0 && access == Access::Write {
        Some(Fault::NoSpace)
    } else {
        None
    }
}
