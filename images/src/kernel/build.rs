// SPDX-License-Identifier: GPL-2.0-or-later
//! Builds a locked kernel, out of tree, into the cache.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use super::Kernel;
use super::config::Wishes;
use super::fetch;
use super::lockfile::Base;
use super::lockfile::KernelLock;
use crate::Builder;
use crate::command;
use crate::command::Run;
use crate::digest::Key;
use crate::toolchain::Toolchain;

/// Changes when the way of building changes in a way that the result shows.
pub(super) const RECIPE: u32 = 1;
/// How long configuring may take.
const CONFIGURE_LIMIT: Duration = Duration::from_secs(10 * 60);
/// How long building may take, on a slow machine.
const BUILD_LIMIT: Duration = Duration::from_secs(3 * 60 * 60);

/// Builds the kernel that a lock names, or finds it built.
///
/// # Errors
/// When the source cannot be had, Kconfig does not grant an option, or make fails.
pub fn build(builder: &Builder, lock: &KernelLock, toolchain: &Toolchain) -> Result<Kernel> {
    let wishes = Wishes::load(&builder.project, &lock.fragments)?;
    let mut key = Key::new("kernel", RECIPE);
    key.add("tarball", &lock.sha256);
    key.add("base", lock.base.target());
    key.add("wishes", &wishes.text());
    toolchain.add_to(&mut key);
    let key = key.finish();
    let what = lock.title();
    let folder = match builder.cache.find("kernel", &key) {
        Some(folder) => folder,
        None => {
            builder.progress.expect(6);
            let source = fetch::source(builder, lock)?;
            builder
                .cache
                .entry("kernel", &key, &what, &builder.progress, |folder| {
                    let log = command::fresh_log(builder.cache.log("kernel", &key)?)?;
                    let tree = Tree {
                        builder,
                        toolchain,
                        source: &source,
                        name: &what,
                        log: &log,
                    };
                    let out = folder.join("build");
                    fs::create_dir(&out)?;
                    tree.configure(&out, lock.base, &wishes)?;
                    tree.make(&out)?;
                    publish(&out, folder)?;
                    prune(&out)
                })?
        }
    };
    open(lock, key, &folder, folder.join("build"))
}

/// Opens a kernel that [`publish`] laid out.
///
/// # Errors
/// When something is missing from it.
pub(super) fn open(
    lock: &KernelLock,
    key: String,
    folder: &Path,
    kbuild: PathBuf,
) -> Result<Kernel> {
    let release = fs::read_to_string(folder.join("release"))
        .with_context(|| format!("{} is damaged; remove it and build again", folder.display()))?;
    let mut modules = Vec::new();
    for entry in fs::read_dir(folder.join("modules"))? {
        modules.push(entry?.path());
    }
    modules.sort();
    Ok(Kernel {
        name: lock.name.clone(),
        profile: lock.profile.clone(),
        release: release.trim().to_owned(),
        key,
        kbuild,
        bzimage: folder.join("bzImage"),
        vmlinux: folder.join("vmlinux"),
        config: folder.join("config"),
        modules,
        _in_use: None,
    })
}

/// A source tree and what it is built with.
pub(super) struct Tree<'a> {
    pub builder: &'a Builder,
    pub toolchain: &'a Toolchain,
    pub source: &'a Path,
    pub name: &'a str,
    pub log: &'a Path,
}

