// SPDX-License-Identifier: GPL-2.0-or-later
//! Asynchronous direct I/O on a backing file.
//!
//! A transfer has two owners: the one who submits it and the one who completes it, which may be an
//! interrupt and may come before the submission returns. Each holds a share; whoever gives up the
//! second one frees file, object and memory. The completer copies out the caller's function, gives
//! up its share, and only then calls the function, as its last act: from there on the caller may
//! end the access that kept the object, and the module with it. While the caller's access lasts the
//! completer's share is never the object's last reference, so that nothing sleeps in an interrupt.

use super::bindings;
use super::errno::check64;
use super::errno::Errno;
use super::errno::Result;
use super::file::File;
use super::netfs::IovIter;
use super::netfs::Termination;
use super::object::ObjRef;
use super::object::Object;
use super::plain;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering;
use kernel::prelude::*;

/// What kind of transfer it is, and what is to be done when it ends.
pub(crate) trait Transfer: Send + Sync + 'static {
    /// Whether memory is written to the file.
    const WRITE: bool;

    /// Called once, just before the transfer begins; [`Transfer::done`] follows.
    ///
    /// # Errors
    /// What the transfer is to fail with instead of being made.
    fn begun(&self, object: &Object) -> Result;

    /// Called when the transfer has ended, perhaps in an interrupt: it must not sleep. Returns what
    /// the caller is to be told.
    fn done(&self, object: &Object, file: &File, result: Result<usize>) -> Result<usize>;
}

/// What became of a submission.
pub(crate) enum Submitted {
    /// It will be completed later; the caller's function will be called then.
    Queued,
    /// It has been completed with this, and the caller's function has been called.
    Done(Result<usize>),
}

#[repr(C)]
struct Kiocb<T> {
    /// First, so that a pointer to it is a pointer to the whole.
    iocb: UnsafeCell<bindings::kiocb>,
    shares: AtomicU8,
    /// Taken by the completer, of whom there is one.
    term: UnsafeCell<Option<Termination>>,
    transfer: T,
    /// Dropped before the object: closing it may still need the cache.
    file: File,
    object: ObjRef,
}

/// Reads from, or writes to, `file` at `pos` (bytes). With a termination the transfer may go on
/// after this returns; without one this waits for its end.
///
/// # Errors
/// ENOMEM before anything was submitted: the termination has been called then. All others come
/// through [`Submitted::Done`].
pub(crate) fn submit<T: Transfer>(
    object: ObjRef,
    file: File,
    pos: u64,
    iter: &mut IovIter<'_>,
    transfer: T,
    term: Option<Termination>,
) -> Submitted {
    let is_async = term.is_some();
    let ioprio = plain::cf_get_current_ioprio();
    let iocb = bindings::kiocb {
        ki_filp: file.as_ptr(),
        ki_pos: pos as i64,
        ki_complete: if is_async { Some(complete::<T>) } else { None },
        ki_flags: flags(T::WRITE),
        ki_ioprio: ioprio as u16,
        ..Default::default()
    };
    let ki = KBox::new(
        Kiocb {
            iocb: UnsafeCell::new(iocb),
            shares: AtomicU8::new(2),
            term: UnsafeCell::new(None),
            transfer,
            file,
            object,
        },
        GFP_KERNEL,
    );
    let mut ki = match ki {
        Ok(ki) => ki,
        Err(_) => {
            let result = Err(super::errno::ENOMEM);
            if let Some(term) = term {
                term.end(result, false);
            }
            return Submitted::Done(result);
        }
    };
    *ki.term.get_mut() = term;
    let begun = ki.transfer.begun(&ki.object);
    let ki = KBox::into_raw(ki);
    let ret = match begun {
        Ok(()) => {
            let _nofs = NoFs::enter();
            transfer_now::<T>(ki, iter)
        }
        Err(e) => e.to_ret() as isize,
    };
    let submitted = if ret == -(bindings::cf_consts_CF_EIOCBQUEUED as isize) {
        Submitted::Queued
    } else {
        // SAFETY: not queued, so that no completion will come: the completer is this task.
        Submitted::Done(unsafe { finish(ki, ret, false) })
    };
    // SAFETY: gives up the submitter's share.
    unsafe { put(ki) };
    submitted
}

