// SPDX-License-Identifier: GPL-2.0-or-later
//! The content-addressed cache.
//!
//! An entry is made under a temporary name, under a lock of its own, and renamed when it is
//! whole: what carries a final name is complete, whatever interrupted whom.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::filelock::FileLock;
use crate::progress::Progress;

/// The environment variable that moves the cache.
pub const CACHE_VARIABLE: &str = "CACHEFILES_RS_CACHE";

/// A cache on disk.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
    lock_wait: Duration,
}

impl Cache {
    /// Opens the cache at `root`, making the folder if there is none.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(root: &Path, lock_wait: Duration) -> Result<Self> {
        fs::create_dir_all(root).with_context(|| {
            format!(
                "cannot make the cache folder {}; set {CACHE_VARIABLE} to a folder that can be \
                 written",
                root.display()
            )
        })?;
        let root = root
            .canonicalize()
            .with_context(|| format!("cannot resolve the cache folder {}", root.display()))?;
        Ok(Self { root, lock_wait })
    }

    /// Where the cache is by default: `$CACHEFILES_RS_CACHE`, else `cachefiles-rs` in the user's
    /// cache folder.
    ///
    /// # Errors
    /// When no variable says where that is.
    pub fn default_root() -> Result<PathBuf> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        if let Some(path) = set(CACHE_VARIABLE) {
            return Ok(path.into());
        }
        if let Some(path) = set("XDG_CACHE_HOME") {
            return Ok(Path::new(&path).join("cachefiles-rs"));
        }
        if let Some(path) = set("HOME") {
            return Ok(Path::new(&path).join(".cache/cachefiles-rs"));
        }
        bail!("cannot tell where to keep builds: set {CACHE_VARIABLE} to a folder");
    }

    /// The cache's own folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How long a build waits for another one that builds the same thing.
    pub fn lock_wait(&self) -> Duration {
        self.lock_wait
    }

    /// A folder of the cache, made if there is none.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self, kind: &str) -> Result<PathBuf> {
        let path = self.root.join(kind);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// Where the log of a build goes. Logs stay when the build fails.
    ///
    /// # Errors
    /// When the folder for logs cannot be made.
    pub fn log(&self, kind: &str, key: &str) -> Result<PathBuf> {
        Ok(self.folder("logs")?.join(format!("{kind}-{key}.log")))
    }

    /// The finished entry, if there is one.
    pub fn find(&self, kind: &str, key: &str) -> Option<PathBuf> {
        let path = self.root.join(kind).join(key);
        path.is_dir().then_some(path)
    }

    /// Takes the lock that `kind/key` is built under.
    ///
    /// # Errors
    /// See [`FileLock::take`].
    pub fn lock(&self, kind: &str, key: &str, what: &str, progress: &Progress) -> Result<FileLock> {
        let path = self.folder(kind)?.join(format!("{key}.lock"));
        Ok(FileLock::take(&path, what, self.lock_wait, progress)?)
    }

    /// Returns the entry `kind/key`, calling `build` with an empty folder if there is none yet.
    ///
    /// # Errors
    /// What `build` says, or why the entry could not be locked, made or renamed.
    pub fn entry(
        &self,
        kind: &str,
        key: &str,
        what: &str,
        progress: &Progress,
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        if let Some(path) = self.find(kind, key) {
            return Ok(path);
        }
        let _lock = self.lock(kind, key, what, progress)?;
        if let Some(path) = self.find(kind, key) {
            return Ok(path);
        }
        let folder = self.folder(kind)?;
        let temporary = folder.join(format!("{key}.tmp"));
        remove_if_there(&temporary)?;
        fs::create_dir(&temporary)
            .with_context(|| format!("cannot make {}", temporary.display()))?;
        if let Err(error) = build(&temporary) {
            // The build's own error is the one to report; leftovers are removed by the next build.
            let _ = fs::remove_dir_all(&temporary);
            return Err(error);
        }
        let path = folder.join(key);
        fs::rename(&temporary, &path).with_context(|| {
            format!(
                "cannot give {} its final name {}",
                temporary.display(),
                path.display()
            )
        })?;
        Ok(path)
    }
}

/// Removes a folder that may not exist.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error)
            .with_context(|| format!("cannot remove {}, left by an earlier build", path.display())),
    }
}

/// Writes a file under a temporary name and renames it, so that no reader sees half of it. Makes
/// the folder if there is none.
///
/// # Errors
/// When it cannot be written or renamed.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".tmp{}", std::process::id()));
    let temporary = path.with_file_name(name);
    fs::write(&temporary, content)
        .with_context(|| format!("cannot write {}", temporary.display()))?;
    fs::rename(&temporary, path).with_context(|| {
        format!(
            "cannot rename {} to {}",
            temporary.display(),
            path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(root: &Path) -> Cache {
        Cache::open(root, Duration::ZERO).unwrap()
    }

    #[test]
    fn an_entry_is_built_once() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        let progress = Progress::silent();
        let mut built = 0;
        for _ in 0..2 {
            let path = cache
                .entry("kind", "key", "a thing", &progress, |folder| {
                    built += 1;
                    fs::write(folder.join("out"), "x")?;
                    Ok(())
                })
                .unwrap();
            assert_eq!(fs::read_to_string(path.join("out")).unwrap(), "x");
        }
        assert_eq!(built, 1);
    }

    #[test]
    fn a_failed_build_leaves_nothing_under_the_final_name() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        let error = cache
            .entry("kind", "key", "a thing", &Progress::silent(), |folder| {
                fs::write(folder.join("half"), "x")?;
                bail!("the disk is on fire")
            })
            .unwrap_err();
        assert!(error.to_string().contains("on fire"));
        assert!(cache.find("kind", "key").is_none());
    }

    #[test]
    fn what_an_interrupted_build_left_is_not_taken_for_a_result() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        let left = dir.path().join("kind/key.tmp");
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("half"), "x").unwrap();
        let path = cache
            .entry("kind", "key", "a thing", &Progress::silent(), |folder| {
                assert_eq!(
                    fs::read_dir(folder)?.count(),
                    0,
                    "starts from an empty folder"
                );
                fs::write(folder.join("whole"), "x")?;
                Ok(())
            })
            .unwrap();
        assert!(path.join("whole").exists() && !path.join("half").exists());
    }
}
