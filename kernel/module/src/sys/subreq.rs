// SPDX-License-Identifier: GPL-2.0-or-later
//! Parts of a client's write, as netfs hands them to the cache.

use super::bindings;
use super::errno::Result;
use super::field::field;
use super::field::Struct;
use super::netfs::IovIter;
use super::netfs::Resources;
use super::netfs::Termination;
use super::plain;
use crate::pure::dio;
use crate::pure::dio::Fit;
use crate::pure::dio::Misfit;
use core::ptr::NonNull;

/// A part of a client's write that is being prepared or is on its way to the cache.
///
/// netfs keeps it, and the request with its memory, until it is ended: to that end a part that is on
/// its way comes by value, and is used up by [`WritePart::end`] or [`WritePart::into_transfer`].
#[must_use]
pub(crate) struct WritePart(NonNull<bindings::netfs_io_subrequest>);

// SAFETY: it lasts until it is ended (`from_ptr`), which takes this value.
unsafe impl Struct for WritePart {
    type C = bindings::netfs_io_subrequest;

    fn raw(&self) -> *mut bindings::netfs_io_subrequest {
        self.0.as_ptr()
    }
}

impl WritePart {
    /// # Safety
    /// `ptr` is a subrequest of a write. It lasts until it is ended, or, where it is only being
    /// prepared, as long as the result, which is not ended then.
    pub(super) unsafe fn from_ptr(ptr: *mut bindings::netfs_io_subrequest) -> Option<WritePart> {
        NonNull::new(ptr).map(WritePart)
    }

    fn request(&self) -> *mut bindings::netfs_io_request {
        self.load(field!(netfs_io_subrequest.rreq))
    }

    /// The resources of the operation that it belongs to.
    pub(crate) fn resources(&self) -> &Resources {
        // SAFETY: a subrequest holds its request; only the address is taken.
        let cres = unsafe { core::ptr::addr_of_mut!((*self.request()).cache_resources) };
        // SAFETY: the request's operation lasts as long as the request.
        unsafe { Resources::from_ptr(cres) }
    }

    /// Its first byte in the client's file.
    pub(crate) fn start(&self) -> u64 {
        self.load(field!(netfs_io_subrequest.start))
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.load(field!(netfs_io_subrequest.len))
    }

    /// Where the client's file ends, in bytes.
    fn file_end(&self) -> u64 {
        // SAFETY: a subrequest holds its request; one volatile load, as the writer may move it.
        unsafe { core::ptr::addr_of!((*self.request()).i_size).read_volatile() }
    }

    fn stream(&self) -> *mut bindings::netfs_io_stream {
        // SAFETY: it lasts, and holds its request, which has the stream.
        unsafe { bindings::cf_subreq_stream(self.0.as_ptr()) }
    }

    /// Bytes of memory from the beginning of its last piece to the end of the folio that holds it.
    fn extendable_to(&self) -> usize {
        // SAFETY: the stream lasts as long as the request; who issues parts is who sets it.
        let len = unsafe { (*self.stream()).submit_extendable_to };
        len as usize
    }

    /// Tells netfs how much it may put into one part.
    pub(crate) fn allow_largest(&self) {
        let stream = self.stream();
        // SAFETY: netfs asks while it prepares a part of the stream, and waits for the answer.
        unsafe { (*stream).sreq_max_len = bindings::cf_consts_CF_MAX_RW_COUNT as usize };
        // SAFETY: as just said.
        unsafe { (*stream).sreq_max_segs = bindings::cf_consts_CF_BIO_MAX_VECS };
    }

    /// Tells netfs that it cannot be written to the cache. For a part that is being prepared.
    pub(crate) fn refuse(&self) {
        // SAFETY: it lasts, and its preparer is the only one to know it yet.
        unsafe { bindings::netfs_prepare_write_failed(self.0.as_ptr()) };
    }

    /// It is about to be prepared for the cache.
    pub(crate) fn trace_prepare(&self) {
        plain::cf_trace_sreq_prepare(self);
    }

    /// It is about to be written to the cache.
    pub(crate) fn trace_write(&self) {
        plain::cf_trace_sreq_write(self);
    }

    /// The cache does not take it any more.
    pub(crate) fn trace_refused(&self) {
        plain::cf_trace_sreq_refused(self);
    }

    /// Cuts it to whole blocks; returns how. To be called once.
    ///
    /// # Errors
    /// [`Misfit`] when not one block is whole; the part is as it was then.
    pub(crate) fn cut(&mut self) -> core::result::Result<Fit, Misfit> {
        let fit = dio::fit(
            self.start(),
            self.len(),
            self.file_end(),
            self.extendable_to(),
        )?;
        // SAFETY: it lasts, and until it is ended it is its issuer's alone. Its iterator has more
        // bytes than are skipped, as there is something left of the part. What is added lies in the
        // folio that holds the part's end: folios are whole blocks long, and `fit` adds no more than
        // completes the last one. A second cut would add nothing, as the end is no longer the file's.
        unsafe { bindings::cf_subreq_cut(self.0.as_ptr(), fit.skip, fit.grow, fit.len) };
        Ok(fit)
    }

    fn termination(&self) -> Option<Termination> {
        let func = bindings::netfs_write_subrequest_terminated;
        Termination::new(Some(func), self.0.as_ptr().cast())
    }

    /// Ends it: so many bytes are dealt with, or none because of an error.
    pub(crate) fn end(self, result: Result<usize>) {
        if let Some(term) = self.termination() {
            term.end(result, false);
        }
    }

    /// Its memory, and the function that ends it, for a transfer.
    pub(crate) fn into_transfer(self) -> (IovIter<'static>, Option<Termination>) {
        let term = self.termination();
        let iter = self.place(field!(netfs_io_subrequest.io_iter));
        // SAFETY: it lasts until the function is called, and a transfer does not use its iterator
        // after that; nobody else has the iterator.
        (unsafe { IovIter::from_ptr(iter) }, term)
    }
}
