// SPDX-License-Identifier: GPL-2.0-or-later
//! Objects: their memory, their reference count with its trace events, and their end.

use super::bindings;
use super::errno::Errno;
use super::errno::Result;
use super::field::field;
use super::field::Struct;
use super::fscache::Cookie;
use super::fscache::CookieRef;
use super::trace;
use crate::interface::ObjectData;
use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::AtomicI32;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering;
use kernel::prelude::*;
use kernel::types::Opaque;

/// Why a reference to an object is taken and given back, in the words of the trace events
/// (`cachefiles_ref`). `Request` has no word there: the C module holds no reference for a request
/// in its table; ours does, so that a request can never outlive its object. Such references are left
/// out of the count that the events show, which is then the one that C's would show.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefReason {
    /// The cookie's own reference.
    Attached,
    /// A transfer to or from the backing file.
    Transfer,
    /// An anonymous fd.
    OndemandFd,
    /// The delivery of one of its requests to the daemon.
    Delivery,
    /// A request in the table, or on the list of objects: not traced.
    Request,
}

/// Seeded bugs for kernels with KASAN: an object's descriptor does not hold its object.
const FD_HOLDS_NOTHING: bool = cfg!(any(
    cachefiles_mutant = "restore-storm--kasan",
    cachefiles_mutant = "stolen-fd--kasan",
    cachefiles_mutant = "poll-loop--kasan",
    cachefiles_mutant = "mount-loops--kasan",
));

/// A cached object. C's trace events see the prefix; everything else is Rust's.
#[repr(C)]
#[pin_data]
pub(crate) struct Object {
    base: Opaque<bindings::cachefiles_object>,
    refs: UnsafeCell<bindings::refcount_t>,
    /// How many of the references the trace events leave out.
    untraced: AtomicI32,
    fscache: NonNull<bindings::fscache_cache>,
    /// Ends before the cookie: putting the last cookie of a volume frees the volume, whose record
    /// must then not be held here any more, or its directories would stay marked as in use while
    /// somebody who waits for the volume takes them.
    #[pin]
    data: ObjectData,
    cookie: CookieRef,
}

// SAFETY: `base` is written once, `refs` is atomic, `fscache` is only handed to fscache, and the
// rest is `Send`.
unsafe impl Send for Object {}
// SAFETY: as above, and the rest is `Sync`.
unsafe impl Sync for Object {}

static NEXT_DEBUG_ID: AtomicU32 = AtomicU32::new(1);

// SAFETY: part of this value.
unsafe impl Struct for Object {
    type C = bindings::cachefiles_object;

    fn raw(&self) -> *mut bindings::cachefiles_object {
        self.base.get()
    }
}

impl Object {
    /// Makes an object for `cookie` and counts it with fscache. The result is the reference that
    /// the cookie is to hold.
    ///
    /// # Errors
    /// ENOMEM, or what `data` says.
    pub(crate) fn new(cookie: &Cookie, data: impl PinInit<ObjectData, Errno>) -> Result<ObjRef> {
        let fscache = NonNull::new(cookie.volume().cache_ptr()).ok_or(super::errno::EIO)?;
        let debug_id = NEXT_DEBUG_ID.fetch_add(1, Ordering::Relaxed);
        let refs = bindings::refcount_t {
            refs: bindings::atomic_t { counter: 1 },
        };
        let base = bindings::cachefiles_object {
            cookie: cookie.as_ptr(),
            debug_id,
        };
        let cookie = cookie.get_for_object();
        let object = KBox::pin_init(
            try_pin_init!(Object {
                base: Opaque::new(base),
                refs: UnsafeCell::new(refs),
                untraced: AtomicI32::new(0),
                fscache,
                data <- data,
                cookie,
            }? Errno),
            GFP_KERNEL,
        )?;
        // SAFETY: the box stays where it is: only `ObjRef`s point to it from now on, and the last
        // of them frees it in place.
        let object = unsafe { Pin::into_inner_unchecked(object) };
        // SAFETY: a box is never null.
        let ptr = unsafe { NonNull::new_unchecked(KBox::into_raw(object)) };
        // SAFETY: the cache outlives its objects; this counts one more.
        unsafe { bindings::cf_count_object(fscache.as_ptr()) };
        let object = ObjRef {
            ptr,
            reason: RefReason::Attached,
        };
        object.trace(1, bindings::cachefiles_obj_ref_trace_cachefiles_obj_new);
        Ok(object)
    }

    /// Number that messages and trace events show.
    pub(crate) fn debug_id(&self) -> u32 {
        self.load(field!(cachefiles_object.debug_id))
    }

    /// The object's cookie.
    pub(crate) fn cookie(&self) -> &Cookie {
        &self.cookie
    }

    /// Takes another reference.
    pub(crate) fn get(&self, reason: RefReason) -> ObjRef {
        if FD_HOLDS_NOTHING && reason == RefReason::OndemandFd {
            return ObjRef {
                ptr: NonNull::from(self),
                reason,
            };
        }
        // SAFETY: `&self` shows that a reference is held, so that the count is not zero.
        let old = unsafe { bindings::cf_refcount_inc(self.refs.get()) };
        match reason.get_word() {
            Some(word) => self.trace(self.shown(old), word),
            None => {
                self.untraced.fetch_add(1, Ordering::Relaxed);
            }
        }
        ObjRef {
            ptr: NonNull::from(self),
            reason,
        }
    }

