// SPDX-License-Identifier: GPL-2.0-or-later
//! Writes initramfs archives: the "newc" format of Documentation/driver-api/early-userspace/
//! buffer-format.rst, with nothing in them that varies. Entries are sorted, owned by root, dated
//! 1970; inode numbers count up.

use std::collections::BTreeMap;

use anyhow::Result;
use anyhow::bail;

const FILE: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;
const LINK: u32 = 0o120_000;

/// An archive in the making.
#[derive(Debug, Default)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    mode: u32,
    content: Vec<u8>,
}

impl Archive {
    /// Adds a file.
    ///
    /// # Errors
    /// When the path is no plain relative path or is taken.
    pub fn file(&mut self, path: &str, permissions: u32, content: Vec<u8>) -> Result<()> {
        self.add(path, FILE | permissions, content)
    }

    /// Adds an empty folder; the folders above an entry are added by themselves.
    ///
    /// # Errors
    /// When the path is no plain relative path or is taken by something else.
    pub fn folder(&mut self, path: &str, permissions: u32) -> Result<()> {
        if let Some(entry) = self.entries.get_mut(path) {
            if entry.mode & FOLDER == FOLDER && entry.mode & FILE != FILE {
                entry.mode = FOLDER | permissions;
                return Ok(());
            }
        }
        self.add(path, FOLDER | permissions, Vec::new())
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// When the path is no plain relative path or is taken.
    pub fn link(&mut self, path: &str, target: &str) -> Result<()> {
        self.add(path, LINK | 0o777, target.as_bytes().to_vec())
    }

    fn add(&mut self, path: &str, mode: u32, content: Vec<u8>) -> Result<()> {
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !path.split('/').all(plain) || path.contains('\0') {
            bail!("{path:?} cannot be a path in an initramfs: it must be relative and plain");
        }
        if u32::try_from(content.len()).is_err() {
            bail!("{path} is larger than 4 GiB, which the format cannot say");
        }
        for (index, _) in path.match_indices('/') {
            let above = &path[..index];
            match self.entries.get(above) {
                None => {
                    let folder = Entry {
                        mode: FOLDER | 0o755,
                        content: Vec::new(),
                    };
                    self.entries.insert(above.to_owned(), folder);
                }
                Some(entry) if entry.mode & 0o170_000 == FOLDER => {}
                Some(_) => bail!("{path} cannot lie below {above}, which is no folder"),
            }
        }
        if self
            .entries
            .insert(path.to_owned(), Entry { mode, content })
            .is_some()
        {
            bail!("{path} is there twice");
        }
        Ok(())
    }

    /// The archive's bytes.
    pub fn finish(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // A folder's name sorts before all that is in it, as unpacking needs.
        for (index, (path, entry)) in self.entries.iter().enumerate() {
            // The paths of an initramfs are far fewer than 2^32.
            let inode = u32::try_from(index + 1).unwrap_or(u32::MAX);
            write_entry(&mut out, inode, path, entry.mode, &entry.content);
        }
        write_entry(&mut out, 0, "TRAILER!!!", 0, &[]);
        // Padded to the block size that cpio itself writes.
        out.resize(out.len().next_multiple_of(512), 0);
        out
    }
}

fn write_entry(out: &mut Vec<u8>, inode: u32, path: &str, mode: u32, content: &[u8]) {
    let links = if mode & 0o170_000 == FOLDER { 2 } else { 1 };
    let (uid, gid, mtime, device) = (0, 0, 0, 0);
    // Both were checked when the entry was added.
    let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
    let name_size = u32::try_from(path.len() + 1).unwrap_or(u32::MAX);
    let fields = [
        inode, mode, uid, gid, links, mtime, size, device, device, device, device, name_size,
        0, // The checksum, which this format leaves empty.
    ];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::Write;
    use std::process::Command;
    use std::process::Stdio;

    fn sample(order: &[usize]) -> Vec<u8> {
        let mut archive = Archive::default();
        for step in order {
            match step {
                0 => archive
                    .file("init", 0o755, b"#!/bin/sh\n".to_vec())
                    .unwrap(),
                1 => archive.link("bin/sh", "busybox").unwrap(),
                2 => archive.file("bin/busybox", 0o755, vec![1, 2, 3]).unwrap(),
                3 => archive.folder("proc", 0o555).unwrap(),
                _ => archive.folder("bin", 0o755).unwrap(),
            }
        }
        archive.finish()
    }

    #[test]
    fn the_order_of_adding_does_not_show() {
        assert_eq!(sample(&[0, 1, 2, 3, 4]), sample(&[4, 3, 2, 1, 0]));
    }

    #[test]
    fn cpio_itself_lists_what_was_added() {
        let mut cpio = Command::new("cpio")
            .args(["--list", "--verbose", "--numeric-uid-gid", "--quiet"])
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        cpio.stdin
            .take()
            .unwrap()
            .write_all(&sample(&[0, 1, 2, 3]))
            .unwrap();
        let out = cpio.wait_with_output().unwrap();
        assert!(out.status.success());
        let text = String::from_utf8(out.stdout).unwrap();
        let line = |name: &str| text.lines().find(|line| line.ends_with(name)).unwrap();
        assert!(line(" init").starts_with("-rwxr-xr-x"), "{text}");
        assert!(line(" init").contains("Jan  1  1970"), "{text}");
        assert!(
            line("bin/sh -> busybox").starts_with("lrwxrwxrwx"),
            "{text}"
        );
        assert!(line(" proc").starts_with("dr-xr-xr-x"), "{text}");
        assert!(
            line(" bin").starts_with("drwxr-xr-x"),
            "the folder above a file: {text}"
        );
        assert_eq!(text.lines().count(), 5, "{text}");
    }

    #[test]
    fn paths_that_leave_the_archive_or_are_taken_are_refused() {
        let mut archive = Archive::default();
        assert!(archive.file("/etc/x", 0o644, vec![]).is_err());
        assert!(archive.file("a/../b", 0o644, vec![]).is_err());
        archive.file("a", 0o644, vec![]).unwrap();
        assert!(archive.file("a", 0o644, vec![]).is_err());
        assert!(archive.file("a/b", 0o644, vec![]).is_err());
        assert!(archive.folder("a", 0o755).is_err());
    }
}
