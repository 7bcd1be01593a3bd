// SPDX-License-Identifier: GPL-2.0-or-later
//! Reading a part of one file, and comparing it.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use sha2::Digest;
use sha2::Sha256;
use vmtest_protocol::step;
use vmtest_protocol::step::EqualsTo;

use super::child::Verdict;
use super::child::bytes;
use super::child::describe;
use super::child::judge;
use super::content;
use crate::client;

/// Where the runner's share puts blobs.
const BLOBS: &str = "/blobs";
/// How much is read at once.
const PIECE: usize = 128 << 10;
/// How many bytes of a difference are told.
const TOLD: usize = 16;

/// Carries out a `read` step.
pub fn read(step: &step::Read) -> Result<Verdict> {
    let offset = bytes(&step.offset)?;
    let length = bytes(&step.length)?;
    let comparison = match &step.equals {
        Some(equals) => Some(Comparison::with(equals, offset.unwrap_or(0), BLOBS)?),
        None => None,
    };
    read_with(step, offset, length, comparison)
}

fn read_with(
    step: &step::Read,
    offset: Option<u64>,
    length: Option<u64>,
    mut comparison: Option<Comparison>,
) -> Result<Verdict> {
    let what = format!("reading {}", step.path);
    let opened = client::open(&step.path, offset.unwrap_or(0))
        .map(|file| file.take(length.unwrap_or(u64::MAX)));
    let mut hasher = Sha256::new();
    // An error of what is compared with is not one of the file that is read.
    let mut trouble = None;
    let read = opened.and_then(|file| {
        for_each_piece(file, |piece| {
            hasher.update(piece);
            match &mut comparison {
                Some(comparison) if trouble.is_none() => {
                    trouble = comparison.piece(piece).err();
                }
                _ => {}
            }
        })
    });
    let got = match read {
        Ok(got) => got,
        Err(error) => return Ok(judge(&what, Err(error), &step.expect_errno)),
    };
    if step.expect_errno.is_some() {
        return Ok(judge(&what, Ok(()), &step.expect_errno));
    }
    if let Some(error) = trouble {
        return Err(error);
    }
    if let Some(length) = length {
        if got != length {
            return Ok(Verdict::Failed(format!(
                "{what}: {got} bytes came, {length} were asked for"
            )));
        }
    }
    if let Some(comparison) = comparison {
        if got == 0 {
            return Ok(Verdict::Failed(format!(
                "{what}: nothing came that could be compared with {}",
                comparison.name
            )));
        }
        if let Some(difference) = comparison.difference(offset.unwrap_or(0)) {
            return Ok(Verdict::Failed(format!("{what}: {difference}")));
        }
    }
    let digest = hex::encode(hasher.finalize());
    match &step.sha256 {
        Some(expected) if !expected.eq_ignore_ascii_case(&digest) => Ok(Verdict::Failed(format!(
            "{what}: SHA-256 {digest}, {expected} was expected"
        ))),
        _ => Ok(Verdict::passed()),
    }
}

/// SHA-256 and length of everything that `from` has.
pub fn digest(from: impl Read) -> io::Result<([u8; 32], u64)> {
    let mut hasher = Sha256::new();
    let total = for_each_piece(from, |piece| hasher.update(piece))?;
    Ok((hasher.finalize().into(), total))
}

