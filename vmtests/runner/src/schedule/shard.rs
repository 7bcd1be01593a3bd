// SPDX-License-Identifier: GPL-2.0-or-later
//! `--shard I/N`: which runs are done here when several machines share the work.
//!
//! All machines must come to the same split, or a run would be done twice, or by nobody. So it
//! depends on nothing but the list of runs and a file of durations that all of them have: never on
//! what one machine remembers. The results say what the split was, and `vmtest merge` checks that
//! all agreed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use anyhow::Context;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use sha2::Digest;
use sha2::Sha256;

use crate::results::Results;

/// A run of which nothing is known takes as long as the typical known one; where none is known,
/// this many seconds.
const UNKNOWN: f64 = 10.0;

/// Which part of the runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shard {
    /// The part, from 1.
    pub index: u32,
    /// The number of parts.
    pub of: u32,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once('/')
            .and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match parsed {
            Some((index, of)) if (1..=of).contains(&index) && of <= 1000 => Ok(Shard { index, of }),
            _ => Err("write it as I/N with 1 <= I <= N <= 1000, such as 2/3".to_owned()),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

/// What a shard says about itself in its results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// Which part this is.
    pub shard: Shard,
    /// How many runs belong to it.
    pub planned: u32,
    /// Digest of the whole split: the same for all parts that belong together.
    pub split: String,
}

/// What tells runs apart: name, kernel, module.
pub type Key = (String, String, String);

/// Durations that all machines have.
#[derive(Debug, Clone, Default)]
pub struct Durations(BTreeMap<Key, f64>);

impl Durations {
    /// Reads them from a results.json of earlier runs.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file)
            .with_context(|| format!("cannot read durations from {}", file.display()))?;
        let results: Results = serde_json::from_str(&text).with_context(|| {
            format!(
                "{}: no durations: name the results.json of an earlier run",
                file.display()
            )
        })?;
        let verdicts = results.runs.iter().filter(|run| run.outcome.is_verdict());
        Ok(Durations(
            verdicts
                .map(|run| {
                    let key = (run.name().to_owned(), run.label(), run.module.clone());
                    (key, run.seconds.max(0.0))
                })
                .collect(),
        ))
    }

    /// How long a run took, in seconds.
    pub fn seconds(&self, key: &Key) -> Option<f64> {
        self.0.get(key).copied()
    }

    /// How long a run of which nothing is known will take: as long as the one in the middle.
    fn typical(&self) -> f64 {
        let mut known: Vec<f64> = self.0.values().copied().collect();
        known.sort_by(f64::total_cmp);
        known.get(known.len() / 2).copied().unwrap_or(UNKNOWN)
    }
}

