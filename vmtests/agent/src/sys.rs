// SPDX-License-Identifier: GPL-2.0-or-later
//! The two system interfaces that cannot be had without `unsafe`.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;

use cachefiles_core::wire;

/// Takes over the descriptor that reading an OPEN message has put into this process.
///
/// `fd` must be the number from a message that was just read from the device, taken over once.
pub fn adopt(fd: i32) -> io::Result<OwnedFd> {
    if fd < 3 {
        return Err(io::Error::other(format!(
            "an OPEN message carries descriptor {fd}, which cannot be: 0 to 2 are in use"
        )));
    }
    // SAFETY: the kernel installed a new descriptor under this number for the message that the
    // caller has just read, and nobody else in this process learns of it: it is ours to close.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Completes the READ `msg_id` by the ioctl on its object's descriptor.
pub fn read_complete(object: impl AsFd, msg_id: u32) -> io::Result<()> {
    const OPCODE: rustix::ioctl::Opcode = wire::IOC_READ_COMPLETE;
    // SAFETY: the opcode is the one that <linux/cachefiles.h> defines; its argument is the message
    // id by value, of which every `u32` is valid (an unknown one is answered with EINVAL), and no
    // memory of this process is read or written.
    unsafe {
        let setter = rustix::ioctl::IntegerSetter::<OPCODE>::new_usize(msg_id as usize);
        rustix::ioctl::ioctl(object, setter)?;
    }
    Ok(())
}
