// SPDX-License-Identifier: GPL-2.0-or-later
//! Kernels: which one a lock names, how its source is had, configured and built.

pub mod apt;
pub mod build;
pub mod config;
pub mod fetch;
pub mod lockfile;
pub mod relock;
pub mod tree;

use std::path::PathBuf;

use crate::filelock::FileLock;

/// A built kernel.
#[derive(Debug)]
pub struct Kernel {
    /// The lock's name: `6.12`.
    pub name: String,
    /// The profile it was built with: `release`.
    pub profile: String,
    /// What the kernel calls itself: `6.12.117`.
    pub release: String,
    /// Names this build; what is built against the kernel has it in its own key.
    pub key: String,
    /// The folder that external modules are built against (`make -C`).
    pub kbuild: PathBuf,
    /// The image to boot.
    pub bzimage: PathBuf,
    /// The ELF file with the symbols, to decode addresses with.
    pub vmlinux: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// The kernel's own loadable modules: `cachefiles.ko` among them is the C reference.
    pub modules: Vec<PathBuf>,
    /// Keeps others from rebuilding a tree of the user's own while it is built against.
    pub(crate) _in_use: Option<FileLock>,
}

impl Kernel {
    /// The kernel's own module of that file name.
    pub fn module(&self, file_name: &str) -> Option<&PathBuf> {
        self.modules
            .iter()
            .find(|path| path.file_name().is_some_and(|name| name == file_name))
    }
}
