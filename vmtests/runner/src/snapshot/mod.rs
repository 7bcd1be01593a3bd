// SPDX-License-Identifier: GPL-2.0-or-later
//! Memory snapshots: a kernel boots once for each machine that differs, and later runs go on from
//! there.
//!
//! The first run of a [`Key`] boots, loads the modules and writes its machine's state to the cache
//! before anything is plugged in; it then goes on as any other. Later runs, also of other
//! invocations, restore that state. A snapshot is a folder `snapshots/KEY` with the guest's memory,
//! the state of its devices, and a description that holds the digests of both; it appears as a
//! whole or not at all, and each invocation checks the digests before it uses one. A snapshot never decides about a run: what is
//! damaged or cannot be restored is said, thrown away, and the run boots.

use std::collections::HashMap;
use std::collections::HashSet;
use std::fs;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::bail;
use rustix::fs::FlockOperation;
use serde::Deserialize;
use serde::Serialize;
use tempfile::TempDir;

use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::vm::Saved;

mod key;
pub mod pages;

pub use key::Digests;
pub use key::Key;

/// The guest's memory in a snapshot's folder.
const MEMORY: &str = "memory";
/// The devices' state.
const DEVICES: &str = "devices";
/// The description of it.
const ABOUT: &str = "about.json";
/// Stands in the folder's place of a machine that cannot be used after a restore.
const UNFIT: &str = "unfit";
/// How many snapshots are kept, the last used ones.
const KEPT: usize = 8;
/// How long that is believed.
const UNFIT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// How often a lock that another process holds is tried.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// What a snapshot's folder says about the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    /// The whole key, for people.
    key: serde_json::Value,
    /// QEMU's own word for its version.
    qemu: String,
    /// Digest of the memory.
    memory: String,
    /// Digest of the devices' state.
    devices: String,
}

/// A snapshot that was checked.
#[derive(Debug)]
pub struct Snapshot {
    /// Memory and devices, each file from its beginning.
    pub files: Saved,
    /// The version of the QEMU that wrote it: another one must not read it.
    pub qemu: String,
}

/// What there is for a machine.
#[derive(Debug)]
pub enum Found {
    /// A snapshot to restore.
    Ready(Snapshot),
    /// None yet: this run is to make it. Others wait meanwhile.
    Make(Maker),
    /// There is none, and there will be none.
    Cold,
}

#[derive(Debug, Clone)]
enum Known {
    Good { files: Arc<Saved>, qemu: String },
    Cold,
}

/// The snapshots of this machine's cache, as one invocation uses them.
#[derive(Debug)]
pub struct Store {
    /// `None`: everything boots.
    dir: Option<PathBuf>,
    known: Mutex<HashMap<String, Known>>,
    said: Mutex<HashSet<String>>,
    progress: Progress,
    /// Digests of kernels and the like.
    pub digests: Digests,
}

impl Store {
    /// Snapshots in `dir`, or none at all.
    pub fn new(dir: Option<PathBuf>, progress: Progress) -> Self {
        Store {
            dir,
            known: Mutex::default(),
            said: Mutex::default(),
            progress,
            digests: Digests::default(),
        }
    }

    /// Whether snapshots are used at all.
    pub fn is_on(&self) -> bool {
        self.dir.is_some()
    }

    /// Looks for a snapshot. While another run makes it, this waits, at most so long.
    pub fn find(&self, key: &Key, patience: Duration, interrupt: &Interrupt) -> Found {
        let Some(dir) = &self.dir else {
            return Found::Cold;
        };
        let name = key.name();
        if let Some(found) = self.known_as(&name) {
            return found;
        }
        match self.look(dir, key, &name, patience, interrupt) {
            Ok(found) => found,
            Err(error) => self.give_up(&name, &format!("{error:#}")),
        }
    }

    fn known_as(&self, name: &str) -> Option<Found> {
        let known = lock(&self.known).get(name).cloned()?;
        Some(match known {
            Known::Cold => Found::Cold,
            Known::Good { files, qemu } => match reopen(&files) {
                Ok(files) => Found::Ready(Snapshot { files, qemu }),
                Err(error) => self.give_up(name, &format!("cannot open it again: {error}")),
            },
        })
    }

