// SPDX-License-Identifier: GPL-2.0-or-later
//! Kernel locks, `configs/kernels/<name>.yaml`: exactly which source, and which configuration.

use std::fs;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use serde::Deserialize;

use crate::profile;
use crate::profile::Profile;
use crate::project::Project;

/// Where locks are, in the checkout.
pub const FOLDER: &str = "configs/kernels";

/// A kernel lock.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KernelLock {
    /// The file's name without its ending: what the command line calls it.
    #[serde(skip)]
    pub name: String,
    /// The profile whose fragments were put on top: see [`KernelLock::under`].
    #[serde(skip)]
    pub profile: String,
    /// The kernel's version: `6.12.117`.
    pub version: String,
    /// The Debian package that holds the source.
    pub package: String,
    /// That package's exact version.
    pub package_version: String,
    /// The Debian suite it is in: `bookworm-security`.
    pub suite: String,
    /// The component of the suite: `main`.
    pub component: String,
    /// The source's tarball inside the package.
    pub tarball: String,
    /// The tarball's digest, 64 hex digits.
    pub sha256: String,
    /// What the fragments are put on.
    pub base: Base,
    /// Fragments of `configs/fragments`, by name.
    pub fragments: Vec<String>,
}

/// The configuration that fragments are put on.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// Nothing but what the fragments ask for and what that needs.
    AllNoConfig,
    /// Every option's default.
    AllDefConfig,
    /// The architecture's own choice.
    DefConfig,
}

impl Base {
    /// The make target that writes it.
    pub fn target(self) -> &'static str {
        match self {
            Self::AllNoConfig => "allnoconfig",
            Self::AllDefConfig => "alldefconfig",
            Self::DefConfig => "defconfig",
        }
    }
}

impl KernelLock {
    /// Reads the lock called `name`.
    ///
    /// # Errors
    /// When there is none (naming those there are), or it does not parse or makes no sense.
    pub fn load(project: &Project, name: &str) -> Result<Self> {
        let known = project.names(FOLDER, ".yaml")?;
        if !known.iter().any(|known| known == name) {
            bail!(
                "no kernel is called {name}; {FOLDER} has: {}",
                known.join(", ")
            );
        }
        let file = format!("{FOLDER}/{name}.yaml");
        let text = fs::read_to_string(project.path(&file))
            .with_context(|| format!("cannot read {file}"))?;
        Self::parse(name, &text).with_context(|| format!("{file} is no kernel lock"))
    }

    /// The lock with a profile's fragments on top of its own.
    #[must_use]
    pub fn under(mut self, profile: &Profile) -> Self {
        self.profile.clone_from(&profile.name);
        self.fragments.extend(profile.fragments.iter().cloned());
        self
    }

    /// How people call such a kernel: `Linux 6.12.117`, `Linux 6.12.117 (debug)`.
    pub fn title(&self) -> String {
        match self.profile.as_str() {
            profile::DEFAULT => format!("Linux {}", self.version),
            profile => format!("Linux {} ({profile})", self.version),
        }
    }

    /// Reads a lock from its text.
    ///
    /// # Errors
    /// When it does not parse or makes no sense.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut lock: Self = serde_yaml::from_str(text)?;
        lock.name = name.to_owned();
        lock.profile = profile::DEFAULT.to_owned();
        if lock.sha256.len() != 64 || !lock.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            bail!("sha256: {:?} is not 64 hex digits", lock.sha256);
        }
        lock.sha256.make_ascii_lowercase();
        // These become part of command lines and paths.
        for (field, value) in [
            ("version", &lock.version),
            ("package", &lock.package),
            ("package-version", &lock.package_version),
            ("suite", &lock.suite),
            ("component", &lock.component),
        ] {
            let fine = |byte: u8| byte.is_ascii_alphanumeric() || b".+-~:_".contains(&byte);
            if value.is_empty() || value.starts_with('-') || !value.bytes().all(fine) {
                bail!("{field}: {value:?} is empty or has characters that Debian does not allow");
            }
        }
        if lock.tarball.starts_with('/') || lock.tarball.split('/').any(|part| part == "..") {
            bail!(
                "tarball: {:?} must be a path inside the package",
                lock.tarball
            );
        }
        if lock.fragments.is_empty() {
            bail!("fragments: at least one is needed");
        }
        Ok(lock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) const GOOD: &str = "version: 6.12.1\npackage: linux-source-6.12\n\
        package-version: 6.12.1-1~deb12u1\nsuite: bookworm-security\ncomponent: main\n\
        tarball: usr/src/x.tar.xz\n\
        sha256: 585a4a074597aefa2b1a68ada83a3184ba351c127544dea80618bbcceaa3961f\n\
        base: allnoconfig\nfragments: [base]\n";

    #[test]
    fn a_lock_is_read() {
        let lock = KernelLock::parse("6.12", GOOD).unwrap();
        assert_eq!(lock.name, "6.12");
        assert_eq!(lock.base, Base::AllNoConfig);
        assert_eq!(lock.fragments, ["base"]);
    }

    #[test]
    fn a_misspelt_key_is_an_error_that_names_it_and_the_line() {
        let error = KernelLock::parse("x", &GOOD.replace("suite:", "siute:")).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("siute") && text.contains("line 4"), "{text}");
    }

    #[test]
    fn a_digest_of_the_wrong_length_is_an_error() {
        let error = KernelLock::parse("x", &GOOD.replace("585a", "58")).unwrap_err();
        assert!(error.to_string().contains("64 hex digits"), "{error}");
    }

    #[test]
    fn a_field_that_could_be_taken_for_an_option_is_an_error() {
        let error =
            KernelLock::parse("x", &GOOD.replace("linux-source-6.12", "\"--help\"")).unwrap_err();
        assert!(error.to_string().contains("package"), "{error}");
    }

    #[test]
    fn a_tarball_outside_its_package_is_an_error() {
        let error = KernelLock::parse("x", &GOOD.replace("usr/src/", "../")).unwrap_err();
        assert!(error.to_string().contains("inside the package"), "{error}");
    }

    #[test]
    fn the_locks_of_this_checkout_are_valid() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let project = Project::at(&root).unwrap();
        for name in project.names(FOLDER, ".yaml").unwrap() {
            KernelLock::load(&project, &name).unwrap();
        }
    }
}
