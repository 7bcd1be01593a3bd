// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! Reading and writing one range of one object, and asking what the cache has of it.

use crate::abi::call::flag;
use crate::abi::call::Call;
use crate::abi::call::PART_MAX;
use crate::abi::content::Content;
use crate::objects::Object;
use crate::prelude::*;
use crate::session::find;
use crate::session::range;
use crate::session::Session;
use crate::sys::operation::Holes;
use crate::sys::operation::Operation;
use crate::sys::operation::Page;
use crate::sys::operation::Source;
use crate::vectors::KVVec;

/// What to transfer, and how.
#[derive(Clone, Copy)]
pub(crate) struct Range {
    /// Where it begins.
    pub(crate) offset: u64,
    /// How long it is.
    pub(crate) length: u64,
    /// The object's size to be told to the cache; 0 for one without end, as erofs does.
    pub(crate) size: u64,
    /// Generation of the content.
    pub(crate) generation: u64,
    /// The call's flags.
    pub(crate) flags: u64,
}

/// What a transfer has moved.
#[derive(Clone, Copy, Default)]
pub(crate) struct Moved {
    /// Bytes.
    pub(crate) bytes: u64,
    /// Bytes that are not as they should be.
    pub(crate) wrong: u64,
    /// Where the first of them lies.
    pub(crate) place: u64,
    /// Digest of all of them, carried on from part to part.
    pub(crate) digest: u64,
}

/// Memory for the parts of a transfer. It only grows.
pub(crate) struct Buffer(KVVec<Page>);

impl Buffer {
    /// None yet.
    pub(crate) fn new() -> Buffer {
        Buffer(KVVec::new())
    }

    fn room(&mut self, bytes: usize) -> Result<&mut [Page]> {
        let pages = bytes.div_ceil(Page::SIZE);
        if self.0.len() < pages {
            self.0 = KVVec::from_elem(Page::ZERO, pages, GFP_KERNEL)?;
        }
        self.0.get_mut(..pages).ok_or(ENOMEM)
    }
}

/// The first `len` bytes of pages, page by page, with the place of each page's first byte.
fn parts(pages: &[Page], len: usize) -> impl Iterator<Item = (u64, &[u8])> {
    let starts = (0usize..).step_by(Page::SIZE);
    pages.iter().zip(starts).filter_map(move |(page, start)| {
        let here = len.checked_sub(start)?.min(Page::SIZE);
        let bytes = page.0.get(..here).filter(|bytes| !bytes.is_empty())?;
        Some((start as u64, bytes))
    })
}

fn part_of(left: u64) -> usize {
    usize::try_from(left.min(PART_MAX)).unwrap_or(0)
}

fn position(at: u64) -> Result<i64> {
    i64::try_from(at).map_err(|_| EINVAL)
}

/// Reads a range; each part goes to `seen` as it comes.
pub(crate) fn read(
    object: &Object,
    want: &Range,
    buffer: &mut Buffer,
    mut seen: impl FnMut(&[u8]) -> Result,
) -> Result<Moved> {
    let has = |flag| want.flags & flag != 0;
    let holes = match (has(flag::HOLES_FAIL), has(flag::HOLES_CLEAR)) {
        (true, _) => Holes::Fail,
        (false, true) => Holes::Clear,
        (false, false) => Holes::Ignore,
    };
    let content = object.content.generation(want.generation);
    let i_size = match want.size {
        0 => i64::MAX,
        size => position(size)?,
    };
    let end = want.offset.checked_add(want.length).ok_or(EINVAL)?;
    let mut op = Operation::begin_read(&object.cookie)?;
    let mut moved = Moved::default();
    let mut at = want.offset;
    while let Some(left) = end.checked_sub(at).filter(|left| *left > 0) {
        let mut len = part_of(left);
        let mut source = Source::Cache;
        if has(flag::ONDEMAND) {
            source = op.prepare_ondemand_read(position(at)?, &mut len, i_size);
            if len == 0 {
                return Err(EIO);
            }
        }
        let memory = buffer.room(len)?;
        match source {
            Source::Cache => {
                let got = op.read(position(at)?, memory, len, holes, has(flag::ASYNC))?;
                len = got.min(len);
            }
            Source::Zeros => memory.fill(Page::ZERO),
            Source::Other => return Err(EIO),
        }
        if len == 0 {
            // The end of what there is: nothing more will come.
            break;
        }
        for (start, bytes) in parts(memory, len) {
            take_in(
                &mut moved,
                content,
                at.saturating_add(start),
                bytes,
                has(flag::VERIFY),
            );
            seen(bytes)?;
        }
        at = at.saturating_add(len as u64);
    }
    Ok(moved)
}

fn take_in(moved: &mut Moved, content: Content, at: u64, bytes: &[u8], verify: bool) {
    if moved.bytes == 0 {
        moved.digest = crate::abi::content::digest(&[]);
    }
    moved.bytes = moved.bytes.saturating_add(bytes.len() as u64);
    if !verify {
        return;
    }
    moved.digest = crate::abi::content::more_digest(moved.digest, bytes);
    if let Some((wrong, place)) = content.check(at, bytes) {
        if moved.wrong == 0 {
            moved.place = place;
        }
        moved.wrong = moved.wrong.saturating_add(wrong);
    }
}

/// Writes content to a range, as a filesystem does that keeps what it has downloaded: the cache says
/// first how much around it has to be written.
pub(crate) fn write(object: &Object, want: &Range, buffer: &mut Buffer) -> Result<Moved> {
    let content = object.content.generation(want.generation);
    let allocated = want.flags & flag::ALLOCATED != 0;
    let by_call = want.flags & flag::ASYNC != 0;
    let end = want.offset.checked_add(want.length).ok_or(EINVAL)?;
    let i_size = match want.size {
        0 => position(end)?,
        size => position(size)?,
    };
    let mut op = Operation::begin_write(&object.cookie)?;
    let mut moved = Moved::default();
    let mut at = want.offset;
    while let Some(left) = end.checked_sub(at).filter(|left| *left > 0) {
        let (mut start, mut len) = (position(at)?, part_of(left));
        let room = len.div_ceil(Page::SIZE).saturating_mul(Page::SIZE);
        op.prepare_write(&mut start, &mut len, room, i_size, allocated)?;
        let from = u64::try_from(start).map_err(|_| EIO)?;
        let memory = buffer.room(len)?;
        let starts = (0u64..).step_by(Page::SIZE);
        for (page, place) in memory.iter_mut().zip(starts) {
            content.fill(from.saturating_add(place), &mut page.0);
        }
        let written = op.write(start, memory, len, by_call)?;
        if written == 0 {
            return Err(EIO);
        }
        moved.bytes = moved.bytes.saturating_add(written as u64);
        at = from.saturating_add(written as u64);
    }
    Ok(moved)
}

/// Carries out `OCCUPANCY`, for one cookie.
pub(crate) fn occupancy(session: &Session, call: &mut Call) -> Result {
    range(call.first, 1)?;
    let object = find(&session.objects, call.first)?;
    let len = usize::try_from(call.length).map_err(|_| EINVAL)?;
    let granularity = usize::try_from(call.extra).map_err(|_| EINVAL)?;
    let start = position(call.offset)?;
    let asked = Operation::begin_read(&object.cookie)
        .and_then(|mut op| op.query_occupancy(start, len, granularity));
    if let Ok(Some((place, length))) = asked {
        (call.place, call.bytes) = (place, length as u64);
    }
    crate::session::note(call, asked.map(|_| ()));
    Ok(())
}
