// SPDX-License-Identifier: GPL-2.0-or-later
//! Seeded bugs: each scenario must turn red on the Rust module that has this scenario's bug.
//!
//! Red means `failed`: an assertion, a time limit or a splat. `error` does not count: a run that
//! did not reach its subject cannot have noticed anything. Nor does red mean anything where the
//! scenario is red without the bug as well: so each scenario runs on the module as it is first, and
//! only where that passes does the bug get its turn.
//!
//! A bug is called as its scenario, or `SCENARIO--SPLAT`: then only a kernel's checker notices it,
//! and the run must be red for that splat and nothing else. Bugs, and scenarios, that need what a
//! kernel does not have are skipped there; of several indexes the first one that fits has its turn.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use anyhow::anyhow;
use anyhow::ensure;
use serde::Serialize;

use crate::artifacts::Index;
use crate::matrix;
use crate::matrix::Module;
use crate::matrix::Planned;
use crate::results;
use crate::results::Outcome;
use crate::results::RunResult;
use crate::scenario::Scenario;

/// What is between a scenario's name and the splat by which its bug is noticed.
const BY: &str = "--";

/// The splats by which a bug can be noticed, and the option of the kernel that looks for each.
const CHECKERS: [(&str, &str); 9] = [
    ("atomic-sleep", "DEBUG_ATOMIC_SLEEP"),
    ("debug-objects", "DEBUG_OBJECTS"),
    ("hung-task", "DETECT_HUNG_TASK"),
    ("kasan", "KASAN"),
    ("kmemleak", "DEBUG_KMEMLEAK"),
    ("list-corruption", "DEBUG_LIST"),
    ("lockdep", "PROVE_LOCKING"),
    ("slab", "SLUB_DEBUG_ON"),
    ("ubsan", "UBSAN"),
];

/// The part of a filter by which scenarios are chosen.
pub fn scenario_filter(filter: &str) -> &str {
    filter
        .split_once(BY)
        .map_or(filter, |(scenario, _)| scenario)
}

/// A kernel with what was built for it, and the scenarios.
pub type Set<'a> = (&'a Index, &'a [Scenario]);

/// The two runs that a mutant takes.
#[derive(Debug)]
pub struct Pair<'a> {
    /// The bug's name.
    pub name: String,
    /// The splat by which it must be noticed.
    pub splat: Option<&'static str>,
    /// The module as it is.
    pub control: Planned<'a>,
    /// The module with the bug.
    pub mutant: Planned<'a>,
}

/// A pair for each mutant of the indexes that the filter leaves. Where no kernel fits, both runs are
/// to be skipped.
///
/// # Errors
/// When there is none, or none of these scenarios or checkers is what a mutant is called after.
pub fn plan<'a>(sets: &[Set<'a>], filter: Option<&str>) -> anyhow::Result<Vec<Pair<'a>>> {
    let mut found: BTreeMap<&'a str, Vec<(Set<'a>, &'a Path)>> = BTreeMap::new();
    for set in sets {
        for (name, initramfs) in &set.0.mutants {
            if filter.is_none_or(|filter| name.contains(filter)) {
                found.entry(name).or_default().push((*set, initramfs));
            }
        }
    }
    let build = |index: &Index| {
        format!(
            "build them with `images build {} --mutant NAME`",
            index.kernel
        )
    };
    for (index, _) in sets {
        ensure!(
            index.mutants.is_empty() || index.modules.contains_key(Module::Rust.word()),
            "{} has mutants, but not the Rust module as it is: {}",
            index.file.display(),
            build(index)
        );
    }
    if let (true, Some((index, _))) = (found.is_empty(), sets.first()) {
        return Err(anyhow!(
            "{} has no mutants{}: {}",
            index.file.display(),
            filter
                .map(|filter| format!(" whose name contains `{filter}`"))
                .unwrap_or_default(),
            build(index)
        ));
    }
    let mut pairs = Vec::new();
    for (name, places) in found {
        let (scenario, checker) = take_apart(name)?;
        pairs.extend(pair(name, scenario, checker, &places)?);
    }
    Ok(pairs)
}

/// The scenario's name in a mutant's, and the checker that has to notice it.
fn take_apart(name: &str) -> anyhow::Result<(&str, Option<(&'static str, &'static str)>)> {
    let Some((scenario, splat)) = name.split_once(BY) else {
        return Ok((name, None));
    };
    let checker = CHECKERS.iter().find(|(known, _)| *known == splat);
    let checker = checker.ok_or_else(|| {
        let known: Vec<&str> = CHECKERS.iter().map(|(known, _)| *known).collect();
        anyhow!(
            "the mutant `{name}` is to be noticed by `{splat}`; bugs are noticed by {}",
            known.join(", ")
        )
    })?;
    Ok((scenario, Some(*checker)))
}

