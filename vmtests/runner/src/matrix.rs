// SPDX-License-Identifier: GPL-2.0-or-later
//! Which runs there are: every scenario with every module.

use std::path::PathBuf;

use vmtest_protocol::message::ModuleFile;

use crate::artifacts::Index;
use crate::scenario::Scenario;

/// A module under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Module {
    /// The port.
    Rust,
    /// The reference.
    C,
}

impl Module {
    /// Both.
    pub const ALL: [Module; 2] = [Module::C, Module::Rust];

    /// The word in reports and in the artifact index.
    pub fn word(self) -> &'static str {
        match self {
            Module::Rust => "rust",
            Module::C => "c",
        }
    }

    /// Its name in /sys/module.
    pub fn sys_name(self) -> &'static str {
        match self {
            Module::Rust => "cachefiles_rs",
            Module::C => "cachefiles",
        }
    }

    /// The other one, which must not be loaded.
    pub fn other(self) -> Module {
        match self {
            Module::Rust => Module::C,
            Module::C => Module::Rust,
        }
    }

    /// What the guest loads for it, in this order.
    pub fn files(self) -> Vec<ModuleFile> {
        ["netfs", self.sys_name(), "erofs"]
            .iter()
            .map(|name| ModuleFile {
                path: format!("/lib/modules/{name}.ko"),
                params: String::new(),
                load: true,
            })
            .collect()
    }
}

/// One run to be done.
#[derive(Debug, Clone)]
pub struct Planned<'a> {
    /// What to do.
    pub scenario: &'a Scenario,
    /// On which module.
    pub module: Module,
    /// The guest's root.
    pub initramfs: PathBuf,
    /// Folder under `runs/`.
    pub folder: String,
    /// Set when it cannot be run: why.
    pub skip: Option<String>,
}

/// Every scenario with every module, or with `only` one. A module that the index lacks is skipped,
/// visibly, unless it was asked for by name (that is checked before).
pub fn expand<'a>(
    scenarios: &'a [Scenario],
    only: Option<Module>,
    index: &Index,
) -> Vec<Planned<'a>> {
    let mut runs = Vec::new();
    for scenario in scenarios {
        for module in Module::ALL {
            if only.is_some_and(|only| only != module) {
                continue;
            }
            let there = index.modules.contains_key(module.word());
            runs.push(Planned {
                scenario,
                module,
                initramfs: index.initramfs.clone(),
                folder: format!("{}-{}-{}", scenario.name, index.kernel, module.word()),
                skip: (!there).then(|| {
                    format!(
                        "{} has no module `{}`: nothing was built to test",
                        index.file.display(),
                        module.word()
                    )
                }),
            });
        }
    }
    runs
}
