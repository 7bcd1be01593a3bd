// SPDX-License-Identifier: GPL-2.0-or-later
//! The manifest of an image: what its generator put in, known without trusting the mount.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use serde::Deserialize;
use vmtest_protocol::step::Select;

/// Where the runner's share puts manifests.
const FOLDER: &str = "/fixtures";

/// A whole manifest.
#[derive(Debug, Deserialize)]
pub struct Manifest {
    schema: u32,
    /// Every entry below the image's root.
    pub files: Vec<Entry>,
}

/// One entry.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Entry {
    /// A regular file.
    File {
        /// Path from the image's root.
        path: String,
        /// Permission bits.
        mode: u32,
        /// Length in bytes.
        size: u64,
        /// Digest in hexadecimal digits.
        sha256: String,
        /// Extended attributes: name to value in hexadecimal digits.
        #[serde(default)]
        xattrs: BTreeMap<String, String>,
    },
    /// A directory.
    Dir {
        /// Path from the image's root.
        path: String,
        /// Permission bits.
        mode: u32,
        /// Extended attributes: name to value in hexadecimal digits.
        #[serde(default)]
        xattrs: BTreeMap<String, String>,
    },
    /// A symbolic link.
    Symlink {
        /// Path from the image's root.
        path: String,
        /// What it points to.
        target: String,
    },
}

impl Entry {
    /// Path from the image's root.
    pub fn path(&self) -> &str {
        match self {
            Entry::File { path, .. } | Entry::Dir { path, .. } | Entry::Symlink { path, .. } => {
                path
            }
        }
    }
}

impl Manifest {
    /// The manifest of `image`.
    pub fn load(image: &str) -> Result<Manifest> {
        let path = Path::new(FOLDER).join(format!("{image}.manifest.json"));
        let text = std::fs::read(&path).with_context(|| {
            format!(
                "cannot read the manifest {}: is the image `{image}` in the scenario's `needs`?",
                path.display()
            )
        })?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    /// A manifest from its JSON.
    pub fn parse(text: &[u8]) -> Result<Manifest> {
        let manifest: Manifest = serde_json::from_slice(text).context("not a manifest")?;
        if manifest.schema != 1 {
            bail!(
                "manifest schema {}, this agent knows 1: build the guest and the images anew",
                manifest.schema
            );
        }
        Ok(manifest)
    }

    /// The regular files that `select` means.
    pub fn select(&self, select: &Select) -> Result<Vec<&Entry>> {
        let number =
            |count: &vmtest_protocol::value::Count| count.get().map_err(anyhow::Error::msg);
        let min = match &select.min_size {
            Some(size) => size.get().map_err(anyhow::Error::msg)?.0,
            None => 0,
        };
        let every = number(&select.every)?.max(1) as usize;
        let from = number(&select.from)? as usize;
        let count = match &select.count {
            Some(count) => number(count)? as usize,
            None => usize::MAX,
        };
        let chosen: Vec<&Entry> = self
            .files
            .iter()
            .filter(|entry| matches!(entry, Entry::File { size, .. } if *size >= min))
            .skip(from)
            .step_by(every)
            .take(count)
            .collect();
        if chosen.is_empty() {
            bail!(
                "`select` chooses none of the {} entries of the manifest: the check would be empty",
                self.files.len()
            );
        }
        Ok(chosen)
    }
}