/// The pair of a mutant that these indexes have, on the first of them that fits.
fn pair<'a>(
    name: &str,
    called: &str,
    checker: Option<(&'static str, &'static str)>,
    places: &[(Set<'a>, &'a Path)],
) -> anyhow::Result<Option<Pair<'a>>> {
    let mut reasons = Vec::new();
    let mut chosen = None;
    for ((index, scenarios), initramfs) in places {
        let scenario = scenarios.iter().find(|s| s.name == called).ok_or_else(|| {
            anyhow!(
                "{} has a mutant `{name}`, but no scenario is called `{called}`",
                index.file.display()
            )
        })?;
        let option = checker.map(|(_, option)| option);
        let obstacle = matrix::obstacle(scenario, Module::Rust, index, option);
        let here = (*index, scenario, *initramfs);
        match obstacle {
            None => {
                chosen = Some(here);
                reasons.clear();
                break;
            }
            Some(reason) => {
                chosen.get_or_insert(here);
                reasons.push(reason);
            }
        }
    }
    let skip = (!reasons.is_empty()).then(|| reasons.join("; "));
    Ok(chosen.map(|(index, scenario, initramfs)| {
        let planned = |folder: String, initramfs: &Path| Planned {
            scenario,
            module: Module::Rust,
            index,
            client: matrix::client_of(index),
            initramfs: initramfs.to_owned(),
            folder,
            skip: skip.clone(),
        };
        // Several bugs of one scenario share the run without a bug.
        let control = format!("control-{called}-{}", index.label());
        Pair {
            name: name.to_owned(),
            splat: checker.map(|(splat, _)| splat),
            control: planned(control, &index.initramfs),
            mutant: planned(format!("mutant-{name}-{}", index.label()), initramfs),
        }
    }))
}

/// What came of it; `mutants.json`.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: u32,
    mutants: Vec<Row>,
    #[serde(skip)]
    file: PathBuf,
}

#[derive(Debug, Serialize)]
struct Row {
    mutant: String,
    /// The splat by which it must be noticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'static str>,
    /// The scenario passes without the bug and fails with it, by that splat where there is one.
    caught: bool,
    /// Why there is nothing to run here.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
    /// Absent until it has run.
    control: Option<RunResult>,
    /// Absent when the scenario does not pass without the bug.
    run: Option<RunResult>,
    #[serde(skip)]
    control_folder: String,
    #[serde(skip)]
    folder: String,
}

impl Report {
    /// Nothing has run yet; goes to `out`.
    pub fn begin(out: &Path, pairs: &[Pair<'_>]) -> anyhow::Result<Self> {
        let row = |pair: &Pair<'_>| Row {
            mutant: pair.name.clone(),
            by: pair.splat,
            caught: false,
            skipped: pair.mutant.skip.clone(),
            control: None,
            run: None,
            control_folder: pair.control.folder.clone(),
            folder: pair.mutant.folder.clone(),
        };
        let report = Report {
            schema: 2,
            mutants: pairs.iter().map(row).collect(),
            file: out.join("mutants.json"),
        };
        report.write()?;
        Ok(report)
    }

