// SPDX-License-Identifier: GPL-2.0-or-later
//! Erofs test images: described in YAML, filled from a seed, made by mkfs.erofs, with a manifest
//! of what must be found in each.

pub mod content;
pub mod manifest;
pub mod spec;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;

use crate::Builder;
use crate::cache;
use crate::command;
use crate::digest;
use crate::digest::Key;
use crate::index::Blob;
use crate::index::Image;
use spec::Spec;

/// Changes when the way of building changes in a way that the result shows.
const RECIPE: u32 = 3;

/// Builds the images of these descriptions (of all there are, if none is named), or finds them
/// built.
///
/// # Errors
/// When a description is wrong or mkfs.erofs fails.
pub fn build(builder: &Builder, names: &[String]) -> Result<BTreeMap<String, Image>> {
    let names = match names {
        [] => builder.project.names(spec::FOLDER, ".yaml")?,
        some => some.to_vec(),
    };
    let mkfs = find_mkfs()?;
    let tool = digest::file_sha256(&mkfs)?;
    let mut images = BTreeMap::new();
    for name in names {
        let spec = Spec::load(&builder.project, &name)?;
        build_one(builder, &spec, &mkfs, &tool, &mut images)
            .with_context(|| format!("making the image {name}"))?;
    }
    Ok(images)
}

fn build_one(
    builder: &Builder,
    spec: &Spec,
    mkfs: &Path,
    tool: &str,
    images: &mut BTreeMap<String, Image>,
) -> Result<()> {
    let mut key = Key::new("erofs", RECIPE);
    // What it means counts, not how it is written or commented; Debug shows all of it.
    key.add("spec", &format!("{spec:?}"));
    // mkfs.erofs 1.5 has no option that prints its version and succeeds.
    key.add("mkfs", tool);
    let key = key.finish();
    let names = spec.images();
    let what = format!("erofs image {}", spec.name);
    let folder = builder
        .cache
        .entry("erofs", &key, &what, &builder.progress, |folder| {
            builder
                .progress
                .step(&format!("{what}: make ({} in all)", names.len()));
            make_all(builder, spec, &names, mkfs, folder)
        })?;
    for name in names {
        let blob = |fsid: String| {
            let path = folder.join(format!("{fsid}.erofs"));
            Blob { fsid, path }
        };
        let mut blobs = vec![blob(name.clone())];
        let device = spec.device.then(|| device_name(&name));
        blobs.extend(device.clone().map(blob));
        let manifest = folder.join(format!("{name}.manifest.json"));
        images.insert(
            name,
            Image {
                blobs,
                manifest,
                device,
            },
        );
    }
    Ok(())
}

/// The fsid of an image's extra device.
fn device_name(image: &str) -> String {
    format!("{image}-blob")
}

/// Makes all images of a family, as many at a time as there are cores.
fn make_all(
    builder: &Builder,
    spec: &Spec,
    names: &[String],
    mkfs: &Path,
    folder: &Path,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(name) = names.get(index) else {
                return Ok(());
            };
            builder
                .progress
                .detail(&format!("{} of {}", index + 1, names.len()));
            if let Err(error) = make(spec, name, mkfs, folder) {
                // Nobody else needs to go on.
                next.store(names.len(), Ordering::Relaxed);
                return Err(error.context(format!("image {name}")));
            }
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..crate::kernel::build::jobs().min(names.len()))
            .map(|_| scope.spawn(work))
            .collect();
        for worker in workers {
            worker
                .join()
                .map_err(|_| anyhow!("a worker that makes images panicked"))??;
        }
        Ok(())
    })
}

/// Makes one image: content, mkfs, manifest.
fn make(spec: &Spec, name: &str, mkfs: &Path, folder: &Path) -> Result<()> {
    let tree = folder.join(format!("{name}.tree"));
    fs::create_dir(&tree)?;
    let manifest = content::write(spec, name, &tree)?;
    let mut command = command::clean(mkfs);
    // Everything that would differ between two runs is given: times, owner, identity.
    command.args(["-T0", "--all-root", "--quiet", "-U", &uuid(spec, name)]);
    if let Some(size) = spec.chunk_size {
        command.arg(format!("--chunksize={size}"));
    }
    if spec.device {
        let blob = folder.join(format!("{}.erofs", device_name(name)));
        command.arg(format!("--blobdev={}", blob.display()));
    }
    command.arg(folder.join(format!("{name}.erofs"))).arg(&tree);
    command::output("making an erofs image", command)?;
    let mut text = serde_json::to_vec(&manifest)?;
    text.push(b'\n');
    cache::write_whole(&folder.join(format!("{name}.manifest.json")), &text)?;
    fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))
}

