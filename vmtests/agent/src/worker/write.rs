// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that change what is in a file.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use vmtest_protocol::step::Truncate;
use vmtest_protocol::step::Write;

use super::child::Verdict;
use super::child::bytes;
use super::child::judge;
use super::content;
use super::glob;

/// How much is written at once.
const PIECE: usize = 1 << 20;

/// Carries out a `write` step.
pub fn write(step: &Write) -> Result<Verdict> {
    let data = Data::of(step)?;
    let offset = bytes(&step.offset)?.unwrap_or(0);
    let path = match glob::one(&step.path) {
        Ok(path) => path,
        Err(why) => return Ok(Verdict::Failed(format!("writing: {why}"))),
    };
    let shown = path.display();
    let file = match open(&path, step.create) {
        Ok(file) => file,
        Err(error) => {
            let what = format!("opening {shown} to write");
            return Ok(judge(&what, Err(error), &step.expect_errno));
        }
    };
    let mut what = format!("writing {} bytes at {offset} of {shown}", data.len());
    let mut result = data.write_to(&file, offset);
    if result.is_ok() && step.sync {
        what = format!("{what}, and waiting until the disk has them");
        result = file.sync_all();
    }
    Ok(judge(&what, result, &step.expect_errno))
}

/// Carries out a `truncate` step.
pub fn truncate(step: &Truncate) -> Result<Verdict> {
    let size = step.size.get().map_err(anyhow::Error::msg)?.0;
    let path = match glob::one(&step.path) {
        Ok(path) => path,
        Err(why) => return Ok(Verdict::Failed(format!("changing a length: {why}"))),
    };
    let result = open(&path, step.create).and_then(|file| file.set_len(size));
    let what = format!("making {} {size} bytes long", path.display());
    Ok(judge(&what, result, &step.expect_errno))
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(create)
        .truncate(false)
        .open(path)
}

/// What is to be written.
enum Data {
    Made { seed: u64, length: u64 },
    Given(Vec<u8>),
}

impl Data {
    fn of(step: &Write) -> Result<Data> {
        match (bytes(&step.length)?, &step.text, &step.hex) {
            (Some(length), None, None) => {
                let seed = match &step.seed {
                    Some(seed) => seed.get().map_err(anyhow::Error::msg)?,
                    None => 0,
                };
                Ok(Data::Made { seed, length })
            }
            (None, Some(text), None) => Ok(Data::Given(text.clone().into_bytes())),
            (None, None, Some(digits)) => hex::decode(digits)
                .map(Data::Given)
                .with_context(|| format!("`{digits}` are no bytes in hexadecimal digits")),
            _ => bail!("`write` wants one of `length`, `text` and `hex`"),
        }
    }

    fn len(&self) -> u64 {
        match self {
            Data::Made { length, .. } => *length,
            Data::Given(bytes) => bytes.len() as u64,
        }
    }

    fn write_to(&self, file: &File, offset: u64) -> io::Result<()> {
        match self {
            Data::Given(bytes) => file.write_all_at(bytes, offset),
            Data::Made { seed, length } => {
                let mut buffer = vec![0; PIECE.min(*length as usize)];
                let mut done = 0;
                while done < *length {
                    let now = (*length - done).min(PIECE as u64) as usize;
                    let place = offset.wrapping_add(done);
                    content::fill(*seed, place, &mut buffer[..now]);
                    file.write_all_at(&buffer[..now], place)?;
                    done += now as u64;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::failed;
    use super::super::testing::passed;
    use super::super::testing::step;
    use super::*;

    #[test]
    fn what_is_written_is_in_the_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let at = path.display();
        let said = failed(write(&step(format!(r#"{{"path":"{at}","text":"hello"}}"#))));
        assert!(
            said.contains("opening") && said.contains("ENOENT"),
            "{said}"
        );
        passed(write(&step(format!(
            r#"{{"path":"{at}","text":"hello","create":true,"sync":true}}"#
        ))));
        passed(write(&step(format!(
            r#"{{"path":"{at}","hex":"00ff","offset":3}}"#
        ))));
        assert_eq!(fs::read(&path).unwrap(), b"hel\x00\xff");
        let said = failed(write(&step(format!(
            r#"{{"path":"{at}","text":"x","expect_errno":"EIO"}}"#
        ))));
        assert!(said.contains("succeeded, EIO was expected"), "{said}");
    }

    #[test]
    fn made_bytes_depend_on_their_place_and_not_on_how_they_came() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let at = path.display();
        passed(write(&step(format!(
            r#"{{"path":"{at}","length":"3MiB","seed":9,"create":true}}"#
        ))));
        let whole = fs::read(&path).unwrap();
        assert_eq!(whole.len(), 3 << 20);
        passed(write(&step(format!(
            r#"{{"path":"{at}","length":5000,"offset":1000001,"seed":9}}"#
        ))));
        assert!(fs::read(&path).unwrap() == whole);
        passed(write(&step(format!(
            r#"{{"path":"{at}","length":1,"offset":77,"seed":10}}"#
        ))));
        assert!(fs::read(&path).unwrap() != whole);
    }

    #[test]
    fn a_file_becomes_as_long_as_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let at = path.display();
        passed(truncate(&step(format!(
            r#"{{"path":"{at}","size":4,"expect_errno":"ENOENT"}}"#
        ))));
        passed(truncate(&step(format!(
            r#"{{"path":"{at}","size":4,"create":true}}"#
        ))));
        assert_eq!(fs::read(&path).unwrap(), [0; 4]);
        let starred = folder.path().join("f*");
        let starred = starred.display();
        passed(truncate(&step(format!(
            r#"{{"path":"{starred}","size":1}}"#
        ))));
        assert_eq!(fs::read(&path).unwrap(), [0; 1]);
    }
}