    fn write(&self) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        results::replace(&self.file, text.as_bytes())
    }

    /// A line for each bug that is not run here.
    pub fn skipped(&self) -> Vec<String> {
        let row = |row: &Row| {
            let reason = row.skipped.as_ref()?;
            Some(format!("{:<24} skipped  {reason}", row.mutant))
        };
        self.mutants.iter().filter_map(row).collect()
    }

    /// Adds a run on the module as it is; the line to print for it.
    pub fn add_control(&mut self, control: RunResult) -> anyhow::Result<String> {
        let head = head(&control.scenario, &control);
        let line = match control.outcome {
            Outcome::Passed => format!("{head}  without the bug"),
            _ => format!(
                "{head}  WITHOUT THE BUG: nothing can be shown\n    {}",
                first_line(&control.reason)
            ),
        };
        for row in &mut self.mutants {
            if of(&control, &row.control_folder) {
                row.control = Some(control.clone());
            }
        }
        self.write()?;
        Ok(line)
    }

    /// Whether the scenario passed on the module as it is, so that the bug can be tried.
    pub fn control_passed(&self, mutant: &str) -> bool {
        let passed = |row: &&Row| {
            let control = row.control.as_ref();
            control.is_some_and(|control| control.outcome == Outcome::Passed)
        };
        let mut rows = self.mutants.iter();
        rows.find(|row| row.mutant == mutant)
            .is_some_and(|row| passed(&row))
    }

    /// Adds the run with the bug; the line to print for it.
    pub fn add_mutant(&mut self, run: RunResult) -> anyhow::Result<String> {
        let mut rows = self.mutants.iter_mut();
        let Some(row) = rows.find(|row| of(&run, &row.folder)) else {
            return Err(anyhow!(
                "{} is no run that was planned",
                run.artifacts.display()
            ));
        };
        let seen = run.splat.as_deref();
        row.caught = run.outcome == Outcome::Failed && row.by.is_none_or(|by| seen == Some(by));
        let verdict = match (row.caught, row.by) {
            (true, None) => "with the bug: caught".to_owned(),
            (true, Some(by)) => format!("with the bug: caught by {by}"),
            (false, None) => "WITH THE BUG: NOT CAUGHT".to_owned(),
            (false, Some(by)) => format!("WITH THE BUG: NOT CAUGHT by {by}"),
        };
        let head = head(&row.mutant, &run);
        let line = format!("{head}  {verdict}\n    {}", run.headline());
        row.run = Some(run);
        self.write()?;
        Ok(line.trim_end().to_owned())
    }

    /// The last line.
    pub fn summary(&self) -> String {
        let caught = self.mutants.iter().filter(|row| row.caught).count();
        let skipped = self.mutants.iter().filter(|row| row.skipped.is_some());
        let skipped = skipped.count();
        let tried = self.mutants.len() - skipped;
        let line = format!("{caught} of {tried} seeded bugs were caught");
        match skipped {
            0 => line,
            _ => format!("{line}, {skipped} skipped"),
        }
    }

    /// Whether every bug was caught that could be tried.
    pub fn good(&self) -> bool {
        let mut rows = self.mutants.iter();
        rows.all(|row| row.caught || row.skipped.is_some())
    }
}

/// Whether a run is the one of that folder.
fn of(run: &RunResult, folder: &str) -> bool {
    run.artifacts.file_name().is_some_and(|name| name == folder)
}

