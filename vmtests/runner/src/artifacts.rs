// SPDX-License-Identifier: GPL-2.0-or-later
//! The artifact index that `images build --out FILE` writes: kernel, initramfs, modules, images.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

pub use images::index::Blob;
pub use images::index::Guest;
use serde::Deserialize;

/// The layout of the index that this program reads.
const SCHEMA: u32 = 1;

/// What a build made. Unknown keys are allowed: the index is written by a program, and a newer
/// builder may say more.
#[derive(Debug, Clone, Deserialize)]
pub struct Index {
    /// The index itself.
    #[serde(skip)]
    pub file: PathBuf,
    /// Layout of the file.
    pub schema: u32,
    /// Name of the kernel's configuration, such as `6.12`.
    pub kernel: String,
    /// `uname -r` of the kernel.
    pub release: String,
    /// Name of the build profile, such as `release`.
    pub profile: String,
    /// What the profile asks of the guest.
    #[serde(default)]
    pub guest: Guest,
    /// The kernel that QEMU loads.
    pub bzimage: PathBuf,
    /// The kernel's ELF file with its symbols; absent in an index from before it could be debugged.
    #[serde(default)]
    pub vmlinux: Option<PathBuf>,
    /// The kernel's configuration; absent in an index from before scenarios could ask for options.
    #[serde(default)]
    pub config: Option<PathBuf>,
    /// The guest's root.
    pub initramfs: PathBuf,
    /// Module files by the module's name here: `c`, `rust`.
    pub modules: BTreeMap<String, PathBuf>,
    /// The guest's root with a seeded bug in the Rust module, by the bug's name.
    #[serde(default)]
    pub mutants: BTreeMap<String, PathBuf>,
    /// erofs images by name.
    pub images: BTreeMap<String, Image>,
    /// Programs of a distribution by name: folders like a root. Absent in an index from before
    /// there were any.
    #[serde(default)]
    pub programs: BTreeMap<String, PathBuf>,
}

/// The profile that nobody has to name.
const USUAL_PROFILE: &str = "release";

/// How a kernel built with a profile is called: `6.12`, `6.12-debug`.
pub fn label(kernel: &str, profile: &str) -> String {
    match profile {
        USUAL_PROFILE | "" => kernel.to_owned(),
        profile => format!("{kernel}-{profile}"),
    }
}

/// An erofs image.
#[derive(Debug, Clone, Deserialize)]
pub struct Image {
    /// The image and its data blobs.
    pub blobs: Vec<Blob>,
    /// What is in it.
    pub manifest: PathBuf,
}

/// What is wrong with an index. Each message says what to do.
#[derive(Debug)]
pub struct IndexError(String);

impl std::fmt::Display for IndexError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for IndexError {}

impl Index {
    /// How its kernel is called: `6.12`, `6.12-debug`.
    pub fn label(&self) -> String {
        label(&self.kernel, &self.profile)
    }

    /// Reads an index and checks that the kernel and the initramfs are there.
    pub fn load(file: &Path) -> Result<Index, IndexError> {
        let again = format!(
            "make it with `cargo run -p images -- build 6.12 --out {}` (or another kernel of \
             configs/kernels)",
            file.display()
        );
        let text = fs::read_to_string(file).map_err(|error| {
            IndexError(format!(
                "cannot read the artifact index {}: {error}; {again}",
                file.display()
            ))
        })?;
        let mut index: Index = serde_json::from_str(&text).map_err(|error| {
            IndexError(format!(
                "{}: not an artifact index: {error}; {again}",
                file.display()
            ))
        })?;
        if index.schema != SCHEMA {
            return Err(IndexError(format!(
                "{}: schema {}, this program reads schema {SCHEMA}; {again}",
                file.display(),
                index.schema
            )));
        }
        index.file = file.to_owned();
        for path in [&index.bzimage, &index.initramfs] {
            if !path.is_file() {
                return Err(IndexError(format!(
                    "{} names {}, which is not there (was the cache cleaned?); {again}",
                    file.display(),
                    path.display()
                )));
            }
        }
        Ok(index)
    }
}
