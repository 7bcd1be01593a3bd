// SPDX-License-Identifier: GPL-2.0-or-later
//! The foreign on-demand daemon: a program of a workspace of its own around the published crate
//! `nydus-service`, and the RAFS image that it serves, made by the same program with
//! `nydus-builder`. The image's content comes from a seed, as that of the erofs images does.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use rustix::fs::AtFlags;
use rustix::fs::CWD;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;

use crate::Builder;
use crate::cache;
use crate::command;
use crate::command::Run;
use crate::digest;
use crate::digest::Key;
use crate::erofs::content;
use crate::erofs::manifest::Manifest;
use crate::erofs::spec::Spec;
use crate::guest;
use crate::index::Blob;
use crate::index::Image;

/// What scenarios call the program's folder, and the image.
pub const NAME: &str = "nydus";
/// The workspace.
const FOLDER: &str = "vmtests/foreign/nydus";
/// The files of it that the program is made of.
const SOURCES: [&str; 3] = ["Cargo.toml", "Cargo.lock", "src"];
/// The description of the image, in the workspace.
const IMAGE: &str = "image.yaml";
/// The program.
const PROGRAM: &str = "nydus-guest";
/// Changes when the way of building changes in a way that the result shows.
const RECIPE: u32 = 1;
/// How long building may take.
const LIMIT: Duration = Duration::from_secs(60 * 60);
/// Where Debian keeps libssl.a: the crates would otherwise build an OpenSSL of their own, which
/// takes longer than all the rest, and which nothing here uses.
const OPENSSL: [(&str, &str); 4] = [
    ("OPENSSL_NO_VENDOR", "1"),
    ("OPENSSL_STATIC", "1"),
    ("OPENSSL_LIB_DIR", "/usr/lib/x86_64-linux-gnu"),
    ("OPENSSL_INCLUDE_DIR", "/usr/include"),
];

/// What was built.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// A folder like a root, with the program in usr/bin.
    pub programs: PathBuf,
    /// The image.
    pub image: Image,
}

/// Builds the program and its image, or finds them built.
///
/// # Errors
/// When cargo fails, or the program does.
pub fn build(builder: &Builder) -> Result<Foreign> {
    let programs = build_program(builder).context("building the foreign daemon")?;
    let image = build_image(builder, &programs.join("usr/bin").join(PROGRAM))
        .context("making the foreign daemon's image")?;
    Ok(Foreign { programs, image })
}

fn build_program(builder: &Builder) -> Result<PathBuf> {
    let root = builder.project.root();
    let sources = builder.project.path(FOLDER);
    let mut key = Key::new("foreign", RECIPE);
    key.add("rustc", &guest::version("rustc", root)?);
    for name in SOURCES {
        let path = sources.join(name);
        match path.is_dir() {
            true => key.add_folder(name, &path)?,
            false => {
                let text = fs::read(&path)
                    .with_context(|| format!("cannot read {FOLDER}/{name} of the checkout"))?;
                key.add_bytes(name, &text);
            }
        }
    }
    let key = key.finish();
    let what = "the foreign daemon (crate nydus-service)";
    builder
        .cache
        .entry("foreign", &key, what, &builder.progress, |folder| {
            builder.progress.step(&format!("{what}: build"));
            let log = command::fresh_log(builder.cache.log("foreign", &key)?)?;
            let target = root.join("target").join("foreign");
            let mut cargo = guest::cargo(root, &sources, &target)?;
            cargo.arg("--release").envs(OPENSSL);
            Run {
                what: "building the foreign daemon (its crates need cmake and libssl-dev)",
                log: &log,
                limit: LIMIT,
                progress: &builder.progress,
            }
            .run(cargo)?;
            let built = target.join(guest::TARGET).join("release").join(PROGRAM);
            let bin = folder.join("usr/bin");
            fs::create_dir_all(&bin)?;
            fs::copy(&built, bin.join(PROGRAM))
                .with_context(|| format!("cargo left no {}", built.display()))?;
            guest::check_static(&bin.join(PROGRAM))
        })
}

fn build_image(builder: &Builder, program: &Path) -> Result<Image> {
    let file = format!("{FOLDER}/{IMAGE}");
    let text = fs::read_to_string(builder.project.path(&file))
        .with_context(|| format!("cannot read {file}"))?;
    let spec = Spec::parse(NAME, &text).with_context(|| format!("{file} is no description"))?;
    if spec.count.is_some() || spec.device || spec.chunk_size.is_some() {
        bail!("{file}: a RAFS image is one image, and its chunks are the builder's affair");
    }
    let mut key = Key::new("rafs", RECIPE);
    key.add("spec", &format!("{spec:?}"));
    key.add("program", &digest::file_sha256(program)?);
    let key = key.finish();
    let what = "the foreign daemon's image";
    let folder = builder
        .cache
        .entry("rafs", &key, what, &builder.progress, |folder| {
            builder.progress.step(&format!("{what}: make"));
            make_image(&spec, program, folder)
        })?;
    let device = fs::read_to_string(folder.join("blob-id"))?;
    let blob = |fsid: &str, path: &str| Blob {
        fsid: fsid.to_owned(),
        path: folder.join(path),
    };
    Ok(Image {
        blobs: vec![blob(NAME, "bootstrap"), blob(&device, &device)],
        manifest: folder.join("manifest.json"),
        // The image's own device table names it.
        device: None,
    })
}

/// Makes the image: content, the builder's two files, manifest, and the blob's id.
fn make_image(spec: &Spec, program: &Path, folder: &Path) -> Result<()> {
    let tree = folder.join("tree");
    fs::create_dir(&tree)?;
    let manifest = content::write(spec, NAME, &tree)?;
    forget_times(&tree, &manifest)?;
    let mut make = command::clean(program);
    make.arg("image").arg(&tree).arg(folder);
    let id = command::output("making a RAFS image", make)?;
    cache::write_whole(&folder.join("blob-id"), id.trim().as_bytes())?;
    let mut text = serde_json::to_vec(&manifest)?;
    text.push(b'\n');
    cache::write_whole(&folder.join("manifest.json"), &text)?;
    fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))
}

/// Sets every time to 0: the builder stores them, and two runs would differ.
fn forget_times(tree: &Path, manifest: &Manifest) -> Result<()> {
    let zero = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: zero,
        last_modification: zero,
    };
    for node in &manifest.files {
        let path = tree.join(node.path());
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)
            .with_context(|| format!("cannot set the time of {}", path.display()))?;
    }
    Ok(())
}
