// SPDX-License-Identifier: GPL-2.0-or-later
//! A guest's memory as a file: only the pages that are not all zero.
//!
//! The file is a sequence of pieces: offset and length as little-endian `u64`, then the bytes. A
//! piece of length zero is the end. QEMU could write memory into its own stream as well, but it
//! reads that back page by page and touches each page of the guest, empty or not: half a second
//! for half a gibibyte.

use std::fs::File;
use std::io;
use std::io::BufReader;
use std::io::BufWriter;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::FileExt;

use crate::disk::sparse::next_data;

/// The unit that is kept or left out.
const PAGE: usize = 4096;
/// Bytes looked at, and longest piece.
const PIECE: usize = 1 << 20;

/// Writes what is in `memory` to `packed`.
pub fn pack(memory: &File, packed: &File) -> io::Result<()> {
    let size = memory.metadata()?.len();
    let mut out = BufWriter::with_capacity(PIECE, packed);
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while let Some((start, end)) = next_data(memory, at, size)? {
        at = start;
        while at < end {
            let piece = &mut buffer[..(PIECE as u64).min(end - at) as usize];
            memory.read_exact_at(piece, at)?;
            write_filled(&mut out, at, piece)?;
            at += piece.len() as u64;
        }
    }
    write_piece(&mut out, size, &[])?;
    out.flush()
}

/// Writes the runs of pages in `bytes` that hold something.
fn write_filled(out: &mut impl Write, at: u64, bytes: &[u8]) -> io::Result<()> {
    let mut start = None;
    for (number, page) in bytes.chunks(PAGE).enumerate() {
        let here = number * PAGE;
        match (is_zero(page), start) {
            (false, None) => start = Some(here),
            (true, Some(from)) => {
                write_piece(out, at + from as u64, &bytes[from..here])?;
                start = None;
            }
            _ => {}
        }
    }
    match start {
        Some(from) => write_piece(out, at + from as u64, &bytes[from..]),
        None => Ok(()),
    }
}

fn write_piece(out: &mut impl Write, at: u64, bytes: &[u8]) -> io::Result<()> {
    out.write_all(&at.to_le_bytes())?;
    out.write_all(&(bytes.len() as u64).to_le_bytes())?;
    out.write_all(bytes)
}

fn is_zero(page: &[u8]) -> bool {
    let mut words = page.chunks_exact(16);
    words.by_ref().all(|word| word == [0; 16]) && words.remainder().iter().all(|byte| *byte == 0)
}

/// Fills `memory`, which is empty, from `packed`.
pub fn unpack(packed: &File, memory: &File) -> io::Result<()> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let size = memory.metadata()?.len();
    let mut input = BufReader::with_capacity(PIECE, packed);
    let mut buffer = vec![0; PIECE];
    loop {
        let mut word = [0; 8];
        input.read_exact(&mut word)?;
        let at = u64::from_le_bytes(word);
        input.read_exact(&mut word)?;
        let length = u64::from_le_bytes(word);
        if length == 0 {
            return match at == size {
                true => Ok(()),
                false => Err(wrong("it is of a machine with another memory")),
            };
        }
        if length > PIECE as u64 || at.checked_add(length).is_none_or(|end| end > size) {
            return Err(wrong("a piece of memory lies outside of the machine's"));
        }
        let piece = &mut buffer[..length as usize];
        input.read_exact(piece)?;
        memory.write_all_at(piece, at)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek;

    const SIZE: u64 = 8 << 20;

    fn memory() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(SIZE).unwrap();
        file
    }

    fn whole(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; SIZE as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn memory_comes_back_and_empty_pages_take_no_room() {
        let before = memory();
        before.write_all_at(&[7; PAGE * 3], 0).unwrap();
        before
            .write_all_at(&[0; PAGE * 64], PAGE as u64 * 3)
            .unwrap();
        before.write_all_at(b"x", (1 << 20) + 5).unwrap();
        // Over the edge of two pieces, and the last byte.
        before
            .write_all_at(&[9; PAGE * 2], (2 << 20) - PAGE as u64)
            .unwrap();
        before.write_all_at(b"y", SIZE - 1).unwrap();
        let mut packed = tempfile::tempfile().unwrap();
        pack(&before, &packed).unwrap();
        let length = packed.metadata().unwrap().len();
        let pages = (3 + 1 + 2 + 1) * PAGE as u64;
        assert!(length - pages < 16 * 8, "{length}");
        packed.rewind().unwrap();
        let after = memory();
        unpack(&packed, &after).unwrap();
        assert!(whole(&before) == whole(&after));
    }

    #[test]
    fn what_is_cut_off_or_does_not_fit_is_an_error() {
        let before = memory();
        before.write_all_at(b"y", SIZE - 1).unwrap();
        let mut packed = tempfile::tempfile().unwrap();
        pack(&before, &packed).unwrap();
        let smaller = tempfile::tempfile().unwrap();
        smaller.set_len(SIZE / 2).unwrap();
        packed.rewind().unwrap();
        assert!(unpack(&packed, &smaller).is_err());
        let length = packed.metadata().unwrap().len();
        packed.set_len(length - 1).unwrap();
        packed.rewind().unwrap();
        assert!(unpack(&packed, &memory()).is_err());
    }
}
