// SPDX-License-Identifier: GPL-2.0-or-later
//! Making a mounted ext4 larger.

use std::fs;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use vmtest_protocol::message::Measurement;
use vmtest_protocol::step::GrowFs;

use super::child::Verdict;
use super::child::bytes;
use super::child::judge;

/// The unit of the sizes in /sys, whatever the device's blocks are.
const SECTOR: u64 = 512;

/// Carries out a `grow_fs` step.
pub fn grow_fs(step: &GrowFs) -> Result<Verdict> {
    let at = Path::new(&step.at);
    let folder = File::open(at).with_context(|| format!("cannot open {}", step.at))?;
    let size = match bytes(&step.to)? {
        Some(size) => size,
        None => device_size(at)?,
    };
    let stat = rustix::fs::fstatvfs(&folder)
        .with_context(|| format!("cannot ask for the block size at {}", step.at))?;
    ensure!(
        stat.f_bsize > 0,
        "the filesystem at {} says that its blocks have no size",
        step.at
    );
    let blocks = size / stat.f_bsize;
    let what = format!(
        "growing the filesystem at {} to {blocks} blocks of {} bytes",
        step.at, stat.f_bsize
    );
    let result = rustix::fs::ext4_ioc_resize_fs(&folder, blocks);
    let grown = result.is_ok();
    let verdict = judge(&what, result.map_err(Into::into), &step.expect_errno);
    match verdict {
        Verdict::Passed(_) if grown => {
            let stat = rustix::fs::fstatvfs(&folder)
                .with_context(|| format!("cannot ask for the size at {}", step.at))?;
            Ok(Verdict::Passed(vec![Measurement {
                name: "fs.size".to_owned(),
                value: stat.f_blocks.saturating_mul(stat.f_frsize) as f64,
                unit: "bytes".to_owned(),
            }]))
        }
        verdict => Ok(verdict),
    }
}

/// How large the device is on which the filesystem at `at` lies.
fn device_size(at: &Path) -> Result<u64> {
    let meta = at
        .metadata()
        .with_context(|| format!("cannot look at {}", at.display()))?;
    let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
    let path = format!("/sys/dev/block/{major}:{minor}/size");
    let text = fs::read_to_string(&path).with_context(|| {
        format!(
            "cannot read {path}: does the filesystem at {} lie on a disk?",
            at.display()
        )
    })?;
    let sectors: u64 = text
        .trim()
        .parse()
        .with_context(|| format!("{path} says `{}`, which is no number", text.trim()))?;
    Ok(sectors.saturating_mul(SECTOR))
}

#[cfg(test)]
mod tests {
    use super::super::testing::failed;
    use super::super::testing::passed;
    use super::super::testing::step;
    use super::*;

    #[test]
    fn what_is_no_ext4_cannot_be_grown() {
        // /proc is a filesystem everywhere, and never ext4.
        let said = failed(grow_fs(&step(r#"{"at":"/proc","to":"1MiB"}"#)));
        assert!(said.contains("growing the filesystem at /proc"), "{said}");
        assert!(said.contains("ENOTTY"), "{said}");
        passed(grow_fs(&step(
            r#"{"at":"/proc","to":"1MiB","expect_errno":"ENOTTY"}"#,
        )));
        let error = grow_fs(&step(r#"{"at":"/proc"}"#)).err().unwrap();
        assert!(format!("{error:#}").contains("lie on a disk?"), "{error:#}");
    }
}
