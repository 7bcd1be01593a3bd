// SPDX-License-Identifier: GPL-2.0-or-later
//! fscache's side of a cache: the cache cookie, volume cookies and object cookies.

use super::bindings;
use super::errno::check;
use super::errno::check_ptr;
use super::errno::Result;
use super::errno::EBUSY;
use super::field::field;
use super::field::Struct;
use super::plain;
use super::text::c_ptr;
use crate::cache::Cache;
use core::ptr::NonNull;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering;
use kernel::str::CStr;
use kernel::sync::Arc;
use kernel::sync::ArcBorrow;
use kernel::types::Opaque;

/// Bits of a cookie's flag word (include/linux/fscache.h).
#[derive(Clone, Copy)]
pub(crate) enum CookieFlag {
    /// Written to locally since the last commit.
    LocalWrite = bindings::cf_consts_CF_COOKIE_LOCAL_WRITE as isize,
    /// Has data in the cache.
    HaveData = bindings::cf_consts_CF_COOKIE_HAVE_DATA as isize,
    /// Coherency data must be written back.
    NeedsUpdate = bindings::cf_consts_CF_COOKIE_NEEDS_UPDATE as isize,
    /// The cache is known to be empty.
    NoDataToRead = bindings::cf_consts_CF_COOKIE_NO_DATA_TO_READ as isize,
    /// To be deleted when withdrawn.
    Retired = bindings::cf_consts_CF_COOKIE_RETIRED as isize,
}

/// An object cookie, borrowed from a callback or from a [`CookieRef`].
#[repr(transparent)]
pub(crate) struct Cookie(Opaque<bindings::fscache_cookie>);

// SAFETY: referenced while it is borrowed (`from_ptr`).
unsafe impl Struct for Cookie {
    type C = bindings::fscache_cookie;

    fn raw(&self) -> *mut bindings::fscache_cookie {
        self.0.get()
    }
}

