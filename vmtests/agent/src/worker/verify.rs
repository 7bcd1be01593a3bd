// SPDX-License-Identifier: GPL-2.0-or-later
//! Comparing a mounted image with its manifest.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use anyhow::Context;
use anyhow::Result;
use vmtest_protocol::message::Measurement;
use vmtest_protocol::step::Verify;
use vmtest_protocol::value::Errno;

use super::child::Verdict;
use super::child::describe;
use super::files;
use super::manifest::Entry;
use super::manifest::Manifest;
use crate::client::Image;
use crate::client::ranges;

/// Differences that are told one by one; of more only the number is told.
const TOLD: usize = 8;

/// Carries out a `verify` step.
pub fn verify(step: &Verify) -> Result<Verdict> {
    let manifest = Manifest::load(&step.image)?;
    let threads = step.threads.get().map_err(anyhow::Error::msg)? as usize;
    let root = Path::new(&step.at);
    let entries: Vec<&Entry> = match &step.select {
        Some(select) => manifest.select(select)?,
        None => manifest.files.iter().collect(),
    };
    let whole = step.select.is_none();
    let expect = match &step.expect_errno {
        Some(errno) => Some(errno.get().map_err(anyhow::Error::msg)?),
        None => None,
    };
    if let Some(image) = Image::at(root)? {
        let report = check_image(&image, &entries, threads, expect, whole)?;
        return Ok(report.verdict(&step.image, root));
    }
    let report = check(root, &entries, threads, expect, whole);
    Ok(report.verdict(&step.image, root))
}

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Report {
    /// Entries compared.
    pub entries: usize,
    /// Bytes read.
    pub bytes: u64,
    /// What differs, in words.
    pub differences: Vec<String>,
}

impl Report {
    fn verdict(self, image: &str, root: &Path) -> Verdict {
        if self.differences.is_empty() {
            let measure = |name: &str, value: f64, unit: &str| Measurement {
                name: name.to_owned(),
                value,
                unit: unit.to_owned(),
            };
            return Verdict::Passed(vec![
                measure("verified.entries", self.entries as f64, "count"),
                measure("verified.bytes", self.bytes as f64, "bytes"),
            ]);
        }
        let total = self.differences.len();
        let mut reason = format!(
            "{} at {}: {total} of {} entries are not as in the manifest: {}",
            image,
            root.display(),
            self.entries,
            self.differences
                .iter()
                .take(TOLD)
                .cloned()
                .collect::<Vec<_>>()
                .join("; ")
        );
        if total > TOLD {
            reason.push_str("; ...");
        }
        Verdict::Failed(reason)
    }
}

/// Compares `entries` below `root`; with `whole`, also that there is nothing else.
pub fn check(
    root: &Path,
    entries: &[&Entry],
    threads: usize,
    expect: Option<Errno>,
    whole: bool,
) -> Report {
    let mut report = each(entries, threads, |entry| match expect {
        Some(errno) => must_fail(File::open(root.join(entry.path())), errno),
        None => compare(root, entry),
    });
    if whole {
        match strangers(root, entries) {
            Ok(strangers) => report
                .differences
                .extend(strangers.map(|path| format!("{path}: not in the manifest"))),
            Err(error) => report.differences.push(format!("{error:#}")),
        }
    }
    report
}

/// Compares what stands for `entries` in an image that the probe has mounted; with `whole`, also its
/// first page, and the objects of its devices.
fn check_image(
    image: &Image,
    entries: &[&Entry],
    threads: usize,
    expect: Option<Errno>,
    whole: bool,
) -> Result<Report> {
    let (manifest, parts) = image.parts()?;
    let named = manifest.files.iter().map(Entry::path);
    let parts: BTreeMap<&str, Range<u64>> = named.zip(parts).collect();
    let mut report = each(entries, threads, |entry| {
        let part = parts.get(entry.path()).cloned().context("no such part")?;
        match expect {
            Some(errno) => must_fail(Ok(image.open(0, part)), errno),
            None => image.compare(0, part),
        }
    });
    if whole {
        let mut more = vec![(0, 0..ranges::PAGE)];
        for object in 1..image.objects() {
            more.push((object, image.whole(object)?));
        }
        for (object, part) in more {
            match image.compare(object, part) {
                Ok(bytes) => report.bytes += bytes,
                Err(why) => report.differences.push(format!("object {object}: {why:#}")),
            }
        }
    }
    Ok(report)
}

