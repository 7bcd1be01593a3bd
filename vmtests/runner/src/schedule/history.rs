// SPDX-License-Identifier: GPL-2.0-or-later
//! How long runs took: kept in the cache, so that the next invocation can begin with the longest.
//! It only ever makes things faster: a file that is damaged or absent is an empty one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Context;
use serde::Deserialize;
use serde::Serialize;

use crate::results;
use crate::results::RunResult;

/// Name of the file in the cache.
const FILE: &str = "vmtest-durations.json";
/// Runs that are remembered.
const MOST: usize = 10_000;
/// How much of the new time goes into the remembered one: a single slow run changes little.
const NEW: f64 = 0.5;

/// Remembered durations.
#[derive(Debug, Clone, Default)]
pub struct History {
    file: Option<PathBuf>,
    runs: BTreeMap<String, Remembered>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Remembered {
    seconds: f64,
    /// Seconds since 1970.
    when: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Contents {
    schema: u32,
    runs: BTreeMap<String, Remembered>,
}

const SCHEMA: u32 = 1;

/// What tells runs apart here: name, kernel, module and accelerator.
pub fn key(name: &str, kernel: &str, module: &str, accel: &str) -> String {
    format!("{name}|{kernel}|{module}|{accel}")
}

impl History {
    /// What is remembered in the cache folder; nothing without one.
    pub fn load(cache: Option<&Path>) -> Self {
        let file = cache.map(|cache| cache.join(FILE));
        let runs = file.as_deref().map(read).unwrap_or_default();
        History { file, runs }
    }

    /// How long such a run took, in seconds.
    pub fn seconds(&self, key: &str) -> Option<f64> {
        self.runs.get(key).map(|remembered| remembered.seconds)
    }

    /// Remembers a run that said something about its subject. Several processes may do so at once.
    pub fn add(&mut self, run: &RunResult) -> anyhow::Result<()> {
        let Some(file) = self.file.clone() else {
            return Ok(());
        };
        if !run.outcome.is_verdict() || !run.seconds.is_finite() {
            return Ok(());
        }
        let dir = file.parent().unwrap_or(Path::new("."));
        let what = || format!("cannot remember durations in {}", file.display());
        fs::create_dir_all(dir).with_context(what)?;
        let lock = fs::File::create(dir.join(format!("{FILE}.lock"))).with_context(what)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).with_context(what)?;
        // Another process may have remembered more in the meantime.
        self.runs = read(&file);
        let key = key(run.name(), &run.label(), &run.module, &run.accel);
        let seconds = match self.seconds(&key) {
            Some(old) => old + (run.seconds - old) * NEW,
            None => run.seconds,
        };
        let when = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        self.runs.insert(key, Remembered { seconds, when });
        while self.runs.len() > MOST {
            let oldest = self
                .runs
                .iter()
                .min_by_key(|(_, remembered)| remembered.when);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            self.runs.remove(&oldest);
        }
        let contents = Contents {
            schema: SCHEMA,
            runs: self.runs.clone(),
        };
        let mut text = serde_json::to_vec_pretty(&contents).with_context(what)?;
        text.push(b'\n');
        results::replace(&file, &text)
    }
}

fn read(file: &Path) -> BTreeMap<String, Remembered> {
    let contents: Contents = fs::read(file)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let mut runs = contents.runs;
    runs.retain(|_, remembered| remembered.seconds.is_finite() && remembered.seconds >= 0.0);
    match contents.schema {
        SCHEMA => runs,
        _ => BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Outcome;
    use crate::results::example;

    fn run(seconds: f64, outcome: Outcome) -> RunResult {
        RunResult {
            seconds,
            ..example("a", outcome, "")
        }
    }

    #[test]
    fn durations_are_remembered_and_smoothed() {
        let cache = tempfile::tempdir().unwrap();
        let cache = cache.path().join("new");
        let mut history = History::load(Some(&cache));
        history.add(&run(10.0, Outcome::Passed)).unwrap();
        history.add(&run(20.0, Outcome::Failed)).unwrap();
        let again = History::load(Some(&cache));
        assert_eq!(again.seconds(&key("a", "6.12", "c", "tcg")), Some(15.0));
        assert_eq!(again.seconds(&key("a", "6.12", "rust", "tcg")), None);
    }

    #[test]
    fn runs_that_say_nothing_are_not_remembered() {
        let cache = tempfile::tempdir().unwrap();
        let mut history = History::load(Some(cache.path()));
        for outcome in [Outcome::Error, Outcome::Killed, Outcome::Skipped] {
            history.add(&run(1.0, outcome)).unwrap();
        }
        assert!(history.runs.is_empty());
    }

    #[test]
    fn a_damaged_file_is_an_empty_one_and_is_mended() {
        let cache = tempfile::tempdir().unwrap();
        let file = cache.path().join(FILE);
        for text in [
            "{\"schema\":1,\"ru",
            "[]",
            "\u{0}\u{1}",
            "{\"schema\":9,\"runs\":{}}",
        ] {
            fs::write(&file, text).unwrap();
            let mut history = History::load(Some(cache.path()));
            assert!(history.runs.is_empty(), "{text}");
            history.add(&run(3.0, Outcome::Passed)).unwrap();
            assert_eq!(read(&file).len(), 1, "{text}");
        }
    }

    #[test]
    fn without_a_cache_nothing_is_remembered() {
        let mut history = History::load(None);
        history.add(&run(1.0, Outcome::Passed)).unwrap();
        assert!(history.runs.is_empty());
    }
}
