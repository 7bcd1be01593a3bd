// SPDX-License-Identifier: GPL-2.0-or-later
//! Descriptions of test images, `configs/images/<name>.yaml`.

use std::fs;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use serde::Deserialize;

use crate::project::Project;

/// Where descriptions are, in the checkout.
pub const FOLDER: &str = "configs/images";

/// A description of one image, or of a family of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Spec {
    /// The file's name without its ending; the image's name, or its family's.
    #[serde(skip)]
    pub name: String,
    /// What all content is generated from.
    pub seed: u64,
    /// Makes it a family: this many images, `name-0000` and so on, each with content of its own.
    pub count: Option<u32>,
    /// The size of a chunk in bytes, for an image whose files are made of chunks.
    pub chunk_size: Option<u32>,
    /// Whether the chunks go into a blob of their own, an extra device of the image.
    #[serde(default)]
    pub device: bool,
    /// Folders; those above files need not be named.
    #[serde(default)]
    pub folders: Vec<Folder>,
    /// Files, one by one.
    #[serde(default)]
    pub files: Vec<File>,
    /// Files by the dozen.
    #[serde(default)]
    pub many: Vec<Many>,
    /// Symbolic links.
    #[serde(default)]
    pub symlinks: Vec<Symlink>,
}

/// A folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    /// Where, from the image's root.
    pub path: String,
    /// Its permissions.
    pub mode: u32,
    /// How many user attributes it has.
    #[serde(default)]
    pub xattrs: u32,
}

/// A file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Where, from the image's root.
    pub path: String,
    /// Its size.
    pub size: Size,
    /// Its permissions.
    #[serde(default = "usual_mode")]
    pub mode: u32,
    /// How many user attributes it has.
    #[serde(default)]
    pub xattrs: u32,
}

/// Files by the dozen, `folder/00/0000` and so on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Many {
    /// The folder they are all in.
    pub folder: String,
    /// How many.
    pub count: u32,
    /// How many to each folder below it.
    pub per_folder: u32,
    /// Their sizes.
    pub size: Size,
    /// The most user attributes that one has; the first has none, the second one, and so on.
    #[serde(default)]
    pub xattrs: u32,
}

/// A size in bytes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub enum Size {
    /// Exactly this.
    Exact(u64),
    /// Something between two bounds, both included, that the seed decides.
    Range(Range),
}

/// Two bounds in bytes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The least.
    pub from: u64,
    /// The most.
    pub to: u64,
}

/// A symbolic link.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Symlink {
    /// Where, from the image's root.
    pub path: String,
    /// What it says.
    pub target: String,
}

fn usual_mode() -> u32 {
    0o644
}

impl Spec {
    /// Reads the description called `name`.
    ///
    /// # Errors
    /// When there is none (naming those there are), or it does not parse or makes no sense.
    pub fn load(project: &Project, name: &str) -> Result<Self> {
        let known = project.names(FOLDER, ".yaml")?;
        if !known.iter().any(|known| known == name) {
            bail!(
                "no image is called {name}; {FOLDER} has: {}",
                known.join(", ")
            );
        }
        let file = format!("{FOLDER}/{name}.yaml");
        let text = fs::read_to_string(project.path(&file))
            .with_context(|| format!("cannot read {file}"))?;
        Self::parse(name, &text).with_context(|| format!("{file} is no image description"))
    }

    /// Reads a description from its text.
    ///
    /// # Errors
    /// When it does not parse or makes no sense.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut spec: Self = serde_yaml::from_str(text)?;
        spec.name = name.to_owned();
        if spec.count.is_some_and(|count| count == 0 || count > 10_000) {
            bail!("count: must be from 1 to 10000");
        }
        if spec.device && spec.chunk_size.is_none() {
            bail!("device: only chunks can go into a blob of their own; give a chunk-size");
        }
        if let Some(size) = spec.chunk_size {
            if !size.is_power_of_two() || size < 4096 {
                bail!("chunk-size: {size} is no power of two from 4096 on");
            }
        }
        let paths = spec.folders.iter().map(|folder| &folder.path);
        let paths = paths.chain(spec.files.iter().map(|file| &file.path));
        let paths = paths.chain(spec.many.iter().map(|many| &many.folder));
        for path in paths.chain(spec.symlinks.iter().map(|link| &link.path)) {
            let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
            if !path.split('/').all(plain) {
                bail!("path: {path:?} must be relative and plain");
            }
        }
        let modes = spec.folders.iter().map(|folder| folder.mode);
        if modes
            .chain(spec.files.iter().map(|file| file.mode))
            .any(|mode| mode > 0o7777)
        {
            bail!("mode: at most 0o7777, permissions only");
        }
        if spec.many.iter().any(|many| many.per_folder == 0) {
            bail!("per-folder: at least 1");
        }
        let sizes = spec.files.iter().map(|file| file.size);
        for size in sizes.chain(spec.many.iter().map(|many| many.size)) {
            if let Size::Range(Range { from, to }) = size {
                if from > to {
                    bail!("size: from {from} is more than to {to}");
                }
            }
        }
        Ok(spec)
    }

    /// The names of the images that this describes.
    pub fn images(&self) -> Vec<String> {
        match self.count {
            None => vec![self.name.clone()],
            Some(count) => (0..count)
                .map(|index| format!("{}-{index:04}", self.name))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_expands_to_numbered_images() {
        let spec = Spec::parse("scale", "seed: 1\ncount: 3\n").unwrap();
        assert_eq!(spec.images(), ["scale-0000", "scale-0001", "scale-0002"]);
        assert_eq!(
            Spec::parse("small", "seed: 1\n").unwrap().images(),
            ["small"]
        );
    }

    #[test]
    fn modes_are_read_as_octal() {
        let spec = Spec::parse("x", "seed: 1\nfiles: [{path: a, size: 1, mode: 0o4755}]\n");
        assert_eq!(spec.unwrap().files[0].mode, 0o4755);
    }

    #[test]
    fn mistakes_are_errors_that_name_them() {
        for (text, word) in [
            ("seed: 1\nfile: []\n", "file"),
            ("seed: 1\nfiles: [{path: /a, size: 1}]\n", "relative"),
            ("seed: 1\nfiles: [{path: a/../b, size: 1}]\n", "relative"),
            (
                "seed: 1\nfiles: [{path: a, size: {from: 2, to: 1}}]\n",
                "from 2",
            ),
            ("seed: 1\ndevice: true\n", "chunk-size"),
            ("seed: 1\nchunk-size: 5000\n", "power of two"),
            ("seed: 1\ncount: 0\n", "count"),
            ("count: 1\n", "seed"),
        ] {
            let error = format!("{:#}", Spec::parse("x", text).unwrap_err());
            assert!(error.contains(word), "{text:?}: {error}");
        }
    }

    #[test]
    fn the_descriptions_of_this_checkout_are_valid() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let project = Project::at(&root).unwrap();
        let names = project.names(FOLDER, ".yaml").unwrap();
        for name in ["small", "big", "multi", "scale", "fill"] {
            assert!(names.iter().any(|known| known == name), "{name} is missing");
        }
        for name in names {
            Spec::load(&project, &name).unwrap();
        }
    }
}
