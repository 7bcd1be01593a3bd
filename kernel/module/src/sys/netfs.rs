// SPDX-License-Identifier: GPL-2.0-or-later
//! What netfs hands to a cache for the time of an operation: resources, iterators, and the function
//! to call when a transfer ends.

use super::bindings;
use super::errno::to_ret;
use super::errno::Result;
use super::field::field;
use super::field::Struct;
use super::file::File;
use super::fscache::Cookie;
use super::object::Object;
use super::plain;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering;
use kernel::types::Opaque;

pub(crate) use bindings::netfs_io_source as Source;

/// Where netfs is to take data from (include/linux/netfs.h).
pub(crate) mod source {
    pub(crate) use crate::sys::bindings::netfs_io_source_NETFS_DOWNLOAD_FROM_SERVER as DOWNLOAD_FROM_SERVER;
    pub(crate) use crate::sys::bindings::netfs_io_source_NETFS_FILL_WITH_ZEROES as FILL_WITH_ZEROES;
    pub(crate) use crate::sys::bindings::netfs_io_source_NETFS_INVALID_READ as INVALID_READ;
    pub(crate) use crate::sys::bindings::netfs_io_source_NETFS_READ_FROM_CACHE as READ_FROM_CACHE;
}

/// Bit of a subrequest's flags: copy what was downloaded into the cache.
pub(crate) const SREQ_COPY_TO_CACHE: usize = 1 << bindings::cf_consts_CF_SREQ_COPY_TO_CACHE;
/// Bit of a subrequest's flags: the reader cannot download; the daemon must fill holes.
pub(crate) const SREQ_ONDEMAND: usize = 1 << bindings::cf_consts_CF_SREQ_ONDEMAND;

/// What an operation is for; fscache waits for a state of the cookie that suits it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// Only its parameters.
    Params,
    /// Reading.
    Read,
    /// Writing.
    Write,
}

/// What to do when a read meets a hole.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadHole {
    /// Do not look.
    Ignore,
    /// Fill the buffer with zeros there.
    Clear,
    /// Fail with ENODATA.
    Fail,
}

/// The resources of an operation, borrowed from a callback.
///
/// While it lasts, the operation holds an access to the cookie, so that the object stays attached,
/// and a reference to the object's file as it was at the beginning: an invalidation may give the
/// object another file meanwhile.
#[repr(transparent)]
pub(crate) struct Resources(Opaque<bindings::netfs_cache_resources>);

// SAFETY: the operation lasts while it is borrowed (`from_ptr`).
unsafe impl Struct for Resources {
    type C = bindings::netfs_cache_resources;

    fn raw(&self) -> *mut bindings::netfs_cache_resources {
        self.0.get()
    }
}

impl Resources {
    /// # Safety
    /// `ptr` are the resources of an operation that lasts for `'a`.
    pub(super) unsafe fn from_ptr<'a>(ptr: *mut bindings::netfs_cache_resources) -> &'a Resources {
        // SAFETY: the caller's promise; the type is transparent over the C struct.
        unsafe { &*ptr.cast() }
    }

    /// The cookie.
    pub(crate) fn cookie(&self) -> &Cookie {
        let cookie = self.load(field!(netfs_cache_resources.cache_priv));
        // SAFETY: the operation's access keeps the cookie, and it stays the operation's.
        unsafe { Cookie::from_ptr(cookie.cast()) }
    }

    /// The object.
    pub(crate) fn object(&self) -> Option<&Object> {
        // Attached by the lookup, which may still be under way.
        let object = self.cookie().object_slot().load(Ordering::Acquire);
        // SAFETY: the operation's access keeps the object attached to its cookie.
        unsafe { object.cast::<Object>().as_ref() }
    }

    /// The file that the operation works on.
    pub(crate) fn file(&self) -> Option<&File> {
        if self.file_slot().load(Ordering::Acquire).is_null() {
            return None;
        }
        let slot = self.place(field!(netfs_cache_resources.cache_priv2));
        // SAFETY: holds the reference that `set_file` put there, which stays until the end.
        unsafe { File::from_slot(slot) }
    }

