// SPDX-License-Identifier: GPL-2.0-or-later
//! Packs the guest's initramfs: the agent as init, the daemon, busybox and the modules.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::Builder;
use crate::cpio::Archive;
use crate::digest;
use crate::guest::Programs;
use crate::kernel::Kernel;

/// The file's name in its cache entry.
const FILE: &str = "initramfs.cpio";
/// A shell for people who look around in a guest; the agent does not need it.
const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];
/// Places to mount on and work in.
const FOLDERS: [(&str, u32); 12] = [
    ("blobs", 0o755),
    ("cache", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var", 0o755),
];

/// Packs the initramfs, or finds it packed: with the kernel's own modules, and with `ours`.
///
/// # Errors
/// When a part cannot be read.
pub fn build(
    builder: &Builder,
    kernel: &Kernel,
    ours: &[PathBuf],
    programs: &Programs,
) -> Result<PathBuf> {
    let Some(busybox) = BUSYBOX.iter().map(Path::new).find(|path| path.exists()) else {
        bail!(
            "there is no {} to put into the guest; install busybox-static",
            BUSYBOX[0]
        );
    };
    let read = |path: &Path| {
        fs::read(path).with_context(|| format!("cannot read {} for the guest", path.display()))
    };
    let mut archive = Archive::default();
    for (folder, permissions) in FOLDERS {
        archive.folder(folder, permissions)?;
    }
    archive.file("init", 0o755, read(&programs.agent)?)?;
    archive.file("bin/cachefilesd", 0o755, read(&programs.daemon)?)?;
    archive.file("bin/busybox", 0o755, read(busybox)?)?;
    archive.link("bin/sh", "busybox")?;
    for path in kernel.modules.iter().chain(ours) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            bail!("{} has no usable file name", path.display());
        };
        archive.file(&format!("lib/modules/{name}"), 0o644, read(path)?)?;
    }
    // Packing takes milliseconds: the result's own digest is the simplest key that cannot be
    // wrong.
    let bytes = archive.finish();
    let key = &digest::sha256(&bytes)[..32];
    let what = format!("the initramfs for Linux {}", kernel.release);
    let folder = builder
        .cache
        .entry("initramfs", key, &what, &builder.progress, |folder| {
            builder.progress.step(&format!("{what}: pack"));
            fs::write(folder.join(FILE), &bytes).context("cannot write the initramfs")
        })?;
    Ok(folder.join(FILE))
}
