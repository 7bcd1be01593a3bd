// SPDX-License-Identifier: GPL-2.0-or-later
//! Folders for the guest made from files of the artifact cache: the daemon's blob store (a file
//! per fsid) and the fixtures (a manifest per image).
//!
//! The files are hard links where the filesystem allows it, else copies; symbolic links would lead
//! out of the share, where the guest cannot follow. Guests get them read-only.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context;
use anyhow::ensure;

use crate::artifacts::Index;

/// Fills `blobs` and `fixtures` for the images `names`.
pub fn fill(blobs: &Path, fixtures: &Path, index: &Index, names: &[&str]) -> anyhow::Result<()> {
    let mut there = BTreeSet::new();
    for name in names {
        let Some(image) = index.images.get(*name) else {
            continue;
        };
        for blob in &image.blobs {
            ensure!(
                plain_name(&blob.fsid),
                "image `{name}`: `{}` is no file name, correct the fsid in {}",
                blob.fsid,
                index.file.display()
            );
            // Images may share a blob.
            if there.insert(blob.fsid.as_str()) {
                place(&blob.path, &blobs.join(&blob.fsid))
                    .with_context(|| format!("blob `{}` of the image `{name}`", blob.fsid))?;
            }
        }
        let manifest = fixtures.join(format!("{name}.manifest.json"));
        place(&image.manifest, &manifest)
            .with_context(|| format!("manifest of the image `{name}`"))?;
    }
    Ok(())
}

fn plain_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains('/')
}

fn place(from: &Path, to: &Path) -> anyhow::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error).with_context(|| {
            format!(
                "{} is not there: run the build again (`images build`)",
                from.display()
            )
        }),
        // Another filesystem, another owner, too many links.
        Err(_) => fs::copy(from, to)
            .map(drop)
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        assert!(plain_name("small"));
        assert!(!plain_name("../small"));
        assert!(!plain_name(".."));
        assert!(!plain_name(""));
    }

    #[test]
    fn a_file_is_placed_and_a_missing_one_says_what_to_run() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        fs::write(&from, "x").unwrap();
        place(&from, &dir.path().join("to")).unwrap();
        assert_eq!(fs::read(dir.path().join("to")).unwrap(), b"x");
        let error = place(&dir.path().join("none"), &dir.path().join("to2")).unwrap_err();
        assert!(error.to_string().contains("images build"), "{error}");
    }
}