/// Hands everything that `from` has to `take`, and says how much it was.
fn for_each_piece(mut from: impl Read, mut take: impl FnMut(&[u8])) -> io::Result<u64> {
    let mut buffer = vec![0u8; PIECE];
    let mut total = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(got) => {
                take(&buffer[..got]);
                total += got as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Compares bytes, as they come, with what they should be.
struct Comparison {
    /// For messages: with what.
    name: String,
    source: Source,
    /// How many bytes have been compared.
    done: u64,
    /// How many of them differ.
    different: u64,
    /// Where the first of those is, with what came from there on, and what should have.
    first: Option<(u64, Vec<u8>, Vec<u8>)>,
    buffer: Vec<u8>,
}

enum Source {
    Blob(File),
    Seed { seed: u64, offset: u64 },
    Zeros,
}

impl Comparison {
    fn with(equals: &EqualsTo, default_offset: u64, blobs: &str) -> Result<Comparison> {
        let offset = bytes(&equals.offset)?.unwrap_or(default_offset);
        let (name, source) = match (&equals.blob, &equals.seed, equals.zeros) {
            (Some(blob), None, false) => {
                let path = Path::new(blobs).join(blob);
                let mut file = File::open(&path).with_context(|| {
                    format!(
                        "cannot open the blob {}: is its image in the scenario's `needs`?",
                        path.display()
                    )
                })?;
                file.seek(SeekFrom::Start(offset))
                    .with_context(|| format!("cannot go to {offset} of {}", path.display()))?;
                (
                    format!("the blob {blob} from {offset} on"),
                    Source::Blob(file),
                )
            }
            (None, Some(seed), false) => {
                let seed = seed.get().map_err(anyhow::Error::msg)?;
                (
                    format!("seed {seed} from {offset} on"),
                    Source::Seed { seed, offset },
                )
            }
            (None, None, true) => ("zeros".to_owned(), Source::Zeros),
            _ => bail!("`equals` wants one of `blob`, `seed` and `zeros`"),
        };
        Ok(Comparison {
            name,
            source,
            done: 0,
            different: 0,
            first: None,
            buffer: vec![0; PIECE],
        })
    }

    fn piece(&mut self, seen: &[u8]) -> Result<()> {
        let wanted = &mut self.buffer[..seen.len()];
        match &mut self.source {
            Source::Blob(file) => file.read_exact(wanted).map_err(|error| {
                anyhow::anyhow!(
                    "cannot read {} as far as the file: {} after {} bytes",
                    self.name,
                    describe(&error),
                    self.done
                )
            })?,
            Source::Seed { seed, offset } => {
                content::fill(*seed, offset.wrapping_add(self.done), wanted);
            }
            Source::Zeros => {}
        }
        if seen != wanted {
            let differs = |at: &usize| seen[*at] != wanted[*at];
            self.different += (0..seen.len()).filter(differs).count() as u64;
            if let (None, Some(at)) = (&self.first, (0..seen.len()).find(differs)) {
                let end = seen.len().min(at + TOLD);
                let place = self.done + at as u64;
                self.first = Some((place, seen[at..end].to_vec(), wanted[at..end].to_vec()));
            }
        }
        self.done += seen.len() as u64;
        Ok(())
    }

    /// What differs, in words; the first byte compared was at `offset` of its file.
    fn difference(&self, offset: u64) -> Option<String> {
        self.first.as_ref().map(|(at, seen, wanted)| {
            format!(
                "{} of {} bytes are not those of {}; the first at {}: {}, {} was expected",
                self.different,
                self.done,
                self.name,
                offset + at,
                hex::encode(seen),
                hex::encode(wanted)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::failed;
    use super::super::testing::passed;
    use super::*;

    /// Carries out a `read` of a file with `content`, compared with blobs in the same folder, of
    /// which `blob` is one.
    fn read_of(content: &[u8], blob: &[u8], more: &str) -> Result<Verdict> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, content).unwrap();
        fs::write(folder.path().join("blob"), blob).unwrap();
        let step: step::Read =
            super::super::testing::step(format!(r#"{{"path":"{}"{more}}}"#, path.display()));
        let offset = bytes(&step.offset)?;
        let length = bytes(&step.length)?;
        let blobs = folder.path().to_string_lossy().into_owned();
        let comparison = step
            .equals
            .as_ref()
            .map(|equals| Comparison::with(equals, offset.unwrap_or(0), &blobs))
            .transpose()?;
        read_with(&step, offset, length, comparison)
    }

    #[test]
    fn a_part_is_compared_with_the_same_part_of_a_blob() {
        let blob: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        let whole = r#","equals":{"blob":"blob"}"#;
        passed(read_of(&blob, &blob, whole));
        let part = r#","offset":200000,"length":5000,"equals":{"blob":"blob"}"#;
        passed(read_of(&blob, &blob, part));
        let shifted = r#","equals":{"blob":"blob","offset":1000}"#;
        passed(read_of(&blob[1000..2000], &blob, shifted));
        let said = failed(read_of(
            &blob[..2000],
            &blob,
            &format!(r#","offset":7{whole}"#)
                .replace(r#""blob":"blob""#, r#""blob":"blob","offset":8"#),
        ));
        assert!(said.contains("the first at 7: 07"), "{said}");
    }

    #[test]
    fn the_first_difference_and_their_number_are_told() {
        let mut bytes = vec![0; 200_000];
        passed(read_of(&bytes, b"", r#","equals":{"zeros":true}"#));
        bytes[150_000] = 0xab;
        bytes[150_001] = 0xcd;
        let said = failed(read_of(&bytes, b"", r#","equals":{"zeros":true}"#));
        let told = "2 of 200000 bytes are not those of zeros; the first at 150000: abcd00";
        assert!(said.contains(told), "{said}");
    }

    #[test]
    fn bytes_of_a_seed_are_known_again() {
        let mut bytes = vec![0; 5000];
        content::fill(3, 4096, &mut bytes);
        let equals = r#","equals":{"seed":3,"offset":4096}"#;
        passed(read_of(&bytes, b"", equals));
        failed(read_of(&bytes, b"", r#","equals":{"seed":3}"#));
        failed(read_of(
            &bytes,
            b"",
            r#","equals":{"seed":4,"offset":4096}"#,
        ));
    }

    #[test]
    fn an_empty_read_is_equal_to_nothing() {
        let said = failed(read_of(
            b"abc",
            b"abc",
            r#","offset":3,"equals":{"blob":"blob"}"#,
        ));
        assert!(said.contains("nothing came"), "{said}");
    }

    #[test]
    fn a_blob_that_is_absent_or_too_short_is_an_error_and_no_verdict() {
        let error = read_of(b"abc", b"ab", r#","equals":{"blob":"blob"}"#)
            .err()
            .unwrap();
        assert!(error.to_string().contains("as far as the file"), "{error}");
        let error = read_of(b"abc", b"", r#","equals":{"blob":"other"}"#)
            .err()
            .unwrap();
        assert!(error.to_string().contains("`needs`"), "{error}");
    }

    #[test]
    fn digests_lengths_and_errors_are_compared() {
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        passed(read_of(b"abc", b"", &format!(r#","sha256":"{digest}""#)));
        let said = failed(read_of(b"abd", b"", &format!(r#","sha256":"{digest}""#)));
        assert!(said.contains("was expected"), "{said}");
        let said = failed(read_of(b"abc", b"", r#","length":4"#));
        assert!(said.contains("3 bytes came, 4 were asked for"), "{said}");
        let said = failed(read_of(b"abc", b"", r#","expect_errno":"EIO""#));
        assert!(said.contains("succeeded, EIO was expected"), "{said}");
    }
}
