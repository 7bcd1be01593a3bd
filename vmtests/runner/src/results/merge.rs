// SPDX-License-Identifier: GPL-2.0-or-later
//! Joins the results of several invocations, such as shards, into one.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::bail;
use anyhow::ensure;

use super::Invocation;
use super::RESULTS;
use super::Results;
use super::RunResult;
use super::collect;
use super::collect::Collected;
use crate::schedule::shard::Part;

/// Folders within a run's folder that are followed.
const MAX_DEPTH: usize = 8;

/// Joins what is in `dirs` and writes the results, with the runs' folders, to `out`, which it
/// clears of what an earlier merge left. The caller writes the report.
pub fn merge(out: &Path, dirs: &[PathBuf]) -> anyhow::Result<Results> {
    check_places(out, dirs)?;
    let mut found = Vec::new();
    for dir in dirs {
        found.push((dir, collect::collect(dir)?));
    }
    let runs_dir = out.join("runs");
    if runs_dir.exists() {
        fs::remove_dir_all(&runs_dir)
            .with_context(|| format!("cannot clear {}", runs_dir.display()))?;
    }
    fs::create_dir_all(&runs_dir).with_context(|| format!("cannot make {}", runs_dir.display()))?;
    let mut merged = Results::begin(out)?;
    merged.invocations = vec![Invocation::current().clone()];
    merged.merged_from = dirs.iter().map(|dir| dir.display().to_string()).collect();
    let mut folders = BTreeSet::new();
    for (dir, collected) in found {
        add(&mut merged, dir, collected, &mut folders)?;
    }
    merged.runs.sort_by(|a, b| a.key().cmp(&b.key()));
    let doubts = doubts(&merged);
    merged.warnings.extend(doubts);
    merged.write()?;
    Ok(merged)
}

/// Nothing is overwritten that is not the result of a merge, and nothing is read and written.
fn check_places(out: &Path, dirs: &[PathBuf]) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    for dir in dirs {
        let real = dir
            .canonicalize()
            .with_context(|| format!("cannot find {}", dir.display()))?;
        ensure!(
            out.canonicalize().ok().as_ref() != Some(&real),
            "{} is both read and written: give the merged results a folder of their own",
            dir.display()
        );
        ensure!(
            seen.insert(real),
            "{} is named twice: each of its runs would be there twice",
            dir.display()
        );
    }
    if out.join(RESULTS).exists() {
        let there = Results::read(out)?;
        ensure!(
            !there.merged_from.is_empty(),
            "{} holds the results of runs, which a merge would clear: name another folder",
            out.display()
        );
    }
    Ok(())
}

fn add(
    merged: &mut Results,
    dir: &Path,
    collected: Collected,
    folders: &mut BTreeSet<String>,
) -> anyhow::Result<()> {
    let Collected {
        results, under_way, ..
    } = collected;
    for name in under_way {
        let warning = format!("{}: {name} is still under way", dir.display());
        merged.warnings.push(warning);
    }
    for warning in results.warnings {
        merged
            .warnings
            .push(format!("{}: {warning}", dir.display()));
    }
    merged.invocations.extend(results.invocations);
    merged.parts.extend(results.parts);
    // Shards run beside each other.
    merged.seconds = match (merged.seconds, results.seconds) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    };
    for mut run in results.runs {
        let from = dir.join(&run.artifacts);
        if from.is_dir() {
            let folder = free_folder(&run, folders);
            copy_tree(&from, &merged.out.join("runs").join(&folder), MAX_DEPTH)?;
            run.artifacts = Path::new("runs").join(folder);
        }
        merged.runs.push(run);
    }
    Ok(())
}

/// A folder's name that no other run has.
fn free_folder(run: &RunResult, taken: &mut BTreeSet<String>) -> String {
    let name = run.artifacts.file_name().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    let mut folder = name.clone();
    let mut number = 2;
    while !taken.insert(folder.clone()) {
        folder = format!("{name}-{number}");
        number += 1;
    }
    folder
}

/// Hard links where the filesystem allows it, else copies. Only files and folders: a link may lead
/// anywhere.
fn copy_tree(from: &Path, to: &Path, depth: usize) -> anyhow::Result<()> {
    let what = || format!("cannot copy {} to {}", from.display(), to.display());
    fs::create_dir_all(to).with_context(what)?;
    for entry in fs::read_dir(from).with_context(what)? {
        let entry = entry.with_context(what)?;
        let kind = entry.file_type().with_context(what)?;
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            if depth == 0 {
                bail!("{}: folders in folders without end", from.display());
            }
            copy_tree(&entry.path(), &target, depth - 1)?;
        } else if kind.is_file() && fs::hard_link(entry.path(), &target).is_err() {
            fs::copy(entry.path(), &target).with_context(what)?;
        }
    }
    Ok(())
}

