// SPDX-License-Identifier: GPL-2.0-or-later
//! Profiles, `configs/profiles/<name>.yaml`: what a kernel is built with besides its lock's
//! fragments, and what its guests then need.

use std::fs;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use serde::Deserialize;

use crate::index::Guest;
use crate::project::Project;

/// Where profiles are, in the checkout.
pub const FOLDER: &str = "configs/profiles";
/// The profile of builds that name none.
pub const DEFAULT: &str = "release";

/// A profile.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Profile {
    /// The file's name without its ending.
    #[serde(skip)]
    pub name: String,
    /// Fragments of `configs/fragments` that are put on those of the lock.
    pub fragments: Vec<String>,
    /// Further kernel parameters.
    #[serde(default)]
    pub append: String,
    /// A guest gets at least this much memory: a whole number with `MiB` or `GiB`.
    #[serde(default)]
    pub least_memory: Option<String>,
    /// Every limit of a run is multiplied by this.
    #[serde(default = "once")]
    pub limits: u32,
    /// Whether the kernel can look for memory that nobody points to, and does so after each run.
    #[serde(default)]
    pub leak_scan: bool,
    /// The seeded bugs that `--all-mutants` builds for such a kernel: those that no other can show.
    /// All of them where none is named.
    #[serde(default)]
    pub mutants: Vec<String>,
}

fn once() -> u32 {
    1
}

impl Profile {
    /// Reads the profile called `name`.
    ///
    /// # Errors
    /// When there is none (naming those there are), or it does not parse or makes no sense.
    pub fn load(project: &Project, name: &str) -> Result<Self> {
        let known = project.names(FOLDER, ".yaml")?;
        if !known.iter().any(|known| known == name) {
            bail!(
                "no profile is called {name}; {FOLDER} has: {}",
                known.join(", ")
            );
        }
        let file = format!("{FOLDER}/{name}.yaml");
        let text = fs::read_to_string(project.path(&file))
            .with_context(|| format!("cannot read {file}"))?;
        Self::parse(name, &text).with_context(|| format!("{file} is no profile"))
    }

    /// Reads a profile from its text.
    ///
    /// # Errors
    /// When it does not parse or makes no sense.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut profile: Self = serde_yaml::from_str(text)?;
        profile.name = name.to_owned();
        if !(1..=100).contains(&profile.limits) {
            bail!("limits: {} is not from 1 to 100", profile.limits);
        }
        profile.memory()?;
        Ok(profile)
    }

    /// What the profile asks of guests, for the index.
    ///
    /// # Errors
    /// When the memory is no size.
    pub fn guest(&self) -> Result<Guest> {
        Ok(Guest {
            append: self.append.clone(),
            least_memory: self.memory()?,
            limits: self.limits,
            leak_scan: self.leak_scan,
        })
    }

    /// The least memory in bytes; 0 when the profile does not care.
    fn memory(&self) -> Result<u64> {
        let Some(text) = self.least_memory.as_deref() else {
            return Ok(0);
        };
        let size = [("MiB", 20), ("GiB", 30)].iter().find_map(|(unit, shift)| {
            let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
            (number > 0 && number <= 1 << 20).then_some(number << shift)
        });
        size.with_context(|| format!("least-memory: {text:?} is no size such as 768MiB or 2GiB"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_without_wishes_leaves_guests_as_they_are() {
        let profile = Profile::parse("release", "fragments: []\n").unwrap();
        assert_eq!(profile.guest().unwrap(), Guest::default());
    }

    #[test]
    fn memory_is_read_with_its_unit_and_refused_without() {
        let parse = |memory: &str| {
            Profile::parse("x", &format!("fragments: [a]\nleast-memory: {memory}\n"))
                .and_then(|profile| profile.guest())
        };
        assert_eq!(parse("768MiB").unwrap().least_memory, 768 << 20);
        assert_eq!(parse("2 GiB").unwrap().least_memory, 2 << 30);
        for wrong in ["768", "0MiB", "MiB", "-1MiB", "99999999999GiB"] {
            let text = format!("{:#}", parse(wrong).unwrap_err());
            assert!(text.contains("least-memory"), "{wrong}: {text}");
        }
    }

    #[test]
    fn a_misspelt_key_is_an_error_that_names_it() {
        let error = Profile::parse("x", "fragments: []\nleakscan: true\n").unwrap_err();
        assert!(format!("{error:#}").contains("leakscan"), "{error:#}");
    }

    #[test]
    fn the_profiles_of_this_checkout_are_read_and_name_fragments_that_exist() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let project = Project::at(&root).unwrap();
        for name in project.names(FOLDER, ".yaml").unwrap() {
            let profile = Profile::load(&project, &name).unwrap();
            crate::kernel::config::Wishes::load(&project, &profile.fragments).unwrap();
            let known = crate::module::mutants(&project).unwrap();
            let unknown = profile.mutants.iter().find(|name| !known.contains(*name));
            assert_eq!(unknown, None, "the module has no such seeded bug");
        }
    }
}