    /// Notes that the object was seen at a stage of its life.
    pub(crate) fn see(&self, why: trace::Seen) {
        let refs = self.refs.get();
        // SAFETY: one volatile load, as others change it meanwhile; for a trace event only.
        let usage = unsafe { core::ptr::addr_of!((*refs).refs.counter).read_volatile() };
        self.trace(self.shown(usage), why.word());
    }

    /// The count that a trace event shows for `usage` references in all.
    fn shown(&self, usage: i32) -> i32 {
        usage.saturating_sub(self.untraced.load(Ordering::Relaxed))
    }

    fn trace(&self, usage: i32, why: bindings::cachefiles_obj_ref_trace) {
        trace::reference(self.debug_id(), self.cookie.debug_id(), usage, why);
    }
}

impl core::ops::Deref for Object {
    type Target = ObjectData;

    fn deref(&self) -> &ObjectData {
        &self.data
    }
}

impl RefReason {
    fn get_word(self) -> Option<bindings::cachefiles_obj_ref_trace> {
        match self {
            RefReason::Attached => Some(bindings::cachefiles_obj_ref_trace_cachefiles_obj_new),
            RefReason::Transfer => {
                Some(bindings::cachefiles_obj_ref_trace_cachefiles_obj_get_ioreq)
            }
            RefReason::OndemandFd => Some(bindings::cf_ref_consts_CF_REF_GET_ONDEMAND_FD),
            RefReason::Delivery => Some(bindings::cf_ref_consts_CF_REF_GET_READ_REQ),
            RefReason::Request => None,
        }
    }

    fn put_word(self) -> Option<bindings::cachefiles_obj_ref_trace> {
        match self {
            RefReason::Attached => {
                Some(bindings::cachefiles_obj_ref_trace_cachefiles_obj_put_detach)
            }
            RefReason::Transfer => {
                Some(bindings::cachefiles_obj_ref_trace_cachefiles_obj_put_ioreq)
            }
            RefReason::OndemandFd => Some(bindings::cf_ref_consts_CF_REF_PUT_ONDEMAND_FD),
            RefReason::Delivery => Some(bindings::cf_ref_consts_CF_REF_PUT_READ_REQ),
            RefReason::Request => None,
        }
    }
}

/// A counted reference to an object. Dropping it gives the reference back, and the last one ends
/// the object: its parts, its cookie, its memory, and then its count with fscache, in this order:
/// once the count is zero the cache may end.
///
/// Dropping may sleep when it is the last one.
pub(crate) struct ObjRef {
    ptr: NonNull<Object>,
    reason: RefReason,
}

// SAFETY: objects are shared between tasks (`Object` is `Sync`) and may end in any (`Send`).
unsafe impl Send for ObjRef {}
// SAFETY: as above.
unsafe impl Sync for ObjRef {}

impl ObjRef {
    /// Gives the reference to a field of C's.
    pub(super) fn into_raw(self) -> *mut core::ffi::c_void {
        let ptr = self.ptr.as_ptr().cast();
        core::mem::forget(self);
        ptr
    }

    /// # Safety
    /// `raw` comes from `into_raw`, and the reference passes back.
    pub(super) unsafe fn from_raw(raw: *mut core::ffi::c_void) -> Option<ObjRef> {
        NonNull::new(raw.cast()).map(|ptr| ObjRef {
            ptr,
            reason: RefReason::Attached,
        })
    }
}

impl core::ops::Deref for ObjRef {
    type Target = Object;

    fn deref(&self) -> &Object {
        // SAFETY: this value owns a reference.
        unsafe { self.ptr.as_ref() }
    }
}

impl Drop for ObjRef {
    fn drop(&mut self) {
        let object = self.ptr;
        let (debug_id, cookie_id) = (self.debug_id(), self.cookie.debug_id());
        if FD_HOLDS_NOTHING && self.reason == RefReason::OndemandFd {
            return;
        }
        let fscache = self.fscache;
        let word = self.reason.put_word();
        let untraced = match word {
            Some(_) => self.untraced.load(Ordering::Relaxed),
            None => self.untraced.fetch_sub(1, Ordering::Relaxed),
        };
        let mut old = 0;
        // SAFETY: this value owns a reference, which it gives back here.
        let last =
            unsafe { bindings::cf_refcount_dec_and_test((*object.as_ptr()).refs.get(), &mut old) };
        if let Some(word) = word {
            trace::reference(debug_id, cookie_id, old.saturating_sub(untraced), word);
        }
        if last {
            // SAFETY: nobody else has a reference; the memory came from a box.
            drop(unsafe { KBox::from_raw(object.as_ptr()) });
            // SAFETY: the cache waits for this count before it ends.
            unsafe { bindings::cf_uncount_object(fscache.as_ptr()) };
        }
    }
}
