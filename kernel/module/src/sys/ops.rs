// SPDX-License-Identifier: GPL-2.0-or-later
//! The two tables of operations that a cache gives to fscache and netfs. Each entry converts its
//! arguments and calls the logic; the compiler checks each signature against the kernel's.

use super::bindings;
use super::errno::Result;
use super::fscache::cache_of;
use super::fscache::Cookie;
use super::fscache::VolumeCookie;
use super::netfs::IovIter;
use super::netfs::ReadHole;
use super::netfs::Resources;
use super::netfs::Termination;
use super::netfs::Want;
use super::object::ObjRef;
use super::object::Object;
use super::subreq::WritePart;
use crate::interface;
use crate::io;
use crate::volume;
use core::ffi::c_void;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering;
use kernel::sync::Arc;

/// A table that C only reads.
struct Table<T>(T);

// SAFETY: the tables are constant.
unsafe impl<T> Sync for Table<T> {}

static CACHE_OPS: Table<bindings::fscache_cache_ops> = Table(bindings::fscache_cache_ops {
    name: c"cachefiles".as_ptr().cast(),
    acquire_volume: Some(acquire_volume),
    free_volume: Some(free_volume),
    lookup_cookie: Some(lookup_cookie),
    withdraw_cookie: Some(withdraw_cookie),
    resize_cookie: Some(resize_cookie),
    invalidate_cookie: Some(invalidate_cookie),
    begin_operation: Some(begin_operation),
    prepare_to_write: Some(prepare_to_write),
});

static NETFS_OPS: Table<bindings::netfs_cache_ops> = Table(bindings::netfs_cache_ops {
    end_operation: Some(end_operation),
    read: Some(read),
    write: Some(write),
    issue_write: Some(issue_write),
    expand_readahead: None,
    prepare_read: Some(prepare_read),
    prepare_write_subreq: Some(prepare_write_subreq),
    prepare_write: Some(prepare_write),
    #[cfg(not(kernel_ge_7003))]
    prepare_ondemand_read: Some(prepare_ondemand_read),
    query_occupancy: Some(query_occupancy),
});

pub(super) fn cache_ops() -> *const bindings::fscache_cache_ops {
    &CACHE_OPS.0
}

pub(super) fn netfs_ops() -> *const bindings::netfs_cache_ops {
    &NETFS_OPS.0
}

unsafe extern "C" fn acquire_volume(vcookie: *mut bindings::fscache_volume) {
    // SAFETY: fscache holds the volume during the callback.
    let vcookie = unsafe { VolumeCookie::from_ptr(vcookie) };
    // SAFETY: a callback for a volume of the cache.
    let cache = unsafe { cache_of(vcookie) };
    volume::acquire(&Arc::from(cache), vcookie);
}

unsafe extern "C" fn free_volume(vcookie: *mut bindings::fscache_volume) {
    // SAFETY: fscache holds the volume during the callback.
    let vcookie = unsafe { VolumeCookie::from_ptr(vcookie) };
    volume::free(vcookie);
}

unsafe extern "C" fn lookup_cookie(cookie: *mut bindings::fscache_cookie) -> bool {
    // SAFETY: fscache holds the cookie during the callback.
    let cookie = unsafe { Cookie::from_ptr(cookie) };
    // SAFETY: a callback for an object of the cache.
    let cache = unsafe { cache_of(cookie.volume()) };
    interface::look_up_cookie(&cache, cookie)
}

/// Makes `object` the cookie's. To be called once, from the lookup.
pub(crate) fn attach(cookie: &Cookie, object: ObjRef) {
    // Operations that want no data may begin before the lookup has ended.
    let slot = cookie.object_slot();
    slot.store(object.into_raw(), Ordering::Release);
}

/// The object that the cookie of a callback has.
///
/// # Safety
/// Called from a callback during which fscache keeps the object attached.
unsafe fn attached<'a>(cookie: *mut bindings::fscache_cookie) -> Option<&'a Object> {
    // SAFETY: fscache holds the cookie during the callback.
    let slot = unsafe { Cookie::from_ptr(cookie) }.object_slot();
    let object = slot.load(Ordering::Acquire);
    // SAFETY: null or from `attach`; the caller's promise.
    unsafe { object.cast::<Object>().as_ref() }
}

