// SPDX-License-Identifier: GPL-2.0-or-later
//! Builds a kernel from a tree of the user's own.
//!
//! Such a tree changes all the time, so its build folder is kept from build to build and make
//! rebuilds what changed. What git says about the tree tells whether make has to run at all;
//! without git, make itself decides, every time.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use super::Kernel;
use super::build;
use super::build::Tree;
use super::config::Wishes;
use super::lockfile::FOLDER;
use super::lockfile::KernelLock;
use crate::Builder;
use crate::cache;
use crate::command;
use crate::digest;
use crate::digest::Key;
use crate::toolchain::Toolchain;

/// The oldest series that the module is built for.
const OLDEST: (u32, u32) = (6, 12);
/// The file that says which state of the tree its build folder holds.
const STAMP: &str = "stamp";
/// The file that says that the build folder's configuration was checked.
const CONFIGURED: &str = "configured";

/// Builds the tree at `source` with the configuration of `lock`.
///
/// # Errors
/// When it is no kernel tree, Kconfig does not grant an option, or make fails.
pub fn build(
    builder: &Builder,
    lock: &KernelLock,
    toolchain: &Toolchain,
    source: &Path,
) -> Result<Kernel> {
    let source = source
        .canonicalize()
        .with_context(|| format!("--kernel-src {}: no such folder", source.display()))?;
    if !source.join("Makefile").is_file() || !source.join("Kconfig").is_file() {
        bail!(
            "--kernel-src {}: no kernel's source tree, it has no Makefile and Kconfig",
            source.display()
        );
    }
    let makefile = fs::read_to_string(source.join("Makefile"))
        .with_context(|| format!("cannot read the Makefile of {}", source.display()))?;
    let series = series(&makefile);
    if let Some(series) = series.filter(|series| *series < OLDEST) {
        bail!(
            "--kernel-src {}: Linux {}.{}; the module needs {}.{} or newer, which has netfs and \
             Rust as it uses them",
            source.display(),
            series.0,
            series.1,
            OLDEST.0,
            OLDEST.1
        );
    }
    let wishes = Wishes::load(&builder.project, &lock.fragments)?;
    let mut place = Key::new("tree", build::RECIPE);
    place.add("source", &source.to_string_lossy());
    place.add("base", lock.base.target());
    place.add("wishes", &wishes.text());
    toolchain.add_to(&mut place);
    let place = place.finish();
    let what = format!("the kernel in {}", source.display());
    let guard = builder
        .cache
        .lock("trees", &place, &what, &builder.progress)?;
    let folder = builder.cache.folder(&format!("trees/{place}"))?;
    let state = git_state(&source)?;
    let stamp = folder.join(STAMP);
    let current = fs::read_to_string(&stamp).ok();
    if let (Some(state), Some(current)) = (&state, &current) {
        if let Some((built, key)) = current.split_once('\n') {
            if built == state {
                if let Some(published) = builder.cache.find("kernel", key) {
                    let kbuild = folder.join("build");
                    let mut kernel = build::open(lock, key.to_owned(), &published, kbuild)?;
                    kernel._in_use = Some(guard);
                    return Ok(kernel);
                }
            }
        }
    }
    if stamp.exists() {
        // From here on the build folder is in between two states.
        fs::remove_file(&stamp).with_context(|| format!("cannot remove {}", stamp.display()))?;
    }
    let out = folder.join("build");
    builder.progress.expect(2);
    let log = command::fresh_log(builder.cache.log("tree", &place)?)?;
    let tree = Tree {
        builder,
        toolchain,
        source: &source,
        name: &what,
        log: &log,
    };
    let configured = folder.join(CONFIGURED);
    if !configured.exists() {
        fs::create_dir_all(&out)?;
        tree.configure(&out, lock.base, &wishes)
            .with_context(|| advice(builder, lock, series))?;
        cache::write_whole(&configured, b"")?;
    }
    tree.make(&out)?;
    let key = content_key(&out)?;
    let published = builder
        .cache
        .entry("kernel", &key, &what, &builder.progress, |folder| {
            build::publish(&out, folder)
        })?;
    if let Some(state) = state {
        cache::write_whole(&stamp, format!("{state}\n{key}").as_bytes())?;
    }
    let mut kernel = build::open(lock, key, &published, out)?;
    kernel._in_use = Some(guard);
    Ok(kernel)
}

/// The series that a kernel's top Makefile says it is: 6 and 12 for Linux 6.12.
fn series(makefile: &str) -> Option<(u32, u32)> {
    let number = |name: &str| {
        let values = makefile.lines().filter_map(|line| {
            let (word, value) = line.split_once('=')?;
            (word.trim() == name).then(|| value.trim())
        });
        values.into_iter().next()?.parse().ok()
    };
    Some((number("VERSION")?, number("PATCHLEVEL")?))
}

