// SPDX-License-Identifier: GPL-2.0-or-later
//! Which runs there are: every case of every scenario with every module, and which of them the
//! kernel does not allow.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use vmtest_protocol::message::Client;
use vmtest_protocol::message::ModuleFile;

use crate::artifacts::Index;
use crate::scenario::Asks;
use crate::scenario::EROFS;
use crate::scenario::KernelNeed;
use crate::scenario::ModuleNeed;
use crate::scenario::ONDEMAND;
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

    /// What the guest loads for it, in this order, as far as the scenario wants that before its
    /// first step.
    pub fn files(self, need: &ModuleNeed) -> Vec<ModuleFile> {
        [
            ("netfs", String::new(), true),
            (self.sys_name(), need.params.clone(), need.load),
            // erofs asks fscache, which netfs has, and needs neither module; where the module is
            // loaded by a step, such a step loads erofs too.
            ("erofs", String::new(), need.load),
            // For the scenarios that load it by a step.
            ("cachefiles_probe", String::new(), false),
        ]
        .into_iter()
        .map(|(name, params, load)| ModuleFile {
            path: format!("/lib/modules/{name}.ko"),
            params,
            load,
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
    /// On which kernel, and with what else was built for it.
    pub index: &'a Index,
    /// Who mounts images.
    pub client: Client,
    /// The guest's root.
    pub initramfs: PathBuf,
    /// Folder under `runs/`.
    pub folder: String,
    /// Set when it cannot be run: why.
    pub skip: Option<String>,
}

impl Planned<'_> {
    /// Memory of the guest in bytes: what the scenario needs, and no less than the profile does.
    ///
    /// # Errors
    /// When the scenario's is no size.
    pub fn memory(&self) -> Result<u64, String> {
        let needed = self.scenario.needs.memory.get()?.0;
        Ok(needed.max(self.index.guest.least_memory))
    }

    /// Kernel parameters: the profile's, then the scenario's own, which win.
    pub fn append(&self) -> String {
        let both = [&self.index.guest.append, &self.scenario.needs.kernel.args];
        let both: Vec<&str> = both.iter().map(|text| text.trim()).collect();
        both.join(" ").trim().to_owned()
    }
}

impl Planned<'_> {
    /// Lets the probe mount images on this kernel too, unless the scenario is about erofs itself.
    pub fn by_probe(&mut self) {
        let config = &self.scenario.needs.kernel.config;
        if !config.iter().any(|option| option == EROFS) {
            self.client = Client::Probe;
        }
    }
}

/// Every scenario with every module, or with `only` one. What the kernel or the index does not
/// allow is skipped, visibly; a module that was asked for by name is known to be there.
pub fn expand<'a>(
    scenarios: &'a [Scenario],
    only: Option<Module>,
    index: &'a Index,
) -> Vec<Planned<'a>> {
    let options = Options::of(index);
    let mut runs = Vec::new();
    for scenario in scenarios {
        for module in Module::ALL {
            if only.is_some_and(|only| only != module) {
                continue;
            }
            let there = index.modules.contains_key(module.word());
            let missing = (!there).then(|| {
                format!(
                    "{} has no module `{}`: nothing was built to test",
                    index.file.display(),
                    module.word()
                )
            });
            let obstacle = obstacle_with(scenario, module, index, &options);
            runs.push(Planned {
                scenario,
                module,
                index,
                client: options.client(),
                initramfs: index.initramfs.clone(),
                folder: format!("{}-{}-{}", scenario.folder(), index.label(), module.word()),
                skip: obstacle.or(missing),
            });
        }
    }
    runs
}

/// Why a scenario makes no sense on the index's kernel with this module, or with a kernel that lacks
/// the option `besides`; `None` when it does.
pub fn obstacle(
    scenario: &Scenario,
    module: Module,
    index: &Index,
    besides: Option<&str>,
) -> Option<String> {
    let options = Options::of(index);
    obstacle_with(scenario, module, index, &options).or_else(|| {
        let need = KernelNeed {
            config: vec![besides?.to_owned()],
            ..KernelNeed::default()
        };
        unfit(&need, index, &options)
    })
}

fn obstacle_with(
    scenario: &Scenario,
    module: Module,
    index: &Index,
    options: &Options,
) -> Option<String> {
    unfit(&scenario.needs.kernel, index, options)
        .or_else(|| absent(Asks::of(scenario), module, index, options))
}