unsafe extern "C" fn withdraw_cookie(cookie: *mut bindings::fscache_cookie) {
    // SAFETY: fscache holds the cookie during the callback.
    let slot = unsafe { Cookie::from_ptr(cookie) }.object_slot();
    let object = slot.load(Ordering::Acquire);
    // SAFETY: the cookie's own reference, from `attach`; fscache withdraws an object once, when no
    // operation uses it any more.
    let Some(object) = (unsafe { ObjRef::from_raw(object) }) else {
        return;
    };
    interface::withdraw_cookie(&object);
    slot.store(core::ptr::null_mut(), Ordering::Release);
    drop(object);
}

unsafe extern "C" fn invalidate_cookie(cookie: *mut bindings::fscache_cookie) -> bool {
    // SAFETY: an invalidation comes between lookup and withdrawal.
    unsafe { attached(cookie) }.map_or(false, interface::invalidate)
}

unsafe extern "C" fn prepare_to_write(cookie: *mut bindings::fscache_cookie) {
    // SAFETY: comes between lookup and withdrawal.
    if let Some(object) = unsafe { attached(cookie) } {
        interface::prepare_to_write(object);
    }
}

unsafe extern "C" fn resize_cookie(cres: *mut bindings::netfs_cache_resources, new_size: i64) {
    // SAFETY: the caller's operation lasts during the callback.
    let res = unsafe { Resources::from_ptr(cres) };
    interface::resize(res, u64::try_from(new_size).unwrap_or(0));
}

unsafe extern "C" fn begin_operation(
    cres: *mut bindings::netfs_cache_resources,
    want: bindings::fscache_want_state,
) -> bool {
    // SAFETY: the caller's operation begins and lasts during the callback.
    let res = unsafe { Resources::from_ptr(cres) };
    let want = match want {
        bindings::fscache_want_state_FSCACHE_WANT_PARAMS => Want::Params,
        bindings::fscache_want_state_FSCACHE_WANT_WRITE => Want::Write,
        _ => Want::Read,
    };
    io::begin_operation(res, want)
}

unsafe extern "C" fn end_operation(cres: *mut bindings::netfs_cache_resources) {
    // SAFETY: the operation ends here; nobody else uses its resources any more.
    let slot = unsafe { &mut (*cres).cache_priv2 };
    let file = core::mem::replace(slot, core::ptr::null_mut());
    if !file.is_null() {
        // SAFETY: the reference that `Resources::set_file` put there.
        unsafe { bindings::fput(file.cast()) };
    }
    // SAFETY: valid until the operation's end, which is the next call.
    let cookie = unsafe { (*cres).cache_priv };
    // SAFETY: ends the access that the operation's beginning got.
    unsafe {
        bindings::fscache_end_cookie_access(
            cookie.cast(),
            bindings::fscache_access_trace_fscache_access_io_end,
        )
    };
}

fn transfer_ret(result: Option<Result<usize>>, counted: bool) -> i32 {
    match result {
        None => (bindings::cf_consts_CF_EIOCBQUEUED as i32).wrapping_neg(),
        Some(Ok(n)) if counted => i32::try_from(n).unwrap_or(i32::MAX),
        Some(Ok(_)) => 0,
        Some(Err(e)) => e.to_ret(),
    }
}

