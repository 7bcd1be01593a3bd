// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! Reading from and writing to the backing files on behalf of netfs, and the decision where data is
//! to come from. Behaviour follows fs/cachefiles/io.c of Linux 6.12.

use crate::cache::Backing;
use crate::cache::Cache;
use crate::debug::debug;
use crate::error_inject;
use crate::interface::PAGE;
use crate::ondemand;
use crate::prelude::*;
use crate::space;
use crate::space::BlockSize;
use crate::sys::file::File;
use crate::sys::fscache::CookieFlag;
use crate::sys::kiocb;
use crate::sys::kiocb::Submitted;
use crate::sys::kiocb::Transfer;
use crate::sys::netfs::source;
use crate::sys::netfs::IovIter;
use crate::sys::netfs::ReadHole;
use crate::sys::netfs::Resources;
use crate::sys::netfs::Source;
use crate::sys::netfs::Termination;
use crate::sys::netfs::Want;
use crate::sys::netfs::SREQ_COPY_TO_CACHE;
use crate::sys::netfs::SREQ_ONDEMAND;
use crate::sys::object::ObjRef;
use crate::sys::object::Object;
use crate::sys::object::RefReason;
use crate::sys::stats;
use crate::sys::subreq::WritePart;
use crate::sys::trace;
use crate::sys::trace::word;
use core::sync::atomic::Ordering;

/// An operation begins: it gets the object's file as it is now.
pub(crate) fn begin_operation(res: &Resources, want: Want) -> bool {
    if res.file().is_none() {
        res.set_file(res.object().and_then(|object| object.file()));
    }
    if res.file().is_none() && want != Want::Params {
        pr_err!("The object of an operation has no file\n");
        return false;
    }
    true
}

/// A read of the backing file.
struct Read {
    /// The object's count of invalidations when the operation began.
    inval_counter: u32,
}

impl Transfer for Read {
    const WRITE: bool = false;

    fn begun(&self, object: &Object) -> Result {
        let _ = object;
        error_inject::read()
    }

    fn done(&self, object: &Object, file: &File, result: Result<usize>) -> Result<usize> {
        match result {
            Err(e) => {
                trace::io_error(Some(object), file.inode(), e, word::READ);
                Err(e)
            }
            // The object has got another file meanwhile: what was read is no longer its data.
            Ok(_) if object.cookie().inval_counter() != self.inval_counter => Err(ESTALE),
            Ok(n) => Ok(n),
        }
    }
}

/// Tells the caller at once how it ended.
fn end(term: Option<Termination>, result: Result<usize>) -> Option<Result<usize>> {
    if let Some(term) = term {
        term.end(result, false);
    }
    Some(result)
}

/// As [`File::seek_data`].
fn seek_data(file: &File, pos: u64) -> Result<Option<u64>> {
    error_inject::read()?;
    file.seek_data(pos)
}

/// As [`File::seek_hole`].
fn seek_hole(file: &File, pos: u64) -> Result<Option<u64>> {
    error_inject::read()?;
    file.seek_hole(pos)
}

/// Reads from the operation's file at `start` (bytes). `None`: the caller will be told later.
pub(crate) fn read(
    res: &Resources,
    start: u64,
    iter: &mut IovIter<'_>,
    hole: ReadHole,
    term: Option<Termination>,
) -> Option<Result<usize>> {
    if !res.wait_for(Want::Read) {
        return end(term, Err(ENOBUFS));
    }
    stats::count_read();
    let (Some(object), Some(file)) = (res.object(), res.file()) else {
        return end(term, Err(ENOBUFS));
    };
    let len = iter.count();
    let mut skipped = 0;
    if hole != ReadHole::Ignore && !cfg!(cachefiles_mutant = "probe-ondemand") {
        let data = match seek_data(file, start) {
            Ok(data) => data,
            Err(e) => return end(term, Err(e)),
        };
        let gap = data
            .and_then(|pos| pos.checked_sub(start))
            .and_then(|gap| usize::try_from(gap).ok())
            .filter(|gap| *gap < len);
        match gap {
            Some(gap) => {
                iter.zero(gap);
                skipped = gap;
            }
            None if hole == ReadHole::Fail => return end(term, Err(ENODATA)),
            None => {
                iter.zero(len);
                let _ = end(term, Ok(len));
                return Some(Ok(0));
            }
        }
    }
    let pos = start.saturating_add(skipped as u64);
    let read = Read {
        inval_counter: res.inval_counter(),
    };
    let object = object.get(RefReason::Transfer);
    trace::read(&object, file.inode(), pos, len.saturating_sub(skipped));
    done(kiocb::submit(object, file.get(), pos, iter, read, term))
}

