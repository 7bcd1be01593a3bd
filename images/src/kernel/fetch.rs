// SPDX-License-Identifier: GPL-2.0-or-later
//! A locked kernel's source tree: fetched, checked against the lock, unpacked.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use super::apt::Apt;
use super::lockfile::FOLDER;
use super::lockfile::KernelLock;
use crate::Builder;
use crate::cache;
use crate::command;
use crate::command::Run;
use crate::digest;

/// How long unpacking may take.
const UNPACK_LIMIT: Duration = Duration::from_secs(30 * 60);

/// The source tree of a lock, from the cache if it is there.
///
/// # Errors
/// When the package cannot be had, or is not what the lock says.
pub fn source(builder: &Builder, lock: &KernelLock) -> Result<PathBuf> {
    let what = format!("the source of Linux {}", lock.version);
    builder
        .cache
        .entry("src", &lock.sha256, &what, &builder.progress, |folder| {
            let log = command::fresh_log(builder.cache.log("fetch", &lock.name)?)?;
            let downloads = builder.cache.folder("downloads")?.join(&lock.sha256);
            cache::remove_if_there(&downloads)?;
            let tarball = download(builder, lock, &downloads, &log)?;
            builder
                .progress
                .step(&format!("Linux {}: check the digest", lock.version));
            check(lock, &tarball)?;
            builder
                .progress
                .step(&format!("Linux {}: unpack", lock.version));
            let mut unpack = command::clean("tar");
            unpack
                .arg("-xf")
                .arg(&tarball)
                .args(["--strip-components=1", "-C"])
                .arg(folder);
            Run {
                what: "unpacking the kernel's source",
                log: &log,
                limit: UNPACK_LIMIT,
                progress: &builder.progress,
            }
            .run(unpack)?;
            // The tree is what is needed from here on; the package would only take up room.
            cache::remove_if_there(&downloads)
        })
}

/// Downloads the lock's package and takes its tarball out.
fn download(builder: &Builder, lock: &KernelLock, downloads: &Path, log: &Path) -> Result<PathBuf> {
    let progress = &builder.progress;
    progress.step(&format!(
        "Linux {}: fetch the package lists of {}",
        lock.version, lock.suite
    ));
    let apt = Apt::update(downloads, &lock.suite, &lock.component, log, progress)?;
    let versions = apt.versions(&lock.package)?;
    if !versions.contains(&lock.package_version) {
        bail!(
            "{} has no {} {} any more (it has: {}); move the lock with `images kernel lock {}`, \
             which rewrites {FOLDER}/{}.yaml",
            lock.suite,
            lock.package,
            lock.package_version,
            if versions.is_empty() {
                "none".to_owned()
            } else {
                versions.join(", ")
            },
            lock.name,
            lock.name,
        );
    }
    progress.step(&format!(
        "Linux {}: download {} {}",
        lock.version, lock.package, lock.package_version
    ));
    let package = apt.download(&lock.package, &lock.package_version, progress)?;
    take_tarball(builder, &package, &lock.tarball, downloads, log)
}

/// Takes the tarball out of a package.
pub(super) fn take_tarball(
    builder: &Builder,
    package: &Path,
    tarball: &str,
    downloads: &Path,
    log: &Path,
) -> Result<PathBuf> {
    let folder = downloads.join("package");
    let mut extract = command::clean("dpkg-deb");
    extract.arg("-x").arg(package).arg(&folder);
    Run {
        what: "opening the package",
        log,
        limit: UNPACK_LIMIT,
        progress: &builder.progress,
    }
    .run(extract)?;
    let path = folder.join(tarball);
    if !path.is_file() {
        bail!(
            "{} holds no {tarball}; is the lock's `tarball` right?",
            package.display()
        );
    }
    fs::remove_file(package).with_context(|| format!("cannot remove {}", package.display()))?;
    Ok(path)
}

fn check(lock: &KernelLock, tarball: &Path) -> Result<()> {
    let found = digest::file_sha256(tarball)?;
    if found != lock.sha256 {
        bail!(
            "{} of {} {} is not what {FOLDER}/{}.yaml locks: its sha256 is {found}, the lock says \
             {}. Do not build from it unless you know why; `images kernel lock {}` makes a new \
             lock",
            lock.tarball,
            lock.package,
            lock.package_version,
            lock.name,
            lock.sha256,
            lock.name,
        );
    }
    Ok(())
}
