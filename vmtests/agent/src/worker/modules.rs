// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps about the kernel's modules: loading one with what it depends on, and unloading it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use object::Object;
use object::ObjectSection;
use vmtest_protocol::message::ModuleFile;
use vmtest_protocol::step::LoadModule;
use vmtest_protocol::step::UnloadModule;

use super::child::Verdict;
use super::child::judge;

/// Where the initramfs has its modules, all in one folder.
const FOLDER: &str = "/lib/modules";
/// The module that a run is about, by its two names.
const SUBJECTS: [&str; 2] = ["cachefiles", "cachefiles_rs"];
/// Stands for the one of the two that the run is not about.
const OTHER: &str = "cachefiles_other";

/// Carries out a `load_module` step; `known` are the modules that this run has brought along.
pub fn load_module(step: &LoadModule, known: &[ModuleFile]) -> Result<Verdict> {
    let module = find(&step.name, known, Path::new(FOLDER))?;
    let params = step.params.as_ref().unwrap_or(&module.params);
    let mut loading = BTreeSet::new();
    load_needed(Path::new(&module.path), &mut loading)?;
    let what = format!("insmod {} {params}", module.path);
    let result = insmod(Path::new(&module.path), params)?;
    Ok(judge(
        what.trim_end(),
        result.map_err(Into::into),
        &step.expect_errno,
    ))
}

/// Loads a module of the guest, with what it depends on; one that is loaded already stays as it is.
pub fn load_plain(name: &str) -> Result<()> {
    let path = file_of(name, Path::new(FOLDER))?;
    load_needed(&path, &mut BTreeSet::new())?;
    match insmod(&path, "")? {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("insmod {}", path.display())),
    }
}

fn insmod(path: &Path, params: &str) -> Result<rustix::io::Result<()>> {
    let params = CString::new(params).context("module parameters contain NUL")?;
    let file =
        File::open(path).with_context(|| format!("cannot open the module {}", path.display()))?;
    Ok(rustix::system::finit_module(&file, &params, 0))
}

/// Loads what the module in `path` depends on, and what that depends on; what is loaded already
/// stays as it is. `seen` are the names that were dealt with.
fn load_needed(path: &Path, seen: &mut BTreeSet<String>) -> Result<()> {
    let bytes = std::fs::read(path)
        .with_context(|| format!("cannot read the module {}", path.display()))?;
    let needed = dependencies(&bytes)
        .with_context(|| format!("cannot see what the module {} needs", path.display()))?;
    for name in needed {
        if !seen.insert(name.clone()) || Path::new("/sys/module").join(&name).exists() {
            continue;
        }
        let below = file_of(&name, Path::new(FOLDER)).with_context(|| {
            format!(
                "{} depends on it, and it is no part of the guest",
                path.display()
            )
        })?;
        load_needed(&below, seen)?;
        match insmod(&below, "")? {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => {
                return Err(error).with_context(|| {
                    format!(
                        "insmod {}, on which {} depends",
                        below.display(),
                        path.display()
                    )
                });
            }
        }
    }
    Ok(())
}

/// The names that a module's own information says it depends on: `depends=a,b`.
fn dependencies(module: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(module).map_err(|error| anyhow!("no ELF file: {error}"))?;
    let section = file
        .section_by_name(".modinfo")
        .context("it has no section .modinfo")?;
    let info = section
        .data()
        .map_err(|error| anyhow!("its section .modinfo cannot be read: {error}"))?;
    let depends = info
        .split(|byte| *byte == 0)
        .filter_map(|field| field.strip_prefix(b"depends="));
    Ok(depends
        .map(String::from_utf8_lossy)
        .flat_map(|names: Cow<'_, str>| {
            names
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect())
}

/// The kernel takes `-` and `_` in names for the same.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

fn name_of(path: &Path) -> String {
    plain(&path.file_stem().unwrap_or_default().to_string_lossy())
}

/// The file of the module called `name` in `folder`.
fn file_of(name: &str, folder: &Path) -> Result<PathBuf> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)
        .with_context(|| format!("cannot list {}", folder.display()))?
        .flatten()
    {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "ko") {
            continue;
        }
        if name_of(&path) == plain(name) {
            return Ok(path);
        }
        names.push(name_of(&path));
    }
    names.sort();
    bail!(
        "there is no module `{name}`; there are: {}",
        names.join(", ")
    )
}