impl Cookie {
    /// # Safety
    /// `ptr` is a cookie that stays referenced for `'a`.
    pub(super) unsafe fn from_ptr<'a>(ptr: *mut bindings::fscache_cookie) -> &'a Cookie {
        // SAFETY: the caller's promise; the type is transparent over the C struct.
        unsafe { &*ptr.cast() }
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::fscache_cookie {
        self.0.get()
    }

    /// Number that trace events show.
    pub(crate) fn debug_id(&self) -> u32 {
        self.load(field!(fscache_cookie.debug_id))
    }

    /// The key that the filesystem chose, at most 255 bytes, binary.
    pub(crate) fn key(&self) -> &[u8] {
        let len = self.load(field!(fscache_cookie.key_len));
        // SAFETY: the cookie is referenced.
        let key = unsafe { bindings::cf_cookie_key(self.as_ptr()) };
        // SAFETY: the key has that many bytes and does not change while the cookie lives.
        unsafe { core::slice::from_raw_parts(key.cast(), len.into()) }
    }

    /// Low byte of the key's hash: which of the 256 directories of its volume holds the object.
    pub(crate) fn fan_index(&self) -> u8 {
        self.load(field!(fscache_cookie.key_hash)) as u8
    }

    /// Copies the coherency data into `out`, as far as that goes; returns how long it is. The
    /// filesystem may be updating it meanwhile; then the copy may be a mixture, as it may in C.
    pub(crate) fn copy_aux(&self, out: &mut [u8]) -> usize {
        let len = usize::from(self.load(field!(fscache_cookie.aux_len)));
        // SAFETY: the cookie is referenced.
        let aux = unsafe { bindings::cf_cookie_aux(self.as_ptr()) };
        // SAFETY: the data has that many bytes for as long as the cookie lives.
        unsafe { copy_racing(aux.cast(), len, out) };
        len
    }

    /// Size of the object in bytes, as the filesystem or the daemon gave it.
    pub(crate) fn object_size(&self) -> u64 {
        u64::try_from(self.load(field!(fscache_cookie.object_size))).unwrap_or(0)
    }

    /// Sets the size of the object in bytes.
    pub(crate) fn set_object_size(&self, size: u64) {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let place = self.place(field!(fscache_cookie.object_size));
        // SAFETY: the cookie is referenced; one volatile store, as others may load meanwhile.
        unsafe { place.write_volatile(size) };
    }

    /// Whether the filesystem lets the cache say how large the object is.
    pub(crate) fn wants_cache_size(&self) -> bool {
        let advice = self.load(field!(fscache_cookie.advice));
        u32::from(advice) & bindings::cf_consts_CF_ADV_WANT_CACHE_SIZE != 0
    }

    /// Counts the invalidations of the object.
    pub(crate) fn inval_counter(&self) -> u32 {
        self.load(field!(fscache_cookie.inval_counter))
    }

    fn flags(&self) -> &AtomicUsize {
        let word = self.place(field!(fscache_cookie.flags));
        // SAFETY: the cookie is referenced, and everybody changes the word by atomic bit operations
        // only.
        unsafe { AtomicUsize::from_ptr(word.cast()) }
    }

    /// Whether `flag` is set.
    pub(crate) fn test(&self, flag: CookieFlag) -> bool {
        self.flags().load(Ordering::Relaxed) & bit(flag) != 0
    }

    /// Sets `flag`.
    pub(crate) fn set(&self, flag: CookieFlag) {
        self.flags().fetch_or(bit(flag), Ordering::SeqCst);
    }

    /// Clears `flag`; whether it was set.
    pub(crate) fn clear(&self, flag: CookieFlag) -> bool {
        self.flags().fetch_and(!bit(flag), Ordering::SeqCst) & bit(flag) != 0
    }

    /// Where the cache keeps its object: null before the lookup and after the withdrawal.
    pub(super) fn object_slot(&self) -> &AtomicPtr<core::ffi::c_void> {
        let slot = self.place(field!(fscache_cookie.cache_priv));
        // SAFETY: the cookie is referenced, and fscache leaves the field to the cache, which uses it
        // through here only.
        unsafe { AtomicPtr::from_ptr(slot) }
    }

    /// The volume that the object belongs to.
    pub(crate) fn volume(&self) -> &VolumeCookie {
        let volume = self.load(field!(fscache_cookie.volume));
        // SAFETY: a cookie holds a reference to its volume, which never changes.
        unsafe { VolumeCookie::from_ptr(volume) }
    }

    /// Takes a reference in the name of an object.
    pub(crate) fn get_for_object(&self) -> CookieRef {
        // SAFETY: the cookie is referenced.
        let raw = unsafe {
            bindings::fscache_get_cookie(
                self.as_ptr(),
                bindings::fscache_cookie_trace_fscache_cookie_get_attach_object,
            )
        };
        CookieRef(NonNull::new(raw).unwrap_or(NonNull::from(self).cast()))
    }

    /// Tells fscache that the cache has nothing of this object yet, so that I/O may begin.
    pub(crate) fn lookup_negative(&self) {
        plain::fscache_cookie_lookup_negative(self);
    }

    /// Tells fscache that this object cannot be cached.
    pub(crate) fn caching_failed(&self) {
        plain::fscache_caching_failed(self);
    }

    /// Lets I/O go on after an invalidation.
    pub(crate) fn resume_after_invalidation(&self) {
        plain::fscache_resume_after_invalidation(self);
    }

    /// Asks fscache to withdraw the object, on a worker of its own.
    pub(crate) fn withdraw(&self) {
        plain::fscache_withdraw_cookie(self);
    }
}

/// Copies bytes that others may be changing, each with one volatile load.
///
/// # Safety
/// `from` has `len` bytes for the time of the call.
unsafe fn copy_racing(from: *const u8, len: usize, out: &mut [u8]) {
    for (at, to) in out.iter_mut().enumerate().take(len) {
        // SAFETY: `at` is less than `len`; the caller's promise.
        *to = unsafe { from.add(at).read_volatile() };
    }
}

fn bit(flag: CookieFlag) -> usize {
    1usize.wrapping_shl(flag as u32)
}

/// A counted reference to an object cookie, held by an object.
pub(crate) struct CookieRef(NonNull<bindings::fscache_cookie>);

// SAFETY: cookies are shared between tasks; their count is atomic.
unsafe impl Send for CookieRef {}
// SAFETY: as above; what `&Cookie` offers may be called from many tasks at once.
unsafe impl Sync for CookieRef {}

impl core::ops::Deref for CookieRef {
    type Target = Cookie;