fn done(submitted: Submitted) -> Option<Result<usize>> {
    match submitted {
        Submitted::Queued => None,
        Submitted::Done(result) => Some(result),
    }
}

/// A write to the backing file.
struct Write {
    /// Blocks of the filesystem that it was accounted as.
    blocks: u64,
}

impl Transfer for Write {
    const WRITE: bool = true;

    fn begun(&self, object: &Object) -> Result {
        let writing = &object.cache().b_writing;
        writing.fetch_add(self.blocks, Ordering::Relaxed);
        error_inject::write()
    }

    fn done(&self, object: &Object, file: &File, result: Result<usize>) -> Result<usize> {
        if let Err(e) = result {
            trace::io_error(Some(object), file.inode(), e, word::WRITE);
        }
        let writing = &object.cache().b_writing;
        writing.fetch_sub(self.blocks, Ordering::Relaxed);
        object.cookie().set(CookieFlag::HaveData);
        result
    }
}

/// Writes to `file` at `start` (bytes), accounted as space in use until it is on its way. `None`:
/// the caller will be told later.
pub(crate) fn write_file(
    backing: &Backing,
    object: &Object,
    file: &File,
    start: u64,
    iter: &mut IovIter<'_>,
    term: Option<Termination>,
) -> Option<Result<usize>> {
    let object = object.get(RefReason::Transfer);
    submit_write(backing.block_size, object, file.get(), start, iter, term)
}

fn submit_write(
    unit: BlockSize,
    object: ObjRef,
    file: File,
    start: u64,
    iter: &mut IovIter<'_>,
    term: Option<Termination>,
) -> Option<Result<usize>> {
    stats::count_write();
    let len = iter.count();
    let blocks = unit.blocks(len as u64);
    trace::write(&object, file.inode(), start, len);
    done(kiocb::submit(
        object,
        file,
        start,
        iter,
        Write { blocks },
        term,
    ))
}

/// Writes to the operation's file.
pub(crate) fn write(
    res: &Resources,
    start: u64,
    iter: &mut IovIter<'_>,
    term: Option<Termination>,
) -> Option<Result<usize>> {
    if !res.wait_for(Want::Write) {
        return end(term, Err(ENOBUFS));
    }
    let (Some(object), Some(file)) = (res.object(), res.file()) else {
        return end(term, Err(ENOBUFS));
    };
    match object.cache().bound() {
        Some(bound) => write_file(&bound.backing, object, file, start, iter, term),
        None => end(term, Err(ENOBUFS)),
    }
}

/// netfs is about to put together a part of a client's write: says how large it may be, and whether
/// there is a file for it.
pub(crate) fn prepare_write_part(part: &WritePart) {
    part.allow_largest();
    let res = part.resources();
    if res.file().is_none() && !(res.wait_for(Want::Write) && res.file().is_some()) {
        part.refuse();
    }
}

/// Writes a part of a client's write to the cache, as far as it is whole blocks.
pub(crate) fn issue_write(mut part: WritePart) {
    let (start, len) = (part.start(), part.len());
    debug!(ENTER, "==> issue_write({:x}+{:x})\n", start, len);
    let Ok(fit) = part.cut() else {
        stats::count_dio_misfit();
        debug!(INSIDE, "not a whole block: left out\n");
        // Not an error: the server has it, or gets it.
        return part.end(Ok(len));
    };
    let named = |object: &Object| !object.uses_tmpfile();
    if cfg!(cachefiles_mutant = "classic-write-truncate")
        && part.resources().object().is_some_and(named)
    {
        return part.end(Ok(fit.len));
    }
    part.trace_prepare();
    let start = start.saturating_add(fit.skip as u64);
    if let Err(e) = prepare_write(part.resources(), start, fit.len, fit.len, true) {
        return part.end(Err(e));
    }
    part.trace_write();
    if !part.resources().wait_for(Want::Write) {
        part.trace_refused();
        return part.end(Err(ENOBUFS));
    }
    let res = part.resources();
    let (Some(object), Some(file)) = (res.object(), res.file()) else {
        return part.end(Err(ENOBUFS));
    };
    let Some(unit) = object.cache().bound().map(|b| b.backing.block_size) else {
        return part.end(Err(ENOBUFS));
    };
    let (object, file) = (object.get(RefReason::Transfer), file.get());
    let (mut iter, term) = part.into_transfer();
    // Whoever issued it is told through the part's own function.
    let _ = submit_write(unit, object, file, start, &mut iter, term);
}