impl Tree<'_> {
    /// Writes the configuration into `out` and checks that it is what was asked for.
    pub fn configure(&self, out: &Path, base: Base, wishes: &Wishes) -> Result<()> {
        self.builder
            .progress
            .step(&format!("{}: configure", self.name));
        let wanted = out.join("wanted.config");
        fs::write(&wanted, wishes.text())?;
        let mut first = self.command(out);
        // The all*config targets take the wishes as they go, so that what a wish makes visible
        // keeps the base's value; defconfig knows no such thing.
        first.env("KCONFIG_ALLCONFIG", &wanted).arg(base.target());
        self.run("configuring the kernel", CONFIGURE_LIMIT, first)?;
        let config = out.join(".config");
        if base == Base::DefConfig {
            let mut text = fs::read_to_string(&config)?;
            text.push_str(&wishes.text());
            fs::write(&config, text)?;
            let mut settle = self.command(out);
            settle.arg("olddefconfig");
            self.run("settling the configuration", CONFIGURE_LIMIT, settle)?;
        }
        let text = fs::read_to_string(&config)
            .with_context(|| format!("make wrote no {}", config.display()))?;
        wishes
            .verify(&text, self.source)
            .with_context(|| format!("configuring {}", self.name))
    }

    /// Builds the image and the modules.
    pub fn make(&self, out: &Path) -> Result<()> {
        self.builder.progress.step(&format!("{}: build", self.name));
        let mut make = self.command(out);
        make.args(["bzImage", "modules"]);
        self.run("building the kernel", BUILD_LIMIT, make)
    }

    fn run(&self, what: &str, limit: Duration, command: Command) -> Result<()> {
        Run {
            what,
            log: self.log,
            limit,
            progress: &self.builder.progress,
        }
        .run(command)
    }

    fn command(&self, out: &Path) -> Command {
        let mut make = command::clean("make");
        make.arg("-C")
            .arg(self.source)
            .arg(format!("O={}", out.display()));
        make.arg(format!("-j{}", jobs()));
        make.args(self.toolchain.make_arguments());
        reproducible(&mut make, &[(out, "build"), (self.source, "linux")]);
        make
    }
}

/// How many programs make may run at once.
pub(crate) fn jobs() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// Takes out of a build what differs between machines: the time, who builds, and the folders,
/// each of which is given a name to go by instead.
pub(crate) fn reproducible(make: &mut Command, folders: &[(&Path, &str)]) {
    make.env("KBUILD_BUILD_TIMESTAMP", "1970-01-01 00:00:00 UTC")
        .env("KBUILD_BUILD_USER", "images")
        .env("KBUILD_BUILD_HOST", "cachefiles-rs")
        .env("KBUILD_BUILD_VERSION", "1")
        .env("SOURCE_DATE_EPOCH", "0");
    let map = |option: &str| {
        let maps = folders
            .iter()
            .map(|(path, name)| format!("{option}={}={name}", path.display()));
        maps.collect::<Vec<_>>().join(" ")
    };
    make.arg(format!("KCFLAGS={}", map("-ffile-prefix-map")));
    make.arg(format!("KAFLAGS={}", map("-ffile-prefix-map")));
    make.arg(format!("KRUSTFLAGS={}", map("--remap-path-prefix")));
}

/// Lays out what others use: the image, the symbols, the configuration, the modules.
pub(super) fn publish(out: &Path, folder: &Path) -> Result<()> {
    for (from, to) in [
        ("arch/x86/boot/bzImage", "bzImage"),
        ("vmlinux", "vmlinux"),
        (".config", "config"),
        ("include/config/kernel.release", "release"),
    ] {
        copy(&out.join(from), &folder.join(to))?;
    }
    let modules = folder.join("modules");
    fs::create_dir_all(&modules)?;
    let order = fs::read_to_string(out.join("modules.order"))
        .context("make succeeded, but left no modules.order")?;
    for line in order.lines() {
        // Lines end in .o; the module itself lies beside the object.
        let module = out.join(line).with_extension("ko");
        let Some(name) = module.file_name() else {
            bail!("modules.order has the line {line:?}")
        };
        copy(&module, &modules.join(name))?;
    }
    Ok(())
}

/// Copies a file; on the same filesystem a second name does as well and costs nothing.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

/// Removes the objects that only the kernel's own build needs: most of its size.
fn prune(out: &Path) -> Result<()> {
    // Tools that building a module runs, and the Rust crates that it links against.
    const KEPT: [&str; 4] = ["scripts", "tools", "rust", "include"];
    for entry in fs::read_dir(out)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            if !KEPT.contains(&name.as_str()) {
                prune_objects(&entry.path())?;
            }
        } else if is_object(&name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn prune_objects(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            prune_objects(&entry.path())?;
        } else if kind.is_file() && is_object(&entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn is_object(name: &str) -> bool {
    name.ends_with(".o")
        || name.ends_with(".a")
        || name.ends_with(".cmd")
        || name.starts_with(".tmp_vmlinux")
        || name == "vmlinux.bin"
        || name == "vmlinux.bin.zst"
}