    fn deref(&self) -> &Cookie {
        // SAFETY: `self` holds a reference.
        unsafe { Cookie::from_ptr(self.0.as_ptr()) }
    }
}

impl Drop for CookieRef {
    fn drop(&mut self) {
        // SAFETY: gives back the reference that this value owns.
        unsafe {
            bindings::fscache_put_cookie(
                self.0.as_ptr(),
                bindings::fscache_cookie_trace_fscache_cookie_put_object,
            )
        };
    }
}

/// A volume cookie, borrowed from a callback, from a cookie or from a [`VolumeCookieRef`].
#[repr(transparent)]
pub(crate) struct VolumeCookie(Opaque<bindings::fscache_volume>);

// SAFETY: referenced while it is borrowed (`from_ptr`).
unsafe impl Struct for VolumeCookie {
    type C = bindings::fscache_volume;

    fn raw(&self) -> *mut bindings::fscache_volume {
        self.0.get()
    }
}

impl VolumeCookie {
    /// # Safety
    /// `ptr` is a volume cookie that stays referenced for `'a`.
    pub(super) unsafe fn from_ptr<'a>(ptr: *mut bindings::fscache_volume) -> &'a VolumeCookie {
        // SAFETY: the caller's promise; the type is transparent over the C struct.
        unsafe { &*ptr.cast() }
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::fscache_volume {
        self.0.get()
    }

    /// The cache that the volume is in.
    pub(super) fn cache_ptr(&self) -> *mut bindings::fscache_cache {
        self.load(field!(fscache_volume.cache))
    }

    /// The volume's key, a string of at most 254 bytes, with its NUL.
    pub(crate) fn key_with_nul(&self) -> &[u8] {
        let key = self.load(field!(fscache_volume.key));
        // SAFETY: the first byte of the buffer is the length of the string.
        let len = usize::from(unsafe { *key.cast::<u8>() });
        // SAFETY: the string follows that byte.
        let start = unsafe { key.cast::<u8>().add(1) };
        // SAFETY: string and NUL are there, and do not change while the volume lives.
        unsafe { core::slice::from_raw_parts(start, len.saturating_add(1)) }
    }

    /// Copies the volume's coherency data, as [`Cookie::copy_aux`] does an object's.
    pub(crate) fn copy_coherency(&self, out: &mut [u8]) -> usize {
        let len = usize::from(self.load(field!(fscache_volume.coherency_len)));
        let start = self.place(field!(fscache_volume.coherency));
        // SAFETY: the array at the end of the struct has that many bytes.
        unsafe { copy_racing(start.cast(), len, out) };
        len
    }

    /// Keeps fscache's count of accesses above zero until the volume is withdrawn.
    pub(crate) fn pin_accesses(&self) {
        plain::cf_volume_pin_accesses(self);
    }

    /// Ends what [`VolumeCookie::pin_accesses`] began, waits until no access is under way, and
    /// lets no new one begin.
    pub(crate) fn withdraw(&self) {
        plain::fscache_withdraw_volume(self);
    }

    fn private(&self) -> *mut *mut core::ffi::c_void {
        self.place(field!(fscache_volume.cache_priv))
    }

    /// The cache's own record of this volume.
    pub(crate) fn volume(&self) -> Option<Arc<crate::volume::Volume>> {
        // fscache orders this load after the store of `set_volume` by the volume's accesses.
        let raw = self.load(field!(fscache_volume.cache_priv));
        if raw.is_null() {
            return None;
        }
        // SAFETY: the pointer comes from `Arc::into_raw`, and is taken away only when no object
        // uses the volume any more.
        let borrow = unsafe { ArcBorrow::from_raw(raw.cast::<crate::volume::Volume>()) };
        Some(borrow.into())
    }

    /// Hands the cache's own record to the volume cookie.
    pub(crate) fn set_volume(&self, volume: Arc<crate::volume::Volume>) {
        let raw = Arc::into_raw(volume);
        // SAFETY: fscache calls back for one volume at a time, so that nobody else stores now.
        unsafe { self.private().write_volatile(raw.cast_mut().cast()) };
    }

    /// Takes the record back from the volume cookie.
    pub(crate) fn take_volume(&self) -> Option<Arc<crate::volume::Volume>> {
        // SAFETY: the address is valid; only withdrawal and the last put take it, never both.
        let raw = unsafe { self.private().replace(core::ptr::null_mut()) };
        if raw.is_null() {
            return None;
        }
        // SAFETY: the pointer comes from `Arc::into_raw`, and that reference now passes to us.
        Some(unsafe { Arc::from_raw(raw.cast::<crate::volume::Volume>()) })
    }
}

/// A counted reference to a volume cookie, held while the volume is withdrawn.
pub(crate) struct VolumeCookieRef(NonNull<bindings::fscache_volume>);

impl core::ops::Deref for VolumeCookieRef {
    type Target = VolumeCookie;