/// Compares each of `entries` by `one`, several at once.
fn each(entries: &[&Entry], threads: usize, one: impl Fn(&Entry) -> Result<u64> + Sync) -> Report {
    let next = AtomicUsize::new(0);
    let enough = AtomicBool::new(false);
    let report = Mutex::new(Report::default());
    let work = || {
        while !enough.load(Ordering::Relaxed) {
            let Some(entry) = entries.get(next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            let found = one(entry);
            let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
            report.entries += 1;
            match found {
                Ok(bytes) => report.bytes += bytes,
                Err(why) => report
                    .differences
                    .push(format!("{}: {why:#}", entry.path())),
            }
            // A broken image is broken everywhere: a hundred differences say it.
            if report.differences.len() > 100 {
                enough.store(true, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        // `vt-read` is the name by which trace filters select readers.
        let named = |number| std::thread::Builder::new().name(format!("vt-read-{number}"));
        let started = (0..threads.max(1))
            .filter(|number| named(*number).spawn_scoped(scope, work).is_ok())
            .count();
        if started == 0 {
            work();
        }
    });
    report.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Compares one entry; the number of bytes that were read for it.
fn compare(root: &Path, entry: &Entry) -> Result<u64> {
    let path = root.join(entry.path());
    let meta = fs::symlink_metadata(&path).map_err(say)?;
    match entry {
        Entry::File {
            mode,
            size,
            sha256,
            xattrs,
            ..
        } => {
            anyhow::ensure!(meta.is_file(), "not a regular file");
            same("mode", meta.mode() & 0o7777, *mode)?;
            same("size", meta.len(), *size)?;
            compare_xattrs(&path, xattrs)?;
            let file = File::open(&path).map_err(say)?;
            let (digest, got) = files::digest(file).map_err(say)?;
            same("bytes read", got, *size)?;
            same("SHA-256", hex::encode(digest), sha256.clone())?;
            Ok(got)
        }
        Entry::Dir { mode, xattrs, .. } => {
            anyhow::ensure!(meta.is_dir(), "not a directory");
            same("mode", meta.mode() & 0o7777, *mode)?;
            compare_xattrs(&path, xattrs)?;
            Ok(0)
        }
        Entry::Symlink { target, .. } => {
            anyhow::ensure!(meta.is_symlink(), "not a symbolic link");
            let found = fs::read_link(&path).map_err(say)?;
            same("target", found, PathBuf::from(target))?;
            Ok(0)
        }
    }
}

/// Reads what was opened, which must have worked: it must fail.
fn must_fail(opened: io::Result<impl Read>, errno: Errno) -> Result<u64> {
    match files::digest(opened.map_err(say)?) {
        Err(error) if error.raw_os_error() == Some(errno.0) => Ok(0),
        Err(error) => anyhow::bail!("{}, {errno} was expected", describe(&error)),
        Ok((_, got)) => anyhow::bail!("{got} bytes could be read, {errno} was expected"),
    }
}

fn compare_xattrs(path: &Path, expected: &BTreeMap<String, String>) -> Result<()> {
    let mut list = vec![0u8; 64 << 10];
    let used = rustix::fs::llistxattr(path, &mut list[..]).context("listing xattrs")?;
    let mut found = BTreeMap::new();
    for name in list[..used].split(|byte| *byte == 0) {
        let name = String::from_utf8_lossy(name).into_owned();
        if name.starts_with("user.") {
            let mut value = vec![0u8; 64 << 10];
            let len = rustix::fs::lgetxattr(path, name.as_str(), &mut value[..])
                .with_context(|| format!("reading xattr {name}"))?;
            found.insert(name, hex::encode(&value[..len]));
        }
    }
    same("xattrs", &found, expected)
}

/// What lies below `root` and is not among `entries`.
fn strangers(root: &Path, entries: &[&Entry]) -> Result<impl Iterator<Item = String>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let list =
            fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))?;
        for entry in list {
            let entry = entry.with_context(|| format!("listing {}", folder.display()))?;
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path.clone());
            }
            if let Ok(inside) = path.strip_prefix(root) {
                found.insert(inside.to_string_lossy().into_owned());
            }
        }
    }
    for entry in entries {
        found.remove(entry.path());
    }
    Ok(found.into_iter())
}