fn head(name: &str, run: &RunResult) -> String {
    format!("{name:<24} {:<8} {:7.1} s", run.outcome.word(), run.seconds)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An index whose kernel has these options, with mutants of these names.
    fn index(dir: &Path, profile: &str, options: &str, mutants: &[&str]) -> Index {
        let config = dir.join(profile);
        std::fs::write(&config, options).unwrap();
        let mutants: BTreeMap<&str, &str> = mutants.iter().map(|name| (*name, "m")).collect();
        serde_json::from_value(serde_json::json!({
            "schema": 1, "kernel": "6.12", "release": "6.12.117", "profile": profile,
            "bzimage": "b", "initramfs": "i", "modules": {"rust": "r.ko"}, "images": {},
            "config": config, "mutants": mutants,
        }))
        .unwrap()
    }

    fn scenarios() -> Vec<Scenario> {
        ["name: a", "name: b\nneeds: {kernel: {config: [FAILSLAB]}}"]
            .map(|head| serde_yaml::from_str(&format!("{head}\nabout: x\nsteps: []\n")).unwrap())
            .to_vec()
    }

    /// The folders of the runs that are planned, and why they are skipped.
    fn planned(sets: &[Set<'_>]) -> Vec<(String, Option<String>)> {
        let pairs = plan(sets, None).unwrap();
        let of = |pair: Pair<'_>| (pair.mutant.folder, pair.mutant.skip);
        pairs.into_iter().map(of).collect()
    }

    #[test]
    fn each_bug_is_tried_on_the_first_kernel_that_can_show_it_and_skipped_without_one() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["a", "a--kasan", "b"];
        let release = index(dir.path(), "release", "CONFIG_A=y\n", &names);
        let options = "CONFIG_KASAN=y\nCONFIG_FAILSLAB=y\n";
        let debug = index(dir.path(), "debug", options, &names);
        let scenarios = scenarios();
        let release: Set<'_> = (&release, &scenarios);
        let alone = planned(&[release]);
        assert_eq!(alone[0], ("mutant-a-6.12".to_owned(), None));
        for (skipped, option) in alone[1..].iter().zip(["KASAN", "FAILSLAB"]) {
            let reason = skipped.1.as_ref().unwrap();
            assert!(
                reason.contains(&format!("without CONFIG_{option}")),
                "{reason}"
            );
        }
        let both = planned(&[release, (&debug, &scenarios)]);
        let folders: Vec<&str> = both.iter().map(|(folder, _)| folder.as_str()).collect();
        assert_eq!(
            folders,
            [
                "mutant-a-6.12",
                "mutant-a--kasan-6.12-debug",
                "mutant-b-6.12-debug"
            ]
        );
        assert!(both.iter().all(|(_, skip)| skip.is_none()));
    }

    #[test]
    fn a_checker_that_nobody_knows_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let index = index(dir.path(), "release", "", &["a--kazan"]);
        let error = plan(&[(&index, &scenarios())], None).unwrap_err();
        assert!(error.to_string().contains("noticed by `kazan`"), "{error}");
    }

    #[test]
    fn the_filter_that_names_a_splat_chooses_the_scenario_before_it() {
        assert_eq!(scenario_filter("restore-storm--kasan"), "restore-storm");
        assert_eq!(scenario_filter("storm"), "storm");
    }

    /// The result of a run in this folder.
    fn run(folder: &str, outcome: Outcome, splat: Option<&str>) -> RunResult {
        RunResult {
            artifacts: Path::new("runs").join(folder),
            splat: splat.map(str::to_owned),
            ..results::example("a", outcome, "why\nmore")
        }
    }

    fn control(outcome: Outcome) -> RunResult {
        run("control-a-6.12", outcome, None)
    }

    fn bug(outcome: Outcome) -> RunResult {
        run("mutant-a-6.12", outcome, None)
    }

    fn report(mutants: &[&str]) -> (tempfile::TempDir, Report) {
        let dir = tempfile::tempdir().unwrap();
        let index = index(dir.path(), "release", "CONFIG_KASAN=y\n", mutants);
        let scenarios = scenarios();
        let pairs = plan(&[(&index, &scenarios)], None).unwrap();
        let report = Report::begin(dir.path(), &pairs).unwrap();
        (dir, report)
    }

    #[test]
    fn a_bug_is_caught_when_the_scenario_passes_without_it_and_fails_with_it() {
        let (dir, mut report) = report(&["a"]);
        report.add_control(control(Outcome::Passed)).unwrap();
        assert!(report.control_passed("a"));
        assert!(!report.good());
        let line = report.add_mutant(bug(Outcome::Failed)).unwrap();
        assert!(line.ends_with("caught\n    why"), "{line}");
        assert!(report.good());
        let text = std::fs::read_to_string(dir.path().join("mutants.json")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["mutants"][0]["caught"], true);
    }

    #[test]
    fn a_bug_for_a_checker_is_caught_by_that_splat_alone() {
        for (splat, caught) in [(Some("kasan"), true), (Some("warn"), false), (None, false)] {
            let (_dir, mut report) = report(&["a", "a--kasan"]);
            report.add_control(control(Outcome::Passed)).unwrap();
            assert!(report.control_passed("a") && report.control_passed("a--kasan"));
            report.add_mutant(bug(Outcome::Failed)).unwrap();
            let of_checker = run("mutant-a--kasan-6.12", Outcome::Failed, splat);
            report.add_mutant(of_checker).unwrap();
            assert_eq!(report.good(), caught, "{splat:?}");
        }
    }

    #[test]
    fn what_no_kernel_here_can_show_is_skipped_with_the_reason_and_not_held_against_it() {
        let (_dir, mut report) = report(&["a", "b"]);
        let lines = report.skipped();
        assert!(
            lines.len() == 1 && lines[0].contains("CONFIG_FAILSLAB"),
            "{lines:?}"
        );
        assert!(!report.good(), "the other one has not run");
        report.add_control(control(Outcome::Passed)).unwrap();
        report.add_mutant(bug(Outcome::Failed)).unwrap();
        assert!(report.good());
        assert_eq!(
            report.summary(),
            "1 of 1 seeded bugs were caught, 1 skipped"
        );
    }

    #[test]
    fn an_error_with_the_bug_catches_nothing() {
        for outcome in [Outcome::Error, Outcome::Passed, Outcome::Skipped] {
            let (_dir, mut report) = report(&["a"]);
            report.add_control(control(Outcome::Passed)).unwrap();
            report.add_mutant(bug(outcome)).unwrap();
            assert!(!report.good(), "{outcome:?}");
        }
    }

    #[test]
    fn a_scenario_that_fails_without_the_bug_shows_nothing() {
        let (_dir, mut report) = report(&["a"]);
        report.add_control(control(Outcome::Failed)).unwrap();
        assert!(!report.control_passed("a"));
        assert!(!report.good());
        assert_eq!(report.summary(), "0 of 1 seeded bugs were caught");
    }
}
