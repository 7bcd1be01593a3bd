// SPDX-License-Identifier: GPL-2.0-or-later
//! Programs of a distribution for the guest, as they are: taken out of Debian's packages, with the
//! libraries that they are linked with. Nothing is installed on the machine that builds.
//!
//! A description in configs/programs names the suite, the packages with their versions, and the
//! programs. What these are linked with is looked for in the same packages. The result is a folder
//! that looks like a root: the runner shows it to guests of the scenarios that need it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use object::elf;
use object::read::elf::Dyn;
use object::read::elf::FileHeader;
use object::read::elf::ProgramHeader;
use serde::Deserialize;

use crate::Builder;
use crate::cache;
use crate::command;
use crate::command::Run;
use crate::digest::Key;
use crate::kernel::apt::Apt;

/// Where the descriptions are.
const FOLDER: &str = "configs/programs";
/// Changes when the same description makes another result.
const RECIPE: u32 = 1;
/// How long unpacking a package may take.
const UNPACK_LIMIT: Duration = Duration::from_secs(5 * 60);
/// How many symbolic links may lead to a file.
const MAX_LINKS: usize = 8;

/// A file of configs/programs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    /// Debian's suite.
    suite: String,
    /// The part of it.
    component: String,
    /// Packages and their versions.
    packages: BTreeMap<String, String>,
    /// Programs, as paths from the root.
    files: Vec<String>,
}

/// Makes what every description asks for, or finds it made: folders by the descriptions' names.
///
/// # Errors
/// When a description is wrong, a package cannot be had, or a library is in none of the packages.
pub fn build(builder: &Builder) -> Result<BTreeMap<String, PathBuf>> {
    let mut programs = BTreeMap::new();
    if builder.project.path(FOLDER).is_dir() {
        for name in builder.project.names(FOLDER, ".yaml")? {
            let folder = build_one(builder, &name)
                .with_context(|| format!("making what {FOLDER}/{name}.yaml describes"))?;
            programs.insert(name, folder);
        }
    }
    Ok(programs)
}

fn build_one(builder: &Builder, name: &str) -> Result<PathBuf> {
    let text = fs::read_to_string(builder.project.path(&format!("{FOLDER}/{name}.yaml")))
        .context("cannot read the description")?;
    let description: Description =
        serde_yaml::from_str(&text).context("the description is wrong")?;
    let mut key = Key::new("programs", RECIPE);
    key.add("suite", &description.suite);
    key.add("component", &description.component);
    for (package, version) in &description.packages {
        key.add(package, version);
    }
    key.add("files", &description.files.join("\n"));
    let key = key.finish();
    let what = format!("the programs `{name}` of {}", description.suite);
    builder
        .cache
        .entry("programs", &key, &what, &builder.progress, |folder| {
            let log = command::fresh_log(builder.cache.log("programs", &key)?)?;
            let downloads = builder.cache.folder("downloads")?.join(&key);
            cache::remove_if_there(&downloads)?;
            let root = unpack(builder, &description, &downloads, &log)?;
            builder.progress.step(&format!("{what}: find libraries"));
            collect(&root, &description.files, folder)?;
            cache::remove_if_there(&downloads)
        })
}

/// Downloads the packages and unpacks them into one folder.
fn unpack(
    builder: &Builder,
    description: &Description,
    downloads: &Path,
    log: &Path,
) -> Result<PathBuf> {
    let progress = &builder.progress;
    let suite = &description.suite;
    progress.step(&format!("fetch the package lists of {suite}"));
    let apt = Apt::update(downloads, suite, &description.component, log, progress)?;
    let root = downloads.join("root");
    for (package, version) in &description.packages {
        let versions = apt.versions(package)?;
        if !versions.contains(version) {
            bail!(
                "{suite} has no {package} {version} (it has: {}): write a version that it has into \
                 the description",
                versions.join(", ")
            );
        }
        progress.step(&format!("download {package} {version}"));
        let file = apt.download(package, version, progress)?;
        let mut extract = command::clean("dpkg-deb");
        extract.arg("-x").arg(&file).arg(&root);
        Run {
            what: &format!("opening {}", file.display()),
            log,
            limit: UNPACK_LIMIT,
            progress,
        }
        .run(extract)?;
    }
    Ok(root)
}

