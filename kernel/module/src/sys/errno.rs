// SPDX-License-Identifier: GPL-2.0-or-later
//! Error numbers.
//!
//! The kernel crate's `Error` knows only part of them on 6.12 (neither ENOBUFS nor ESTALE, which
//! cachefiles speaks most), so the module has its own.

use core::num::NonZeroI32;
use core::ptr::NonNull;
use kernel::alloc::AllocError;

/// A kernel error number, as the kernel returns it: negative, between `-MAX_ERRNO` and -1. So a
/// `Result` is the very number that C would return.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(NonZeroI32);

pub(crate) type Result<T = ()> = core::result::Result<T, Errno>;

/// Largest error number that the kernel's error pointers and return values carry.
pub(crate) const MAX_ERRNO: i32 = 4095;

/// The return value that is least.
const FIRST: i32 = -MAX_ERRNO;

macro_rules! errnos {
    ($($name:ident = $value:literal),* $(,)?) => {
        $(pub(crate) const $name: Errno = Errno::of($value);)*
    };
}

errnos! {
    EPERM = 1, ENOENT = 2, EINTR = 4, EIO = 5, ENXIO = 6, ENOMEM = 12, EFAULT = 14, EBUSY = 16,
    EEXIST = 17, EXDEV = 18, ENOTDIR = 20, EINVAL = 22, ENOSPC = 28, EROFS = 30, ERANGE = 34,
    ENOTEMPTY = 39,
    ENODATA = 61, EMSGSIZE = 90, EOPNOTSUPP = 95, ENOBUFS = 105, ESTALE = 116, EDQUOT = 122,
}

/// The codes with which the kernel asks for a system call to be restarted (linux/errno.h).
const RESTARTS: [i32; 4] = [512, 513, 514, 516];

impl Errno {
    /// The error of that number, which is positive.
    const fn of(number: i32) -> Errno {
        match NonZeroI32::new(number.wrapping_neg()) {
            Some(negative) => Errno(negative),
            // None of the kernel's error numbers is zero.
            None => Errno(NonZeroI32::MIN),
        }
    }

    /// The number as the kernel returns it: negative.
    pub(crate) fn to_ret(self) -> i32 {
        self.0.get()
    }

    /// The error in a negative return value; any value outside of the range of errors counts as EIO.
    pub(crate) fn from_ret(ret: i64) -> Errno {
        match i32::try_from(ret) {
            Ok(n @ FIRST..=-1) => NonZeroI32::new(n).map_or(EIO, Errno),
            _ => EIO,
        }
    }

    /// A transfer cannot be restarted when other parts of it are under way: such codes become EINTR.
    pub(crate) fn without_restart(self) -> Errno {
        if RESTARTS.contains(&self.to_ret().wrapping_neg()) {
            EINTR
        } else {
            self
        }
    }
}

impl From<AllocError> for Errno {
    fn from(_: AllocError) -> Errno {
        ENOMEM
    }
}

impl From<kernel::error::Error> for Errno {
    fn from(e: kernel::error::Error) -> Errno {
        Errno::from_ret(e.to_errno().into())
    }
}

impl From<core::convert::Infallible> for Errno {
    fn from(never: core::convert::Infallible) -> Errno {
        match never {}
    }
}

impl From<Errno> for kernel::error::Error {
    fn from(e: Errno) -> kernel::error::Error {
        kernel::error::Error::from_errno(e.to_ret())
    }
}

/// Turns a return value of C into a result: negative is an error, anything else is not.
pub(crate) fn check(ret: i32) -> Result {
    if ret < 0 {
        Err(Errno::from_ret(ret.into()))
    } else {
        Ok(())
    }
}

/// As [`check`], for 64-bit values (positions and sizes).
pub(crate) fn check64(ret: i64) -> Result<i64> {
    if ret < 0 && ret >= -i64::from(MAX_ERRNO) {
        Err(Errno::from_ret(ret))
    } else {
        Ok(ret)
    }
}

/// Turns an error pointer of C into a result. Null counts as ENOMEM: constructors that return null
/// mean just that.
pub(super) fn check_ptr<T>(ptr: *mut T) -> Result<NonNull<T>> {
    let value = ptr as isize;
    if value < 0 && value >= -(MAX_ERRNO as isize) {
        return Err(Errno::from_ret(value as i64));
    }
    NonNull::new(ptr).ok_or(ENOMEM)
}

/// The number that a `Result` of a callback returns to C.
pub(crate) fn to_ret(result: Result) -> i32 {
    match result {
        Ok(()) => 0,
        Err(e) => e.to_ret(),
    }
}