/// A read that netfs is about to make; the cache may shorten it.
pub(crate) struct Wanted {
    /// First byte.
    pub(crate) start: u64,
    /// Bytes.
    pub(crate) len: usize,
    /// Flag word of the subrequest.
    pub(crate) flags: usize,
    /// Where the client's file ends, in bytes.
    pub(crate) end: u64,
    /// The client's inode, for trace events.
    pub(crate) netfs_ino: u64,
}

/// Decides where the data of `wanted` is to come from. A hole, in on-demand mode, is filled by the
/// daemon while this waits; then the file is looked at again.
pub(crate) fn prepare_read(res: &Resources, wanted: &mut Wanted) -> Source {
    let mut object = None;
    let (source, why) = decide(res, wanted, &mut object);
    let cache_ino = res.file().map_or(0, |file| file.inode().ino());
    debug!(
        LEAVE,
        "<== prepare_read({:x}+{:x}): source {}\n", wanted.start, wanted.len, source
    );
    trace::prep_read(
        object,
        &trace::Prepared {
            start: wanted.start,
            len: wanted.len,
            flags: wanted.flags,
            source,
            why,
            cache_ino,
            netfs_ino: wanted.netfs_ino,
        },
    );
    source
}

fn decide<'a>(
    res: &'a Resources,
    wanted: &mut Wanted,
    traced: &mut Option<&'a Object>,
) -> (Source, trace::PrepareRead) {
    let download = source::DOWNLOAD_FROM_SERVER;
    if wanted.start >= wanted.end {
        return (source::FILL_WITH_ZEROES, word::READ_AFTER_EOF);
    }
    let on_demand = wanted.flags & SREQ_ONDEMAND != 0;
    if res.cookie().test(CookieFlag::NoDataToRead) {
        wanted.flags |= SREQ_COPY_TO_CACHE;
        if !on_demand {
            return (download, word::READ_NO_DATA);
        }
    }
    // Object and file may still be on their way.
    if res.file().is_none() && !res.wait_for(Want::Read) {
        return (download, word::READ_NO_FILE);
    }
    let (Some(object), Some(file)) = (res.object(), res.file()) else {
        return (download, word::READ_NO_FILE);
    };
    *traced = Some(object);
    let Some(bound) = object.cache().bound() else {
        return (download, word::READ_NO_FILE);
    };
    let _as_cache = bound.backing.cred.override_current();
    loop {
        match look(object, file, bound.backing.block_size.bytes(), wanted) {
            Look::Cached => return (source::READ_FROM_CACHE, word::READ_HAVE_DATA),
            Look::Failed => return (download, word::READ_SEEK_ERROR),
            Look::Missing(why) => {
                wanted.flags |= SREQ_COPY_TO_CACHE;
                if wanted.flags & SREQ_ONDEMAND == 0 {
                    return (download, why);
                }
                if ondemand::read(object, wanted.start, wanted.len).is_err() {
                    return (source::INVALID_READ, why);
                }
                // It is asked once: a daemon that completes without filling fails the reader.
                wanted.flags &= !SREQ_ONDEMAND;
            }
        }
    }
}

/// What the backing file has at the beginning of a range.
enum Look {
    /// Data, as far as the range now goes.
    Cached,
    /// A hole, as far as the range now goes.
    Missing(trace::PrepareRead),
    /// It does not tell.
    Failed,
}

/// Looks whether the range is in `file`, and shortens it to what is alike. Knows nothing of netfs
/// but the flags that travel with the range.
fn look(object: &Object, file: &File, block: u64, range: &mut Wanted) -> Look {
    let failed = |e| {
        trace::io_error(Some(object), file.inode(), e, word::SEEK);
        Look::Failed
    };
    let end = range.start.saturating_add(range.len as u64);
    if cfg!(cachefiles_mutant = "power-cut") && !object.uses_tmpfile() {
        return Look::Cached;
    }
    let data = match seek_data(file, range.start) {
        Ok(Some(data)) => data,
        Ok(None) => return Look::Missing(word::READ_SEEK_NXIO),
        Err(e) => return failed(e),
    };
    if data >= end {
        return Look::Missing(word::READ_FOUND_HOLE);
    }
    if data > range.start {
        let data = data.checked_next_multiple_of(block).unwrap_or(data);
        shorten(range, data);
        return Look::Missing(word::READ_FOUND_PART);
    }
    let hole = match seek_hole(file, range.start) {
        Ok(hole) => hole.unwrap_or(end),
        Err(e) => return failed(e),
    };
    if hole < end && !cfg!(cachefiles_mutant = "ondemand-read") {
        // A block that the hole begins in is whole at the end of the file, and partial elsewhere.
        let hole = if end >= range.end {
            hole.checked_next_multiple_of(block).unwrap_or(hole)
        } else {
            round_down(hole, block)
        };
        shorten(range, hole);
    }
    Look::Cached
}