/// Copies `files` out of `root` to `to`, and all that they are linked with: each under the name by
/// which it is asked for.
fn collect(root: &Path, files: &[String], to: &Path) -> Result<()> {
    let libraries = libraries(root)?;
    let mut waiting: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
    let mut done = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        if !done.insert(path.clone()) {
            continue;
        }
        let source = resolve(root, &path)?;
        let bytes =
            fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
        let target = to.join(&path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
        }
        fs::copy(&source, &target)
            .with_context(|| format!("cannot copy {} out", source.display()))?;
        let needs = linked_with(&bytes)
            .map_err(|error| anyhow!("{}: {error}", path.display()))
            .context("cannot see what a program is linked with")?;
        if let Some(loader) = needs.loader {
            waiting.push(loader.trim_start_matches('/').into());
        }
        for name in needs.libraries {
            let library = libraries.get(&name).with_context(|| {
                format!(
                    "{} is linked with {name}, which is in none of the packages: add the package \
                     that has it",
                    path.display()
                )
            })?;
            waiting.push(library.clone());
        }
    }
    Ok(())
}

/// Every file below the folders for libraries, by its name; paths from the root.
fn libraries(root: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for folder in ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"] {
        let path = root.join(folder);
        if !path.is_dir() {
            continue;
        }
        for entry in
            fs::read_dir(&path).with_context(|| format!("cannot list {}", path.display()))?
        {
            let name = entry?.file_name();
            let place = Path::new(folder).join(&name);
            found.insert(name.to_string_lossy().into_owned(), place);
        }
    }
    Ok(found)
}

/// The file that `path` means below `root`, symbolic links followed as if `root` were the root.
fn resolve(root: &Path, path: &Path) -> Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let place = root.join(&path);
        let Ok(target) = fs::read_link(&place) else {
            if place.is_file() {
                return Ok(place);
            }
            bail!("none of the packages has /{}", path.display());
        };
        path = match target.strip_prefix("/") {
            Ok(absolute) => absolute.to_owned(),
            Err(_) => path.parent().unwrap_or(Path::new("")).join(&target),
        };
        if path.components().any(|part| part == Component::ParentDir) {
            bail!("a link leads to {}: that is not followed", path.display());
        }
    }
    bail!("too many links lead to {}", path.display())
}

/// What an ELF file asks for.
#[derive(Debug, Default, PartialEq)]
struct Needs {
    /// Its loader's path, if it is a program.
    loader: Option<String>,
    /// Names of libraries.
    libraries: Vec<String>,
}

fn linked_with(bytes: &[u8]) -> object::Result<Needs> {
    let header = elf::FileHeader64::<object::Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let mut needs = Needs::default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    for segment in header.program_headers(endian, bytes)? {
        if let Some(loader) = segment.interpreter(endian, bytes)? {
            needs.loader = Some(text(loader));
        }
    }
    let sections = header.sections(endian, bytes)?;
    if let Some((entries, strings)) = sections.dynamic(endian, bytes)? {
        let strings = sections.strings(endian, bytes, strings)?;
        for entry in entries {
            if entry.tag32(endian) == Some(elf::DT_NEEDED) {
                needs.libraries.push(text(entry.string(endian, strings)?));
            }
        }
    }
    Ok(needs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_s_loader_and_libraries_are_read_from_it() {
        let needs = linked_with(&fs::read("/bin/sh").unwrap()).unwrap();
        assert!(needs.loader.unwrap().contains("ld-linux"));
        assert!(needs.libraries.contains(&"libc.so.6".to_owned()));
        assert!(linked_with(b"#!/bin/sh\n").is_err());
    }

    #[test]
    fn a_program_is_collected_with_what_it_is_linked_with() {
        let root = tempfile::tempdir().unwrap();
        let to = tempfile::tempdir().unwrap();
        let shell = fs::read("/bin/sh").unwrap();
        let put = |path: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &shell).unwrap();
        };
        put("usr/sbin/prog");
        let files = ["usr/sbin/prog".to_owned()];
        let said = format!("{:#}", collect(root.path(), &files, to.path()).unwrap_err());
        assert!(
            said.contains("is linked with") && said.contains("add the package"),
            "{said}"
        );
        // As in Debian 12: the loader's name is an absolute link into the folder of libraries.
        for name in linked_with(&shell).unwrap().libraries {
            put(&format!("lib/x86_64-linux-gnu/{name}"));
        }
        put("lib/x86_64-linux-gnu/ld.so");
        fs::create_dir_all(root.path().join("lib64")).unwrap();
        let loader = root.path().join("lib64/ld-linux-x86-64.so.2");
        std::os::unix::fs::symlink("/lib/x86_64-linux-gnu/ld.so", loader).unwrap();
        collect(root.path(), &files, to.path()).unwrap();
        for path in [
            "usr/sbin/prog",
            "lib64/ld-linux-x86-64.so.2",
            "lib/x86_64-linux-gnu/libc.so.6",
        ] {
            assert_eq!(fs::read(to.path().join(path)).unwrap(), shell, "{path}");
        }
    }
}
