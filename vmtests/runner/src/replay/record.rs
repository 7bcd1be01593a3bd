// SPDX-License-Identifier: GPL-2.0-or-later
//! What a run leaves so that it can be repeated.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::ensure;
use serde::Deserialize;
use serde::Serialize;
use sha2::Digest;
use sha2::Sha256;
use vmtest_protocol::message::Client;
use vmtest_protocol::template::Var;

use crate::accel::Accel;
use crate::artifacts::Index;
use crate::matrix::Planned;
use crate::results;
use crate::results::RunResult;
use crate::run::Common;
use crate::scenario;
use crate::scenario::Case;
use crate::scenario::Scenario;
use crate::snapshot::Digests;

/// Name of the record in a run's folder.
pub(super) const RECORD: &str = "replay.json";
/// Name of the scenario beside it, as it was.
pub const SCENARIO: &str = "scenario.json";
/// Layout of the record.
const SCHEMA: u32 = 1;

/// Everything but the scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    schema: u32,
    /// The run's name.
    pub name: String,
    /// The run's folder under `runs/`.
    pub folder: String,
    /// The scenario's file.
    pub file: PathBuf,
    /// The choice from the scenario's matrix.
    pub case: Vec<(String, Var)>,
    /// The line of each step in the file.
    pub lines: Vec<usize>,
    /// `rust` or `c`.
    pub module: String,
    /// Who mounted images.
    #[serde(default)]
    pub client: Client,
    /// What all choices by chance came from.
    pub seed: u64,
    /// How guest instructions were executed.
    pub accel: Accel,
    /// Whether memory snapshots were used.
    pub snapshots: bool,
    /// Every limit was multiplied by this.
    pub limits: f64,
    /// Seconds for the guest to boot.
    pub boot_limit: f64,
    /// What was booted and loaded.
    pub artifacts: Artifacts,
}

/// What was booted and loaded: where it was, and what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifacts {
    /// The artifact index.
    pub index: PathBuf,
    /// The kernel.
    pub kernel_file: PathBuf,
    /// SHA-256 of the kernel.
    pub kernel: String,
    /// The initramfs, which is a mutant's in the runs of `vmtest mutants`.
    pub initramfs_file: PathBuf,
    /// SHA-256 of the initramfs, which holds modules, agent and daemon.
    pub initramfs: String,
    /// SHA-256 over names and files of the images; the files are named by their content.
    pub images: String,
}

impl Artifacts {
    /// What a run would use now.
    fn of(
        index: &Index,
        initramfs: &Path,
        scenario: &Scenario,
        digests: &Digests,
    ) -> anyhow::Result<Self> {
        let file = &index.file;
        Ok(Artifacts {
            index: std::path::absolute(file).unwrap_or_else(|_| file.clone()),
            kernel_file: index.bzimage.clone(),
            kernel: digests.of(&index.bzimage)?,
            initramfs_file: initramfs.to_owned(),
            initramfs: digests.of(initramfs)?,
            images: images_digest(index, scenario),
        })
    }

    /// What is not as it was, each with a word on what that means.
    fn changes(&self, now: &Artifacts) -> Vec<String> {
        let short = |digest: &str| digest.get(..12).unwrap_or(digest).to_owned();
        let mut changes = Vec::new();
        for (what, before, now) in [
            ("the kernel", &self.kernel, &now.kernel),
            (
                "the initramfs (modules, agent or daemon)",
                &self.initramfs,
                &now.initramfs,
            ),
            ("the erofs images", &self.images, &now.images),
        ] {
            if before != now {
                changes.push(format!(
                    "{what}: {} then, {} now",
                    short(before),
                    short(now)
                ));
            }
        }
        changes
    }
}

/// Writes down what the run will be.
///
/// # Errors
/// When it cannot be written, or an artifact not be read.
pub fn record(
    dir: &Path,
    common: &Common,
    planned: &Planned<'_>,
    result: &RunResult,
) -> anyhow::Result<()> {
    let record = Record {
        schema: SCHEMA,
        name: result.name().to_owned(),
        folder: planned.folder.clone(),
        file: planned.scenario.file.clone(),
        case: planned.scenario.case.0.clone(),
        lines: planned.scenario.lines.clone(),
        module: result.module.clone(),
        client: planned.client,
        seed: result.seed,
        accel: common.accel,
        snapshots: common.snapshots.is_on(),
        limits: common.scale,
        boot_limit: common.boot_limit.as_secs_f64(),
        artifacts: Artifacts::of(
            planned.index,
            &planned.initramfs,
            planned.scenario,
            &common.snapshots.digests,
        )?,
    };
    write(&dir.join(SCENARIO), planned.scenario)?;
    write(&dir.join(RECORD), &record)
}