unsafe extern "C" fn read(
    cres: *mut bindings::netfs_cache_resources,
    start: i64,
    iter: *mut bindings::iov_iter,
    hole: bindings::netfs_read_from_hole,
    term_func: bindings::netfs_io_terminated_t,
    term_data: *mut c_void,
) -> i32 {
    // SAFETY: the caller's operation lasts during the callback.
    let res = unsafe { Resources::from_ptr(cres) };
    // SAFETY: the caller leaves the iterator to the transfer.
    let mut iter = unsafe { IovIter::from_ptr(iter) };
    const CLEAR: bindings::netfs_read_from_hole =
        bindings::cf_drift_consts_CF_READ_HOLE_CLEAR as bindings::netfs_read_from_hole;
    let hole = match hole {
        bindings::netfs_read_from_hole_NETFS_READ_HOLE_IGNORE => ReadHole::Ignore,
        CLEAR => ReadHole::Clear,
        _ => ReadHole::Fail,
    };
    let term = Termination::new(term_func, term_data);
    let start = u64::try_from(start).unwrap_or(u64::MAX);
    transfer_ret(io::read(res, start, &mut iter, hole, term), false)
}

unsafe extern "C" fn write(
    cres: *mut bindings::netfs_cache_resources,
    start: i64,
    iter: *mut bindings::iov_iter,
    term_func: bindings::netfs_io_terminated_t,
    term_data: *mut c_void,
) -> i32 {
    // SAFETY: the caller's operation lasts during the callback.
    let res = unsafe { Resources::from_ptr(cres) };
    // SAFETY: the caller leaves the iterator to the transfer.
    let mut iter = unsafe { IovIter::from_ptr(iter) };
    let term = Termination::new(term_func, term_data);
    let start = u64::try_from(start).unwrap_or(u64::MAX);
    transfer_ret(io::write(res, start, &mut iter, term), true)
}

unsafe extern "C" fn prepare_read(
    subreq: *mut bindings::netfs_io_subrequest,
    i_size: u64,
) -> bindings::netfs_io_source {
    // SAFETY: netfs holds the subrequest during the callback.
    let rreq = unsafe { (*subreq).rreq };
    // SAFETY: a subrequest holds its request.
    let cres = unsafe { core::ptr::addr_of_mut!((*rreq).cache_resources) };
    // SAFETY: the request's operation lasts as long as the request.
    let res = unsafe { Resources::from_ptr(cres) };
    // SAFETY: a subrequest holds its request.
    let inode = unsafe { (*rreq).inode };
    // SAFETY: a request holds its inode.
    let netfs_ino = unsafe { bindings::cf_inode_ino(inode) };
    // SAFETY: where it starts does not change while it is prepared.
    let start = unsafe { (*subreq).start };
    // SAFETY: netfs holds the subrequest; only the address is taken.
    let len = unsafe { core::ptr::addr_of_mut!((*subreq).len) };
    // SAFETY: as just said.
    let flags = unsafe { core::ptr::addr_of_mut!((*subreq).flags) };
    // SAFETY: how long it is, and its flags, are for whoever prepares it to change.
    unsafe { prepare(res, start, len, flags, i_size, netfs_ino) }
}

/// Prepares a read whose length and flags are where `len` and `flags` point. Nothing of it is borrowed
/// meanwhile: this may wait long for the daemon, and netfs has the subrequest on a list by then.
///
/// # Safety
/// Both are alive during the call; others may read them, but only this changes the length, and
/// the flags change by bits.
unsafe fn prepare(
    res: &Resources,
    start: u64,
    len: *mut usize,
    flags: *mut usize,
    end: u64,
    netfs_ino: u64,
) -> bindings::netfs_io_source {
    // SAFETY: the caller's promise.
    let flags = unsafe { AtomicUsize::from_ptr(flags) };
    let before = flags.load(Ordering::Relaxed);
    let mut wanted = io::Wanted {
        start,
        // SAFETY: the caller's promise.
        len: unsafe { len.read_volatile() },
        flags: before,
        end,
        netfs_ino,
    };
    let source = io::prepare_read(res, &mut wanted);
    // SAFETY: the caller's promise.
    unsafe { len.write_volatile(wanted.len) };
    flags.fetch_or(wanted.flags & !before, Ordering::Relaxed);
    flags.fetch_and(wanted.flags | !before, Ordering::Relaxed);
    source
}