/// The module called `name`: with its parameters when the run has brought it along, or else
/// whatever the guest has of that name.
fn find<'a>(name: &str, known: &'a [ModuleFile], folder: &Path) -> Result<Cow<'a, ModuleFile>> {
    let named = |wanted: &str| {
        let is = |module: &&ModuleFile| name_of(Path::new(&module.path)) == plain(wanted);
        known.iter().find(is)
    };
    let subject = SUBJECTS.iter().find_map(|name| named(name));
    if let Some(module) = named(name).or(subject.filter(|_| name == SUBJECTS[0])) {
        return Ok(Cow::Borrowed(module));
    }
    let own = subject.map(|module| name_of(Path::new(&module.path)));
    let name = match name {
        OTHER => SUBJECTS
            .into_iter()
            .find(|name| own.as_deref().is_some_and(|own| own != *name))
            .context("the run is about none of the two modules")?,
        name => name,
    };
    let path = file_of(name, folder)?;
    Ok(Cow::Owned(ModuleFile {
        path: path.to_string_lossy().into_owned(),
        params: String::new(),
        load: false,
    }))
}

/// Carries out an `unload_module` step.
pub fn unload_module(step: &UnloadModule) -> Result<Verdict> {
    let loaded = |name: &&str| Path::new("/sys/module").join(name).exists();
    let name = match step.name.as_str() {
        // Only one of the two can be loaded: each makes the same device.
        "cachefiles" | OTHER => SUBJECTS.into_iter().find(loaded).unwrap_or(SUBJECTS[0]),
        name => name,
    };
    let c_name = CString::new(name).context("a module's name contains NUL")?;
    // O_NONBLOCK: refuse at once when it is in use.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let result = rustix::system::delete_module(&c_name, flags);
    let what = format!("rmmod {name}");
    Ok(judge(&what, result.map_err(Into::into), &step.expect_errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str) -> ModuleFile {
        ModuleFile {
            path: path.to_owned(),
            params: String::new(),
            load: false,
        }
    }

    #[test]
    fn cachefiles_is_whichever_of_the_two_the_run_is_about() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["netfs", "cachefiles", "cachefiles-rs", "9p"] {
            std::fs::write(folder.path().join(format!("{name}.ko")), "").unwrap();
        }
        let rust = [module("/m/netfs.ko"), module("/m/cachefiles-rs.ko")];
        let c = [module("/m/netfs.ko"), module("/m/cachefiles.ko")];
        let path = |name: &str, known: &[ModuleFile]| {
            find(name, known, folder.path()).map(|module| module.path.clone())
        };
        let own = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        assert_eq!(path("cachefiles", &rust).unwrap(), "/m/cachefiles-rs.ko");
        assert_eq!(path("cachefiles_rs", &rust).unwrap(), "/m/cachefiles-rs.ko");
        assert_eq!(path("cachefiles", &c).unwrap(), "/m/cachefiles.ko");
        assert_eq!(path("netfs", &c).unwrap(), "/m/netfs.ko");
        // Who names one of them means that one.
        assert_eq!(path("cachefiles_rs", &c).unwrap(), own("cachefiles-rs.ko"));
        assert_eq!(
            path("cachefiles_other", &c).unwrap(),
            own("cachefiles-rs.ko")
        );
        assert_eq!(
            path("cachefiles_other", &rust).unwrap(),
            own("cachefiles.ko")
        );
        assert_eq!(path("9p", &c).unwrap(), own("9p.ko"));
        let said = path("erofs", &rust).unwrap_err().to_string();
        assert!(
            said.contains("there are: 9p, cachefiles, cachefiles_rs, netfs"),
            "{said}"
        );
    }

    #[test]
    fn a_module_says_what_it_depends_on() {
        // An ELF file of nothing but a section .modinfo, as the kernel's build makes one.
        let mut module = object::write::Object::new(
            object::BinaryFormat::Elf,
            object::Architecture::X86_64,
            object::Endianness::Little,
        );
        let kind = object::SectionKind::ReadOnlyData;
        let section = module.add_section(Vec::new(), b".modinfo".to_vec(), kind);
        let info = b"license=GPL\0depends=9pnet,netfs\0name=9p\0";
        module.append_section_data(section, info, 1);
        let file = module.write().unwrap();
        assert_eq!(dependencies(&file).unwrap(), ["9pnet", "netfs"]);
        assert!(
            dependencies(b"no module")
                .unwrap_err()
                .to_string()
                .contains("ELF")
        );
    }
}
