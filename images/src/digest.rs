// SPDX-License-Identifier: GPL-2.0-or-later
//! Digests: of files, of folders, and of everything that goes into a build (its key).

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use sha2::Digest;
use sha2::Sha256;

/// How many hex digits of a digest name a cache entry: 128 bits, and still readable in a path.
const KEY_DIGITS: usize = 32;

/// Collects what a build depends on; the result names its cache entry.
///
/// Every part is framed by its length, so that two different lists never run into one another.
#[derive(Debug)]
pub struct Key(Sha256);

impl Key {
    /// Starts the key of a kind of build. `recipe` changes when the way of building changes.
    pub fn new(kind: &str, recipe: u32) -> Self {
        let mut key = Self(Sha256::new());
        key.add("kind", kind);
        key.add("recipe", &recipe.to_string());
        key
    }

    /// Adds one named input.
    pub fn add(&mut self, name: &str, value: &str) {
        self.add_bytes(name, value.as_bytes());
    }

    /// Adds one named input that need not be text.
    pub fn add_bytes(&mut self, name: &str, value: &[u8]) {
        self.0.update((name.len() as u64).to_le_bytes());
        self.0.update(name.as_bytes());
        self.0.update((value.len() as u64).to_le_bytes());
        self.0.update(value);
    }

    /// Adds a folder: names, modes, link targets and contents of all that is in it.
    ///
    /// # Errors
    /// When something in it cannot be read.
    pub fn add_folder(&mut self, name: &str, folder: &Path) -> Result<()> {
        self.add("folder", name);
        self.walk(folder, Path::new(""))
    }

    fn walk(&mut self, root: &Path, below: &Path) -> Result<()> {
        let here = root.join(below);
        let mut names = Vec::new();
        let entries =
            fs::read_dir(&here).with_context(|| format!("cannot list {}", here.display()))?;
        for entry in entries {
            names.push(entry?.file_name());
        }
        names.sort();
        for name in names {
            if is_leftover(&name.to_string_lossy()) {
                continue;
            }
            let relative = below.join(&name);
            let path = root.join(&relative);
            let meta = fs::symlink_metadata(&path)
                .with_context(|| format!("cannot look at {}", path.display()))?;
            let label = relative.to_string_lossy().into_owned();
            if meta.is_dir() {
                self.add("dir", &label);
                self.walk(root, &relative)?;
            } else if meta.is_symlink() {
                self.add("link", &label);
                self.add_bytes("target", fs::read_link(&path)?.as_os_str().as_bytes());
            } else {
                self.add("file", &label);
                self.add(
                    "executable",
                    if meta.permissions().mode() & 0o111 == 0 {
                        "no"
                    } else {
                        "yes"
                    },
                );
                let content =
                    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                self.add_bytes("content", &content);
            }
        }
        Ok(())
    }

    /// The key's text.
    pub fn finish(self) -> String {
        let mut text = hex::encode(self.0.finalize());
        text.truncate(KEY_DIGITS);
        text
    }
}

/// Whether a file is what a build or an editor leaves beside sources, and no source itself.
pub(crate) fn is_leftover(name: &str) -> bool {
    const ENDINGS: [&str; 9] = [
        ".o", ".ko", ".mod", ".mod.c", ".cmd", ".rmeta", ".swp", "~", ".orig",
    ];
    const NAMES: [&str; 4] = [
        "modules.order",
        "Module.symvers",
        "target",
        "bindings_generated.rs",
    ];
    NAMES.contains(&name) || ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// The sha256 of a file, in hex, read in pieces so that its size does not matter.
///
/// # Errors
/// When the file cannot be read.
pub fn file_sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    reader_sha256(&mut file).with_context(|| format!("cannot read {}", path.display()))
}

/// The sha256 of everything that a reader has from where it stands, in hex.
///
/// # Errors
/// When it cannot be read.
pub fn reader_sha256(reader: &mut impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// The sha256 of bytes, in hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_inputs_do_not_run_into_one_another() {
        let mut one = Key::new("test", 1);
        one.add("a", "bc");
        let mut other = Key::new("test", 1);
        other.add("ab", "c");
        assert_ne!(one.finish(), other.finish());
    }

    #[test]
    fn a_folder_s_key_sees_content_names_and_modes_but_not_leftovers() {
        let dir = tempfile::tempdir().unwrap();
        let key = || {
            let mut key = Key::new("test", 1);
            key.add_folder("x", dir.path()).unwrap();
            key.finish()
        };
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/a.c"), "int a;").unwrap();
        let first = key();
        fs::write(dir.path().join("sub/a.o"), "object").unwrap();
        assert_eq!(first, key(), "an object file is no source");
        fs::write(dir.path().join("sub/a.c"), "int b;").unwrap();
        let changed = key();
        assert_ne!(first, changed, "content");
        fs::rename(dir.path().join("sub/a.c"), dir.path().join("sub/b.c")).unwrap();
        let renamed = key();
        assert_ne!(changed, renamed, "name");
        let mut mode = fs::metadata(dir.path().join("sub/b.c"))
            .unwrap()
            .permissions();
        mode.set_mode(0o755);
        fs::set_permissions(dir.path().join("sub/b.c"), mode).unwrap();
        assert_ne!(renamed, key(), "mode");
    }

    #[test]
    fn a_file_s_digest_is_the_one_sha256sum_prints() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        fs::write(&path, "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(file_sha256(&path).unwrap(), expected);
        assert_eq!(sha256(b"abc"), expected);
    }
}