/// The part (from 1) of each run, in the order of `keys`; and the digest of the split. The longest
/// run first goes to whichever part has the least to do.
pub fn split(keys: &[Key], durations: &Durations, of: u32) -> (Vec<u32>, String) {
    let typical = durations.typical();
    // In milliseconds: sums of whole numbers do not depend on their order.
    let milliseconds = |key: &Key| {
        let seconds = durations.seconds(key).unwrap_or(typical);
        (seconds * 1000.0).round().max(1.0) as u64
    };
    let mut order: Vec<usize> = (0..keys.len()).collect();
    // Runs of the same key, which there are when something is repeated, keep their order.
    order.sort_by_key(|at| (std::cmp::Reverse(milliseconds(&keys[*at])), &keys[*at]));
    let mut loads = vec![0u64; of.max(1) as usize];
    let mut parts = vec![0u32; keys.len()];
    for at in &order {
        let least = (0..loads.len())
            .min_by_key(|part| loads[*part])
            .unwrap_or(0);
        loads[least] += milliseconds(&keys[*at]);
        parts[*at] = least as u32 + 1;
    }
    let mut lines: Vec<String> = keys
        .iter()
        .zip(&parts)
        .map(|((name, kernel, module), part)| format!("{part} {name} {kernel} {module}\n"))
        .collect();
    lines.sort();
    let digest = hex::encode(Sha256::digest(lines.concat()));
    (parts, digest[..16].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(name: &str) -> Key {
        (name.to_owned(), "6.12".to_owned(), "c".to_owned())
    }

    fn durations(known: &[(&str, f64)]) -> Durations {
        Durations(known.iter().map(|(name, s)| (key(name), *s)).collect())
    }

    #[test]
    fn the_time_is_shared_out_evenly() {
        let known = durations(&[("a", 60.0), ("b", 30.0), ("c", 20.0), ("d", 10.0)]);
        let keys = ["a", "b", "c", "d"].map(key);
        let (parts, _) = split(&keys, &known, 2);
        assert_eq!(parts, [1, 2, 2, 2]);
    }

    #[test]
    fn a_shard_is_written_as_two_numbers() {
        assert_eq!("2/3".parse(), Ok(Shard { index: 2, of: 3 }));
        for wrong in ["0/3", "4/3", "1", "a/b", "1/2/3", "-1/2", "1/1001", ""] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_come_from_results_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("results.json");
        let text = include_str!("../../tests/fixtures/results.json");
        fs::write(&file, text).unwrap();
        let known = Durations::read(&file).unwrap();
        let key = (
            "enospc[fs=ext4,n=1]".to_owned(),
            "6.12".to_owned(),
            "c".to_owned(),
        );
        assert_eq!(known.seconds(&key), Some(12.5));
        fs::write(&file, "[]").unwrap();
        let wrong = format!("{:#}", Durations::read(&file).unwrap_err());
        assert!(wrong.contains("results.json of an earlier run"), "{wrong}");
    }

    proptest! {
        #[test]
        fn every_run_is_in_one_shard_and_the_split_does_not_depend_on_the_order(
            names in prop::collection::vec("[a-z]{1,4}", 0..40),
            seconds in prop::collection::vec(0.0..500.0f64, 0..40),
            of in 1..9u32,
            turn in 0..40usize,
        ) {
            let known = Durations(
                names.iter().zip(&seconds).map(|(name, s)| (key(name), *s)).collect(),
            );
            let unique: std::collections::BTreeSet<_> = names.iter().collect();
            let keys: Vec<Key> = unique.into_iter().map(|name| key(name)).collect();
            let (parts, digest) = split(&keys, &known, of);
            prop_assert_eq!(parts.len(), keys.len());
            prop_assert!(parts.iter().all(|part| (1..=of).contains(part)));
            let mut turned = keys.clone();
            turned.rotate_left(turn % keys.len().max(1));
            let (turned_parts, turned_digest) = split(&turned, &known, of);
            prop_assert_eq!(&digest, &turned_digest);
            for (key, part) in turned.iter().zip(&turned_parts) {
                let at = keys.iter().position(|k| k == key).unwrap();
                prop_assert_eq!(parts[at], *part);
            }
        }

        #[test]
        fn no_shard_has_much_more_to_do_than_the_average(
            seconds in prop::collection::vec(1.0..100.0f64, 1..60), of in 1..6u32,
        ) {
            let keys: Vec<Key> = (0..seconds.len()).map(|n| key(&format!("{n:03}"))).collect();
            let known = Durations(keys.iter().cloned().zip(seconds.iter().copied()).collect());
            let (parts, _) = split(&keys, &known, of);
            let mut loads = vec![0.0; of as usize];
            for (part, s) in parts.iter().zip(&seconds) {
                loads[*part as usize - 1] += s;
            }
            let longest = seconds.iter().copied().fold(0.0, f64::max);
            let average = seconds.iter().sum::<f64>() / f64::from(of);
            let most = loads.iter().copied().fold(0.0, f64::max);
            // The bound of longest-first: never more than the average and one run on top.
            prop_assert!(most <= average + longest + 0.1, "{most} {average} {longest}");
        }
    }
}
