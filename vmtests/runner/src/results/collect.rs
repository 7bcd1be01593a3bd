// SPDX-License-Identifier: GPL-2.0-or-later
//! What an invocation left, whatever became of it: results.json, and the markers of runs that did
//! not get into it.

use std::path::Path;

use super::Results;
use super::RunResult;
use super::markers;
use super::markers::Found;

/// What was found.
#[derive(Debug)]
pub struct Collected {
    /// All results, those of killed runs among them.
    pub results: Results,
    /// Runs that were killed, as far as results.json did not know of them.
    pub killed: Vec<RunResult>,
    /// Names of runs whose runner still lives.
    pub under_way: Vec<String>,
}

/// Reads results.json in `out` and adds runs of the same invocation that only their markers know.
pub fn collect(out: &Path) -> anyhow::Result<Collected> {
    let mut results = Results::read(out)?;
    let mut killed = Vec::new();
    let mut under_way = Vec::new();
    for (_, by, found) in markers::look_at_all(out) {
        if !results.invocations.contains(&by) {
            continue;
        }
        let known = |run: &RunResult| results.runs.iter().any(|r| r.artifacts == run.artifacts);
        match found {
            Found::Killed(run) if !known(&run) => {
                killed.push(run.clone());
                results.runs.push(run);
            }
            Found::Ended(run) if !known(&run) => results.runs.push(run),
            Found::UnderWay(run) => under_way.push(format!("{} on {}", run.name(), run.module)),
            Found::Killed(_) | Found::Ended(_) => {}
        }
    }
    Ok(Collected {
        results,
        killed,
        under_way,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::super::example;
    use super::*;

    #[test]
    fn a_run_that_ended_after_the_last_writing_of_the_results_is_not_lost() {
        let out = tempfile::tempdir().unwrap();
        let mut results = Results::begin(out.path()).unwrap();
        let mut first = example("a", Outcome::Passed, "");
        first.artifacts = "runs/a".into();
        results.add(first.clone()).unwrap();
        let mut second = example("b", Outcome::Failed, "why");
        second.artifacts = "runs/b".into();
        for run in [&first, &second] {
            let dir = out.path().join(&run.artifacts);
            markers::begin(&dir, run).unwrap();
            markers::end(&dir, run).unwrap();
        }
        markers::begin(
            &out.path().join("runs/c"),
            &example("c", Outcome::Error, ""),
        )
        .unwrap();
        let found = collect(out.path()).unwrap();
        assert_eq!(found.results.runs, [first, second]);
        assert_eq!(found.under_way, ["c on c"]);
    }
}
