// SPDX-License-Identifier: GPL-2.0-or-later
//! Operations on a cookie: between beginning and end, its object may be read and written.

use super::bindings;
use super::complete::Completion;
use super::cookie::Cookie;
use super::errno::check;
use super::errno::check64;
use super::errno::Result;
use super::errno::EINVAL;
use super::errno::ENOBUFS;
use super::errno::EOPNOTSUPP;
use core::ffi::c_void;
use core::sync::atomic::AtomicI64;
use core::sync::atomic::Ordering;
use kernel::prelude::*;
use kernel::types::Opaque;

/// Bit of the flag word: the reader cannot download (`NETFS_SREQ_ONDEMAND`, where there is a name).
const ONDEMAND: usize = 1 << 5;

/// Where the cache says that data are to come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Out of the cache.
    Cache,
    /// Nowhere: they are zeros.
    Zeros,
    /// Anything that on-demand reading has no use for.
    Other,
}

/// What the cache is to do about holes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holes {
    /// Nothing.
    Ignore,
    /// Read them as zeros.
    Clear,
    /// Fail.
    Fail,
}

/// Whose memory a transfer uses: whole pages, as direct I/O wants them.
#[derive(Clone, Copy)]
#[repr(C, align(4096))]
pub(crate) struct Page(pub(crate) [u8; Page::SIZE]);

impl Page {
    /// Its bytes.
    pub(crate) const SIZE: usize = 4096;
    /// One of zeros.
    pub(crate) const ZERO: Page = Page([0; Page::SIZE]);
}

/// A transfer that the cache ends by a call.
#[pin_data]
struct Transfer {
    #[pin]
    io: Opaque<bindings::cp_transfer>,
    result: AtomicI64,
    #[pin]
    ended: Completion,
}

/// An operation that has begun.
pub(crate) struct Operation<'a> {
    res: KBox<bindings::netfs_cache_resources>,
    _cookie: &'a Cookie,
}

