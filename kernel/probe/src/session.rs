// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! What an open device has: volumes and cookies by their numbers, and batches of transfers.

use crate::abi::call::op;
use crate::abi::call::Call;
use crate::abi::call::NUMBERS;
use crate::batch;
use crate::batch::Batch;
use crate::io;
use crate::objects;
use crate::objects::Object;
use crate::prelude::*;
use crate::sys::cookie::Volume;
use crate::vectors::push;
use crate::vectors::KVVec;
use crate::vectors::KVec;
use kernel::new_mutex;
use kernel::sync::Arc;
use kernel::sync::Mutex;

/// Things by number.
pub(crate) type Numbered<T> = KVVec<Option<Arc<T>>>;

/// What an open device has. Whatever is left when it is closed is relinquished, unless a transfer
/// still needs it: then at that transfer's end.
#[pin_data]
pub(crate) struct Session {
    /// Cookies; declared before the volumes, and so relinquished before them.
    #[pin]
    pub(crate) objects: Mutex<Numbered<Object>>,
    /// Volumes, with the keys that they were acquired by.
    #[pin]
    pub(crate) volumes: Mutex<Numbered<KeyedVolume>>,
    /// Batches, with their numbers.
    #[pin]
    pub(crate) batches: Mutex<KVec<(u64, Arc<Batch>)>>,
}

/// A volume and its key.
pub(crate) struct KeyedVolume {
    /// fscache's volume.
    pub(crate) volume: Arc<Volume>,
    /// Its key, without a NUL.
    pub(crate) key: KVec<u8>,
}

impl Session {
    /// One that has nothing.
    ///
    /// # Errors
    /// ENOMEM.
    pub(crate) fn new() -> Result<Arc<Session>> {
        Ok(Arc::pin_init(
            try_pin_init!(Session {
                objects <- new_mutex!(KVVec::new(), "cachefiles_probe::objects"),
                volumes <- new_mutex!(KVVec::new(), "cachefiles_probe::volumes"),
                batches <- new_mutex!(KVec::new(), "cachefiles_probe::batches"),
            }? KernelError),
            GFP_KERNEL,
        )?)
    }
}

/// The numbers of a range.
///
/// # Errors
/// EINVAL when some of them are too large.
pub(crate) fn range(first: u64, count: u64) -> Result<core::ops::Range<u64>> {
    match first.checked_add(count) {
        Some(end) if end <= NUMBERS => Ok(first..end),
        _ => Err(EINVAL),
    }
}

/// What has that number.
///
/// # Errors
/// ENOENT.
pub(crate) fn find<T>(table: &Mutex<Numbered<T>>, number: u64) -> Result<Arc<T>> {
    let index = usize::try_from(number).map_err(|_| ENOENT)?;
    let table = table.lock();
    table
        .get(index)
        .and_then(Option::as_ref)
        .cloned()
        .ok_or(ENOENT)
}

/// Gives something a number.
///
/// # Errors
/// EEXIST when the number is taken; ENOMEM.
pub(crate) fn put<T>(table: &Mutex<Numbered<T>>, number: u64, value: Arc<T>) -> Result {
    let index = usize::try_from(number).map_err(|_| EINVAL)?;
    let mut table = table.lock();
    while table.len() <= index {
        push(&mut table, None, GFP_KERNEL)?;
    }
    match table.get_mut(index) {
        Some(slot @ None) => {
            *slot = Some(value);
            Ok(())
        }
        _ => Err(EEXIST),
    }
}

/// Takes away what has that number.
///
/// # Errors
/// ENOENT.
pub(crate) fn take<T>(table: &Mutex<Numbered<T>>, number: u64) -> Result<Arc<T>> {
    let index = usize::try_from(number).map_err(|_| ENOENT)?;
    let mut table = table.lock();
    table.get_mut(index).and_then(Option::take).ok_or(ENOENT)
}

/// Notes in the answer what became of one of many.
pub(crate) fn note(call: &mut Call, result: Result) {
    match result {
        Ok(()) => call.done = call.done.saturating_add(1),
        Err(e) => {
            call.failed = call.failed.saturating_add(1);
            if call.error == 0 {
                call.error = u64::from(e.to_ret().unsigned_abs());
            }
        }
    }
}

/// Does what a call says, and fills in its answers.
///
/// # Errors
/// EINVAL for a call that makes no sense; EFAULT, ENOMEM.
pub(crate) fn serve(session: &Session, call: &mut Call) -> Result {
    (call.done, call.failed, call.pending, call.error) = (0, 0, 0, 0);
    (call.bytes, call.wrong, call.place, call.digest) = (0, 0, 0, 0);
    match call.op {
        op::ACQUIRE_VOLUMES => objects::acquire_volumes(session, call),
        op::RELINQUISH_VOLUMES => objects::relinquish_volumes(session, call),
        op::ACQUIRE => objects::acquire(session, call),
        op::RELINQUISH => objects::relinquish(session, call),
        op::USE | op::UNUSE | op::UPDATE | op::RESIZE | op::INVALIDATE => {
            objects::change(session, call)
        }
        op::STATE => objects::state(session, call),
        op::READ | op::WRITE => batch::transfer(session, call),
        op::OCCUPANCY => io::occupancy(session, call),
        op::BATCH => batch::answer(session, call),
        _ => Err(EINVAL),
    }
}
