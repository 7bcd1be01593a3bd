// SPDX-License-Identifier: GPL-2.0-or-later
//! The command line of `images`.

use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use clap::Args;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;

use crate::Builder;
use crate::cache;
use crate::cache::Cache;
use crate::erofs;
use crate::foreign;
use crate::guest;
use crate::index::Index;
use crate::index::SCHEMA;
use crate::initramfs;
use crate::kernel;
use crate::kernel::Kernel;
use crate::kernel::lockfile::KernelLock;
use crate::module;
use crate::profile;
use crate::profile::Profile;
use crate::programs;
use crate::progress::Progress;
use crate::project::Project;
use crate::toolchain::Toolchain;

/// Builds kernels, the Rust module and its C reference, the guest's initramfs and erofs test
/// images into a content-addressed cache. What did not change is not built again.
#[derive(Debug, Parser)]
#[command(name = "images", version, max_term_width = 100)]
struct Cli {
    /// The checkout to build from [default: the one the working directory is in]
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Where results are kept [default: $CACHEFILES_RS_CACHE, else the user's cache folder]
    #[arg(long, global = true, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// How many seconds to wait for another process that builds the same thing
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 3600)]
    lock_wait: u64,
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build all that a test run needs and write the index that `vmtest --artifacts` reads
    Build(BuildAll),
    /// Kernels
    #[command(subcommand)]
    Kernel(KernelTask),
    /// The Rust module
    #[command(subcommand)]
    Module(ModuleTask),
    /// The guest's initramfs
    #[command(subcommand)]
    Initramfs(InitramfsTask),
    /// The erofs test images
    #[command(subcommand)]
    Erofs(ErofsTask),
}

#[derive(Debug, Args)]
struct BuildAll {
    /// The kernels: names of locks in configs/kernels
    #[arg(required = true, value_name = "KERNEL")]
    kernels: Vec<String>,
    #[command(flatten)]
    how: KernelHow,
    /// Also build the Rust module with this seeded bug, and an initramfs that holds it (repeatable)
    #[arg(long = "mutant", value_name = "NAME")]
    mutants: Vec<String>,
    /// Also build every mutant that the module's sources have, or those that the profile names
    #[arg(long, conflicts_with = "mutants")]
    all_mutants: bool,
    /// Which modules to build: with `c`, all but the Rust module
    #[arg(long, value_enum, default_value_t = Modules::All)]
    modules: Modules,
    /// The index to write; with several kernels their name takes the place of `{kernel}` in it
    #[arg(long, value_name = "FILE")]
    out: String,
}

#[derive(Debug, Args)]
struct KernelChoice {
    /// The kernel: a lock's name in configs/kernels
    kernel: String,
    #[command(flatten)]
    how: KernelHow,
}

#[derive(Debug, Args)]
struct KernelHow {
    /// Build this source tree instead of the locked one, with the lock's configuration
    #[arg(long, value_name = "DIR")]
    kernel_src: Option<PathBuf>,
    /// What is put on the lock's configuration: a file's name in configs/profiles
    #[arg(long, value_name = "NAME", default_value = profile::DEFAULT)]
    profile: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Modules {
    /// The C reference and the Rust module.
    All,
    /// The C reference alone.
    C,
}

#[derive(Debug, Subcommand)]
enum KernelTask {
    /// Build a kernel; prints the image's path
    Build(KernelChoice),
    /// Move a lock to the newest version that its suite has
    Lock {
        /// The lock's name in configs/kernels
        kernel: String,
    },
}

#[derive(Debug, Subcommand)]
enum ModuleTask {
    /// Build the module; prints its path
    Build {
        #[command(flatten)]
        kernel: KernelChoice,
        /// Seed this bug
        #[arg(long, value_name = "NAME")]
        mutant: Option<String>,
    },
    /// List the bugs that can be seeded
    Mutants,
}

#[derive(Debug, Subcommand)]
enum InitramfsTask {
    /// Build the initramfs; prints its path
    Build {
        #[command(flatten)]
        kernel: KernelChoice,
        /// Take the Rust module with this seeded bug
        #[arg(long, value_name = "NAME")]
        mutant: Option<String>,
        /// Which modules to take: with `c`, all but the Rust module
        #[arg(long, value_enum, default_value_t = Modules::All)]
        modules: Modules,
    },
}

#[derive(Debug, Subcommand)]
enum ErofsTask {
    /// Build images; prints each one's name and path
    Build {
        /// Descriptions in configs/images [default: all]
        names: Vec<String>,
    },
}

/// What stands for the kernel's name in `build --out`.
const PLACE: &str = "{kernel}";

/// Runs the program; errors go to stderr with everything that led to them.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("images: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let project = match &cli.root {
        Some(root) => Project::at(root)?,
        None => Project::find()?,
    };
    let root = cli.cache.map_or_else(Cache::default_root, Ok)?;
    let cache = Cache::open(&root, Duration::from_secs(cli.lock_wait))?;
    let builder = Builder {
        project,
        cache,
        progress: Progress::new(),
    };
    let result = perform(&builder, cli.task);
    builder.progress.finish();
    for line in result? {
        println!("{line}");
    }
    Ok(())
}

