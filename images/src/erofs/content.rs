// SPDX-License-Identifier: GPL-2.0-or-later
//! Generates an image's content from its seed and writes it as a folder for mkfs.erofs.
//!
//! Every file's bytes come from a stream of their own, named by image, seed and path: adding a
//! file changes no other. The stream is ChaCha8's, which will be the same in any version.

use std::collections::BTreeMap;
use std::fs;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;
use rand_chacha::rand_core::SeedableRng;
use rustix::fs::XattrFlags;
use sha2::Digest;
use sha2::Sha256;

use super::manifest::Manifest;
use super::manifest::Node;
use super::manifest::SCHEMA;
use super::spec::Range;
use super::spec::Size;
use super::spec::Spec;

/// How much content is generated at a time.
const PIECE: usize = 1 << 20;

/// Something to be written.
#[derive(Clone, Debug)]
enum Plan {
    Folder { mode: u32, xattrs: u32 },
    File { mode: u32, size: Size, xattrs: u32 },
    Symlink { target: String },
}

/// Writes the content of `image` (one of `spec.images()`) into the empty folder `root`.
///
/// # Errors
/// When two things have the same path, or something cannot be written.
pub fn write(spec: &Spec, image: &str, root: &Path) -> Result<Manifest> {
    let plans = plan(spec)?;
    let mut files = Vec::new();
    for (path, plan) in &plans {
        let at = root.join(path);
        let stream = Stream {
            image,
            seed: spec.seed,
            path,
        };
        let node = match plan {
            Plan::Folder { mode, xattrs } => {
                fs::create_dir(&at).with_context(|| format!("cannot make {}", at.display()))?;
                let xattrs = set_xattrs(&at, &stream, *xattrs)?;
                Node::Dir {
                    path: path.clone(),
                    mode: *mode,
                    xattrs,
                }
            }
            Plan::File { mode, size, xattrs } => {
                let size = stream.size(*size);
                let sha256 = write_file(&at, &stream, size)
                    .with_context(|| format!("cannot write {}", at.display()))?;
                let xattrs = set_xattrs(&at, &stream, *xattrs)?;
                fs::set_permissions(&at, Permissions::from_mode(*mode))?;
                Node::File {
                    path: path.clone(),
                    mode: *mode,
                    size,
                    sha256,
                    xattrs,
                }
            }
            Plan::Symlink { target } => {
                symlink(target, &at).with_context(|| format!("cannot make {}", at.display()))?;
                Node::Symlink {
                    path: path.clone(),
                    target: target.clone(),
                }
            }
        };
        files.push(node);
    }
    // Only now: a folder that its owner cannot write could not have been filled.
    for (path, plan) in &plans {
        if let Plan::Folder { mode, .. } = plan {
            fs::set_permissions(root.join(path), Permissions::from_mode(*mode))?;
        }
    }
    Ok(Manifest {
        schema: SCHEMA,
        files,
    })
}

/// Everything to be written, by path; what lies above something sorts before it.
fn plan(spec: &Spec) -> Result<BTreeMap<String, Plan>> {
    let mut plans = BTreeMap::new();
    for folder in &spec.folders {
        add(
            &mut plans,
            &folder.path,
            Plan::Folder {
                mode: folder.mode,
                xattrs: folder.xattrs,
            },
        )?;
    }
    for file in &spec.files {
        let plan = Plan::File {
            mode: file.mode,
            size: file.size,
            xattrs: file.xattrs,
        };
        add(&mut plans, &file.path, plan)?;
    }
    for many in &spec.many {
        for index in 0..many.count {
            let path = format!("{}/{:02}/{index:04}", many.folder, index / many.per_folder);
            let xattrs = index % (many.xattrs + 1);
            add(
                &mut plans,
                &path,
                Plan::File {
                    mode: 0o644,
                    size: many.size,
                    xattrs,
                },
            )?;
        }
    }
    for link in &spec.symlinks {
        add(
            &mut plans,
            &link.path,
            Plan::Symlink {
                target: link.target.clone(),
            },
        )?;
    }
    let paths: Vec<String> = plans.keys().cloned().collect();
    for path in paths {
        for (index, _) in path.match_indices('/') {
            let above = &path[..index];
            match plans.get(above) {
                None => {
                    plans.insert(
                        above.to_owned(),
                        Plan::Folder {
                            mode: 0o755,
                            xattrs: 0,
                        },
                    );
                }
                Some(Plan::Folder { .. }) => {}
                Some(_) => bail!("{path} cannot lie below {above}, which is no folder"),
            }
        }
    }
    Ok(plans)
}

