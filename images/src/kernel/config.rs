// SPDX-License-Identifier: GPL-2.0-or-later
//! Kernel configuration: what the fragments ask for, and whether Kconfig granted it.
//!
//! Kconfig drops what it cannot have without a word. A test kernel that lacks what its fragments
//! ask for tests something else, so every option is looked up in the final `.config`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::project::Project;

/// Where fragments are, in the checkout.
pub const FOLDER: &str = "configs/fragments";

/// One option that a fragment asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The value: `y`, `m`, `n`, a number or a quoted string.
    pub value: String,
    /// The fragment's name.
    pub fragment: String,
    /// The line in it, from 1.
    pub line: usize,
}

/// What a list of fragments asks for, by option (`CONFIG_...`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes(BTreeMap<String, Asked>);

impl Wishes {
    /// Reads fragments from the checkout.
    ///
    /// # Errors
    /// When one does not exist or parse, or two contradict each other.
    pub fn load(project: &Project, fragments: &[String]) -> Result<Self> {
        let known = project.names(FOLDER, ".config")?;
        let mut wishes = Self::default();
        for name in fragments {
            if !known.contains(name) {
                bail!(
                    "no fragment is called {name}; {FOLDER} has: {}",
                    known.join(", ")
                );
            }
            let file = format!("{FOLDER}/{name}.config");
            let text = fs::read_to_string(project.path(&file))
                .with_context(|| format!("cannot read {file}"))?;
            wishes.add(name, &text)?;
        }
        Ok(wishes)
    }

    /// Adds one fragment's text.
    ///
    /// # Errors
    /// When a line is neither an option nor a comment, or contradicts an earlier fragment.
    pub fn add(&mut self, fragment: &str, text: &str) -> Result<()> {
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let place = || format!("{FOLDER}/{fragment}.config:{number}");
            let Some((option, value)) = parse_line(line).with_context(place)? else {
                continue;
            };
            let asked = Asked {
                value: value.to_owned(),
                fragment: fragment.to_owned(),
                line: number,
            };
            if let Some(earlier) = self.0.get(option) {
                if earlier.value != asked.value {
                    bail!(
                        "{}: {option}={value}, but {FOLDER}/{}.config:{} says {option}={}; say it \
                         once",
                        place(),
                        earlier.fragment,
                        earlier.line,
                        earlier.value
                    );
                }
                continue;
            }
            self.0.insert(option.to_owned(), asked);
        }
        Ok(())
    }

    /// All wishes as one fragment: what make is given, and what goes into the kernel's key.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (option, asked) in &self.0 {
            if asked.value == "n" {
                text.push_str(&format!("# {option} is not set\n"));
            } else {
                text.push_str(&format!("{option}={}\n", asked.value));
            }
        }
        text
    }

    /// Checks that a final `.config` grants every wish.
    ///
    /// `source` is the kernel's tree: it is searched to say why an option is missing.
    ///
    /// # Errors
    /// Names every option that was not granted, its fragment and line.
    pub fn verify(&self, config: &str, source: &Path) -> Result<()> {
        let granted: BTreeMap<&str, &str> = config
            .lines()
            .filter_map(|line| parse_line(line).ok().flatten())
            .collect();
        let mut missed = Vec::new();
        for (option, asked) in &self.0 {
            let found = granted.get(option.as_str()).copied().unwrap_or("n");
            if found != asked.value {
                missed.push((option, asked, found));
            }
        }
        if missed.is_empty() {
            return Ok(());
        }
        let mut text = format!(
            "Kconfig did not grant {} of the options asked for; correct the fragments:",
            missed.len()
        );
        for (option, asked, found) in missed {
            let why = if found == "n" && !is_defined(source, option) {
                "; no Kconfig file of this kernel defines it"
            } else {
                "; something it depends on is off, or something else selects it"
            };
            text.push_str(&format!(
                "\n  {option}={} ({FOLDER}/{}.config:{}) became {found}{why}",
                asked.value, asked.fragment, asked.line
            ));
        }
        bail!("{text}");
    }
}

/// Takes a line of a configuration apart; none for comments and empty lines.
fn parse_line(line: &str) -> Result<Option<(&str, &str)>> {
    let line = line.trim();
    if let Some(comment) = line.strip_prefix('#') {
        let off = comment.trim().strip_suffix(" is not set");
        return Ok(off
            .filter(|option| is_option(option))
            .map(|option| (option, "n")));
    }
    if line.is_empty() {
        return Ok(None);
    }
    match line.split_once('=') {
        Some((option, value)) if is_option(option) && !value.is_empty() => {
            Ok(Some((option, value)))
        }
        _ => bail!("{line:?} is neither CONFIG_NAME=value nor a comment"),
    }
}

