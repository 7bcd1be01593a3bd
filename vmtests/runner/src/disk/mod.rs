// SPDX-License-Identifier: GPL-2.0-or-later
//! Disks: sparse files with a fresh filesystem, the same bytes every time.

use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context;
use anyhow::anyhow;
use anyhow::ensure;

use crate::exec;
use crate::scenario::DiskFs;
use crate::scenario::DiskNeed;

pub mod sparse;

/// Identity of every test filesystem, and seed of its directory hashes.
const FIXED_UUID: &str = "6d2f7c1e-0b3a-4c58-9a5d-51f0c0ffee01";

/// A disk for QEMU.
#[derive(Debug, Clone)]
pub struct DiskFile {
    /// Serial number.
    pub name: String,
    /// The raw image.
    pub file: PathBuf,
    /// Where QEMU logs every write, for a power cut to choose from; `None` without one.
    pub writes: Option<PathBuf>,
}

impl DiskFile {
    /// What was on the disk when it was last switched on, where writes are logged.
    pub fn base(&self) -> PathBuf {
        self.file.with_extension("base.img")
    }

    /// Whether the scenario calls it so.
    pub fn is(&self, name: &str) -> bool {
        self.name == name
    }
}

/// Makes the disk `need` in `dir`; with a log of its writes, if wanted.
pub fn make(need: &DiskNeed, dir: &Path, logged: bool) -> anyhow::Result<DiskFile> {
    let file = dir.join(format!("{}.img", need.name));
    let size = need.size.get().map_err(|error| anyhow!(error))?.0;
    File::create(&file)
        .and_then(|disk| disk.set_len(size))
        .with_context(|| format!("cannot make the disk {} of {size} bytes", file.display()))?;
    match need.fs {
        DiskFs::Ext4 | DiskFs::Ext2 => mkfs(need.fs.word(), &file, &need.mkfs)?,
        DiskFs::None => {}
    }
    let disk = DiskFile {
        writes: logged.then(|| file.with_extension("writes.img")),
        name: need.name.clone(),
        file,
    };
    if logged {
        sparse::copy(&disk.file, &disk.base())?;
        empty_log(&disk)?;
    }
    Ok(disk)
}

/// Begins the log of a disk's writes.
pub fn empty_log(disk: &DiskFile) -> anyhow::Result<()> {
    if let Some(writes) = &disk.writes {
        File::create(writes)
            .with_context(|| format!("cannot make the log {}", writes.display()))?;
    }
    Ok(())
}

fn mkfs(fs: &str, file: &Path, further: &[String]) -> anyhow::Result<()> {
    let name = format!("mkfs.{fs}");
    let program = exec::find_program(&name)
        .with_context(|| format!("{name} is not installed: install the package e2fsprogs"))?;
    let output = Command::new(program)
        .args(["-q", "-F", "-U", FIXED_UUID, "-E"])
        // Nothing is left for the guest's kernel to do in the background.
        .arg(format!(
            "hash_seed={FIXED_UUID},lazy_itable_init=0,lazy_journal_init=0,nodiscard"
        ))
        .args(further)
        .arg(file)
        .env("E2FSPROGS_FAKE_TIME", "1700000000")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    ensure!(
        output.status.success(),
        "{name} {} {}: {}: {}",
        further.join(" "),
        file.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(size: &str, mkfs: &[&str]) -> DiskNeed {
        let text = format!("name: cache\nsize: {size}\nmkfs: {mkfs:?}\n");
        serde_yaml::from_str(&text).unwrap()
    }

    #[test]
    fn two_disks_of_one_description_are_the_same_bytes() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let need = need("16MiB", &[]);
        let first = make(&need, a.path(), false).unwrap();
        let second = make(&need, b.path(), false).unwrap();
        let first = std::fs::read(first.file).unwrap();
        assert_eq!(first.len(), 16 << 20);
        assert!(first == std::fs::read(second.file).unwrap());
    }

    #[test]
    fn an_option_that_mkfs_refuses_is_shown_with_its_message() {
        let dir = tempfile::tempdir().unwrap();
        let error = make(
            &need("16MiB", &["-O", "no-such-feature"]),
            dir.path(),
            false,
        )
        .unwrap_err();
        assert!(error.to_string().contains("no-such-feature"), "{error}");
    }
}