    fn look(
        &self,
        dir: &Path,
        key: &Key,
        name: &str,
        patience: Duration,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Found> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let Some(held) = take_lock(&dir.join(format!("{name}.lock")), patience, interrupt)? else {
            // Whoever makes it is slower than a boot.
            return Ok(Found::Cold);
        };
        // Another run of this process may have made it meanwhile.
        if let Some(found) = self.known_as(name) {
            return Ok(found);
        }
        let folder = dir.join(name);
        let unfit = folder.join(UNFIT);
        if age(&unfit).is_some_and(|age| age > UNFIT_FOR) {
            // It may have been the host's fault, which was overloaded.
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        if let Ok(why) = fs::read_to_string(&unfit) {
            return Ok(self.give_up(name, &why));
        }
        if folder.is_dir() {
            match check(&folder) {
                Ok((files, qemu)) => {
                    touch(&folder);
                    self.remember(name, files, qemu);
                    if let Some(found) = self.known_as(name) {
                        return Ok(found);
                    }
                }
                Err(error) => {
                    self.say(&format!(
                        "memory snapshot: {error:#}: it is thrown away, and made again"
                    ));
                    fs::remove_dir_all(&folder)
                        .with_context(|| format!("cannot remove {}", folder.display()))?;
                }
            }
        }
        let work = tempfile::Builder::new()
            .prefix(".new-")
            .tempdir_in(dir)
            .with_context(|| format!("cannot make a folder in {}", dir.display()))?;
        Ok(Found::Make(Maker {
            key: serde_json::to_value(key)?,
            name: name.to_owned(),
            folder,
            work,
            _lock: held,
        }))
    }

    fn remember(&self, name: &str, files: Saved, qemu: String) {
        let files = Arc::new(files);
        lock(&self.known).insert(name.to_owned(), Known::Good { files, qemu });
    }

    /// No run of this invocation uses a snapshot of this machine.
    fn give_up(&self, name: &str, why: &str) -> Found {
        self.say(&format!(
            "no memory snapshot, runs boot: {}",
            why.trim_end()
        ));
        lock(&self.known).insert(name.to_owned(), Known::Cold);
        Found::Cold
    }

    /// A run has written the state: from now on it serves.
    pub fn add(&self, maker: Maker, qemu: &str) {
        let name = maker.name.clone();
        match maker.finish(qemu) {
            Ok(files) => {
                self.remember(&name, files, qemu.to_owned());
                if let Some(dir) = &self.dir {
                    prune(dir, &name);
                }
            }
            Err(error) => drop(self.give_up(&name, &format!("{error:#}"))),
        }
    }

    /// A run could not write the state.
    pub fn failed(&self, maker: &Maker, why: &str) {
        self.give_up(&maker.name, why);
    }

    /// A snapshot could not be restored: it goes, and the next run makes another.
    pub fn discard(&self, key: &Key, why: &str) {
        let name = key.name();
        self.say(&format!(
            "memory snapshot: {why}: it is thrown away, the run boots"
        ));
        lock(&self.known).remove(&name);
        if let Some(dir) = &self.dir {
            // One that stays is found again, and thrown away again.
            let _ = fs::remove_dir_all(dir.join(name));
        }
    }

    /// A machine that was restored could not be set up, one that booted could: this kernel cannot
    /// do what a restore needs. Remembered for a day, for this key.
    pub fn unfit(&self, key: &Key, why: &str) {
        let name = key.name();
        if let Some(dir) = &self.dir {
            let folder = dir.join(&name);
            let _ = fs::remove_dir_all(&folder);
            // Without the note the next invocation finds out again.
            let _ = fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join(UNFIT), why));
        }
        self.give_up(&name, why);
    }

    /// Says something, once in an invocation.
    fn say(&self, text: &str) {
        if lock(&self.said).insert(text.to_owned()) {
            self.progress.remark(text);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The right to make a snapshot, and the duty: others wait until this is dropped.
#[derive(Debug)]
pub struct Maker {
    key: serde_json::Value,
    name: String,
    folder: PathBuf,
    work: TempDir,
    _lock: File,
}

impl Maker {
    /// The files for memory and devices.
    pub fn files(&self) -> anyhow::Result<Saved> {
        both(self.work.path(), "write", |file| File::create(file))
    }

    /// Puts the finished snapshot in its place.
    fn finish(self, qemu: &str) -> anyhow::Result<Saved> {
        let files = both(self.work.path(), "read", |file| File::open(file))?;
        let [memory, devices] = digests(&files, self.work.path())?;
        let about = About {
            key: self.key,
            qemu: qemu.to_owned(),
            memory,
            devices,
        };
        let text = serde_json::to_string_pretty(&about)?;
        let file = self.work.path().join(ABOUT);
        fs::write(&file, text + "\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
        let _ = fs::remove_dir_all(&self.folder);
        let work = self.work.keep();
        fs::rename(&work, &self.folder).with_context(|| {
            let _ = fs::remove_dir_all(&work);
            format!("cannot make {}", self.folder.display())
        })?;
        Ok(files)
    }
}

/// Opens the two files in `folder`.
fn both(
    folder: &Path,
    what: &str,
    open: impl Fn(&Path) -> io::Result<File>,
) -> anyhow::Result<Saved> {
    let open = |name: &str| {
        let file = folder.join(name);
        open(&file).with_context(|| format!("cannot {what} {}", file.display()))
    };
    Ok(Saved {
        memory: open(MEMORY)?,
        devices: open(DEVICES)?,
    })
}

fn digests(files: &Saved, folder: &Path) -> anyhow::Result<[String; 2]> {
    let digest = |mut file: &File, name: &str| {
        images::digest::reader_sha256(&mut file)
            .with_context(|| format!("cannot read {}", folder.join(name).display()))
    };
    Ok([
        digest(&files.memory, MEMORY)?,
        digest(&files.devices, DEVICES)?,
    ])
}

/// Reads a snapshot and compares it with its description.
fn check(folder: &Path) -> anyhow::Result<(Saved, String)> {
    let file = folder.join(ABOUT);
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let about: About =
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()))?;
    let files = both(folder, "read", |file| File::open(file))?;
    if digests(&files, folder)? != [about.memory, about.devices] {
        bail!("{} is damaged: its digest is another", folder.display());
    }
    Ok((files, about.qemu))
}

/// The same files from their beginnings, with positions of their own, also when the names are gone.
fn reopen(files: &Saved) -> io::Result<Saved> {
    let reopen = |file: &File| File::open(format!("/proc/self/fd/{}", file.as_raw_fd()));
    Ok(Saved {
        memory: reopen(&files.memory)?,
        devices: reopen(&files.devices)?,
    })
}

/// Waits for the lock; `None` when it is not to be had in time.
fn take_lock(
    file: &Path,
    patience: Duration,
    interrupt: &Interrupt,
) -> anyhow::Result<Option<File>> {
    let what = || format!("cannot lock {}", file.display());
    let deadline = Instant::now() + patience;
    loop {
        let lock = File::create(file).with_context(what)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            // Whoever prunes removes lock files: one without its name protects nothing.
            Ok(()) if still_named(&lock, file) => return Ok(Some(lock)),
            Ok(()) => continue,
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => return Err(error).with_context(what),
        }
        if interrupt.asked() || Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(TRY_AGAIN);
    }
}

