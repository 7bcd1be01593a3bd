// SPDX-License-Identifier: GPL-2.0-or-later
//! The cache directory as it is on the disk, and what in it was used the longest ago.
//!
//! `cache/I<volume>/@<00 to ff>/<object>`: a folder for each volume, 256 folders in it, and the
//! objects' files in those. The kernel touches a file's access time when it opens the object, so
//! its order is the order of use (on a disk mounted noatime, of creation).

use std::collections::BinaryHeap;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

/// When something was last used: access time and change time, in seconds and nanoseconds. The
/// second decides between files whose access times are equal, as on a disk that keeps none.
type Used = ((i64, i64), (i64, i64));

/// An object's file that may be culled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    used: Used,
    /// The volume's folder.
    pub volume: OsString,
    /// The folder in it.
    pub fan: OsString,
    /// The file.
    pub name: OsString,
}

/// What one look at the tree found.
#[derive(Debug, Default)]
pub struct Survey {
    /// Objects that are not in use, the one used longest ago first.
    pub candidates: Vec<Candidate>,
    /// Volumes without any object.
    pub empty_volumes: Vec<OsString>,
    /// Whether there are more candidates than were kept.
    pub more: bool,
}

/// Opens a folder.
pub fn open_folder(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::RDONLY
        | rustix::fs::OFlags::DIRECTORY
        | rustix::fs::OFlags::NOFOLLOW
        | rustix::fs::OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
    Ok(fd.into())
}

/// The names in a folder, in order; none when it has vanished meanwhile.
fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = entries
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// Somebody else removed it, or it is no folder.
pub fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn begins_with(name: &OsStr, first: u8) -> bool {
    name.as_bytes().first() == Some(&first)
}

/// Looks through all volumes in `store` and keeps the `limit` objects that were used the longest
/// ago, of those about which `in_use` says no. It is asked only about files that would be kept.
///
/// # Errors
/// When a folder cannot be read.
pub fn survey(
    store: &Path,
    limit: usize,
    mut in_use: impl FnMut(&File, &OsStr) -> bool,
) -> io::Result<Survey> {
    // The newest on top, to be replaced by an older one.
    let mut oldest: BinaryHeap<Candidate> = BinaryHeap::new();
    let mut survey = Survey::default();
    let volumes = names(store)?.into_iter();
    for volume in volumes.filter(|name| begins_with(name, b'I')) {
        let volume_path = store.join(&volume);
        let mut objects = 0u64;
        let fans = names(&volume_path)?.into_iter();
        for fan in fans.filter(|name| begins_with(name, b'@')) {
            let fan_path = volume_path.join(&fan);
            let mut folder = None;
            for name in names(&fan_path)? {
                objects += 1;
                let Some(used) = last_used(&fan_path.join(&name)) else {
                    continue;
                };
                let candidate = Candidate {
                    used,
                    volume: volume.clone(),
                    fan: fan.clone(),
                    name,
                };
                if oldest.len() >= limit && oldest.peek().is_some_and(|top| *top <= candidate) {
                    survey.more = true;
                    continue;
                }
                let folder = match &mut folder {
                    Some(folder) => folder,
                    none => match open_folder(&fan_path) {
                        Ok(opened) => none.insert(opened),
                        Err(_) => break,
                    },
                };
                if in_use(folder, &candidate.name) {
                    continue;
                }
                oldest.push(candidate);
                if oldest.len() > limit {
                    oldest.pop();
                    survey.more = true;
                }
            }
        }
        if objects == 0 {
            survey.empty_volumes.push(volume);
        }
    }
    survey.candidates = oldest.into_sorted_vec();
    Ok(survey)
}

/// `None` when it is gone, or no file.
fn last_used(path: &Path) -> Option<Used> {
    let metadata = fs::symlink_metadata(path).ok()?;
    metadata.is_file().then(|| {
        (
            (metadata.atime(), metadata.atime_nsec()),
            (metadata.ctime(), metadata.ctime_nsec()),
        )
    })
}

/// Removes what the kernel has put away: volumes that were culled or were not what they were to
/// be. What the kernel still holds is left for the next time. Returns how many entries are gone.
pub fn empty_graveyard(graveyard: &Path) -> u64 {
    let mut gone = 0;
    for name in names(graveyard).unwrap_or_default() {
        let path: PathBuf = graveyard.join(name);
        let removed = match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => remove_tree(&path),
            Ok(_) => fs::remove_file(&path),
            Err(_) => continue,
        };
        match removed {
            Ok(()) => gone += 1,
            Err(error) => tracing::debug!(path = %path.display(), %error, "left in the graveyard"),
        }
    }
    gone
}

/// Removes as much as can be removed; the error is the last one.
fn remove_tree(path: &Path) -> io::Result<()> {
    for name in names(path)? {
        let inside = path.join(name);
        let metadata = fs::symlink_metadata(&inside)?;
        let removed = match metadata.is_dir() {
            true => remove_tree(&inside),
            false => fs::remove_file(&inside),
        };
        if let Err(error) = removed {
            tracing::debug!(path = %inside.display(), %error, "left in the graveyard");
        }
    }
    fs::remove_dir(path)
}
