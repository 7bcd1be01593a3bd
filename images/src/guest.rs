// SPDX-License-Identifier: GPL-2.0-or-later
//! Builds the programs that run inside the guest: static, small, the same bytes in any folder.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::env;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use serde::Deserialize;

use crate::Builder;
use crate::command;
use crate::command::Run;
use crate::digest::Key;

/// Changes when the way of building changes in a way that the result shows.
const RECIPE: u32 = 1;
/// How long building may take.
const LIMIT: Duration = Duration::from_secs(60 * 60);
/// What they are built for. The GNU target links statically as well as musl's does, and its
/// standard library is there wherever a Rust toolchain is.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The packages, each of which makes a program of the same name.
const PACKAGES: [&str; 2] = ["vmtest-agent", "cachefilesd"];

/// The built programs.
#[derive(Clone, Debug)]
pub struct Programs {
    /// PID 1.
    pub agent: PathBuf,
    /// The daemon.
    pub daemon: PathBuf,
}

/// Builds the programs, or finds them built.
///
/// # Errors
/// When cargo fails.
pub fn build(builder: &Builder) -> Result<Programs> {
    let root = builder.project.root();
    let key = source_key(root)?;
    let what = "the guest's programs";
    let folder = builder
        .cache
        .entry("guest", &key, what, &builder.progress, |folder| {
            builder.progress.step(&format!("{what}: build"));
            let log = command::fresh_log(builder.cache.log("guest", &key)?)?;
            // Kept between builds, so that an edit costs what the edit touches; in the checkout,
            // because its path is in the flags, and two checkouts would undo each other's work.
            let target = root.join("target").join("guest-programs");
            let mut cargo = cargo(root, root, &target)?;
            cargo.args(["--profile", "guest"]);
            for package in PACKAGES {
                cargo.args(["-p", package]);
            }
            Run {
                what: "building the guest's programs",
                log: &log,
                limit: LIMIT,
                progress: &builder.progress,
            }
            .run(cargo)?;
            for package in PACKAGES {
                let program = target.join(TARGET).join("guest").join(package);
                std::fs::copy(&program, folder.join(package))
                    .with_context(|| format!("cargo left no {}", program.display()))?;
                check_static(&folder.join(package))?;
            }
            Ok(())
        })?;
    Ok(Programs {
        agent: folder.join(PACKAGES[0]),
        daemon: folder.join(PACKAGES[1]),
    })
}

/// Names the programs by all that goes into them.
fn source_key(root: &Path) -> Result<String> {
    let mut key = Key::new("guest", RECIPE);
    key.add("rustc", &version("rustc", root)?);
    for file in ["Cargo.toml", "Cargo.lock"] {
        let text = std::fs::read(root.join(file))
            .with_context(|| format!("cannot read {file} of the checkout"))?;
        key.add_bytes(file, &text);
    }
    for folder in source_folders(root)? {
        let name = folder
            .strip_prefix(root)
            .unwrap_or(&folder)
            .to_string_lossy()
            .into_owned();
        key.add_folder(&name, &folder)?;
    }
    Ok(key.finish())
}

/// `cargo build` in `workspace`, into `target`, of programs for the guest of the checkout `root`.
pub(crate) fn cargo(root: &Path, workspace: &Path, target: &Path) -> Result<Command> {
    let mut cargo = command::clean("cargo");
    cargo
        .current_dir(workspace)
        .args(["build", "--locked", "--target", TARGET])
        .arg("--target-dir")
        .arg(target)
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(root)?.join("\x1f"))
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_BUILD_TARGET");
    Ok(cargo)
}

/// Static, and with no trace of the folders it was built in.
fn rust_flags(root: &Path) -> Result<Vec<String>> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let mut flags = vec![
        "-C".to_owned(),
        "target-feature=+crt-static".to_owned(),
        format!("--remap-path-prefix={}=/cachefiles-rs", root.display()),
    ];
    if let Some(home) = home {
        flags.push(format!("--remap-path-prefix={}=/cargo", home.display()));
    }
    Ok(flags)
}

/// What a tool says of its version, in the checkout.
pub(crate) fn version(program: &str, root: &Path) -> Result<String> {
    let mut ask = command::clean(program);
    ask.arg("-vV").current_dir(root);
    command::output("asking for a tool's version", ask)
}