impl<'a> Operation<'a> {
    /// Begins to read. Waits for the cookie's lookup.
    ///
    /// # Errors
    /// ENOBUFS when it is not cached, or what the cache says.
    pub(crate) fn begin_read(cookie: &'a Cookie) -> Result<Operation<'a>> {
        let mut op = Operation::unbegun(cookie)?;
        // SAFETY: the resources are zero and lie where they will stay; the cookie is acquired.
        check(unsafe { bindings::cp_begin_read(&mut *op.res, cookie.as_ptr()) })?;
        op.has_table()
    }

    /// Begins to write, as [`begin_read`](Self::begin_read).
    pub(crate) fn begin_write(cookie: &'a Cookie) -> Result<Operation<'a>> {
        let mut op = Operation::unbegun(cookie)?;
        // SAFETY: the resources are zero and lie where they will stay; the cookie is acquired.
        check(unsafe { bindings::cp_begin_write(&mut *op.res, cookie.as_ptr()) })?;
        op.has_table()
    }

    fn unbegun(cookie: &'a Cookie) -> Result<Operation<'a>> {
        Ok(Operation {
            res: KBox::new(bindings::netfs_cache_resources::default(), GFP_KERNEL)?,
            _cookie: cookie,
        })
    }

    /// Without a table of operations there is nothing to call; ending calls nothing either.
    fn has_table(self) -> Result<Operation<'a>> {
        match self.res.ops.is_null() {
            true => Err(ENOBUFS),
            false => Ok(self),
        }
    }

    fn ops(&self) -> &bindings::netfs_cache_ops {
        // SAFETY: not null since `has_table`; a cache's table outlives its operations.
        unsafe { &*self.res.ops }
    }

    /// Asks for data of `len` bytes at `start`, and waits, killable, until the daemon has brought
    /// them. `len` becomes how much of it is alike.
    pub(crate) fn prepare_ondemand_read(
        &mut self,
        start: i64,
        len: &mut usize,
        i_size: i64,
    ) -> Source {
        let mut flags = ONDEMAND;
        // SAFETY: the operation has begun and has not ended, and the cache of an on-demand object
        // has the entry; the variables are this function's and its caller's.
        let source = unsafe {
            bindings::cp_prepare_ondemand_read(&mut *self.res, start, len, i_size, &mut flags)
        };
        match source {
            bindings::netfs_io_source_NETFS_READ_FROM_CACHE => Source::Cache,
            bindings::netfs_io_source_NETFS_FILL_WITH_ZEROES => Source::Zeros,
            _ => Source::Other,
        }
    }

    /// Reads from `start` on until `buffer` is full, and returns how many bytes the cache says that
    /// it has read.
    ///
    /// # Errors
    /// What the cache says.
    pub(crate) fn read(
        &mut self,
        start: i64,
        buffer: &mut [Page],
        len: usize,
        holes: Holes,
        by_call: bool,
    ) -> Result<usize> {
        self.ops().read.ok_or(EOPNOTSUPP)?;
        let holes = match holes {
            Holes::Ignore => bindings::netfs_read_from_hole_NETFS_READ_HOLE_IGNORE,
            Holes::Clear => bindings::cf_drift_consts_CF_READ_HOLE_CLEAR as _,
            Holes::Fail => bindings::netfs_read_from_hole_NETFS_READ_HOLE_FAIL,
        };
        let res: *mut bindings::netfs_cache_resources = &mut *self.res;
        transfer(buffer, len, by_call, |io, memory, data| {
            // SAFETY: the operation has begun and has not ended, its table has the function;
            // `transfer` vouches for the three pointers.
            unsafe { bindings::cp_read(res, start, io, memory, len, holes, data) }
        })
    }

    /// Writes `len` bytes of `buffer` at `start`, and returns how many the cache says it has taken.
    ///
    /// # Errors
    /// What the cache says.
    pub(crate) fn write(
        &mut self,
        start: i64,
        buffer: &mut [Page],
        len: usize,
        by_call: bool,
    ) -> Result<usize> {
        self.ops().write.ok_or(EOPNOTSUPP)?;
        let res: *mut bindings::netfs_cache_resources = &mut *self.res;
        transfer(buffer, len, by_call, |io, memory, data| {
            // SAFETY: the operation has begun and has not ended, its table has the function;
            // `transfer` vouches for the three pointers.
            unsafe { bindings::cp_write(res, start, io, memory, len, data) }
        })
    }

    /// Asks whether a write may be made; place and length become those that it must have.
    ///
    /// # Errors
    /// What the cache says.
    pub(crate) fn prepare_write(
        &mut self,
        start: &mut i64,
        len: &mut usize,
        room: usize,
        i_size: i64,
        allocated: bool,
    ) -> Result {
        let prepare = self.ops().prepare_write.ok_or(EOPNOTSUPP)?;
        // SAFETY: the operation has begun and has not ended; the variables are the caller's.
        check(unsafe { prepare(&mut *self.res, start, len, room, i_size, !allocated) })?;
        Ok(())
    }

    /// Asks where in a range there are data: place and length of the first, `None` for none.
    ///
    /// # Errors
    /// What the cache says; ENOBUFS when it does not know.
    pub(crate) fn query_occupancy(
        &mut self,
        start: i64,
        len: usize,
        granularity: usize,
    ) -> Result<Option<(u64, usize)>> {
        let query = self.ops().query_occupancy.ok_or(EOPNOTSUPP)?;
        let (mut place, mut length) = (-1, 0);
        // SAFETY: the operation has begun and has not ended; the variables are this function's.
        let ret = unsafe {
            query(
                &mut *self.res,
                start,
                len,
                granularity,
                &mut place,
                &mut length,
            )
        };
        match check(ret) {
            Err(e) if e == super::errno::ENODATA => Ok(None),
            Err(e) => Err(e),
            Ok(()) => Ok(u64::try_from(place).ok().map(|place| (place, length))),
        }
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        // SAFETY: valid; calls the table's function if the operation has begun. All transfers have
        // ended: `transfer` waits for each.
        unsafe { bindings::cp_end(&mut *self.res) };
    }
}

/// Has `begin` begin a transfer with `buffer`, of which the first `len` bytes are moved, and waits
/// for its end. It is given memory for the iterator, the buffer, and what `cp_ended` gets: null
/// unless it ends `by_call`.
fn transfer(
    buffer: &mut [Page],
    len: usize,
    by_call: bool,
    begin: impl FnOnce(*mut bindings::cp_transfer, *mut c_void, *mut c_void) -> i32,
) -> Result<usize> {
    if len > core::mem::size_of_val(buffer) {
        return Err(EINVAL);
    }
    let transfer = KBox::pin_init(
        pin_init!(Transfer {
            io: Opaque::uninit(),
            result: AtomicI64::new(0),
            ended <- Completion::new(),
        }),
        GFP_KERNEL,
    )?;
    let address = core::ptr::from_ref::<Transfer>(&transfer).cast_mut();
    let data = if by_call {
        address
    } else {
        core::ptr::null_mut()
    };
    let ret = begin(transfer.io.get(), buffer.as_mut_ptr().cast(), data.cast());
    if !by_call {
        check(ret)?;
        // SAFETY: the transfer has ended, and the iterator shows what is left of it.
        let left = unsafe { bindings::cp_left(transfer.io.get()) };
        return Ok(len.saturating_sub(left));
    }
    // Whatever was returned, the cache has called or will: memory and buffer stay until then.
    transfer.ended.wait()?;
    let moved = check64(transfer.result.load(Ordering::Relaxed))?;
    Ok(usize::try_from(moved).unwrap_or(0))
}

/// The end of a transfer, in any context.
///
/// # Safety
/// `data` is what a `begin` was given; called once for it.
#[no_mangle]
unsafe extern "C" fn cp_ended(data: *mut c_void, result: isize) {
    // SAFETY: the transfer stays until the completion's waiter has been woken, and waking it is the
    // last that is done with it here.
    let transfer = unsafe { &*data.cast::<Transfer>() };
    transfer.result.store(result as i64, Ordering::Relaxed);
    transfer.ended.complete(Ok(()));
}