fn say(error: std::io::Error) -> anyhow::Error {
    anyhow::Error::msg(describe(&error))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<()> {
    anyhow::ensure!(
        found == expected,
        "{what} {found:?}, {expected:?} was expected"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder that is as its manifest says, and that manifest.
    fn sample() -> (tempfile::TempDir, Manifest) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("d")).unwrap();
        fs::set_permissions(root.join("d"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(root.join("d/hello"), "hello\n").unwrap();
        fs::set_permissions(root.join("d/hello"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("d/hello", root.join("link")).unwrap();
        let manifest = Manifest::parse(
            br#"{"schema":1,"files":[
                {"path":"d","type":"dir","mode":493},
                {"path":"d/hello","type":"file","mode":416,"size":6,
                 "sha256":"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"},
                {"path":"link","type":"symlink","target":"d/hello"}]}"#,
        )
        .unwrap();
        (folder, manifest)
    }

    fn differences(root: &Path, manifest: &Manifest) -> Vec<String> {
        let entries: Vec<&Entry> = manifest.files.iter().collect();
        let report = check(root, &entries, 3, None, true);
        assert_eq!(report.entries, 3);
        report.differences
    }

    #[test]
    fn a_tree_as_in_its_manifest_has_no_differences() {
        let (folder, manifest) = sample();
        assert_eq!(differences(folder.path(), &manifest), Vec::<String>::new());
    }

    #[test]
    fn each_kind_of_change_is_a_difference() {
        type Change = fn(&Path);
        let changes: [(&str, Change); 6] = [
            ("SHA-256", |root| {
                fs::write(root.join("d/hello"), "hellO\n").unwrap()
            }),
            ("size", |root| {
                fs::write(root.join("d/hello"), "hello").unwrap()
            }),
            ("mode", |root| {
                let mode = fs::Permissions::from_mode(0o600);
                fs::set_permissions(root.join("d/hello"), mode).unwrap();
            }),
            ("target", |root| {
                fs::remove_file(root.join("link")).unwrap();
                symlink("d", root.join("link")).unwrap();
            }),
            ("ENOENT", |root| fs::remove_file(root.join("link")).unwrap()),
            ("not in the manifest", |root| {
                fs::write(root.join("d/stranger"), "").unwrap();
            }),
        ];
        for (expected, change) in changes {
            let (folder, manifest) = sample();
            change(folder.path());
            let found = differences(folder.path(), &manifest);
            assert_eq!(found.len(), 1, "{expected}: {found:?}");
            assert!(found[0].contains(expected), "{expected}: {found:?}");
        }
    }

    #[test]
    fn a_file_that_must_fail_and_can_be_read_is_a_difference() {
        let (folder, manifest) = sample();
        let entries: Vec<&Entry> = manifest.files.iter().skip(1).take(1).collect();
        let report = check(folder.path(), &entries, 1, Some(Errno(5)), false);
        assert!(report.differences[0].contains("EIO was expected"));
    }
}
