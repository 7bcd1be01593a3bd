// SPDX-License-Identifier: GPL-2.0-or-later
//! The checkout: where sources and configurations are.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

/// A checkout of cachefiles-rs.
#[derive(Clone, Debug)]
pub struct Project {
    root: PathBuf,
}

impl Project {
    /// Takes `root` for the checkout.
    ///
    /// # Errors
    /// When there is no `configs/kernels` in it.
    pub fn at(root: &Path) -> Result<Self> {
        if !root.join("configs/kernels").is_dir() {
            bail!(
                "{} is no checkout of cachefiles-rs: it has no configs/kernels",
                root.display()
            );
        }
        let root = root
            .canonicalize()
            .with_context(|| format!("cannot resolve {}", root.display()))?;
        Ok(Self { root })
    }

    /// Finds the checkout that the working directory is in.
    ///
    /// # Errors
    /// When it is in none.
    pub fn find() -> Result<Self> {
        let here = std::env::current_dir().context("cannot tell the working directory")?;
        for folder in here.ancestors() {
            if folder.join("configs/kernels").is_dir() {
                return Self::at(folder);
            }
        }
        bail!(
            "{} is in no checkout of cachefiles-rs; change into one, or name it with --root",
            here.display()
        );
    }

    /// A path in the checkout.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The checkout itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The names of the files with `ending` in a folder, without it, sorted.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn names(&self, folder: &str, ending: &str) -> Result<Vec<String>> {
        let path = self.path(folder);
        let entries =
            fs::read_dir(&path).with_context(|| format!("cannot list {}", path.display()))?;
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Some(stem) = name.strip_suffix(ending) {
                names.push(stem.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }
}