/// What a scenario's steps ask for and this kernel cannot have, with this module.
fn absent(asks: Asks, module: Module, index: &Index, options: &Options) -> Option<String> {
    // A kernel whose options are not known is taken for one that has everything: its runs fail
    // where it has not.
    let set = options.0.as_ref().ok()?;
    let kernel = format!("kernel {} ({})", index.label(), index.release);
    // The Rust module brings the mode along.
    let lacks = module == Module::C && asks.ondemand && !set.contains(ONDEMAND);
    lacks.then(|| {
        format!("{kernel}: its C module has no on-demand mode: CONFIG_{ONDEMAND} is not there")
    })
}

/// A kernel version as it may stand in a scenario: `6.12`, `6.12.5`.
pub fn version(text: &str) -> Option<Vec<u32>> {
    let parts: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
    parts.filter(|parts| (2..=3).contains(&parts.len()) && !text.contains('+'))
}

/// The version in a release such as `7.2.0-rc3-dirty`.
fn release_version(release: &str) -> Option<Vec<u32>> {
    let end = release
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(release.len());
    version(release[..end].trim_end_matches('.'))
}

/// The options that a kernel was built with, or why they are not known.
struct Options(Result<BTreeSet<String>, String>);

impl Options {
    fn of(index: &Index) -> Self {
        let Some(file) = &index.config else {
            return Options(Err(format!(
                "{} does not say with which options its kernel was built: make it again",
                index.file.display()
            )));
        };
        Options(match fs::read_to_string(file) {
            Ok(text) => Ok(set_options(&text)),
            Err(error) => Err(format!(
                "the kernel's options cannot be read from {}: {error}",
                file.display()
            )),
        })
    }

    /// A kernel whose options are not known is taken for one that has everything.
    fn client(&self) -> Client {
        match &self.0 {
            Ok(set) if !set.contains(EROFS) => Client::Probe,
            _ => Client::Erofs,
        }
    }
}

/// Who mounts images on the index's kernel.
pub fn client_of(index: &Index) -> Client {
    Options::of(index).client()
}

/// The options of a kernel's configuration file that are `y` or `m`, without `CONFIG_`.
fn set_options(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('='))
        .filter(|(_, value)| matches!(*value, "y" | "m"))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Why a scenario makes no sense on the index's kernel; `None` when it does.
