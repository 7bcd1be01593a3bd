// SPDX-License-Identifier: GPL-2.0-or-later
//! What can be known to be wrong in a scenario before anything boots.

use std::collections::BTreeSet;
use std::path::Path;

use vmtest_protocol::Action;
use vmtest_protocol::step::check_templates;

use super::DiskFs;
use super::Scenario;
use super::diagnose::Diagnosis;
use super::diagnose::nearest;
use crate::artifacts::Index;

/// The most steps that a scenario may have, those inside others included.
const MAX_STEPS: usize = 2000;
/// Guest memory that makes sense, in bytes.
const MEMORY: std::ops::RangeInclusive<u64> = (128 << 20)..=(64 << 30);
/// Disk sizes that make sense, in bytes.
const DISK: std::ops::RangeInclusive<u64> = (8 << 20)..=(1 << 40);

/// Whether `name` is meant by `pattern`: the same text, or a prefix followed by `*`.
pub fn pattern_matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

/// Names of the images in the index that the scenario needs, in the index's order.
pub fn images_named<'a>(scenario: &Scenario, index: &'a Index) -> Vec<&'a str> {
    let wanted = |name: &&String| {
        let mut patterns = scenario.needs.images.iter();
        patterns.any(|pattern| pattern_matches(pattern, name))
    };
    index
        .images
        .keys()
        .filter(wanted)
        .map(String::as_str)
        .collect()
}

/// Everything that is wrong with the scenario itself.
pub(super) fn check(scenario: &Scenario, file: &Path, source: &str) -> Vec<Diagnosis> {
    let mut found = Vec::new();
    let at = |word: &str, message: String| Diagnosis::at_word(file, source, word, message);

    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    if scenario.name != stem {
        found.push(at(
            &scenario.name,
            format!(
                "the scenario is called `{}`, the file {stem}.yaml: give both the same name",
                scenario.name
            ),
        ));
    }
    if scenario.about.trim().is_empty() {
        found.push(at(
            "about",
            "`about` is empty: say what the scenario shows".to_owned(),
        ));
    }
    let mut steps = 0usize;
    for step in &scenario.steps {
        step.walk(&mut |_| steps += 1);
    }
    if steps == 0 {
        found.push(at(
            "steps",
            "a scenario without steps proves nothing".to_owned(),
        ));
    }
    if steps > MAX_STEPS {
        found.push(at(
            "steps",
            format!("{steps} steps, the limit is {MAX_STEPS}: use `repeat`"),
        ));
    }
    if let Err(error) = check_templates(&scenario.steps, scenario.params.keys()) {
        found.push(Diagnosis::whole_file(file, error.to_string()));
    }
    check_machine(scenario, file, source, &mut found);
    check_image_use(scenario, file, source, &mut found);
    found
}

fn check_machine(scenario: &Scenario, file: &Path, source: &str, found: &mut Vec<Diagnosis>) {
    let mut at = |word: &str, message: String| {
        found.push(Diagnosis::at_word(file, source, word, message));
    };
    let needs = &scenario.needs;
    match needs.memory.get() {
        Ok(memory) if MEMORY.contains(&memory.0) => {}
        Ok(memory) => at(
            "memory",
            format!(
                "{} bytes of memory: from 128MiB to 64GiB is possible",
                memory.0
            ),
        ),
        Err(error) => at("memory", error),
    }
    match needs.cpus.get() {
        Ok(1..=64) => {}
        Ok(cpus) => at("cpus", format!("{cpus} CPUs: from 1 to 64 is possible")),
        Err(error) => at("cpus", error),
    }
    if let Err(error) = scenario.limit.get() {
        at("limit", error);
    }
    let mut names = BTreeSet::new();
    for disk in &needs.disks {
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if disk.name.is_empty() || disk.name.len() > 20 || !disk.name.chars().all(letters) {
            at(
                &disk.name,
                format!(
                    "`{}` is no disk name: 1 to 20 letters, digits, `-` and `_`",
                    disk.name
                ),
            );
        }
        if !names.insert(&disk.name) {
            at(&disk.name, format!("two disks are called `{}`", disk.name));
        }
        match disk.size.get() {
            Ok(size) if DISK.contains(&size.0) => {}
            Ok(size) => at(
                &disk.name,
                format!(
                    "disk `{}` has {} bytes: from 8MiB to 1024GiB is possible",
                    disk.name, size.0
                ),
            ),
            Err(error) => at(&disk.name, error),
        }
        if disk.fs == DiskFs::None && (disk.at.is_some() || !disk.mkfs.is_empty()) {
            at(
                &disk.name,
                format!("disk `{}` has no filesystem, but `at` or `mkfs`", disk.name),
            );
        }
    }
}

/// Images that steps name must be among those that the scenario needs.
fn check_image_use(scenario: &Scenario, file: &Path, source: &str, found: &mut Vec<Diagnosis>) {
    let mut used = BTreeSet::new();
    for step in &scenario.steps {
        step.walk(&mut |step| match &step.action {
            Action::Mount(mount) => drop(used.insert(mount.image.clone())),
            Action::Verify(verify) => drop(used.insert(verify.image.clone())),
            _ => {}
        });
    }
    let needed = &scenario.needs.images;
    for image in used.iter().filter(|image| !image.contains("${")) {
        if !needed.iter().any(|pattern| pattern_matches(pattern, image)) {
            let message =
                format!("a step uses the image `{image}`, `needs: images:` does not list it");
            let hint = nearest(image, needed.iter().map(String::as_str))
                .map(|near| format!("did you mean `{near}`?"));
            found.push(Diagnosis::at_word(file, source, image, message).with_hint(hint));
        }
    }
}

/// Images that the scenario needs and the index lacks.
pub(super) fn check_images(
    scenario: &Scenario,
    file: &Path,
    source: &str,
    index: &Index,
) -> Vec<Diagnosis> {
    let missing = |pattern: &&String| {
        !index
            .images
            .keys()
            .any(|name| pattern_matches(pattern, name))
    };
    scenario
        .needs
        .images
        .iter()
        .filter(missing)
        .map(|pattern| {
            let message = format!(
                "no image `{pattern}` in {}: make it with `images build` (its description belongs \
                 into configs/images), or correct the name",
                index.file.display()
            );
            let hint = nearest(pattern, index.images.keys().map(String::as_str))
                .map(|near| format!("did you mean `{near}`?"));
            Diagnosis::at_word(file, source, pattern, message).with_hint(hint)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::pattern_matches;

    #[test]
    fn a_star_stands_for_any_rest_of_a_name() {
        assert!(pattern_matches("small", "small"));
        assert!(!pattern_matches("small", "smaller"));
        assert!(pattern_matches("scale-*", "scale-0001"));
        assert!(!pattern_matches("scale-*", "scal"));
    }
}