fn flags(write: bool) -> i32 {
    let flags = if write {
        bindings::cf_consts_CF_IOCB_DIRECT | bindings::cf_consts_CF_IOCB_WRITE
    } else {
        bindings::cf_consts_CF_IOCB_DIRECT
    };
    flags as i32
}

fn transfer_now<T: Transfer>(ki: *mut Kiocb<T>, iter: &mut IovIter<'_>) -> isize {
    // The first field; a pointer that was made from a borrow of the field would not be one to the whole,
    // which `complete` makes of it again.
    let iocb = ki.cast::<bindings::kiocb>();
    // SAFETY: both shares are still held; the pointer outlives the borrow, as the submitter's share
    // keeps the file.
    let file = unsafe { (*ki).file.as_ptr() };
    if T::WRITE {
        // SAFETY: kiocb and file live by the submitter's share until this returns, the iterator by
        // the caller's promise to netfs.
        unsafe { bindings::vfs_iocb_iter_write(file, iocb, iter.as_ptr()) }
    } else {
        // SAFETY: as just said.
        unsafe { bindings::vfs_iocb_iter_read(file, iocb, iter.as_ptr()) }
    }
}

/// Called by the filesystem when a queued transfer has ended.
unsafe extern "C" fn complete<T: Transfer>(iocb: *mut bindings::kiocb, ret: isize) {
    if T::WRITE {
        // SAFETY: an asynchronous write still holds the freeze protection of its superblock.
        unsafe { bindings::cf_kiocb_end_write(iocb) };
    }
    // SAFETY: the kiocb is the first field of the whole, and this is its one completion.
    let _ = unsafe { finish(iocb.cast::<Kiocb<T>>(), ret, true) };
}

/// Ends a transfer: gives up the completer's share, and tells the caller what `Transfer::done` makes
/// of the result. Returns the result itself: a caller that has been told of an error through its
/// function must not be told a second time.
///
/// # Safety
/// `ki` comes from `submit`, its completer's share has not been given up, and this is called once.
unsafe fn finish<T: Transfer>(ki: *mut Kiocb<T>, ret: isize, was_async: bool) -> Result<usize> {
    // SAFETY: the completer's share keeps it.
    let this = unsafe { &*ki };
    let result = check64(ret as i64)
        .map(|n| n as usize)
        .map_err(Errno::without_restart);
    let told = this.transfer.done(&this.object, &this.file, result);
    // SAFETY: only the completer touches it, and there is one.
    let term = unsafe { (*this.term.get()).take() };
    // SAFETY: gives up the completer's share; `this` is not used any more.
    unsafe { put(ki) };
    if let Some(term) = term {
        term.end(told, was_async);
    }
    result
}

/// Gives up one share.
///
/// # Safety
/// The caller has a share and does not use `ki` any more.
unsafe fn put<T>(ki: *mut Kiocb<T>) {
    // SAFETY: the caller's share keeps it.
    let shares = unsafe { &(*ki).shares };
    if shares.fetch_sub(1, Ordering::AcqRel) == 1 {
        // SAFETY: the last share; the memory came from a box.
        drop(unsafe { KBox::from_raw(ki) });
    }
}

/// While it lives, allocations of this task do not enter filesystem code.
#[must_use]
pub(crate) struct NoFs(u32, PhantomData<*mut ()>);

impl NoFs {
    /// Until the result is dropped; guards of one task end in the reverse order of their making.
    pub(crate) fn enter() -> NoFs {
        // SAFETY: changes a flag of the current task, which the guard restores.
        NoFs(unsafe { bindings::cf_memalloc_nofs_save() }, PhantomData)
    }
}

impl Drop for NoFs {
    fn drop(&mut self) {
        // SAFETY: the value that the matching save returned, on the same task.
        unsafe { bindings::cf_memalloc_nofs_restore(self.0) };
    }
}