fn add(plans: &mut BTreeMap<String, Plan>, path: &str, plan: Plan) -> Result<()> {
    if plans.insert(path.to_owned(), plan).is_some() {
        bail!("{path} is described twice");
    }
    Ok(())
}

/// Where the bytes of one file come from.
struct Stream<'a> {
    image: &'a str,
    seed: u64,
    path: &'a str,
}

impl Stream<'_> {
    /// A generator for one purpose of this file.
    fn generator(&self, purpose: &str) -> ChaCha8Rng {
        let mut hash = Sha256::new();
        for part in [self.image, self.path, purpose] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        hash.update(self.seed.to_le_bytes());
        ChaCha8Rng::from_seed(hash.finalize().into())
    }

    fn size(&self, size: Size) -> u64 {
        match size {
            Size::Exact(size) => size,
            Size::Range(Range { from, to }) => {
                from + self.generator("size").next_u64() % (to - from + 1)
            }
        }
    }
}

/// Writes a file's content; returns its digest.
fn write_file(path: &Path, stream: &Stream, size: u64) -> Result<String> {
    let mut file = fs::File::create_new(path)?;
    let mut generator = stream.generator("content");
    let mut hash = Sha256::new();
    let mut left = size;
    let mut piece = vec![0; PIECE.min(usize::try_from(size).unwrap_or(PIECE))];
    while left > 0 {
        let count = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
        let bytes = &mut piece[..count];
        generator.fill_bytes(bytes);
        hash.update(&*bytes);
        file.write_all(bytes)?;
        left -= count as u64;
    }
    Ok(hex::encode(hash.finalize()))
}

/// Sets `count` user attributes, the second of them empty.
///
/// mkfs.erofs stores them in the order that the filesystem lists them in: that of setting (ext4,
/// xfs), its reverse (tmpfs once), or by descending name (tmpfs today). Descending is what all can
/// be brought to. Several attributes have short values, so that ext4 keeps them all in the inode
/// and in order.
fn set_xattrs(path: &Path, stream: &Stream, count: u32) -> Result<BTreeMap<String, String>> {
    let mut wanted = Vec::new();
    let mut generator = stream.generator("xattrs");
    for index in 0..count {
        let most = match (count, index) {
            (1, _) => 64,
            (_, 1) => 0,
            _ => 8,
        };
        let length = if most == 0 {
            0
        } else {
            1 + generator.next_u32() as usize % most
        };
        let mut value = vec![0; length];
        generator.fill_bytes(&mut value);
        wanted.push((format!("user.test{index}"), value));
    }
    let set = |(name, value): &(String, Vec<u8>)| {
        rustix::fs::setxattr(path, name, value, XattrFlags::empty()).with_context(|| {
            format!(
                "cannot set {name} on {}; the cache must be on a filesystem with user attributes \
                 (ext4, xfs, btrfs)",
                path.display()
            )
        })
    };
    wanted.iter().rev().try_for_each(set)?;
    if wanted.len() > 1 && !lists_in_order(path)? {
        for (name, _) in &wanted {
            rustix::fs::removexattr(path, name)
                .with_context(|| format!("cannot remove {name} from {}", path.display()))?;
        }
        wanted.iter().try_for_each(set)?;
    }
    Ok(wanted
        .into_iter()
        .map(|(name, value)| (name, hex::encode(value)))
        .collect())
}