/// What makes the merged results doubtful: shards that are missing, that are there twice, that
/// belong to another split, or that have not done all of their runs.
fn doubts(merged: &Results) -> Vec<String> {
    let mut doubts = Vec::new();
    let mut splits: BTreeMap<&str, Vec<&Part>> = BTreeMap::new();
    for part in &merged.parts {
        splits.entry(&part.split).or_default().push(part);
    }
    for parts in splits.values() {
        let of = parts.iter().map(|part| part.shard.of).max().unwrap_or(1);
        for index in 1..=of {
            match parts
                .iter()
                .filter(|part| part.shard.index == index)
                .count()
            {
                1 => {}
                0 => doubts.push(format!(
                    "shard {index} of {of} is missing: its runs are not in these results"
                )),
                count => doubts.push(format!("shard {index} of {of} is there {count} times")),
            }
        }
    }
    let planned: u64 = merged
        .parts
        .iter()
        .map(|part| u64::from(part.planned))
        .sum();
    let all_sharded = merged.parts.len() == merged.merged_from.len();
    let there = merged.runs.len() as u64;
    if all_sharded && there < planned {
        doubts.push(format!(
            "{} runs were planned and {there} are here: a shard ended before its last run",
            planned
        ));
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::super::example;
    use super::*;
    use crate::schedule::shard::Shard;

    struct Place(tempfile::TempDir);

    impl Place {
        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// A shard's results with one run.
        fn shard(&self, index: u32, split: &str, scenario: &str) -> PathBuf {
            let dir = self.at(&format!("shard-{index}-{scenario}"));
            fs::create_dir_all(dir.join("runs/same/deep")).unwrap();
            fs::write(dir.join("runs/same/console.log"), scenario).unwrap();
            fs::write(dir.join("runs/same/deep/file"), scenario).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", dir.join("runs/same/link")).unwrap();
            let mut results = Results::begin(&dir).unwrap();
            results.parts = vec![Part {
                shard: Shard { index, of: 2 },
                planned: 1,
                split: split.to_owned(),
            }];
            let mut run = example(scenario, Outcome::Passed, "");
            run.artifacts = "runs/same".into();
            results.add(run).unwrap();
            dir
        }
    }

    fn place() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    #[test]
    fn shards_become_one_with_the_folders_of_all() {
        let place = place();
        let out = place.at("out");
        let dirs = [place.shard(2, "x", "b"), place.shard(1, "x", "a")];
        let merged = merge(&out, &dirs).unwrap();
        assert!(merged.good(), "{:?}", merged.warnings);
        let names: Vec<_> = merged.runs.iter().map(RunResult::name).collect();
        assert_eq!(names, ["a", "b"]);
        for run in &merged.runs {
            let folder = out.join(&run.artifacts);
            let text = fs::read_to_string(folder.join("console.log")).unwrap();
            assert_eq!(text, run.name());
            assert!(folder.join("deep/file").exists());
            assert!(
                !folder.join("link").exists(),
                "a link leads out of the results"
            );
        }
        assert_eq!(Results::read(&out).unwrap(), merged);
        // Once more into the same folder.
        assert_eq!(merge(&out, &dirs).unwrap().runs.len(), 2);
    }

    #[test]
    fn a_shard_that_is_missing_or_of_another_split_is_told() {
        let place = place();
        let merged = merge(&place.at("o1"), &[place.shard(1, "x", "a")]).unwrap();
        assert!(!merged.good());
        assert!(merged.warnings[0].contains("shard 2 of 2 is missing"));
        let dirs = [place.shard(1, "x", "b"), place.shard(2, "y", "c")];
        assert_eq!(merge(&place.at("o2"), &dirs).unwrap().warnings.len(), 2);
        let dirs = [
            place.shard(1, "x", "d"),
            place.shard(1, "x", "e"),
            place.shard(2, "x", "f"),
        ];
        let twice = merge(&place.at("o3"), &dirs).unwrap();
        assert_eq!(twice.warnings, ["shard 1 of 2 is there 2 times"]);
    }

    #[test]
    fn runs_that_a_shard_did_not_get_to_are_told() {
        let place = place();
        let dir = place.shard(1, "x", "a");
        let mut results = Results::read(&dir).unwrap();
        results.parts[0].planned = 5;
        results.parts[0].shard.of = 1;
        results.write().unwrap();
        let merged = merge(&place.at("out"), &[dir]).unwrap();
        assert!(merged.warnings[0].contains("5 runs were planned and 1 are here"));
    }

    #[test]
    fn results_of_runs_are_not_cleared_by_a_merge() {
        let place = place();
        let dirs = [place.shard(1, "x", "a"), place.shard(2, "x", "b")];
        let wrong = |out: &Path, dirs: &[PathBuf]| format!("{:#}", merge(out, dirs).unwrap_err());
        assert!(wrong(&dirs[0], &dirs[1..]).contains("holds the results of runs"));
        assert!(wrong(&dirs[0], &dirs).contains("both read and written"));
        let twice = [dirs[0].clone(), dirs[0].join("../shard-1-a")];
        assert!(wrong(&place.at("out"), &twice).contains("named twice"));
        assert!(wrong(&place.at("out"), &[place.at("none")]).contains("cannot find"));
    }
}