fn still_named(open: &File, name: &Path) -> bool {
    match (open.metadata(), fs::metadata(name)) {
        (Ok(open), Ok(named)) => open.ino() == named.ino() && open.dev() == named.dev(),
        _ => false,
    }
}

/// Used just now: among the last ones to be pruned.
fn touch(folder: &Path) {
    let now = fs::FileTimes::new().set_modified(std::time::SystemTime::now());
    // At worst it is made again.
    let _ = File::open(folder.join(ABOUT)).and_then(|file| file.set_times(now));
}

/// Removes all but the last used snapshots, and what killed processes left. `own` stays.
fn prune(dir: &Path, own: &str) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    let mut old = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if !path.is_dir() || name == own {
            continue;
        }
        // Nobody takes an hour.
        let stale = |path: &Path| age(path).is_some_and(|age| age > Duration::from_secs(3600));
        match name.starts_with(".new-") {
            true if stale(&path) => drop(fs::remove_dir_all(&path)),
            true => {}
            false => old.push((
                age(&path.join(ABOUT))
                    .or_else(|| age(&path.join(UNFIT)))
                    .unwrap_or(Duration::MAX),
                path,
            )),
        }
    }
    old.sort();
    for (_, path) in old.into_iter().skip(KEPT - 1) {
        // A run that uses it has it open, and keeps it.
        let _ = fs::remove_dir_all(&path);
        let _ = fs::remove_file(path.with_extension("lock"));
    }
}

fn age(path: &Path) -> Option<Duration> {
    fs::metadata(path).ok()?.modified().ok()?.elapsed().ok()
}

#[cfg(test)]
mod tests;
