// SPDX-License-Identifier: GPL-2.0-or-later
//! Volumes and cookies, as a filesystem holds them.

use super::bindings;
use super::errno::check_ptr;
use super::errno::Result;
use super::errno::EINVAL;
use super::errno::ENOMEM;
use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::sync::Arc;
use kernel::sync::Mutex;

/// The address of data that may be absent.
fn address(data: Option<&[u8]>) -> *const c_void {
    data.map_or(core::ptr::null(), |data| data.as_ptr().cast())
}

/// An acquired volume, relinquished when dropped.
#[pin_data(PinnedDrop)]
pub(crate) struct Volume {
    ptr: NonNull<bindings::fscache_volume>,
    retire: AtomicBool,
    /// Bytes of coherency data that it was acquired with.
    coherency_len: usize,
    #[pin]
    last_coherency: Mutex<Option<KVec<u8>>>,
}

// SAFETY: fscache's functions on a volume may be called by any task.
unsafe impl Send for Volume {}
// SAFETY: as above; they lock what they change.
unsafe impl Sync for Volume {}

impl Volume {
    /// Acquires it, in the cache `cache` or in any.
    ///
    /// # Errors
    /// EBUSY when a volume of that key is acquired already, EINVAL when fscache refuses it.
    pub(crate) fn acquire(
        key: &CStr,
        cache: Option<&CStr>,
        coherency: &[u8],
    ) -> Result<Arc<Volume>> {
        let cache = cache.map_or(core::ptr::null(), CStr::as_char_ptr);
        let data = address((!coherency.is_empty()).then_some(coherency));
        // SAFETY: both strings end with NUL, the data has that length; all of them are copied.
        let raw = unsafe {
            bindings::__fscache_acquire_volume(
                key.as_char_ptr().cast(),
                cache.cast(),
                data,
                coherency.len(),
            )
        };
        // Null is fscache's word for a volume that will not be cached.
        if raw.is_null() {
            return Err(EINVAL);
        }
        let ptr = check_ptr(raw)?;
        let made = Arc::pin_init(
            try_pin_init!(Volume {
                ptr,
                retire: AtomicBool::new(false),
                coherency_len: coherency.len(),
                last_coherency <- new_mutex!(None, "cachefiles_probe::coherency"),
            }? kernel::error::Error),
            GFP_KERNEL,
        );
        if made.is_err() {
            // SAFETY: acquired just now, and nobody else has it.
            unsafe {
                bindings::__fscache_relinquish_volume(ptr.as_ptr(), core::ptr::null(), false)
            };
        }
        Ok(made?)
    }

    /// When it is relinquished, the cache is to discard it.
    pub(crate) fn retire(&self) {
        self.retire.store(true, Ordering::Relaxed);
    }

    /// Bytes of coherency data that it was acquired with.
    pub(crate) fn coherency_len(&self) -> usize {
        self.coherency_len
    }

    /// When it is relinquished, these are its coherency data from then on.
    ///
    /// # Errors
    /// EINVAL when they have another length than those it was acquired with; ENOMEM.
    pub(crate) fn set_last_coherency(&self, coherency: &[u8]) -> Result {
        if coherency.len() != self.coherency_len {
            return Err(EINVAL);
        }
        let mut copy = KVec::with_capacity(coherency.len(), GFP_KERNEL)?;
        copy.extend_from_slice(coherency, GFP_KERNEL)?;
        *self.last_coherency.lock() = Some(copy);
        Ok(())
    }
}

#[pinned_drop]
impl PinnedDrop for Volume {
    fn drop(self: core::pin::Pin<&mut Self>) {
        let last = self.last_coherency.lock().take();
        let coherency = address(last.as_deref());
        let retire = self.retire.load(Ordering::Relaxed);
        // SAFETY: acquired by `acquire` and relinquished here only; the data, if any, have the length
        // of those that it was acquired with, and are copied.
        unsafe { bindings::__fscache_relinquish_volume(self.ptr.as_ptr(), coherency, retire) };
    }
}

/// An acquired cookie: unused as often as it is in use, and relinquished, when dropped.
pub(crate) struct Cookie {
    ptr: NonNull<bindings::fscache_cookie>,
    /// Relinquished after its cookies.
    _volume: Arc<Volume>,
    uses: AtomicU32,
    retire: AtomicBool,
    /// Bytes of auxiliary data that it was acquired with.
    aux_len: usize,
}