/// Does one task; returns what to print.
fn perform(builder: &Builder, task: Task) -> Result<Vec<String>> {
    match task {
        Task::Build(what) => build_all(builder, &what).map(|()| Vec::new()),
        Task::Kernel(KernelTask::Build(choice)) => {
            let kernel = build_kernel(builder, &choice.kernel, &choice.how, &Toolchain::find()?)?;
            Ok(vec![kernel.bzimage.display().to_string()])
        }
        Task::Kernel(KernelTask::Lock { kernel }) => {
            let old = KernelLock::load(&builder.project, &kernel)?;
            let new = kernel::relock::relock(builder, &old)?;
            Ok(vec![format!(
                "{kernel}: {} -> {}",
                old.package_version, new.package_version
            )])
        }
        Task::Module(ModuleTask::Build { kernel, mutant }) => {
            let toolchain = Toolchain::find()?;
            let kernel = build_kernel(builder, &kernel.kernel, &kernel.how, &toolchain)?;
            let path = module::build(builder, &kernel, &toolchain, mutant.as_deref())?;
            Ok(vec![path.display().to_string()])
        }
        Task::Module(ModuleTask::Mutants) => {
            Ok(module::mutants(&builder.project)?.into_iter().collect())
        }
        Task::Initramfs(InitramfsTask::Build {
            kernel,
            mutant,
            modules,
        }) => {
            let toolchain = Toolchain::find()?;
            let kernel = build_kernel(builder, &kernel.kernel, &kernel.how, &toolchain)?;
            let ours = match modules {
                Modules::All => vec![
                    module::build(builder, &kernel, &toolchain, mutant.as_deref())?,
                    module::build_probe(builder, &kernel, &toolchain)?,
                ],
                Modules::C => Vec::new(),
            };
            let programs = guest::build(builder)?;
            let path = initramfs::build(builder, &kernel, &ours, &programs)?;
            Ok(vec![path.display().to_string()])
        }
        Task::Erofs(ErofsTask::Build { names }) => {
            let images = erofs::build(builder, &names)?;
            let line = |(name, image): (&String, &crate::index::Image)| {
                format!("{name} {}", image.blobs[0].path.display())
            };
            Ok(images.iter().map(line).collect())
        }
    }
}

fn build_kernel(
    builder: &Builder,
    name: &str,
    how: &KernelHow,
    toolchain: &Toolchain,
) -> Result<Kernel> {
    let profile = Profile::load(&builder.project, &how.profile)?;
    let lock = KernelLock::load(&builder.project, name)?.under(&profile);
    match &how.kernel_src {
        None => kernel::build::build(builder, &lock, toolchain),
        Some(source) => kernel::tree::build(builder, &lock, toolchain, source),
    }
}

fn build_all(builder: &Builder, what: &BuildAll) -> Result<()> {
    let several = what.kernels.len() > 1;
    if several && !what.out.contains(PLACE) {
        bail!(
            "--out {}: {} kernels need an index each; write it as target/images/{PLACE}.json",
            what.out,
            what.kernels.len()
        );
    }
    if several && what.how.kernel_src.is_some() {
        bail!("--kernel-src: a tree is one kernel; name one lock, whose configuration it gets");
    }
    let toolchain = Toolchain::find()?;
    for name in &what.kernels {
        let out = PathBuf::from(what.out.replace(PLACE, name));
        build_one(builder, what, name, &out, &toolchain)
            .with_context(|| format!("building for kernel {name}"))?;
    }
    Ok(())
}

/// Builds all that runs on one kernel need, and writes its index.
fn build_one(
    builder: &Builder,
    what: &BuildAll,
    name: &str,
    out: &Path,
    toolchain: &Toolchain,
) -> Result<()> {
    let kernel = build_kernel(builder, name, &what.how, toolchain)?;
    let mut modules = std::collections::BTreeMap::new();
    if let Some(path) = kernel.module("cachefiles.ko") {
        modules.insert("c".to_owned(), path.clone());
    }
    let mut ours = Vec::new();
    if let Modules::All = what.modules {
        let rust = module::build(builder, &kernel, toolchain, None)?;
        modules.insert("rust".to_owned(), rust.clone());
        ours = vec![rust, module::build_probe(builder, &kernel, toolchain)?];
    }
    let own = guest::build(builder)?;
    let initramfs = initramfs::build(builder, &kernel, &ours, &own)?;
    let mut mutants = std::collections::BTreeMap::new();
    let profile = Profile::load(&builder.project, &kernel.profile)?;
    let wanted = match what.all_mutants {
        true if profile.mutants.is_empty() => {
            module::mutants(&builder.project)?.into_iter().collect()
        }
        true => profile.mutants.clone(),
        false => what.mutants.clone(),
    };
    for name in &wanted {
        let ours = [
            module::build(builder, &kernel, toolchain, Some(name))?,
            module::build_probe(builder, &kernel, toolchain)?,
        ];
        let path = initramfs::build(builder, &kernel, &ours, &own)?;
        mutants.insert(name.clone(), path);
    }
    let foreign = foreign::build(builder)?;
    let mut images = erofs::build(builder, &[])?;
    images.insert(foreign::NAME.to_owned(), foreign.image);
    let mut programs = programs::build(builder)?;
    programs.insert(foreign::NAME.to_owned(), foreign.programs);
    let index = Index {
        schema: SCHEMA,
        kernel: kernel.name.clone(),
        release: kernel.release.clone(),
        profile: kernel.profile.clone(),
        guest: profile.guest()?,
        mutant: None,
        bzimage: kernel.bzimage.clone(),
        vmlinux: kernel.vmlinux.clone(),
        config: kernel.config.clone(),
        initramfs,
        modules,
        mutants,
        images,
        programs,
    };
    let mut text = serde_json::to_vec_pretty(&index)?;
    text.push(b'\n');
    cache::write_whole(out, &text).context("cannot write the artifact index")
}