unsafe extern "C" fn prepare_write_subreq(subreq: *mut bindings::netfs_io_subrequest) {
    // SAFETY: netfs holds the subrequest during the callback, and nobody else knows it yet.
    if let Some(part) = unsafe { WritePart::from_ptr(subreq) } {
        io::prepare_write_part(&part);
    }
}

unsafe extern "C" fn issue_write(subreq: *mut bindings::netfs_io_subrequest) {
    // SAFETY: netfs leaves the subrequest to whoever ends it.
    if let Some(part) = unsafe { WritePart::from_ptr(subreq) } {
        io::issue_write(part);
    }
}

/// The operation of the kernels that have a place for it in their table.
#[cfg(not(kernel_ge_7003))]
unsafe extern "C" fn prepare_ondemand_read(
    cres: *mut bindings::netfs_cache_resources,
    start: i64,
    len: *mut usize,
    i_size: i64,
    flags: *mut usize,
    ino: bindings::ino_t,
) -> bindings::netfs_io_source {
    // SAFETY: the caller's promises are the same.
    unsafe { cachefiles_rs_prepare_ondemand_read(cres, start, len, i_size, flags, ino as u64) }
}

/// The same for any kernel, exported: see shim/cachefiles_rs.h.
///
/// # Safety
/// `cres` are the resources of an operation that lasts during the call; `len` and `flags` are the
/// caller's variables.
#[no_mangle]
unsafe extern "C" fn cachefiles_rs_prepare_ondemand_read(
    cres: *mut bindings::netfs_cache_resources,
    start: i64,
    len: *mut usize,
    i_size: i64,
    flags: *mut usize,
    ino: u64,
) -> bindings::netfs_io_source {
    // SAFETY: the caller's operation lasts during the call.
    let res = unsafe { Resources::from_ptr(cres) };
    if !res.is_ours() {
        return super::netfs::source::INVALID_READ;
    }
    let start = u64::try_from(start).unwrap_or(u64::MAX);
    let end = u64::try_from(i_size).unwrap_or(0);
    // SAFETY: the caller's variables, for this call.
    unsafe { prepare(res, start, len, flags, end, ino) }
}

// The header declares the function as it is here: otherwise the two have no common type.
const _: () = {
    let _ = if true {
        bindings::cachefiles_rs_prepare_ondemand_read
    } else {
        cachefiles_rs_prepare_ondemand_read
    };
};

unsafe extern "C" fn prepare_write(
    cres: *mut bindings::netfs_cache_resources,
    start: *mut i64,
    len: *mut usize,
    upper_len: usize,
    _i_size: i64,
    no_space_allocated_yet: bool,
) -> i32 {
    // SAFETY: the caller's operation lasts during the callback.
    let res = unsafe { Resources::from_ptr(cres) };
    // SAFETY: the caller's variable, for this call.
    let start = unsafe { *start };
    // SAFETY: the caller's variable, for this call.
    let len = unsafe { &mut *len };
    let start = u64::try_from(start).unwrap_or(u64::MAX);
    match io::prepare_write(res, start, *len, upper_len, no_space_allocated_yet) {
        Ok(rounded) => {
            *len = rounded;
            0
        }
        Err(e) => e.to_ret(),
    }
}

unsafe extern "C" fn query_occupancy(
    cres: *mut bindings::netfs_cache_resources,
    start: i64,
    len: usize,
    granularity: usize,
    data_start: *mut i64,
    data_len: *mut usize,
) -> i32 {
    // SAFETY: the caller's operation lasts during the callback.
    let res = unsafe { Resources::from_ptr(cres) };
    // SAFETY: the caller's variable, for this call.
    let data_start = unsafe { &mut *data_start };
    // SAFETY: the caller's variable, for this call.
    let data_len = unsafe { &mut *data_len };
    *data_start = -1;
    *data_len = 0;
    let start = u64::try_from(start).unwrap_or(u64::MAX);
    match io::query_occupancy(res, start, len, granularity) {
        Ok((pos, n)) => {
            *data_start = i64::try_from(pos).unwrap_or(i64::MAX);
            *data_len = n;
            0
        }
        Err(e) => e.to_ret(),
    }
}
