// SPDX-License-Identifier: GPL-2.0-or-later
//! Power cuts: what is on the disks afterwards.
//!
//! Where a scenario cuts the power, every disk has two files and a log: what was on it when it was
//! last switched on (the base), what QEMU works on, and every write in order. When the power is cut,
//! the writes that the disk keeps are added to the base; when it is switched on again, QEMU gets a
//! copy of that, and an empty log.

use std::fs::File;

use anyhow::Context;

use crate::blocklog::Log;
use crate::blocklog::replay;
use crate::blocklog::replay::Kept;
use crate::disk;
use crate::disk::DiskFile;
use crate::disk::sparse;
use crate::qemu::devices::SECTOR;

/// Brings a disk's base to the state in which the cut leaves it. Says, for people, what it kept.
pub fn cut(disk: &DiskFile, kept: Kept) -> anyhow::Result<Option<String>> {
    let Some(writes) = &disk.writes else {
        return Ok(None);
    };
    let what = || format!("the disk `{}` after the power cut", disk.name);
    let base_name = disk.base();
    let base = File::options()
        .write(true)
        .open(&base_name)
        .with_context(|| format!("cannot write {}", base_name.display()))
        .with_context(what)?;
    // It may have grown.
    let size = disk.file.metadata().with_context(what)?.len();
    base.set_len(size).with_context(what)?;
    let file = File::open(writes)
        .with_context(|| format!("cannot read {}", writes.display()))
        .with_context(what)?;
    let log = Log::read(&file, SECTOR, size)
        .with_context(|| writes.display().to_string())
        .with_context(what)?;
    let chosen = replay::choose(&log, kept);
    replay::write(&log, &file, &chosen, &base)
        .with_context(|| format!("cannot write {}", base_name.display()))
        .with_context(what)?;
    Ok(Some(account(disk, &log, &chosen)))
}

fn account(disk: &DiskFile, log: &Log, chosen: &[bool]) -> String {
    let all = log.entries.iter().filter(|entry| entry.changes()).count();
    let flushes = log.entries.iter().filter(|entry| entry.flush).count();
    let kept = log
        .entries
        .iter()
        .zip(chosen)
        .filter(|(entry, chosen)| entry.changes() && **chosen)
        .count();
    let cut = match &log.cut {
        Some(why) => format!(" (its log ends with {why})"),
        None => String::new(),
    };
    format!(
        "disk {}: {kept} of {all} writes kept, {flushes} flushes{cut}",
        disk.name
    )
}

/// Makes a disk ready to be switched on again.
pub fn restore(disk: &DiskFile) -> anyhow::Result<()> {
    if disk.writes.is_some() {
        sparse::copy(&disk.base(), &disk.file)?;
        disk::empty_log(disk)?;
    }
    Ok(())
}

/// Makes a disk larger that is switched off.
pub fn grow(disk: &DiskFile, to: u64) -> anyhow::Result<()> {
    for name in [disk.base(), disk.file.clone()] {
        File::options()
            .write(true)
            .open(&name)
            .and_then(|file| file.set_len(to))
            .with_context(|| format!("cannot make {} larger", name.display()))?;
    }
    Ok(())
}
