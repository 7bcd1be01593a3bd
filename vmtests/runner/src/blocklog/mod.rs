// SPDX-License-Identifier: GPL-2.0-or-later
//! Logs of all writes to a disk, in the format of dm-log-writes, as QEMU's `blklogwrites` writes
//! them: which writes a disk is sure to have kept when its power was cut, and putting them there.
//!
//! The log is a superblock of one sector (magic, version, number of entries, sector size) and then
//! for each request a sector that begins with an entry (sector, number of sectors, flags, length of
//! a mark), followed by the data. All numbers are little-endian, all places count in sectors.
//!
//! QEMU appends an entry when a request begins, and rewrites the superblock at every flush. It is
//! killed in the middle of that, so the superblock counts for little: entries are read as long as
//! they make sense. Requests that were under way at once get their places one after the other and
//! are written in any order, so that a hole may come before something that was written. Nothing in
//! a log leads over a hole: it ends there, as if the power had been cut a moment earlier. That
//! moment was less than a host's write of a page ago, and nobody has been told of what came later.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

pub mod replay;

/// How a superblock begins.
const MAGIC: u64 = 0x006a_7366_7773_6872;
/// The only version there is.
const VERSION: u64 = 1;
/// Bytes of an entry that mean something.
const ENTRY: usize = 32;
/// Sector sizes that are possible.
const SECTORS: std::ops::RangeInclusive<u64> = 512..=65536;

const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Where on the disk, in bytes.
    pub at: u64,
    /// How many bytes.
    pub length: u64,
    /// What was before it is to be kept.
    pub flush: bool,
    /// It is to be kept itself once it is complete.
    pub fua: bool,
    /// The range is given back and reads as zeros.
    pub discard: bool,
    /// Where its data is in the log, in bytes.
    data: u64,
}

impl Entry {
    /// Whether it changes what is on the disk.
    pub fn changes(&self) -> bool {
        self.length > 0
    }
}

/// What a log holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// The requests in their order; marks are left out.
    pub entries: Vec<Entry>,
    /// Why it ends before its file does; `None` when it does not.
    pub cut: Option<String>,
}

/// What is wrong with a log as a whole.
#[derive(Debug)]
pub enum LogError {
    /// It cannot be read.
    Io(io::Error),
    /// It is no log, or one that nobody here can read.
    Format(String),
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Io(error) => write!(f, "cannot read the log of writes: {error}"),
            LogError::Format(what) => write!(f, "not a log of writes: {what}"),
        }
    }
}

impl std::error::Error for LogError {}

impl From<io::Error> for LogError {
    fn from(error: io::Error) -> Self {
        LogError::Io(error)
    }
}

impl Log {
    /// Reads the log of a disk of `disk` bytes. `sector` is the sector size that QEMU was told: a
    /// log that was never flushed has no superblock yet.
    pub fn read(file: &File, sector: u64, disk: u64) -> Result<Log, LogError> {
        let end = file.metadata()?.len();
        if end == 0 {
            return Ok(Log::default());
        }
        let sector = superblock(file, end)?.unwrap_or(sector);
        let mut log = Log::default();
        let mut at = sector;
        while at < end {
            match next(file, at, sector, disk, end)? {
                Next::Entry(entry, after) => {
                    log.entries.push(entry);
                    at = after;
                }
                Next::Mark(after) => at = after,
                Next::Cut(why) => {
                    log.cut = Some(format!("{why} at byte {at} of {end}"));
                    break;
                }
            }
        }
        Ok(log)
    }
}

/// The sector size that the superblock states, if there is one.
fn superblock(file: &File, end: u64) -> Result<Option<u64>, LogError> {
    let mut bytes = [0; ENTRY];
    let there = (end as usize).min(ENTRY);
    file.read_exact_at(&mut bytes[..there], 0)?;
    if bytes == [0; ENTRY] {
        return Ok(None);
    }
    let wrong = |what: String| Err(LogError::Format(what));
    match word(&bytes, 0) {
        MAGIC => {}
        other => return wrong(format!("it begins with {other:#x} instead of {MAGIC:#x}")),
    }
    match word(&bytes, 1) {
        VERSION => {}
        other => return wrong(format!("version {other}, this program reads {VERSION}")),
    }
    let sector = word(&bytes, 3) & u64::from(u32::MAX);
    match SECTORS.contains(&sector) && sector.is_power_of_two() {
        true => Ok(Some(sector)),
        false => wrong(format!("sectors of {sector} bytes")),
    }
}

enum Next {
    Entry(Entry, u64),
    Mark(u64),
    Cut(String),
}

fn next(file: &File, at: u64, sector: u64, disk: u64, end: u64) -> Result<Next, LogError> {
    let cut = |why: &str| Ok(Next::Cut(why.to_owned()));
    if end - at < ENTRY as u64 {
        return cut("half an entry");
    }
    let mut bytes = [0; ENTRY];
    file.read_exact_at(&mut bytes, at)?;
    let [first, count, flags, mark] = [0, 1, 2, 3].map(|number| word(&bytes, number));
    if bytes == [0; ENTRY] {
        return cut("an entry that was not written");
    }
    if flags & !(FLUSH | FUA | DISCARD | MARK) != 0 {
        return cut("an entry with unknown flags");
    }
    let data = at + sector;
    if flags & MARK != 0 {
        let Some(after) = mark
            .checked_next_multiple_of(sector)
            .and_then(|length| data.checked_add(length))
        else {
            return cut("a mark without end");
        };
        return Ok(Next::Mark(after));
    }
    let place = first.checked_mul(sector).zip(count.checked_mul(sector));
    let inside = place.filter(|(place, length)| {
        place
            .checked_add(*length)
            .is_some_and(|after| after <= disk)
    });
    let Some((place, length)) = inside else {
        return cut("an entry beyond the disk's end");
    };
    let discard = flags & DISCARD != 0;
    let after = match discard {
        true => data,
        false => data + length,
    };
    if !discard && length > 0 && after > end {
        return cut("data that was not written whole");
    }
    let entry = Entry {
        at: place,
        length,
        flush: flags & FLUSH != 0,
        fua: flags & FUA != 0,
        discard,
        data,
    };
    Ok(Next::Entry(entry, after))
}

fn word(bytes: &[u8; ENTRY], number: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[number * 8..][..8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests;