fn shorten(range: &mut Wanted, end: u64) {
    let len = end.saturating_sub(range.start);
    range.len = usize::try_from(len).unwrap_or(usize::MAX);
}

fn round_down(value: u64, unit: u64) -> u64 {
    value.saturating_sub(value.checked_rem(unit).unwrap_or(0))
}

/// Gets ready for a write of `len` bytes at `start` to `file`: it must begin at a page, and there
/// must be room. Returns the length rounded up to pages.
///
/// # Errors
/// ENOBUFS when it does not fit direct I/O (counted as a misfit) or there is no room; EIO when the
/// backing file failed.
pub(crate) fn prepare_write_file(
    cache: &Cache,
    backing: &Backing,
    object: &Object,
    file: &File,
    start: u64,
    len: usize,
    upper_len: usize,
    unallocated: bool,
) -> Result<usize> {
    let aligned = start.checked_rem(PAGE) == Some(0) || cfg!(cachefiles_mutant = "write-rules");
    if !aligned || len > upper_len {
        stats::count_dio_misfit();
        return Err(ENOBUFS);
    }
    let rounded = (len as u64).checked_next_multiple_of(PAGE).ok_or(ENOBUFS)?;
    let result = usize::try_from(rounded).map_err(|_| ENOBUFS)?;
    let end = start.saturating_add(rounded);
    let failed = |e| {
        trace::io_error(Some(object), file.inode(), e, word::SEEK);
        e
    };
    // Where the range has space already, some of it at least, there may be no need for more.
    let allocated = !unallocated
        && seek_data(file, start)
            .map_err(failed)?
            .map_or(false, |data| data < end);
    if !allocated {
        space::check(cache, backing, space::Need::write(rounded))?;
        return Ok(result);
    }
    if space::check(cache, backing, space::Need::overwrite(rounded)).is_ok() {
        return Ok(result);
    }
    if seek_hole(file, start)
        .map_err(failed)?
        .map_or(true, |hole| hole >= end)
    {
        return Ok(result);
    }
    // Partly there, and no room for the rest: what is there is given up.
    stats::count_no_write_space();
    let punched = error_inject::remove().and_then(|()| file.punch_hole(start, rounded));
    punched.map_err(|e| {
        trace::io_error(Some(object), file.inode(), e, word::FALLOCATE);
        cache.io_error_of(object, "fallocate failed", e);
        EIO
    })?;
    Ok(result)
}

/// Gets ready for a write to the operation's file.
///
/// # Errors
/// As [`prepare_write_file`].
pub(crate) fn prepare_write(
    res: &Resources,
    start: u64,
    len: usize,
    upper_len: usize,
    unallocated: bool,
) -> Result<usize> {
    if res.file().is_none() && !res.wait_for(Want::Write) {
        return Err(ENOBUFS);
    }
    let (Some(object), Some(file)) = (res.object(), res.file()) else {
        return Err(ENOBUFS);
    };
    let cache = object.cache();
    let backing = &cache.bound().ok_or(ENOBUFS)?.backing;
    let _as_cache = backing.cred.override_current();
    prepare_write_file(
        cache,
        backing,
        object,
        file,
        start,
        len,
        upper_len,
        unallocated,
    )
}

/// Where the next whole granules of data are in a range: first byte and length.
///
/// # Errors
/// ENODATA when there are none, ENOBUFS when the file does not tell.
pub(crate) fn query_occupancy(
    res: &Resources,
    start: u64,
    len: usize,
    granularity: usize,
) -> Result<(u64, usize)> {
    if !res.wait_for(Want::Read) {
        return Err(ENOBUFS);
    }
    let (Some(object), Some(file)) = (res.object(), res.file()) else {
        return Err(ENOBUFS);
    };
    let block = object
        .cache()
        .bound()
        .ok_or(ENOBUFS)?
        .backing
        .block_size
        .bytes();
    let unit = block.max(granularity as u64);
    let end = start.saturating_add(len as u64);
    let data = seek_data(file, start)
        .map_err(|_| ENOBUFS)?
        .ok_or(ENODATA)?;
    let data = data.checked_next_multiple_of(unit).ok_or(ENODATA)?;
    if data >= end {
        return Err(ENODATA);
    }
    let hole = seek_hole(file, data).map_err(|_| ENOBUFS)?.ok_or(ENODATA)?;
    let hole = round_down(hole, unit);
    if hole <= data {
        return Err(ENODATA);
    }
    // C gives the length of the whole range when the data reaches beyond it.
    let found = hole.min(end).saturating_sub(data);
    Ok((data, usize::try_from(found).unwrap_or(usize::MAX)))
}
