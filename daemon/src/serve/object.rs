// SPDX-License-Identifier: GPL-2.0-or-later
//! One open object: its two descriptors, and the ranges of it that are being fetched.
//!
//! What is present is asked of the object's file each time (SEEK_DATA, SEEK_HOLE), never
//! remembered: the file is right after a restart, after a reopening, and when the kernel replaced
//! it. What is in flight is known here alone. A range is claimed under the object's lock, written,
//! and released under that lock: so whoever holds the lock sees each byte as claimed, present or
//! missing, and nobody fetches what another one fetches.
//!
//! A READ that needs a claimed byte is parked: it takes no thread. Whoever releases the claim
//! looks after it.

use std::fmt;
use std::io;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::backend::Blob;
use crate::device::ObjectFile;
use crate::range::PAGE;
use crate::range::Range;
use crate::serve::ticket::ReadTicket;

/// The largest piece that is fetched and written at once, in bytes.
pub const CHUNK: u64 = 1 << 20;

/// One open object.
pub struct Object {
    /// Its number; new each time that the object is opened.
    pub id: u32,
    /// Its cookie key, for people.
    pub name: String,
    /// Its descriptor in the cache.
    pub file: Box<dyn ObjectFile>,
    /// Its data.
    pub blob: Box<dyn Blob>,
    /// What the kernel was told, in bytes.
    pub size: u64,
    flight: Mutex<Flight>,
}

#[derive(Debug, Default)]
struct Flight {
    claims: Vec<Range>,
    parked: Vec<Ask>,
}

/// A READ that is being handled.
#[derive(Debug)]
pub struct Ask {
    /// The duty to complete it.
    pub ticket: ReadTicket,
    /// What is needed: whole pages.
    pub range: Range,
    /// The fetch of some of it, by another one, failed with this errno.
    failed: Option<i32>,
}

impl Ask {
    /// A READ of whole pages.
    pub fn new(ticket: ReadTicket, range: Range) -> Ask {
        Ask {
            ticket,
            range,
            failed: None,
        }
    }
}

/// What is to be done for a READ.
#[derive(Debug)]
pub enum Plan {
    /// Nothing: it was handed to those who fetch what it needs.
    Parked,
    /// It can be completed: all that it needs is there.
    Present(Ask),
    /// These pieces are to be fetched by the caller, who must [`Object::release`] each. Pieces that
    /// the READ needs come first.
    Fetch(Ask, Vec<Range>),
}

/// What is to be done with a READ that was parked.
#[derive(Debug)]
pub enum Freed {
    /// It is to be looked at again.
    Again(Ask),
    /// It is to be completed: what it needs cannot be had.
    Failed(Ask, i32),
}

impl Object {
    /// A newly opened object.
    pub fn new(id: u32, name: String, file: Box<dyn ObjectFile>, blob: Box<dyn Blob>) -> Object {
        Object {
            id,
            name,
            file,
            size: blob.size(),
            blob,
            flight: Mutex::default(),
        }
    }

    fn flight(&self) -> MutexGuard<'_, Flight> {
        // Nothing in here is half done when a thread panics: ranges are added and removed whole.
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides about a READ. Of the blocks of `fill` bytes around it everything is claimed that is
    /// neither present nor in flight; with a `fill` of one page that is just what it asks for.
    pub fn plan(&self, ask: Ask, fill: u64) -> Plan {
        let mut flight = self.flight();
        if flight.claims.iter().any(|claim| claim.overlaps(ask.range)) {
            flight.parked.push(ask);
            return Plan::Parked;
        }
        let window = ask.range.widened(fill, self.size).unwrap_or(ask.range);
        // A file that cannot tell what is in it is filled with what is asked, and no more.
        let missing = self.missing(window).unwrap_or_else(|error| {
            tracing::debug!(object_id = self.id, %error, "the object's file cannot tell its holes");
            vec![ask.range]
        });
        if !missing.iter().any(|hole| hole.overlaps(ask.range)) {
            return Plan::Present(ask);
        }
        let mut pieces: Vec<Range> = missing
            .into_iter()
            .flat_map(|hole| hole.without(&flight.claims))
            .flat_map(|piece| piece.chunks(CHUNK))
            .collect();
        pieces.sort_by_key(|piece| !piece.overlaps(ask.range));
        flight.claims.extend(&pieces);
        Plan::Fetch(ask, pieces)
    }

    /// Gives a claimed piece back, fetched or not. `failed` is what could not be had of it, and
    /// why. Returns the READs that waited for this and wait for nothing else.
    pub fn release(&self, piece: Range, failed: Option<(Range, i32)>) -> Vec<Freed> {
        let mut flight = self.flight();
        if let Some(at) = flight.claims.iter().position(|claim| *claim == piece) {
            flight.claims.swap_remove(at);
        }
        if let Some((range, errno)) = failed {
            for ask in &mut flight.parked {
                if ask.range.overlaps(range) {
                    ask.failed = Some(errno);
                }
            }
        }
        let Flight { claims, parked } = &mut *flight;
        let waits = |ask: &mut Ask| !claims.iter().any(|claim| claim.overlaps(ask.range));
        parked
            .extract_all(waits)
            .into_iter()
            .map(|ask| match ask.failed {
                Some(errno) => Freed::Failed(ask, errno),
                None => Freed::Again(ask),
            })
            .collect()
    }

    /// The holes of the object's file in `window`, as whole pages.
    fn missing(&self, window: Range) -> io::Result<Vec<Range>> {
        let mut holes = Vec::new();
        let mut at = window.start();
        while let Some(rest) = Range::new(at, window.end()) {
            let data = match self.file.next_data(at)? {
                Some(data) if data < window.end() => data / PAGE * PAGE,
                _ => {
                    holes.push(rest);
                    break;
                }
            };
            holes.extend(Range::new(at, data));
            let data = data.max(at);
            // A page that is there in part is missing: pages are written whole.
            let hole = match self.file.next_hole(data)? {
                Some(hole) => hole / PAGE * PAGE,
                None => window.end(),
            };
            if hole <= data {
                holes.extend(Range::new(data, (data + PAGE).min(window.end())));
            }
            at = hole.max(data + PAGE);
        }
        Ok(merged(holes))
    }
}

/// Joins ranges that touch. They come in order.
fn merged(ranges: Vec<Range>) -> Vec<Range> {
    let mut all: Vec<Range> = Vec::new();
    for range in ranges {
        let joined = all
            .last()
            .filter(|last| last.end() == range.start())
            .and_then(|last| Range::new(last.start(), range.end()));
        match joined {
            Some(joined) => {
                all.pop();
                all.push(joined);
            }
            None => all.push(range),
        }
    }
    all
}

/// `Vec::extract_if` of later compilers.
trait ExtractAll<T> {
    /// Removes what `take` says, keeping the order of both.
    fn extract_all(&mut self, take: impl FnMut(&mut T) -> bool) -> Vec<T>;
}

impl<T> ExtractAll<T> for Vec<T> {
    fn extract_all(&mut self, mut take: impl FnMut(&mut T) -> bool) -> Vec<T> {
        let (mut taken, mut kept) = (Vec::new(), Vec::new());
        for mut item in self.drain(..) {
            match take(&mut item) {
                true => taken.push(item),
                false => kept.push(item),
            }
        }
        *self = kept;
        taken
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
