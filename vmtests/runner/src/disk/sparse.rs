// SPDX-License-Identifier: GPL-2.0-or-later
//! Copies of sparse files that take no more room than the data in them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Context;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Bytes copied at once.
const PIECE: u64 = 1 << 20;

/// Copies `from` to `to`, which is made or replaced.
pub fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    copy_data(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

fn copy_data(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (File::open(from)?, File::create(to)?);
    // Where the filesystem can share blocks, that is all.
    if rustix::fs::ioctl_ficlone(&to, &from).is_ok() {
        return Ok(());
    }
    let size = from.metadata()?.len();
    to.set_len(size)?;
    let mut buffer = vec![0; PIECE as usize];
    let mut at = 0;
    while let Some((start, end)) = next_data(&from, at, size)? {
        at = start;
        while at < end {
            let piece = &mut buffer[..PIECE.min(end - at) as usize];
            from.read_exact_at(piece, at)?;
            to.write_all_at(piece, at)?;
            at += piece.len() as u64;
        }
    }
    Ok(())
}

/// Where the next data from `at` on begins and ends; `None` when there is none.
pub fn next_data(file: &File, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
    Ok((start < size).then(|| (start, end.min(size))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_copy_has_the_same_bytes_and_the_same_holes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let file = File::create(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        let data: Vec<u8> = (0..3_000_000u32).map(|number| number as u8).collect();
        for at in [0, 20 << 20, (64 << 20) - 3_000_000] {
            file.write_all_at(&data, at).unwrap();
        }
        // What was there before is gone.
        std::fs::write(&to, "x".repeat(100)).unwrap();
        copy(&from, &to).unwrap();
        assert!(std::fs::read(&from).unwrap() == std::fs::read(&to).unwrap());
        let blocks = |file: &Path| std::fs::metadata(file).unwrap().blocks();
        assert!(
            blocks(&to) <= blocks(&from) + 64,
            "{} {}",
            blocks(&to),
            blocks(&from)
        );
    }

    #[test]
    fn an_empty_disk_is_copied_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        File::create(&from).unwrap().set_len(1 << 20).unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(std::fs::metadata(&to).unwrap().len(), 1 << 20);
    }
}