fn is_option(text: &str) -> bool {
    text.strip_prefix("CONFIG_").is_some_and(|name| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

/// Whether any Kconfig file under `folder` defines an option. Only asked when one is missing.
fn is_defined(folder: &Path, option: &str) -> bool {
    let name = option.trim_start_matches("CONFIG_");
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() {
                folders.push(entry.path());
            } else if entry.file_name().to_string_lossy().starts_with("Kconfig") {
                let text = fs::read_to_string(entry.path()).unwrap_or_default();
                let defines = |line: &str| {
                    let mut words = line.split_whitespace();
                    matches!(words.next(), Some("config" | "menuconfig"))
                        && words.next() == Some(name)
                };
                if text.lines().any(defines) {
                    return true;
                }
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(text: &str) -> Wishes {
        let mut wishes = Wishes::default();
        wishes.add("one", text).unwrap();
        wishes
    }

    #[test]
    fn a_granted_configuration_passes() {
        let wishes = wishes("CONFIG_A=y\nCONFIG_B=m\nCONFIG_C=n\n# words\nCONFIG_S=\"x=y\"\n");
        let config =
            "CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_S=\"x=y\"\nCONFIG_Z=y\n";
        wishes.verify(config, Path::new("/nonexistent")).unwrap();
    }

    #[test]
    fn a_dropped_option_is_named_with_its_fragment_and_line() {
        let wishes = wishes("# head\nCONFIG_A=y\nCONFIG_B=m\n");
        let error = wishes
            .verify("CONFIG_B=m\n", Path::new("/nonexistent"))
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("CONFIG_A=y (configs/fragments/one.config:2) became n"),
            "{text}"
        );
        assert!(!text.contains("CONFIG_B"), "{text}");
    }

    #[test]
    fn a_module_that_became_built_in_and_an_option_forced_on_are_found() {
        let wishes = wishes("CONFIG_A=m\nCONFIG_B=n\n");
        let error = wishes.verify("CONFIG_A=y\nCONFIG_B=y\n", Path::new("/nonexistent"));
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("CONFIG_A=m") && text.contains("CONFIG_B=n"),
            "{text}"
        );
    }

    #[test]
    fn a_missing_option_that_exists_is_told_from_one_that_does_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("fs")).unwrap();
        fs::write(dir.path().join("fs/Kconfig"), "config A\n\tbool\n").unwrap();
        let text = wishes("CONFIG_A=y\nCONFIG_AB=y\n")
            .verify("", dir.path())
            .unwrap_err();
        let text = text.to_string();
        let line = |option| {
            text.lines()
                .find(|line| line.contains(option))
                .unwrap()
                .to_owned()
        };
        assert!(line("CONFIG_A=").contains("depends on"), "{text}");
        assert!(line("CONFIG_AB=").contains("no Kconfig file"), "{text}");
    }

    #[test]
    fn fragments_that_contradict_each_other_are_an_error_that_names_both() {
        let mut wishes = wishes("CONFIG_A=y\n");
        wishes.add("two", "CONFIG_A=y\n").unwrap();
        let text = wishes
            .add("three", "\nCONFIG_A=m\n")
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("three.config:2") && text.contains("one.config:1"),
            "{text}"
        );
    }

    #[test]
    fn a_line_that_is_no_option_is_an_error_with_its_place() {
        let error = Wishes::default()
            .add("one", "CONFIG_A=y\nCONFIG A=y\n")
            .unwrap_err();
        assert!(format!("{error:#}").contains("one.config:2"), "{error:#}");
    }

    #[test]
    fn comments_do_not_change_the_text_that_names_a_kernel() {
        let one = wishes("CONFIG_B=y\nCONFIG_A=n\n");
        let other = wishes("# why\n# CONFIG_A is not set\n\nCONFIG_B=y\n");
        assert_eq!(one.text(), other.text());
    }

    #[test]
    fn the_fragments_of_this_checkout_agree_with_each_other() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let project = Project::at(&root).unwrap();
        let names = project.names(FOLDER, ".config").unwrap();
        assert!(!Wishes::load(&project, &names).unwrap().text().is_empty());
    }
}
