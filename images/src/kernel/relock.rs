// SPDX-License-Identifier: GPL-2.0-or-later
//! Moves a kernel lock to the newest version that its suite has.

use std::fs;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use super::apt::Apt;
use super::fetch;
use super::lockfile::FOLDER;
use super::lockfile::KernelLock;
use crate::Builder;
use crate::cache;
use crate::command;
use crate::digest;

/// Fetches the newest package of the lock's suite and writes its version and digest into the
/// lock. Returns the new lock.
///
/// # Errors
/// When the package cannot be had or the lock not be written.
pub fn relock(builder: &Builder, lock: &KernelLock) -> Result<KernelLock> {
    let progress = &builder.progress;
    progress.expect(4);
    let what = format!("a new lock of {}", lock.name);
    let _guard =
        builder
            .cache
            .lock("downloads", &format!("lock-{}", lock.name), &what, progress)?;
    let log = command::fresh_log(builder.cache.log("lock", &lock.name)?)?;
    let downloads = builder
        .cache
        .folder("downloads")?
        .join(format!("lock-{}", lock.name));
    cache::remove_if_there(&downloads)?;
    progress.step(&format!("fetch the package lists of {}", lock.suite));
    let apt = Apt::update(&downloads, &lock.suite, &lock.component, &log, progress)?;
    let versions = apt.versions(&lock.package)?;
    let Some(newest) = versions.first() else {
        bail!(
            "{} has no package {}; is the lock's suite right?",
            lock.suite,
            lock.package
        );
    };
    progress.step(&format!("download {} {newest}", lock.package));
    let package = apt.download(&lock.package, newest, progress)?;
    let tarball = fetch::take_tarball(builder, &package, &lock.tarball, &downloads, &log)?;
    progress.step("take its digest");
    let sha256 = digest::file_sha256(&tarball)?;
    cache::remove_if_there(&downloads)?;
    let file = format!("{FOLDER}/{}.yaml", lock.name);
    let path = builder.project.path(&file);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {file}"))?;
    let text = rewrite(&text, upstream(newest), newest, &sha256)
        .with_context(|| format!("cannot rewrite {file}"))?;
    let moved = KernelLock::parse(&lock.name, &text)?;
    cache::write_whole(&path, text.as_bytes())?;
    Ok(moved)
}

/// The kernel's version in a package's version: what precedes the last hyphen.
fn upstream(package_version: &str) -> &str {
    package_version
        .rsplit_once('-')
        .map_or(package_version, |(version, _)| version)
}

/// Puts new values into a lock's text and leaves everything else, comments included, alone.
fn rewrite(text: &str, version: &str, package_version: &str, sha256: &str) -> Result<String> {
    let mut out = String::new();
    let mut found = 0;
    for line in text.lines() {
        let new = match line.split_once(':').map(|(field, _)| field) {
            Some("version") => Some(format!("version: {version}")),
            Some("package-version") => Some(format!("package-version: {package_version}")),
            Some("sha256") => Some(format!("sha256: {sha256}")),
            _ => None,
        };
        found += usize::from(new.is_some());
        out.push_str(new.as_deref().unwrap_or(line));
        out.push('\n');
    }
    if found != 3 {
        bail!("it needs one line each for version, package-version and sha256");
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewriting_keeps_comments_and_changes_the_three_values() {
        let text = "# why\nversion: 1\npackage: p\npackage-version: 1-1\nsha256: aa\n# end\n";
        let new = rewrite(text, "2", "2-1~deb12u1", "bb").unwrap();
        assert_eq!(
            new,
            "# why\nversion: 2\npackage: p\npackage-version: 2-1~deb12u1\nsha256: bb\n# end\n"
        );
        assert!(rewrite("version: 1\n", "2", "2-1", "bb").is_err());
    }

    #[test]
    fn the_kernel_s_version_is_in_the_package_s() {
        assert_eq!(upstream("6.12.117-1~deb12u1"), "6.12.117");
        assert_eq!(upstream("7.3.4-1~bpo13+1"), "7.3.4");
    }
}
