// SPDX-License-Identifier: GPL-2.0-or-later
//! Markers in a run's folder: `started.json` is written before the run, `ended.json` after it. A
//! run with the first and without the second, whose process is gone, was killed: it must not
//! vanish from the results.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use serde::Deserialize;
use serde::Serialize;

use super::Invocation;
use super::Outcome;
use super::RunResult;
use super::StepOutcome;
use super::StepResult;
use super::invocation;
use super::replace;
use crate::timeline;
use crate::timeline::Entry;
use crate::timeline::Level;
use crate::timeline::Mark;

/// The marker before a run.
pub const STARTED: &str = "started.json";
/// The marker after it.
pub const ENDED: &str = "ended.json";

#[derive(Debug, Serialize, Deserialize)]
struct Started {
    by: Invocation,
    /// What is known before the run.
    run: RunResult,
}

#[derive(Debug, Serialize, Deserialize)]
struct Ended {
    ended: String,
    run: RunResult,
}

/// What the markers say about a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// It has ended so.
    Ended(RunResult),
    /// Its runner is still there.
    UnderWay(RunResult),
    /// Its runner ended before it; the result is made from the traces.
    Killed(RunResult),
}

/// Clears and makes a run's folder, and writes the marker before the run.
pub fn begin(dir: &Path, run: &RunResult) -> anyhow::Result<()> {
    // What an earlier run left under the same name would be taken for this one's.
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot clear {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let started = Started {
        by: Invocation::current().clone(),
        run: run.clone(),
    };
    write(&dir.join(STARTED), &started)
}

/// Writes the marker after a run.
pub fn end(dir: &Path, run: &RunResult) -> anyhow::Result<()> {
    let ended = Ended {
        ended: invocation::now(),
        run: run.clone(),
    };
    write(&dir.join(ENDED), &ended)
}

fn write(file: &Path, marker: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec_pretty(marker).context("a marker as JSON")?;
    text.push(b'\n');
    replace(file, &text)
}

fn read<T: serde::de::DeserializeOwned>(file: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// What the markers in a run's folder say, and which invocation made them; `None` where there is
/// no run.
pub fn look(dir: &Path) -> Option<(Invocation, Found)> {
    let started: Started = read(&dir.join(STARTED))?;
    let ended: Option<Ended> = read(&dir.join(ENDED));
    let found = match ended {
        Some(ended) => Found::Ended(ended.run),
        None if started.by.is_alive() => Found::UnderWay(started.run),
        None => Found::Killed(killed(dir, &started)),
    };
    Some((started.by, found))
}

/// All runs in a results' folder.
pub fn look_at_all(out: &Path) -> Vec<(PathBuf, Invocation, Found)> {
    let Ok(entries) = fs::read_dir(out.join("runs")) else {
        return Vec::new();
    };
    let mut dirs: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    dirs.sort();
    dirs.into_iter()
        .filter_map(|dir| look(&dir).map(|(by, found)| (dir, by, found)))
        .collect()
}

/// Runs of earlier invocations that were killed: they get their second marker now, so that each is
/// told of once. Returns a text for people, if there are any.
pub fn settle(out: &Path) -> anyhow::Result<Option<String>> {
    let mut names = Vec::new();
    let mut by = None;
    for (dir, invocation, found) in look_at_all(out) {
        let Found::Killed(run) = found else { continue };
        end(&dir, &run)?;
        names.push(format!(
            "{} on {} ({})",
            run.name(),
            run.module,
            run.label()
        ));
        by = Some(invocation);
    }
    Ok(by.map(|by| {
        format!(
            "an earlier vmtest (process {}, begun {}) was killed in the middle of: {}; `vmtest \
             report {}` would have shown it",
            by.pid,
            by.began,
            names.join(", "),
            out.display()
        )
    }))
}

/// A result from the traces of a run whose runner is gone.
fn killed(dir: &Path, started: &Started) -> RunResult {
    let mut run = started.run.clone();
    let mut last: Option<Entry> = None;
    let mut open: Option<Entry> = None;
    // A run that was killed before its first entry has no timeline.
    let _ = timeline::read(&dir.join(timeline::FILE), |entry| {
        match entry.mark {
            Some(Mark::Begins) => open = Some(entry.clone()),
            Some(Mark::Ended) => {
                if let Some(begun) = open.take() {
                    run.steps.push(step(&begun, Some(&entry)));
                }
            }
            _ => {}
        }
        last = Some(entry);
    });
    if last.is_some() {
        run.timeline = Some(timeline::FILE.to_owned());
    }
    let mut reason = format!(
        "killed: the runner (process {}) ended in the middle of this run, which began at {}",
        started.by.pid, run.began
    );
    if let Some(begun) = &open {
        let mut unfinished = step(begun, None);
        unfinished.seconds = last.as_ref().map_or(0.0, |last| last.t_s - begun.t_s);
        reason += &format!("\nstep {} was under way", begun.text);
        run.steps.push(unfinished);
    }
    if let Some(last) = last {
        run.seconds = last.t_s;
        reason += &format!(
            "\nthe last thing noted, {:.1} s after the start, was from {}: {}",
            last.t_s,
            last.source.word(),
            last.text
        );
    }
    run.outcome = Outcome::Killed;
    run.reason = reason;
    run.files = files(dir);
    run
}

/// A step from its two entries: `3/7 mount` and, with the same number, how it ended.
fn step(begun: &Entry, ended: Option<&Entry>) -> StepResult {
    let title = begun.text.split_once(' ').map_or("", |(_, title)| title);
    let outcome = match ended {
        None => StepOutcome::NoAnswer,
        Some(ended) if ended.level == Level::Info => StepOutcome::Passed,
        Some(_) => StepOutcome::Failed,
    };
    StepResult {
        step: title.to_owned(),
        action: String::new(),
        line: None,
        outcome,
        reason: match ended {
            Some(ended) if outcome == StepOutcome::Failed => ended.text.clone(),
            _ => String::new(),
        },
        start_s: begun.t_s,
        seconds: ended.map_or(0.0, |ended| ended.t_s - begun.t_s),
        expected: None,
        seen: None,
        steps: Vec::new(),
        unlisted: 0,
    }
}

/// The files of a run's folder, without the markers, sorted by name.
pub fn files(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != STARTED && name != ENDED)
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;
    use crate::timeline::Recorder;
    use std::time::Instant;
    use vmtest_protocol::Step;
    use vmtest_protocol::step::Action;
    use vmtest_protocol::step::DropCaches;

    /// A run whose runner was another process, which is gone.
    fn orphan(out: &Path) -> PathBuf {
        let dir = out.join("runs/a-6.12-c");
        let run = example("a", Outcome::Error, "");
        begin(&dir, &run).unwrap();
        let mut started: Started = read(&dir.join(STARTED)).unwrap();
        started.by.pid_began += 1;
        write(&dir.join(STARTED), &started).unwrap();
        dir
    }

    #[test]
    fn a_run_is_under_way_until_its_second_marker() {
        let out = tempfile::tempdir().unwrap();
        let dir = out.path().join("runs/a");
        let run = example("a", Outcome::Passed, "");
        begin(&dir, &run).unwrap();
        let (by, found) = look(&dir).unwrap();
        assert_eq!(&by, Invocation::current());
        assert_eq!(found, Found::UnderWay(run.clone()));
        end(&dir, &run).unwrap();
        assert_eq!(look(&dir).unwrap().1, Found::Ended(run));
    }

    #[test]
    fn a_run_whose_runner_is_gone_was_killed_and_its_steps_are_known() {
        let out = tempfile::tempdir().unwrap();
        let dir = orphan(out.path());
        let recorder = Recorder::create(&dir, Instant::now()).unwrap();
        let step = Step::new(Action::DropCaches(DropCaches {}));
        recorder.step_begins(1, 3, &step);
        recorder.step_ended(&step, StepOutcome::Passed, "", 0.1);
        recorder.step_begins(2, 3, &step);
        recorder.line("the last line");
        let Found::Killed(run) = look(&dir).unwrap().1 else {
            panic!("not killed");
        };
        assert_eq!(run.outcome, Outcome::Killed);
        for words in [
            "step 2/3 drop_caches was under way",
            "console: the last line",
        ] {
            assert!(run.reason.contains(words), "{}", run.reason);
        }
        let outcomes: Vec<_> = run.steps.iter().map(|step| step.outcome).collect();
        assert_eq!(outcomes, [StepOutcome::Passed, StepOutcome::NoAnswer]);
        assert_eq!(run.steps[0].step, "drop_caches");
        assert_eq!(run.files, ["timeline.jsonl"]);
    }

    #[test]
    fn killed_runs_are_told_of_once() {
        let out = tempfile::tempdir().unwrap();
        assert_eq!(settle(out.path()).unwrap(), None);
        orphan(out.path());
        let text = settle(out.path()).unwrap().unwrap();
        assert!(text.contains("a on c (6.12)"), "{text}");
        assert_eq!(settle(out.path()).unwrap(), None);
    }

    #[test]
    fn a_folder_is_cleared_before_a_run() {
        let out = tempfile::tempdir().unwrap();
        let dir = orphan(out.path());
        fs::write(dir.join("console.log"), "old").unwrap();
        begin(&dir, &example("a", Outcome::Error, "")).unwrap();
        assert!(!dir.join("console.log").exists());
    }
}