fn unfit(need: &KernelNeed, index: &Index, options: &Options) -> Option<String> {
    let kernel = format!("kernel {} ({})", index.label(), index.release);
    let wanted = |text: &Option<String>| text.as_deref().and_then(version);
    if need.at_least.is_some() || need.before.is_some() {
        let Some(release) = release_version(&index.release) else {
            return Some(format!(
                "{kernel}: no version can be read from this release"
            ));
        };
        if wanted(&need.at_least).is_some_and(|least| release < least) {
            let least = need.at_least.as_deref().unwrap_or_default();
            return Some(format!(
                "{kernel} is older than {least}, which the scenario needs"
            ));
        }
        if wanted(&need.before).is_some_and(|before| release >= before) {
            let before = need.before.as_deref().unwrap_or_default();
            return Some(format!(
                "{kernel}: the scenario makes no sense from {before} on"
            ));
        }
    }
    if need.config.is_empty() {
        return None;
    }
    let set = match &options.0 {
        Ok(set) => set,
        Err(why) => return Some(why.clone()),
    };
    let missing = need.config.iter().filter(|name| !set.contains(*name));
    let missing: Vec<String> = missing.map(|name| format!("CONFIG_{name}")).collect();
    (!missing.is_empty()).then(|| format!("{kernel} was built without {}", missing.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(dir: &std::path::Path) -> Index {
        let config = dir.join("config");
        let text = "CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D=\"y\"\n";
        fs::write(&config, text).unwrap();
        serde_json::from_value(serde_json::json!({
            "schema": 1, "kernel": "6.12", "release": "6.12.117", "profile": "release",
            "bzimage": "b", "initramfs": "i", "modules": {"c": "c.ko"}, "images": {},
            "config": config,
        }))
        .unwrap()
    }

    fn scenario(kernel: &str) -> Scenario {
        let text = format!("name: a\nabout: x\nneeds: {{kernel: {kernel}}}\nsteps: []\n");
        serde_yaml::from_str(&text).unwrap()
    }

    fn skipped(kernel: &str) -> Vec<Option<String>> {
        let dir = tempfile::tempdir().unwrap();
        let scenarios = [scenario(kernel)];
        let index = index(dir.path());
        let runs = expand(&scenarios, None, &index);
        assert_eq!(runs.len(), 2);
        runs.into_iter().map(|run| run.skip).collect()
    }

    #[test]
    fn a_kernel_that_does_not_fit_is_skipped_with_the_reason() {
        for (kernel, reason) in [
            (
                "{at_least: \"6.13\"}",
                "kernel 6.12 (6.12.117) is older than 6.13",
            ),
            ("{at_least: \"6.12.118\"}", "older than 6.12.118"),
            ("{before: \"6.12\"}", "makes no sense from 6.12 on"),
            (
                "{config: [A, C, D, E]}",
                "was built without CONFIG_C, CONFIG_D, CONFIG_E",
            ),
        ] {
            for skip in skipped(kernel) {
                let skip = skip.unwrap();
                assert!(skip.contains(reason), "{skip}");
            }
        }
        let fits = "{at_least: \"6.12\", before: \"7.2\", config: [A, B]}";
        let skips = skipped(fits);
        assert_eq!(skips[0], None);
        assert!(skips[1].as_ref().unwrap().contains("no module `rust`"));
    }

    #[test]
    fn without_its_configuration_a_kernel_is_not_taken_for_fit() {
        let dir = tempfile::tempdir().unwrap();
        let mut index = index(dir.path());
        index.config = None;
        let scenarios = [scenario("{config: [A]}")];
        let runs = expand(&scenarios, Some(Module::C), &index);
        assert!(runs[0].skip.as_ref().unwrap().contains("make it again"));
    }

    #[test]
    fn what_the_kernel_has_not_is_skipped_for_whom_it_concerns() {
        let dir = tempfile::tempdir().unwrap();
        let mut index = index(dir.path());
        index.modules.insert("rust".to_owned(), "rust.ko".into());
        let skips = |steps: &str, index: &Index| {
            let text = format!("name: a\nabout: x\nsteps: {steps}\n");
            let scenarios = [serde_yaml::from_str(&text).unwrap()];
            let runs = expand(&scenarios, None, index);
            runs.into_iter().map(|run| run.skip).collect::<Vec<_>>()
        };
        let daemon = "[{start_daemon: {}}]";
        let [c, rust] = &skips(daemon, &index)[..] else {
            panic!("two runs");
        };
        assert!(c.as_ref().unwrap().contains("no on-demand mode"), "{c:?}");
        assert_eq!(*rust, None);
        // Images are mounted by whichever client the kernel has.
        assert_eq!(skips("[{mount: {image: i, at: /m}}]", &index), [None, None]);
        let config = dir.path().join("config");
        fs::write(
            &config,
            "CONFIG_CACHEFILES_ONDEMAND=y\nCONFIG_EROFS_FS_ONDEMAND=y\n",
        )
        .unwrap();
        let both = "[{start_daemon: {}}, {mount: {image: i, at: /m}}]";
        assert_eq!(skips(both, &index), [None, None]);
    }

    #[test]
    fn the_probe_mounts_where_erofs_cannot_or_when_it_is_asked_to() {
        let dir = tempfile::tempdir().unwrap();
        let index = index(dir.path());
        let config = dir.path().join("config");
        let plan = |options: &str, kernel: &str, by_probe: bool| {
            fs::write(&config, options).unwrap();
            let scenarios = [scenario(kernel)];
            let mut runs = expand(&scenarios, Some(Module::C), &index);
            if by_probe {
                runs[0].by_probe();
            }
            (runs[0].client, runs[0].skip.is_some())
        };
        let erofs = "CONFIG_EROFS_FS_ONDEMAND=y\n";
        let about_erofs = "{config: [EROFS_FS_ONDEMAND]}";
        assert_eq!(plan(erofs, "{}", false), (Client::Erofs, false));
        assert_eq!(plan(erofs, "{}", true), (Client::Probe, false));
        assert_eq!(plan("", "{}", false), (Client::Probe, false));
        assert_eq!(plan(erofs, about_erofs, true), (Client::Erofs, false));
        assert!(plan("", about_erofs, false).1);
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(release_version("6.9.1") < version("6.12"));
        assert!(release_version("7.2.0-rc3-dirty") >= version("7.2"));
        assert_eq!(release_version("7.2-next"), version("7.2"));
        for wrong in ["6", "6.x", "", "6.12.1.1", "v6.12", "6.+12"] {
            assert_eq!(version(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_module_that_is_not_to_be_loaded_leaves_erofs_unloaded_too() {
        let need = ModuleNeed {
            params: "debug=1".to_owned(),
            load: false,
        };
        let files = Module::Rust.files(&need);
        let loaded: Vec<bool> = files.iter().map(|file| file.load).collect();
        assert_eq!(loaded, [true, false, false, false]);
        assert_eq!(files[1].params, "debug=1");
        assert!(files[1].path.ends_with("/cachefiles_rs.ko"));
    }
}
