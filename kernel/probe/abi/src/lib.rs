// SPDX-License-Identifier: GPL-2.0-or-later
//! What the probe module and its users agree on.
//!
//! `call` is the one ioctl of `/dev/cachefiles-probe`, `content` the bytes that an object of the
//! probe holds: whoever serves it and whoever reads it make them from the object's keys. The module
//! compiles these very files; they are no stable interface.
#![no_std]
#![forbid(unsafe_code)]

pub mod call;
pub mod content;