/// Refuses a program that needs a loader, which the guest does not have.
pub(crate) fn check_static(program: &Path) -> Result<()> {
    let bytes = std::fs::read(program)?;
    if let Some(reason) = needs_loader(&bytes) {
        bail!(
            "{} cannot run as the guest's program: {reason}",
            program.display()
        );
    }
    Ok(())
}

/// Why an ELF file cannot run on its own, if it cannot: it names an interpreter (PT_INTERP).
fn needs_loader(elf: &[u8]) -> Option<&'static str> {
    const PT_INTERP: u32 = 3;
    let word = |at: usize, size: usize| -> Option<u64> {
        let bytes = elf.get(at..at + size)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |value, byte| value << 8 | u64::from(*byte)),
        )
    };
    if elf.get(..5) != Some(b"\x7fELF\x02") {
        return Some("it is no 64-bit ELF file");
    }
    // e_phoff, e_phentsize and e_phnum of the 64-bit ELF header.
    let (Some(offset), Some(size), Some(count)) = (word(32, 8), word(54, 2), word(56, 2)) else {
        return Some("its ELF header is cut short");
    };
    for index in 0..count {
        let at = usize::try_from(offset + index * size).ok();
        match at.and_then(|at| word(at, 4)) {
            None => return Some("its program headers are cut short"),
            Some(kind) if kind == u64::from(PT_INTERP) => {
                return Some("it is linked dynamically and the guest has no loader");
            }
            Some(_) => {}
        }
    }
    None
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<PathBuf>,
}

/// The folders of the checkout whose crates end up in the programs.
fn source_folders(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut cargo = command::clean("cargo");
    cargo.current_dir(root).args([
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]);
    let text = command::output("asking cargo for the checkout's crates", cargo)?;
    closure(&text)
}

fn closure(metadata: &str) -> Result<BTreeSet<PathBuf>> {
    let metadata: Metadata =
        serde_json::from_str(metadata).context("cannot read what cargo metadata says")?;
    let by_name: BTreeMap<&str, &Package> = metadata
        .packages
        .iter()
        .map(|package| (package.name.as_str(), package))
        .collect();
    let mut folders = BTreeSet::new();
    let mut waiting: Vec<&str> = PACKAGES.to_vec();
    while let Some(name) = waiting.pop() {
        let package = by_name
            .get(name)
            .with_context(|| format!("the checkout has no crate {name}"))?;
        let folder = package
            .manifest_path
            .parent()
            .unwrap_or(Path::new("/"))
            .to_owned();
        if !folders.insert(folder) {
            continue;
        }
        for dependency in &package.dependencies {
            // A dependency for tests does not end up in the program.
            if dependency.path.is_some() && dependency.kind.as_deref() != Some("dev") {
                waiting.push(&dependency.name);
            }
        }
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_those_of_path_dependencies_but_not_of_tests() {
        let text = r#"{"packages":[
            {"name":"vmtest-agent","manifest_path":"/w/agent/Cargo.toml","dependencies":[
                {"name":"proto","kind":null,"path":"/w/proto"},
                {"name":"helper","kind":"dev","path":"/w/helper"},
                {"name":"serde","kind":null}]},
            {"name":"cachefilesd","manifest_path":"/w/daemon/Cargo.toml","dependencies":[]},
            {"name":"proto","manifest_path":"/w/proto/Cargo.toml","dependencies":[]},
            {"name":"helper","manifest_path":"/w/helper/Cargo.toml","dependencies":[]}]}"#;
        let folders: Vec<PathBuf> = closure(text).unwrap().into_iter().collect();
        assert_eq!(
            folders,
            ["/w/agent", "/w/daemon", "/w/proto"].map(PathBuf::from)
        );
    }

    #[test]
    fn a_dynamically_linked_program_is_refused() {
        let shell = std::fs::read("/bin/sh").unwrap();
        assert!(needs_loader(&shell).unwrap().contains("no loader"));
        assert!(
            needs_loader(b"#!/bin/sh\n")
                .unwrap()
                .contains("no 64-bit ELF")
        );
    }
}
