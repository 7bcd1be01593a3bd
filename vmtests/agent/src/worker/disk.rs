// SPDX-License-Identifier: GPL-2.0-or-later
//! Files of junk that take room away from a cache.

use std::fs::OpenOptions;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use rustix::fs::FallocateFlags;
use vmtest_protocol::message::Measurement;
use vmtest_protocol::step::FillFile;

use super::child::Verdict;

/// Makes the file and writes it out, so that the filesystem counts its blocks.
pub fn fill(step: &FillFile) -> Result<Verdict> {
    let path = Path::new(&step.path);
    let folder = path.parent().context("a path without a folder")?;
    let size = match (&step.size, &step.leave_percent) {
        (Some(size), None) => size.get().map_err(anyhow::Error::msg)?.0,
        (None, Some(percent)) => {
            let percent = percent.get().map_err(anyhow::Error::msg)?;
            room_above(folder, percent)?
        }
        _ => bail!("fill_file wants exactly one of `size` and `leave_percent`"),
    };
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    if size > 0 {
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, size)
            .with_context(|| format!("cannot allocate {size} bytes for {}", path.display()))?;
    }
    file.sync_all()
        .with_context(|| format!("cannot write out {}", path.display()))?;
    Ok(Verdict::Passed(vec![Measurement {
        name: "filled".to_owned(),
        value: size as f64,
        unit: "bytes".to_owned(),
    }]))
}

/// How many bytes there are above `percent` of free blocks.
fn room_above(folder: &Path, percent: u64) -> Result<u64> {
    let stat = rustix::fs::statvfs(folder)
        .with_context(|| format!("cannot ask for the room at {}", folder.display()))?;
    let keep = stat.f_blocks.saturating_mul(percent).div_ceil(100);
    match stat.f_bavail.checked_sub(keep) {
        Some(blocks) => Ok(blocks.saturating_mul(stat.f_frsize)),
        None => bail!(
            "{} has {} free blocks of {}, already less than {percent} %",
            folder.display(),
            stat.f_bavail,
            stat.f_blocks
        ),
    }
}