// SAFETY: fscache's functions on a cookie may be called by any task.
unsafe impl Send for Cookie {}
// SAFETY: as above; they lock what they change.
unsafe impl Sync for Cookie {}

impl Cookie {
    /// Acquires it.
    ///
    /// # Errors
    /// ENOMEM when fscache does not take it: no memory, a key of 0 or more than 255 bytes, or one
    /// that is acquired already and not relinquished in time.
    pub(crate) fn acquire(
        volume: &Arc<Volume>,
        advice: u8,
        key: &[u8],
        aux: &[u8],
        size: i64,
    ) -> Result<Cookie> {
        let data = address((!aux.is_empty()).then_some(aux));
        let owner = volume.ptr.as_ptr();
        // SAFETY: the volume is acquired; key and data have these lengths and are copied.
        let raw = unsafe {
            bindings::__fscache_acquire_cookie(
                owner,
                advice,
                key.as_ptr().cast(),
                key.len(),
                data,
                aux.len(),
                size,
            )
        };
        Ok(Cookie {
            ptr: NonNull::new(raw).ok_or(ENOMEM)?,
            _volume: volume.clone(),
            uses: AtomicU32::new(0),
            retire: AtomicBool::new(false),
            aux_len: aux.len(),
        })
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::fscache_cookie {
        self.ptr.as_ptr()
    }

    /// When it is relinquished, the cache is to discard its object.
    pub(crate) fn retire(&self) {
        self.retire.store(true, Ordering::Relaxed);
    }

    /// Uses it: the cache looks its object up, or makes one.
    pub(crate) fn use_it(&self, will_modify: bool) {
        // SAFETY: acquired, and not relinquished while `self` lives.
        unsafe { bindings::__fscache_use_cookie(self.as_ptr(), will_modify) };
        self.uses.fetch_add(1, Ordering::AcqRel);
    }

    /// Unuses it.
    ///
    /// # Errors
    /// EINVAL when it is not in use, or for auxiliary data of another length than it has.
    pub(crate) fn unuse(&self, aux: Option<&[u8]>, size: Option<i64>) -> Result {
        self.check_aux(aux)?;
        let one_less = |uses: u32| uses.checked_sub(1);
        self.uses
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less)
            .map_err(|_| EINVAL)?;
        let size = size.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
        // SAFETY: acquired, and in use by the use that was just taken off the count; the data have
        // the cookie's length, and are copied.
        unsafe { bindings::__fscache_unuse_cookie(self.as_ptr(), address(aux), size) };
        Ok(())
    }

    /// Gives it other auxiliary data, or another size.
    ///
    /// # Errors
    /// EINVAL for data of another length than it has.
    pub(crate) fn update(&self, aux: Option<&[u8]>, size: Option<i64>) -> Result {
        self.check_aux(aux)?;
        let size = size.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
        // SAFETY: acquired; the data have the cookie's length, and are copied.
        unsafe { bindings::cp_update_cookie(self.as_ptr(), address(aux), size) };
        Ok(())
    }

    /// Gives its object another size.
    pub(crate) fn resize(&self, size: i64) {
        // SAFETY: acquired, and not relinquished while `self` lives.
        unsafe { bindings::cp_resize_cookie(self.as_ptr(), size) };
    }

    /// Has what is cached of it discarded.
    ///
    /// # Errors
    /// EINVAL for data of another length than it has.
    pub(crate) fn invalidate(&self, aux: Option<&[u8]>, size: i64, flags: u32) -> Result {
        self.check_aux(aux)?;
        // SAFETY: acquired; the data have the cookie's length, and are copied.
        unsafe { bindings::cp_invalidate_cookie(self.as_ptr(), address(aux), size, flags) };
        Ok(())
    }

    /// What it is like at this moment.
    pub(crate) fn state(&self) -> bindings::cp_state {
        let mut state = bindings::cp_state::default();
        // SAFETY: acquired; fields that others change are read once each.
        unsafe { bindings::cp_cookie_state(self.as_ptr(), &mut state) };
        state
    }

    fn check_aux(&self, aux: Option<&[u8]>) -> Result {
        match aux {
            Some(aux) if aux.len() != self.aux_len => Err(EINVAL),
            _ => Ok(()),
        }
    }
}

impl Drop for Cookie {
    fn drop(&mut self) {
        while self.unuse(None, None).is_ok() {}
        let retire = self.retire.load(Ordering::Relaxed);
        // SAFETY: acquired, not in use any more, and relinquished here only.
        unsafe { bindings::__fscache_relinquish_cookie(self.as_ptr(), retire) };
    }
}
