// SPDX-License-Identifier: GPL-2.0-or-later
//! Memory of the process that called.

use super::bindings;
use super::errno::Result;
use super::errno::EFAULT;
use super::errno::EMSGSIZE;
use core::ffi::c_void;
use core::marker::PhantomData;

/// A buffer that the caller of `read` wants filled.
pub(crate) struct UserOut<'a> {
    ptr: *mut c_void,
    len: usize,
    _call: PhantomData<&'a ()>,
}

impl UserOut<'_> {
    /// The buffer is not trusted: an address that is not the caller's own is found out by the copy.
    pub(super) fn new(ptr: *mut c_void, len: usize) -> Self {
        UserOut {
            ptr,
            len,
            _call: PhantomData,
        }
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Writes `data` to its beginning.
    ///
    /// # Errors
    /// EMSGSIZE when it is too short, EFAULT when it is not the caller's memory.
    pub(crate) fn write(&mut self, data: &[u8]) -> Result {
        if data.len() > self.len {
            return Err(EMSGSIZE);
        }
        // SAFETY: reads `data`; what it writes to is checked by the callee.
        let left = unsafe { bindings::cf_copy_to_user(self.ptr, data.as_ptr().cast(), data.len()) };
        if left == 0 {
            Ok(())
        } else {
            Err(EFAULT)
        }
    }
}

/// A buffer that the caller of `write` passes.
pub(crate) struct UserIn<'a> {
    ptr: *const c_void,
    len: usize,
    _call: PhantomData<&'a ()>,
}

impl UserIn<'_> {
    /// As [`UserOut::new`].
    pub(super) fn new(ptr: *const c_void, len: usize) -> Self {
        UserIn {
            ptr,
            len,
            _call: PhantomData,
        }
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Copies as much of its beginning as `to` has room for.
    ///
    /// # Errors
    /// EFAULT when it is not the caller's memory, or not as long.
    pub(crate) fn read(&self, to: &mut [u8]) -> Result {
        if to.len() > self.len {
            return Err(EFAULT);
        }
        // SAFETY: writes to `to`; what is read from is checked by the callee.
        let left =
            unsafe { bindings::cf_copy_from_user(to.as_mut_ptr().cast(), self.ptr, to.len()) };
        if left == 0 {
            Ok(())
        } else {
            Err(EFAULT)
        }
    }
}