    fn deref(&self) -> &VolumeCookie {
        // SAFETY: `self` holds a reference.
        unsafe { VolumeCookie::from_ptr(self.0.as_ptr()) }
    }
}

impl Drop for VolumeCookieRef {
    fn drop(&mut self) {
        // SAFETY: gives back the reference that this value owns.
        unsafe {
            bindings::fscache_put_volume(
                self.0.as_ptr(),
                bindings::fscache_volume_trace_fscache_volume_put_withdraw,
            )
        };
    }
}

/// The address of a volume cookie, remembered without a reference by the cache's record of it.
///
/// It may be used only under the lock of the cache's list of volumes: `free_volume` takes the
/// record off that list, under that lock, before fscache frees the cookie.
pub(crate) struct VolumeCookieWeak(NonNull<bindings::fscache_volume>);

// SAFETY: an address; what may be done with it is said at the type.
unsafe impl Send for VolumeCookieWeak {}
// SAFETY: as above.
unsafe impl Sync for VolumeCookieWeak {}

impl VolumeCookieWeak {
    /// Remembers the cookie.
    pub(crate) fn new(cookie: &VolumeCookie) -> VolumeCookieWeak {
        VolumeCookieWeak(NonNull::from(cookie).cast())
    }

    /// A reference to the cookie, unless its last one is just being put. `_listed` shows that the
    /// list of volumes is locked and that this volume is on it.
    pub(crate) fn try_get(&self, _listed: &crate::cache::Listed<'_>) -> Option<VolumeCookieRef> {
        // SAFETY: on the list, so that the cookie has not been freed (see the type).
        let raw = unsafe {
            bindings::fscache_try_get_volume(
                self.0.as_ptr(),
                bindings::fscache_volume_trace_fscache_volume_get_withdraw,
            )
        };
        NonNull::new(raw).map(VolumeCookieRef)
    }

    /// Whether any access to the volume is counted. `_listed` as for `try_get`.
    pub(crate) fn has_accesses(&self, _listed: &crate::cache::Listed<'_>) -> bool {
        // SAFETY: on the list, so that the cookie has not been freed (see the type).
        unsafe { bindings::cf_volume_has_accesses(self.0.as_ptr()) }
    }

