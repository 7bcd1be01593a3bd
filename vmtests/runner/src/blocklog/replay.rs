// SPDX-License-Identifier: GPL-2.0-or-later
//! Which writes survive a power cut, and writing them to the disk as it was before.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::FallocateFlags;

use super::Entry;
use super::Log;
use crate::seed::Chance;

/// Bytes copied at once.
const PIECE: u64 = 1 << 20;

/// Which writes a disk keeps.
#[derive(Debug, Clone)]
pub enum Kept {
    /// Those that it had been told to keep.
    Flushed,
    /// All.
    Written,
    /// Those of `Flushed`, and of the others some.
    Some(Chance),
}

/// Chooses for each entry whether the disk has it. `Flushed` is what no disk may lose: everything
/// before the last flush, and what was written with FUA. A flush that itself carries data makes
/// only what came before it sure. Nothing orders the other writes: any subset of them may be there,
/// and where two of them touch one sector, the later one wins if both are.
pub fn choose(log: &Log, kept: Kept) -> Vec<bool> {
    let sure = log
        .entries
        .iter()
        .rposition(|entry| entry.flush)
        .unwrap_or(0);
    let mut chance = match kept {
        Kept::Written => return vec![true; log.entries.len()],
        Kept::Flushed => None,
        Kept::Some(chance) => Some(chance),
    };
    log.entries
        .iter()
        .enumerate()
        .map(|(number, entry)| {
            let told = number < sure || entry.fua || !entry.changes();
            // Every later write takes one choice, whatever becomes of the others.
            told || chance.as_mut().is_some_and(Chance::heads)
        })
        .collect()
}

/// Writes the chosen entries to `disk`, in their order.
pub fn write(log: &Log, file: &File, chosen: &[bool], disk: &File) -> io::Result<()> {
    let chosen = log
        .entries
        .iter()
        .zip(chosen)
        .filter(|(_, chosen)| **chosen);
    for (entry, _) in chosen {
        match entry.discard {
            true => discard(entry, disk)?,
            false => copy(entry, file, disk)?,
        }
    }
    Ok(())
}

fn copy(entry: &Entry, file: &File, disk: &File) -> io::Result<()> {
    let mut buffer = vec![0; PIECE.min(entry.length) as usize];
    let mut done = 0;
    while done < entry.length {
        let piece = &mut buffer[..PIECE.min(entry.length - done) as usize];
        file.read_exact_at(piece, entry.data + done)?;
        disk.write_all_at(piece, entry.at + done)?;
        done += piece.len() as u64;
    }
    Ok(())
}

fn discard(entry: &Entry, disk: &File) -> io::Result<()> {
    if !entry.changes() {
        return Ok(());
    }
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    if rustix::fs::fallocate(disk, hole, entry.at, entry.length).is_ok() {
        return Ok(());
    }
    // A filesystem without holes.
    let zeros = vec![0; PIECE.min(entry.length) as usize];
    let mut done = 0;
    while done < entry.length {
        let piece = &zeros[..PIECE.min(entry.length - done) as usize];
        disk.write_all_at(piece, entry.at + done)?;
        done += piece.len() as u64;
    }
    Ok(())
}