/// An image's identity, from its name and seed.
fn uuid(spec: &Spec, name: &str) -> String {
    let digest = digest::sha256(format!("{name}/{}", spec.seed).as_bytes());
    // Version 8 of RFC 9562: made up by the application.
    format!(
        "{}-{}-8{}-8{}-{}",
        &digest[..8],
        &digest[8..12],
        &digest[13..16],
        &digest[17..20],
        &digest[20..32]
    )
}

fn find_mkfs() -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    // Where Debian keeps such tools, in case an ordinary user's path leaves it out.
    folders.push("/usr/sbin".into());
    folders
        .into_iter()
        .map(|folder| folder.join("mkfs.erofs"))
        .find(|path| path.is_file())
        .context("there is no mkfs.erofs; install erofs-utils")
}

#[cfg(test)]
mod tests {
    use super::*;

    use manifest::Manifest;
    use manifest::Node;

    fn made(text: &str) -> (tempfile::TempDir, Manifest) {
        let dir = tempfile::tempdir().unwrap();
        let spec = Spec::parse("x", text).unwrap();
        make(&spec, "x", &find_mkfs().unwrap(), dir.path()).unwrap();
        let manifest = fs::read(dir.path().join("x.manifest.json")).unwrap();
        let manifest = serde_json::from_slice(&manifest).unwrap();
        (dir, manifest)
    }

    /// Unpacks an image with erofs-utils' own reader and compares it with its manifest.
    fn assert_holds(dir: &Path, manifest: &Manifest) {
        let out = dir.join("out");
        let mut fsck = command::clean("fsck.erofs");
        let blob = dir.join("x-blob.erofs");
        if blob.exists() {
            fsck.arg(format!("--device={}", blob.display()));
        }
        fsck.arg(format!("--extract={}", out.display()))
            .arg(dir.join("x.erofs"));
        command::output("unpacking", fsck).unwrap();
        let mut checked = 0;
        for node in &manifest.files {
            let path = out.join(node.path());
            match node {
                Node::File { size, sha256, .. } => {
                    assert_eq!(fs::metadata(&path).unwrap().len(), *size);
                    assert_eq!(
                        digest::file_sha256(&path).unwrap(),
                        *sha256,
                        "{}",
                        node.path()
                    );
                }
                Node::Dir { .. } => assert!(path.is_dir()),
                Node::Symlink { target, .. } => {
                    assert_eq!(fs::read_link(&path).unwrap(), Path::new(target));
                }
            }
            checked += 1;
        }
        assert_eq!(checked, manifest.files.len());
    }

    const TREE: &str = "seed: 1\nfiles: [{path: d/a, size: 300001}, {path: e, size: 0}]\n\
        many: [{folder: m, count: 30, per-folder: 7, size: {from: 1, to: 9000}, xattrs: 2}]\n\
        symlinks: [{path: l, target: d/a}]\n";

    #[test]
    fn an_image_holds_what_its_manifest_says() {
        let (dir, manifest) = made(TREE);
        assert_holds(dir.path(), &manifest);
    }

    #[test]
    fn an_image_with_a_device_holds_its_data_there() {
        let (dir, manifest) = made(&format!("{TREE}chunk-size: 4096\ndevice: true\n"));
        assert_holds(dir.path(), &manifest);
        assert!(fs::metadata(dir.path().join("x-blob.erofs")).unwrap().len() >= 300_001);
        assert!(fs::metadata(dir.path().join("x.erofs")).unwrap().len() < 100_000);
    }

    #[test]
    fn the_same_description_gives_the_same_bytes() {
        for text in [
            TREE.to_owned(),
            format!("{TREE}chunk-size: 4096\ndevice: true\n"),
        ] {
            let (one, _) = made(&text);
            let (other, _) = made(&text);
            for file in ["x.erofs", "x-blob.erofs", "x.manifest.json"] {
                let read = |dir: &tempfile::TempDir| fs::read(dir.path().join(file)).ok();
                assert!(read(&one) == read(&other), "{file} differs");
            }
        }
    }
}