    /// Whether this is `cookie`'s address.
    pub(crate) fn is(&self, cookie: &VolumeCookie) -> bool {
        self.0.as_ptr() == cookie.as_ptr()
    }
}

/// A cache cookie: the cache as fscache lists it. Dropping it relinquishes the cache.
pub(crate) struct CacheCookie {
    cache: NonNull<bindings::fscache_cache>,
    added: AtomicBool,
}

// SAFETY: shared between tasks; fscache locks what it changes.
unsafe impl Send for CacheCookie {}
// SAFETY: as above.
unsafe impl Sync for CacheCookie {}

impl CacheCookie {
    /// Gets the cache of that name ready to go live.
    ///
    /// # Errors
    /// EBUSY when a cache of that name is live, ENOMEM.
    pub(crate) fn acquire(tag: &CStr) -> Result<CacheCookie> {
        // SAFETY: the name outlives the call, which copies it.
        let raw = unsafe { bindings::fscache_acquire_cache(c_ptr(tag)) };
        Ok(CacheCookie {
            cache: check_ptr(raw)?,
            added: AtomicBool::new(false),
        })
    }

    /// Makes the cache live: callbacks may come from now on, and before this returns.
    ///
    /// # Errors
    /// EBUSY when that has been done already.
    pub(crate) fn add(&self, cache: &Arc<Cache>) -> Result {
        // C stops the machine when a cache is added that is not in preparation.
        if self.added.swap(true, Ordering::Relaxed) {
            return Err(EBUSY);
        }
        // The reference is given back at once: what keeps the cache alive for fscache is that the
        // cache owns this cookie and withdraws it before it ends.
        let raw = Arc::into_raw(cache.clone());
        // SAFETY: the pointer was just made by `into_raw`.
        drop(unsafe { Arc::from_raw(raw) });
        // SAFETY: the operations are static. The private pointer is used only in callbacks, which
        // fscache counts as accesses; the withdrawal waits for them and lets no new ones begin,
        // and comes before the cache ends.
        check(unsafe {
            bindings::fscache_add_cache(
                self.cache.as_ptr(),
                super::ops::cache_ops(),
                raw.cast_mut().cast(),
            )
        })
    }

    /// Lets no new access begin and waits for those under way.
    pub(crate) fn withdraw(&self) {
        // SAFETY: `self` holds the cache.
        unsafe { bindings::fscache_withdraw_cache(self.cache.as_ptr()) };
    }

    /// Waits until the last object is gone.
    pub(crate) fn wait_for_objects(&self) {
        // SAFETY: `self` holds the cache.
        unsafe { bindings::cf_wait_for_objects(self.cache.as_ptr()) };
    }

    /// Tells fscache that the cache has stopped on an I/O error.
    pub(crate) fn io_error(&self) {
        // SAFETY: `self` holds the cache.
        unsafe { bindings::fscache_io_error(self.cache.as_ptr()) };
    }
}

impl Drop for CacheCookie {
    fn drop(&mut self) {
        // SAFETY: gives back what `acquire` got.
        unsafe { bindings::fscache_relinquish_cache(self.cache.as_ptr()) };
    }
}

/// Borrows the cache that a volume cookie's private pointer names.
///
/// # Safety
/// Called from a callback of fscache for a volume or an object of that cache.
pub(super) unsafe fn cache_of<'a>(volume: &VolumeCookie) -> ArcBorrow<'a, Cache> {
    // SAFETY: a volume with callbacks has a cache, which is referenced by it.
    let raw = unsafe { (*volume.cache_ptr()).cache_priv };
    // SAFETY: made by `Arc::into_raw` in `add`, and alive during callbacks (see there).
    unsafe { ArcBorrow::from_raw(raw.cast::<Cache>()) }
}
