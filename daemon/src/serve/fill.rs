// SPDX-License-Identifier: GPL-2.0-or-later
//! Moving one piece of a blob into the cache.

use std::io;

use rustix::io::Errno;

use super::Context;
use super::buffer::AlignedBuffer;
use super::object::Object;
use crate::event_log::Event;
use crate::range::PAGE;
use crate::range::Range;

/// The errno of an error; EIO when it has none.
pub fn errno(error: &io::Error) -> i32 {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Errno::NODATA.raw_os_error(),
        _ => error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()),
    }
}

/// Fetches `piece` and writes it to the cache; falls back to `core`, the part of it that somebody
/// waits for, when the rest cannot be read or does not fit. Without a `core` it is all or nothing.
///
/// `piece` is no longer than the buffer, and both are whole pages.
///
/// # Errors
/// When not even the core is in the cache now.
pub fn fill(
    context: &Context,
    object: &Object,
    piece: Range,
    core: Option<Range>,
    buffer: &mut AlignedBuffer,
) -> io::Result<()> {
    let core = core.filter(|core| *core != piece);
    let (fetched, result) = match (fetch(context, object, piece, buffer), core) {
        (Err(error), Some(core)) => {
            tracing::debug!(object_id = object.id, %error, "fetching only what is asked for");
            (core, fetch(context, object, core, buffer))
        }
        (result, _) => (piece, result),
    };
    result
        .inspect_err(|error| report(context, object, fetched, Err(error)))
        .and_then(|()| {
            let data = |part: Range| {
                let from = (part.start() - fetched.start()) as usize;
                from..from + part.length() as usize
            };
            let whole = store(object, fetched, &buffer.bytes_mut()[data(fetched)]);
            report(context, object, fetched, whole.as_ref().copied());
            match (whole, core.filter(|core| *core != fetched)) {
                (Err(error), Some(core)) if is_full(&error) => {
                    // A part of it may be stored; the core perhaps not.
                    let stored = store(object, core, &buffer.bytes_mut()[data(core)]);
                    report(context, object, core, stored.as_ref().copied());
                    stored
                }
                (result, _) => result,
            }
        })
}

fn report(context: &Context, object: &Object, range: Range, result: Result<(), &io::Error>) {
    context.events.write(&Event::Fill {
        object_id: object.id,
        fsid: &object.name,
        off: range.start(),
        len: range.length(),
        result: -i64::from(result.err().map_or(0, errno)),
    });
    match result {
        Ok(()) => context.stats.filled.add(range.length()),
        // Told by the kernel's counters, and far too often to be told here as well.
        Err(error) if is_full(error) => tracing::debug!(object_id = object.id, %error, "no room"),
        Err(error) => tracing::warn!(
            object_id = object.id,
            blob = object.name,
            off = range.start(),
            len = range.length(),
            %error,
            "cannot fill"
        ),
    }
}

/// Whether the cache has no room.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::NOSPC | Errno::NOBUFS | Errno::DQUOT)
    )
}

/// Reads `range` of the blob into the front of the buffer, with zeros behind the object's end. All
/// of it: a blob that has become shorter than it was is an error, never zeros.
fn fetch(
    context: &Context,
    object: &Object,
    range: Range,
    buffer: &mut AlignedBuffer,
) -> io::Result<()> {
    context.stats.fetches.increment();
    let length = range.length() as usize;
    let buffer = &mut buffer.bytes_mut()[..length];
    let wanted = object
        .size
        .saturating_sub(range.start())
        .min(range.length()) as usize;
    let (data, padding) = buffer.split_at_mut(wanted);
    padding.fill(0);
    let mut done = 0;
    while done < data.len() {
        match object
            .blob
            .read_at(&mut data[done..], range.start() + done as u64)
        {
            Ok(0) => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!(
                        "the blob ends at {} of {} bytes: it was changed while it is served",
                        range.start() + done as u64,
                        object.size
                    ),
                ));
            }
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes whole pages to the cache, in as many writes as it takes.
fn store(object: &Object, range: Range, data: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < data.len() {
        match object
            .file
            .write_at(&data[done..], range.start() + done as u64)
        {
            Ok(count) => {
                // A write goes on at a page: the last one is written again if it is not whole.
                let whole = count / PAGE as usize * PAGE as usize;
                if whole == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                done += whole;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
