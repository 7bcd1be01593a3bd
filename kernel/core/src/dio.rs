// SPDX-License-Identifier: GPL-2.0-or-later
//! Fitting a client's write to direct I/O: what reaches the disk is whole blocks.
//!
//! What comes before the first whole block and after the last one is left out; only at the end of
//! the file, where the memory behind the data is there and is zero, the last block is filled up.

/// Unit of direct I/O, in bytes. Backing files are a multiple of it long, whatever the object is.
pub const BLOCK: u64 = 4096;

/// The unit as the size of something in memory.
const BLOCK_LEN: usize = 4096;

/// How a write is cut to whole blocks. All in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// Left out at the front.
    pub skip: usize,
    /// Added at the end, from memory that lies behind the data.
    pub grow: usize,
    /// What remains: at least one block, and whole ones.
    pub len: usize,
}

/// There is not a single whole block in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misfit;

/// Cuts a write of `len` bytes at `start`, of a file that ends at `file_end`. Behind the data there
/// are `spare` bytes of memory, counted from the beginning of its last piece, which may be written
/// too.
///
/// # Errors
/// [`Misfit`] when nothing remains, also for a range beyond what 64 bits count.
pub fn fit(start: u64, len: usize, file_end: u64, spare: usize) -> Result<Fit, Misfit> {
    let end = start.checked_add(len as u64).ok_or(Misfit)?;
    let first = start.checked_next_multiple_of(BLOCK).ok_or(Misfit)?;
    let skip = first
        .checked_sub(start)
        .and_then(|skip| usize::try_from(skip).ok())
        .ok_or(Misfit)?;
    let rest = match len.checked_sub(skip) {
        None | Some(0) => return Err(Misfit),
        Some(rest) => rest,
    };
    let part = rest & (BLOCK_LEN - 1);
    let missing = BLOCK_LEN.saturating_sub(part);
    if part == 0 {
        Ok(Fit {
            skip,
            grow: 0,
            len: rest,
        })
    } else if end == file_end && spare >= missing {
        Ok(Fit {
            skip,
            grow: missing,
            len: rest.checked_add(missing).ok_or(Misfit)?,
        })
    } else {
        match rest.saturating_sub(part) {
            0 => Err(Misfit),
            len => Ok(Fit { skip, grow: 0, len }),
        }
    }
}

/// `size` rounded up to whole blocks; `None` when that is more than a file can have.
pub fn round_up(size: u64) -> Option<u64> {
    size.checked_next_multiple_of(BLOCK)
        .filter(|size| i64::try_from(*size).is_ok())
}