/// Which configuration to try, when the one of `lock` does not fit the tree.
fn advice(builder: &Builder, lock: &KernelLock, series: Option<(u32, u32)>) -> String {
    let Some((version, patchlevel)) = series else {
        return format!("with the configuration of lock {}", lock.name);
    };
    let own = format!("{version}.{patchlevel}");
    let locks = builder.project.names(FOLDER, ".yaml").unwrap_or_default();
    let better = match locks.iter().find(|name| **name == own) {
        Some(name) if *name == lock.name => String::new(),
        Some(name) => format!("; it has a lock of its own: build {name} with this --kernel-src"),
        None => format!("; try the nearest of the locks: {}", locks.join(", ")),
    };
    format!(
        "a tree of Linux {own} with the configuration of lock {}{better}",
        lock.name
    )
}

/// Names a build by what came out of it.
fn content_key(out: &Path) -> Result<String> {
    let mut key = Key::new("tree-content", build::RECIPE);
    let order = fs::read_to_string(out.join("modules.order")).unwrap_or_default();
    let mut files: Vec<PathBuf> = [
        "arch/x86/boot/bzImage",
        "vmlinux",
        ".config",
        "Module.symvers",
    ]
    .map(PathBuf::from)
    .into();
    files.extend(
        order
            .lines()
            .map(|line| Path::new(line).with_extension("ko")),
    );
    for file in files {
        key.add(
            &file.to_string_lossy(),
            &digest::file_sha256(&out.join(&file))?,
        );
    }
    Ok(key.finish())
}

/// The tree's state as git sees it: the commit, what differs from it, and files git does not
/// know. None if it is no git tree.
fn git_state(source: &Path) -> Result<Option<String>> {
    let git = |arguments: &[&str]| {
        let mut git = command::clean("git");
        git.arg("-C").arg(source).args(arguments);
        git
    };
    let Ok(head) = command::output("asking git for the commit", git(&["rev-parse", "HEAD"])) else {
        return Ok(None);
    };
    let mut key = Key::new("git", 1);
    key.add("head", head.trim());
    let diff = git(&[
        "diff",
        "HEAD",
        "--binary",
        "--no-ext-diff",
        "--no-textconv",
        "--",
        ".",
    ]);
    key.add("diff", &command::output("asking git for changes", diff)?);
    let unknown = git(&["ls-files", "--others", "--exclude-standard", "-z"]);
    for name in command::output("asking git for new files", unknown)?.split_terminator('\0') {
        key.add("new", name);
        let path = source.join(name);
        if path.is_file() {
            key.add("content", &digest::file_sha256(&path)?);
        }
    }
    Ok(Some(key.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_makefile_says_which_series_it_is_of() {
        let text = "# SPDX\nVERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION =\n";
        assert_eq!(series(text), Some((7, 3)));
        assert!(series(text) > Some(OLDEST));
        assert_eq!(series("KERNELVERSION = $(VERSION)\nall:\n"), None);
    }

    #[test]
    fn the_state_of_a_git_tree_changes_with_commits_edits_and_new_files() {
        let dir = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let mut git = command::clean("git");
            git.arg("-C")
                .arg(dir.path())
                .args(["-c", "user.name=t", "-c", "user.email=t@t"]);
            git.args(arguments);
            command::output("git", git).unwrap();
        };
        assert_eq!(git_state(dir.path()).unwrap(), None);
        git(&["init", "-q"]);
        fs::write(dir.path().join("a.c"), "1").unwrap();
        git(&["add", "a.c"]);
        git(&["commit", "-q", "-m", "first"]);
        let mut states = vec![git_state(dir.path()).unwrap()];
        assert_eq!(states[0], git_state(dir.path()).unwrap(), "nothing changed");
        fs::write(dir.path().join("a.c"), "2").unwrap();
        states.push(git_state(dir.path()).unwrap());
        fs::write(dir.path().join("new.c"), "1").unwrap();
        states.push(git_state(dir.path()).unwrap());
        fs::write(dir.path().join("new.c"), "2").unwrap();
        states.push(git_state(dir.path()).unwrap());
        git(&["add", "-A"]);
        git(&["commit", "-q", "-m", "second"]);
        states.push(git_state(dir.path()).unwrap());
        for (index, state) in states.iter().enumerate() {
            assert!(state.is_some());
            assert!(
                !states[..index].contains(state),
                "state {index} is like an earlier one"
            );
        }
    }
}
