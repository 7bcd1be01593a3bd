// SPDX-License-Identifier: GPL-2.0-or-later
//! Errors as text, for programs. Not compiled into the kernel, which has errnos.

use core::error::Error;
use core::fmt;

use super::wire::WireError;
use super::wire::MSG_MAX;

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Truncated => f.write_str("the message is cut off"),
            WireError::LengthMismatch { header, actual } => write!(
                f,
                "the header says {header} bytes but there are {actual}: one read(2) is one message"
            ),
            WireError::UnknownOpcode(opcode) => write!(
                f,
                "unknown opcode {opcode}: this kernel is newer than this program"
            ),
            WireError::BadBody => f.write_str("the body's length does not fit its opcode"),
            WireError::VolumeKeyNotTerminated => f.write_str("the volume key does not end in NUL"),
            WireError::TooLong => write!(f, "the message is longer than {MSG_MAX} bytes"),
            WireError::BufferTooSmall => f.write_str("the buffer is shorter than the message"),
        }
    }
}

impl Error for WireError {}
