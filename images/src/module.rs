// SPDX-License-Identifier: GPL-2.0-or-later
//! Builds the Rust module against a built kernel, as it is or with a seeded bug (a mutant).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::Builder;
use crate::command;
use crate::command::Run;
use crate::digest;
use crate::digest::Key;
use crate::kernel::Kernel;
use crate::kernel::build::jobs;
use crate::kernel::build::reproducible;
use crate::project::Project;
use crate::toolchain::Toolchain;

/// Changes when the way of building changes in a way that the result shows.
const RECIPE: u32 = 1;
/// How long building may take; some seconds are usual.
const LIMIT: Duration = Duration::from_secs(30 * 60);
/// The module's file name.
pub const FILE: &str = "cachefiles_rs.ko";
/// The folders the module is built from, in the checkout. `core` is compiled into it.
const SOURCES: [&str; 2] = ["kernel/core", "kernel/module"];
/// The test client's file name.
pub const PROBE: &str = "cachefiles_probe.ko";
/// What the test client is built from: it shares the module's wrappers of the kernel.
const PROBE_SOURCES: [&str; 2] = ["kernel/module", "kernel/probe"];

/// Builds the module, or finds it built.
///
/// # Errors
/// When the mutant is unknown or make fails.
pub fn build(
    builder: &Builder,
    kernel: &Kernel,
    toolchain: &Toolchain,
    mutant: Option<&str>,
) -> Result<PathBuf> {
    if let Some(mutant) = mutant {
        let known = mutants(&builder.project)?;
        if !known.contains(mutant) {
            bail!(
                "no mutant is called {mutant}; {} knows: {}",
                SOURCES.join(" and "),
                known.into_iter().collect::<Vec<_>>().join(", ")
            );
        }
    }
    let what = match mutant {
        None => format!("the Rust module for Linux {}", kernel.release),
        Some(mutant) => format!(
            "the Rust module for Linux {}, mutant {mutant}",
            kernel.release
        ),
    };
    make(
        builder,
        kernel,
        toolchain,
        &Part {
            what,
            sources: &SOURCES,
            folder: "kernel/module",
            file: FILE,
            mutant,
        },
    )
}

/// Builds the test client of fscache, or finds it built.
///
/// # Errors
/// When make fails.
pub fn build_probe(builder: &Builder, kernel: &Kernel, toolchain: &Toolchain) -> Result<PathBuf> {
    make(
        builder,
        kernel,
        toolchain,
        &Part {
            what: format!("the probe module for Linux {}", kernel.release),
            sources: &PROBE_SOURCES,
            folder: "kernel/probe",
            file: PROBE,
            mutant: None,
        },
    )
}

/// One module to be built.
struct Part<'a> {
    /// For people.
    what: String,
    /// The folders that go into it.
    sources: &'a [&'a str],
    /// The one with its Kbuild.
    folder: &'a str,
    /// The file that make leaves there.
    file: &'a str,
    /// The seeded bug.
    mutant: Option<&'a str>,
}

fn make(
    builder: &Builder,
    kernel: &Kernel,
    toolchain: &Toolchain,
    part: &Part<'_>,
) -> Result<PathBuf> {
    let (what, mutant, file) = (&part.what, part.mutant, part.file);
    let mut key = Key::new("module", RECIPE);
    key.add("kernel", &kernel.key);
    key.add("mutant", mutant.unwrap_or(""));
    toolchain.add_to(&mut key);
    for folder in part.sources {
        key.add_folder(folder, &builder.project.path(folder))?;
    }
    let key = key.finish();
    let folder = builder
        .cache
        .entry("module", &key, what, &builder.progress, |folder| {
            builder.progress.step(&format!("{what}: build"));
            let sources = folder.join("sources");
            for name in part.sources {
                copy_folder(&builder.project.path(name), &sources.join(name))?;
            }
            let module = sources.join(part.folder);
            let log = command::fresh_log(builder.cache.log("module", &key)?)?;
            let mut make = command::clean("make");
            make.arg("-C")
                .arg(&kernel.kbuild)
                // A 7.x build folder remembers the name that it had before it was finished.
                .arg(format!("O={}", kernel.kbuild.display()))
                .arg(format!("-j{}", jobs()));
            make.args(toolchain.make_arguments());
            reproducible(
                &mut make,
                &[(&sources, "cachefiles-rs"), (&kernel.kbuild, "build")],
            );
            make.arg(format!("M={}", module.display()));
            if let Some(mutant) = mutant {
                make.arg(format!("MUTANT={mutant}"));
            }
            make.arg("modules");
            let building = format!("building {what}");
            Run {
                what: &building,
                log: &log,
                limit: LIMIT,
                progress: &builder.progress,
            }
            .run(make)?;
            fs::copy(module.join(file), folder.join(file))
                .with_context(|| format!("{building}: make succeeded, but left no {file}"))?;
            fs::remove_dir_all(&sources)?;
            Ok(())
        })?;
    Ok(folder.join(file))
}

/// The mutants that the module's sources have: every `cachefiles_mutant = "NAME"` in them.
///
/// # Errors
/// When the sources cannot be read.
pub fn mutants(project: &Project) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for folder in SOURCES {
        find_mutants(&project.path(folder), &mut found)?;
    }
    Ok(found)
}

fn find_mutants(folder: &Path, found: &mut BTreeSet<String>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            find_mutants(&path, found)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.extend(mutants_in(&fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

fn mutants_in(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for rest in text.split("cachefiles_mutant").skip(1) {
        let Some(value) = rest.trim_start().strip_prefix('=') else {
            continue;
        };
        let Some(value) = value.trim_start().strip_prefix('"') else {
            continue;
        };
        let name = value.split('"').next().unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !name.is_empty() && name.bytes().all(plain) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Copies sources without what builds by hand left among them.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        if digest::is_leftover(&name.to_string_lossy()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to.join(&name))?;
        } else {
            fs::copy(entry.path(), to.join(&name))
                .with_context(|| format!("cannot copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutants_are_found_in_cfg_attributes_and_macros() {
        let text = "#[cfg(cachefiles_mutant = \"scale\")]\nif cfg!(cachefiles_mutant=\"enospc\") {}\n\
                    // --cfg cachefiles_mutant as such, and cachefiles_mutant = \"<name>\"";
        assert_eq!(mutants_in(text), ["scale", "enospc"]);
    }
}
