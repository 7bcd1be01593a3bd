// SPDX-License-Identifier: GPL-2.0-or-later
//! The matrix of jobs: every kernel, in as many shards as wanted.

use std::fs;
use std::path::Path;

use anyhow::Context;
use anyhow::ensure;
use serde::Serialize;

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Job {
    /// Name of the kernel's lock.
    pub kernel: String,
    /// What to give to `--shard`.
    pub shard: String,
    /// What people see.
    pub name: String,
    /// A name for artifacts and caches.
    pub slug: String,
}

/// Names of the locks in a folder such as configs/kernels, in the order of versions.
pub fn kernels(dir: &Path) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(dir).with_context(|| {
        format!(
            "cannot read the kernels' locks in {}: name their folder with --kernels DIR",
            dir.display()
        )
    })?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|file| file.extension().is_some_and(|end| end == "yaml"))
        .filter_map(|file| Some(file.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort_by_key(|name| (numbers(name), name.clone()));
    ensure!(
        !names.is_empty(),
        "{} has no lock of a kernel",
        dir.display()
    );
    Ok(names)
}

fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

/// The jobs for these kernels, each in so many shards.
pub fn jobs(kernels: &[String], shards: u32) -> Vec<Job> {
    let mut jobs = Vec::new();
    for kernel in kernels {
        for index in 1..=shards.max(1) {
            let (name, slug) = match shards {
                0 | 1 => (kernel.clone(), kernel.clone()),
                _ => (
                    format!("{kernel} ({index} of {shards})"),
                    format!("{kernel}-{index}"),
                ),
            };
            jobs.push(Job {
                kernel: kernel.clone(),
                shard: format!("{index}/{}", shards.max(1)),
                name,
                slug,
            });
        }
    }
    jobs
}

/// What a workflow puts into `strategy.matrix`, in one line.
pub fn github(jobs: &[Job]) -> String {
    serde_json::json!({ "include": jobs }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_in_the_order_of_their_versions() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["7.2.yaml", "6.12.yaml", "6.6.yaml", "README.md"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(kernels(dir.path()).unwrap(), ["6.6", "6.12", "7.2"]);
        let none = kernels(&dir.path().join("none")).unwrap_err();
        assert!(format!("{none:#}").contains("--kernels"));
    }

    #[test]
    fn every_kernel_has_all_of_its_shards() {
        let jobs = jobs(&["6.12".to_owned(), "7.2".to_owned()], 2);
        let shards: Vec<_> = jobs.iter().map(|job| (&*job.kernel, &*job.shard)).collect();
        assert_eq!(
            shards,
            [
                ("6.12", "1/2"),
                ("6.12", "2/2"),
                ("7.2", "1/2"),
                ("7.2", "2/2")
            ]
        );
        assert!(
            jobs.iter()
                .all(|job| job.shard.parse::<crate::schedule::shard::Shard>().is_ok())
        );
        assert_eq!(
            github(&jobs[..1]),
            "{\"include\":[{\"kernel\":\"6.12\",\"name\":\"6.12 (1 of 2)\",\"shard\":\"1/2\",\
             \"slug\":\"6.12-1\"}]}"
        );
    }
}