fn write(file: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let mut text =
        serde_json::to_vec_pretty(value).with_context(|| format!("{} as JSON", file.display()))?;
    text.push(b'\n');
    results::replace(file, &text)
}

impl Record {
    /// Reads what a run left.
    ///
    /// # Errors
    /// When it is not there, or of another layout.
    pub fn read(dir: &Path) -> anyhow::Result<(Record, Scenario)> {
        let record: Record = read(&dir.join(RECORD))?;
        ensure!(
            record.schema == SCHEMA,
            "{}: schema {}, this program reads schema {SCHEMA}: use the vmtest that wrote it",
            dir.join(RECORD).display(),
            record.schema
        );
        let mut scenario: Scenario = read(&dir.join(SCENARIO))?;
        scenario.file.clone_from(&record.file);
        scenario.case = Case(record.case.clone());
        scenario.lines.clone_from(&record.lines);
        Ok((record, scenario))
    }

    /// Points the index to the kernel of then, and returns the initramfs of then, where their files
    /// are still what they were: the cache keeps what was built, also when newer things have been
    /// built since, and mutants. Says whether the index had others.
    pub fn take_back(&self, index: &mut Index, digests: &Digests) -> (PathBuf, bool) {
        let then = &self.artifacts;
        let is = |file: &Path, digest: &str| digests.of(file).is_ok_and(|found| found == digest);
        let mut others = false;
        if is(&then.kernel_file, &then.kernel) && !is(&index.bzimage, &then.kernel) {
            index.bzimage.clone_from(&then.kernel_file);
            others = true;
        }
        if !is(&then.initramfs_file, &then.initramfs) {
            return (index.initramfs.clone(), others);
        }
        // A mutant's initramfs is never the index's own.
        others |= index.initramfs != then.initramfs_file
            && !index
                .mutants
                .values()
                .any(|file| *file == then.initramfs_file)
            && !is(&index.initramfs, &then.initramfs);
        (then.initramfs_file.clone(), others)
    }

    /// What has changed if the run were repeated with this.
    ///
    /// # Errors
    /// When an artifact cannot be read.
    pub fn changes(
        &self,
        index: &Index,
        initramfs: &Path,
        scenario: &Scenario,
        digests: &Digests,
    ) -> anyhow::Result<Vec<String>> {
        Ok(self
            .artifacts
            .changes(&Artifacts::of(index, initramfs, scenario, digests)?))
    }
}

fn read<T: serde::de::DeserializeOwned>(file: &Path) -> anyhow::Result<T> {
    let text = fs::read_to_string(file).with_context(|| {
        format!(
            "cannot read {}: only the folder of a run that was begun can be repeated",
            file.display()
        )
    })?;
    serde_json::from_str(&text)
        .with_context(|| format!("{}: not what this vmtest writes", file.display()))
}

/// The cache's files are named by their content: their names stand for it.
fn images_digest(index: &Index, scenario: &Scenario) -> String {
    let mut digest = Sha256::new();
    for name in scenario::images_named(scenario, index) {
        let Some(image) = index.images.get(name) else {
            continue;
        };
        digest.update(name);
        for file in image.blobs.iter().map(|b| &b.path).chain([&image.manifest]) {
            digest.update(file.as_os_str().as_encoded_bytes());
            digest.update([0]);
        }
    }
    hex::encode(digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifacts(kernel: &str) -> Artifacts {
        Artifacts {
            index: "/i.json".into(),
            kernel_file: "/k".into(),
            kernel: kernel.to_owned(),
            initramfs_file: "/i.cpio".into(),
            initramfs: "same".to_owned(),
            images: "same".to_owned(),
        }
    }

    #[test]
    fn what_changed_is_named_and_where_it_lies_does_not_matter() {
        let before = artifacts("aaaaaaaaaaaaaaaa");
        let moved = Artifacts {
            index: "/elsewhere.json".into(),
            initramfs_file: "/elsewhere.cpio".into(),
            ..before.clone()
        };
        assert!(before.changes(&moved).is_empty());
        let changes = before.changes(&artifacts("bbbbbbbbbbbbbbbb"));
        assert_eq!(changes, ["the kernel: aaaaaaaaaaaa then, bbbbbbbbbbbb now"]);
    }
}