/// Whether the filesystem lists a file's user attributes by descending name.
fn lists_in_order(path: &Path) -> Result<bool> {
    let mut buffer = vec![0; 64 << 10];
    let size = rustix::fs::listxattr(path, &mut buffer[..])
        .with_context(|| format!("cannot list the attributes of {}", path.display()))?;
    let names = buffer[..size].split(|&byte| byte == 0);
    Ok(names
        .filter(|name| name.starts_with(b"user."))
        .is_sorted_by(|one, next| one > next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(spec: &Spec, image: &str) -> Manifest {
        let dir = tempfile::tempdir().unwrap();
        write(spec, image, dir.path()).unwrap()
    }

    fn digest_of(manifest: &Manifest, wanted: &str) -> String {
        let node = manifest
            .files
            .iter()
            .find(|node| node.path() == wanted)
            .unwrap();
        let Node::File { sha256, .. } = node else {
            panic!("{wanted} is no file")
        };
        sha256.clone()
    }

    #[test]
    fn the_same_seed_gives_the_same_content_and_another_image_another() {
        let text = "seed: 9\ncount: 2\nfiles: [{path: a, size: {from: 1000, to: 9000}}]\n";
        let spec = Spec::parse("x", text).unwrap();
        assert_eq!(files(&spec, "x-0000"), files(&spec, "x-0000"));
        assert_ne!(
            digest_of(&files(&spec, "x-0000"), "a"),
            digest_of(&files(&spec, "x-0001"), "a")
        );
        let other = Spec::parse("x", &text.replace("seed: 9", "seed: 10")).unwrap();
        assert_ne!(
            digest_of(&files(&spec, "x-0000"), "a"),
            digest_of(&files(&other, "x-0000"), "a")
        );
    }

    #[test]
    fn the_stream_is_pinned_so_that_a_new_library_version_cannot_change_images() {
        let spec = Spec::parse("x", "seed: 9\nfiles: [{path: a, size: 5}]\n").unwrap();
        let dir = tempfile::tempdir().unwrap();
        write(&spec, "x", dir.path()).unwrap();
        assert_eq!(
            hex::encode(fs::read(dir.path().join("a")).unwrap()),
            "d6bd2d6070"
        );
    }

    #[test]
    fn adding_a_file_leaves_the_others_alone() {
        let one = Spec::parse("x", "seed: 9\nfiles: [{path: a, size: 99}]\n").unwrap();
        let both = "seed: 9\nfiles: [{path: 0, size: 7}, {path: a, size: 99}]\n";
        let both = both.replace("path: 0", "path: \"0\"");
        let both = Spec::parse("x", &both).unwrap();
        assert_eq!(
            digest_of(&files(&one, "x"), "a"),
            digest_of(&files(&both, "x"), "a")
        );
    }

    #[test]
    fn the_manifest_tells_what_lies_on_disk() {
        let spec = Spec::parse(
            "x",
            "seed: 1\nfiles: [{path: d/a, size: 3000000, mode: 0o400}, {path: e, size: 0}]\n\
             symlinks: [{path: l, target: e}]\nfolders: [{path: closed, mode: 0o500}]\n",
        )
        .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let manifest = write(&spec, "x", dir.path()).unwrap();
        let paths: Vec<&str> = manifest.files.iter().map(Node::path).collect();
        assert_eq!(paths, ["closed", "d", "d/a", "e", "l"]);
        let path = dir.path().join("d/a");
        assert_eq!(
            digest_of(&manifest, "d/a"),
            crate::digest::file_sha256(&path).unwrap()
        );
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o400
        );
        let closed = fs::metadata(dir.path().join("closed")).unwrap();
        assert_eq!(closed.permissions().mode() & 0o7777, 0o500);
    }

    #[test]
    fn attributes_are_listed_in_one_order_whatever_the_filesystem() {
        let text = "seed: 1\nfiles: [{path: a, size: 1, xattrs: 3}]\n";
        let spec = Spec::parse("x", text).unwrap();
        for place in [std::env::temp_dir(), "/dev/shm".into()] {
            let Ok(dir) = tempfile::tempdir_in(&place) else {
                continue;
            };
            // Old kernels have no user attributes on tmpfs: nothing to order there.
            let probe = dir.path().join("probe");
            fs::write(&probe, "").unwrap();
            if rustix::fs::setxattr(&probe, "user.p", b"", XattrFlags::empty()).is_err() {
                continue;
            }
            fs::remove_file(&probe).unwrap();
            write(&spec, "x", dir.path()).unwrap();
            assert!(
                lists_in_order(&dir.path().join("a")).unwrap(),
                "{}",
                place.display()
            );
        }
    }

    #[test]
    fn a_path_used_twice_or_below_a_file_is_an_error() {
        for text in [
            "seed: 1\nfiles: [{path: a, size: 1}, {path: a, size: 2}]\n",
            "seed: 1\nfiles: [{path: a, size: 1}, {path: a/b, size: 2}]\n",
        ] {
            assert!(plan(&Spec::parse("x", text).unwrap()).is_err(), "{text}");
        }
    }
}