    /// Whether the operation is one of this module's cache.
    pub(super) fn is_ours(&self) -> bool {
        let ops = self.load(field!(netfs_cache_resources.ops));
        core::ptr::eq(ops, super::ops::netfs_ops())
    }

    fn file_slot(&self) -> &AtomicPtr<c_void> {
        let slot = self.place(field!(netfs_cache_resources.cache_priv2));
        // SAFETY: valid while the operation lasts; set at most once, here and atomically, and taken back at the end only.
        unsafe { AtomicPtr::from_ptr(slot) }
    }

    /// Gives the operation the table of operations, and its file unless it has one. An operation
    /// that began before the object had a file may come here again, from any of its tasks.
    pub(crate) fn set_file(&self, file: Option<File>) {
        let ops = self.place(field!(netfs_cache_resources.ops));
        // SAFETY: valid while the operation lasts; one store of a pointer; whoever else stores here stores the same.
        unsafe { ops.write_volatile(super::ops::netfs_ops()) };
        let Some(file) = file else { return };
        let raw = file.into_ptr().cast();
        let slot = self.file_slot();
        if let Err(_other) = slot.compare_exchange(
            core::ptr::null_mut(),
            raw,
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            // SAFETY: the reference was ours and has not been stored.
            unsafe { bindings::fput(raw.cast()) };
        }
    }

    /// Waits until the cookie is in a state that suits `want`; false when it never will be.
    pub(crate) fn wait_for(&self, want: Want) -> bool {
        let want = match want {
            Want::Params => bindings::fscache_want_state_FSCACHE_WANT_PARAMS,
            Want::Read => bindings::fscache_want_state_FSCACHE_WANT_READ,
            Want::Write => bindings::fscache_want_state_FSCACHE_WANT_WRITE,
        };
        plain::fscache_wait_for_operation(self, want)
    }

    /// How often the object had been invalidated when the operation began.
    pub(crate) fn inval_counter(&self) -> u32 {
        self.load(field!(netfs_cache_resources.inval_counter))
    }
}

/// An iterator over the memory of a transfer.
pub(crate) struct IovIter<'a> {
    iter: *mut bindings::iov_iter,
    _iter: PhantomData<&'a mut ()>,
}

impl<'a> IovIter<'a> {
    /// # Safety
    /// `iter` is an iterator that nobody else uses during `'a`.
    pub(super) unsafe fn from_ptr(iter: *mut bindings::iov_iter) -> IovIter<'a> {
        IovIter {
            iter,
            _iter: PhantomData,
        }
    }

    pub(super) fn as_ptr(&mut self) -> *mut bindings::iov_iter {
        self.iter
    }

    /// Bytes left.
    pub(crate) fn count(&self) -> usize {
        // SAFETY: exclusively ours for the life of `self`.
        unsafe { bindings::cf_iov_iter_count(self.iter) }
    }

    /// Fills the next `len` bytes with zeros and steps over them.
    pub(crate) fn zero(&mut self, len: usize) {
        // SAFETY: exclusively ours for the life of `self`.
        unsafe { bindings::iov_iter_zero(len, self.iter) };
    }
}

/// The function that the caller of a transfer wants called when it ends. It must be called exactly
/// once: a value dropped without it would leave the caller waiting for ever.
#[must_use]
pub(crate) struct Termination {
    func: bindings::netfs_io_terminated_t,
    data: *mut c_void,
}

// SAFETY: netfs lets the function be called in any context, with this argument.
unsafe impl Send for Termination {}

impl Termination {
    pub(super) fn new(func: bindings::netfs_io_terminated_t, data: *mut c_void) -> Option<Self> {
        func.is_some().then_some(Termination { func, data })
    }

    /// Tells the caller how many bytes were transferred, or what went wrong. Nothing of the module
    /// may be needed after it: it ends the access that kept the object.
    pub(crate) fn end(self, result: Result<usize>, was_async: bool) {
        let value = match result {
            Ok(n) => isize::try_from(n).unwrap_or(isize::MAX),
            Err(e) => to_ret(Err(e)) as isize,
        };
        // SAFETY: function and argument came together from the caller of the transfer; this consumes
        // them.
        unsafe { terminate(self.func, self.data, value, was_async) };
    }
}

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
