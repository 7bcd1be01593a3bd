// SPDX-License-Identifier: GPL-2.0-or-later
//! Reading a part of one file.

use std::fs::File;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;

use anyhow::Result;
use sha2::Digest;
use sha2::Sha256;
use vmtest_protocol::step;

use super::child::Verdict;
use super::child::judge;

/// Carries out a `read` step.
pub fn read(step: &step::Read) -> Result<Verdict> {
    let number = |size: &Option<vmtest_protocol::value::Size>| match size {
        Some(size) => size.get().map(|bytes| Some(bytes.0)),
        None => Ok(None),
    };
    let offset = number(&step.offset).map_err(anyhow::Error::msg)?;
    let length = number(&step.length).map_err(anyhow::Error::msg)?;
    let what = format!("reading {}", step.path);
    let digest = File::open(&step.path)
        .and_then(|mut file| {
            if let Some(offset) = offset {
                file.seek(SeekFrom::Start(offset))?;
            }
            digest(file.take(length.unwrap_or(u64::MAX)))
        })
        .map(|(digest, got)| (hex::encode(digest), got));
    let (digest, got) = match digest {
        Ok(found) => found,
        Err(error) => return Ok(judge(&what, Err(error), &step.expect_errno)),
    };
    if step.expect_errno.is_some() {
        return Ok(judge(&what, Ok(()), &step.expect_errno));
    }
    if let Some(length) = length {
        if got != length {
            return Ok(Verdict::Failed(format!(
                "{what}: {got} bytes came, {length} were asked for"
            )));
        }
    }
    match &step.sha256 {
        Some(expected) if *expected != digest => Ok(Verdict::Failed(format!(
            "{what}: SHA-256 {digest}, {expected} was expected"
        ))),
        _ => Ok(Verdict::passed()),
    }
}

/// SHA-256 and length of everything that `from` has.
pub fn digest(mut from: impl Read) -> std::io::Result<([u8; 32], u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 128 << 10];
    let mut total = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finalize().into(), total)),
            Ok(got) => {
                hasher.update(&buffer[..got]);
                total += got as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
