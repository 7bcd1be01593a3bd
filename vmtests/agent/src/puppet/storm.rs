// SPDX-License-Identifier: GPL-2.0-or-later
//! Storms: threads that do the same actions over and over, against each other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use vmtest_protocol::message::Measurement;
use vmtest_protocol::step::PuppetAction;
use vmtest_protocol::step::PuppetStorm;

use super::hand::End;
use super::hand::Hand;
use crate::engine::merge;
use crate::worker::child::Verdict;

/// The most threads of a storm.
const THREADS: u64 = 256;
/// The longest storm.
const LONGEST: Duration = Duration::from_secs(600);

/// What came of the actions of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    done: u64,
    refused: u64,
}

/// What came of an action that did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trouble {
    /// Something else was seen than was expected.
    Failed(String),
    /// It could not be carried out.
    Error(String),
}

impl Trouble {
    fn reason(&self) -> &str {
        match self {
            Trouble::Failed(reason) | Trouble::Error(reason) => reason,
        }
    }
}

/// What one thread did.
#[derive(Debug, Default)]
struct Tally {
    rounds: u64,
    /// By the actions' keys.
    counts: BTreeMap<&'static str, Count>,
    /// What the actions themselves measured.
    measured: Vec<Measurement>,
    /// The first action that did not pass.
    trouble: Option<Trouble>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.rounds += other.rounds;
        for (key, count) in other.counts {
            let sum = self.counts.entry(key).or_default();
            sum.done += count.done;
            sum.refused += count.refused;
        }
        merge(&mut self.measured, other.measured);
        self.trouble = self.trouble.take().or(other.trouble);
    }

    fn done(&self) -> u64 {
        self.counts.values().map(|count| count.done).sum()
    }

    fn measurements(self) -> Vec<Measurement> {
        let mut numbers = vec![("storm.rounds".to_owned(), self.rounds)];
        for (key, count) in &self.counts {
            numbers.push((format!("storm.{key}.done"), count.done));
            numbers.push((format!("storm.{key}.refused"), count.refused));
        }
        let measurement = |(name, value)| Measurement {
            name,
            value: value as f64,
            unit: "count".to_owned(),
        };
        let mut all: Vec<Measurement> = numbers.into_iter().map(measurement).collect();
        all.extend(self.measured);
        all
    }
}

/// What a thread is to do.
#[derive(Clone, Copy)]
struct Orders<'a> {
    actions: &'a [PuppetAction],
    /// So many rounds; as many as there is time for without it.
    rounds: Option<u64>,
    /// Whatever happens.
    ignore_errors: bool,
}

impl Hand {
    pub(super) fn storm(&self, storm: &PuppetStorm) -> Result<Verdict> {
        let threads = storm.threads.get().map_err(anyhow::Error::msg)?;
        anyhow::ensure!(
            (1..=THREADS).contains(&threads),
            "a storm of {threads} threads: it has at least 1 and at most {THREADS}"
        );
        let rounds = storm.times.as_ref().map(|times| times.get()).transpose();
        let rounds = rounds.map_err(anyhow::Error::msg)?;
        let span = storm.span.as_ref().map(|span| span.get()).transpose();
        let span = span.map_err(anyhow::Error::msg)?.map(|time| time.0);
        anyhow::ensure!(
            span.is_none_or(|span| span <= LONGEST),
            "a storm of {} s: {} s are the longest",
            span.unwrap_or_default().as_secs(),
            LONGEST.as_secs()
        );
        let at_least = storm.at_least.get().map_err(anyhow::Error::msg)?;
        let orders = Orders {
            actions: &storm.actions,
            rounds,
            ignore_errors: storm.ignore_errors,
        };
        let tally = self.run_threads(threads, span, orders)?;
        judge(tally, at_least, storm.ignore_errors)
    }

    /// Lets the threads loose, and waits for all of them.
    fn run_threads(
        &self,
        threads: u64,
        span: Option<Duration>,
        orders: Orders<'_>,
    ) -> Result<Tally> {
        let end = Arc::new(End {
            at: span.map(|span| Instant::now() + span),
            stop: AtomicBool::new(false),
        });
        std::thread::scope(|scope| {
            let mut running = Vec::new();
            let mut failure = None;
            for number in 1..=threads {
                let mut hand = Hand {
                    shared: Arc::clone(&self.shared),
                    saved: self.saved.clone(),
                    end: Some(Arc::clone(&end)),
                };
                let end = &end;
                let thread = std::thread::Builder::new()
                    .name(format!("storm-{number}"))
                    .spawn_scoped(scope, move || hand.rounds(number, orders, end));
                match thread {
                    Ok(thread) => running.push(thread),
                    Err(error) => {
                        end.stop.store(true, Ordering::Release);
                        failure = Some(error);
                        break;
                    }
                }
            }
            let mut sum = Tally::default();
            for thread in running {
                match thread.join() {
                    Ok(tally) => sum.add(tally),
                    Err(_) => anyhow::bail!("a thread of the storm panicked"),
                }
            }
            match failure {
                Some(error) => Err(error).context("cannot start a thread of the storm"),
                None => Ok(sum),
            }
        })
    }

    /// One thread's part.
    fn rounds(&mut self, number: u64, orders: Orders<'_>, end: &End) -> Tally {
        let mut tally = Tally::default();
        while orders.rounds.is_none_or(|rounds| tally.rounds < rounds) {
            for (index, action) in orders.actions.iter().enumerate() {
                if end.reached() {
                    return tally;
                }
                let key = action.key();
                let trouble = match self.act(action) {
                    Ok(Verdict::Passed(measured)) => {
                        merge(&mut tally.measured, measured);
                        tally.counts.entry(key).or_default().done += 1;
                        continue;
                    }
                    // Its time was cut short by the storm's end: that it did not pass in it says
                    // nothing.
                    _ if waits(action) && end.reached() => return tally,
                    Ok(Verdict::Failed(reason)) => Trouble::Failed(reason),
                    Err(error) => Trouble::Error(format!("{error:#}")),
                };
                tally.counts.entry(key).or_default().refused += 1;
                if tally.trouble.is_none() {
                    let place = format!(
                        "thread {number}, round {}, action {} ({key})",
                        tally.rounds + 1,
                        index + 1
                    );
                    tally.trouble = Some(match trouble {
                        Trouble::Failed(why) => Trouble::Failed(format!("{place}: {why}")),
                        Trouble::Error(why) => Trouble::Error(format!("{place}: {why}")),
                    });
                }
                if !orders.ignore_errors {
                    end.stop.store(true, Ordering::Release);
                    return tally;
                }
            }
            tally.rounds += 1;
        }
        tally
    }
}

/// Whether an action may wait for something by itself.
fn waits(action: &PuppetAction) -> bool {
    match action {
        PuppetAction::Open(open) => open.retry_busy.is_some(),
        PuppetAction::ReadMessage(read) => read.within.is_some(),
        PuppetAction::Poll(poll) => poll.within.is_some(),
        PuppetAction::AwaitObjects(_) => true,
        _ => false,
    }
}

/// What the storm as a whole came to.
fn judge(tally: Tally, at_least: u64, ignore_errors: bool) -> Result<Verdict> {
    let rounds = tally.rounds;
    match &tally.trouble {
        Some(Trouble::Failed(reason)) if !ignore_errors => {
            return Ok(Verdict::Failed(format!(
                "{reason} (after {rounds} whole rounds of all threads)"
            )));
        }
        Some(Trouble::Error(reason)) if !ignore_errors => {
            anyhow::bail!("{reason} (after {rounds} whole rounds of all threads)");
        }
        _ => {}
    }
    let done = tally.done();
    let first = match &tally.trouble {
        Some(trouble) => format!("; the first that was refused: {}", trouble.reason()),
        None => String::new(),
    };
    anyhow::ensure!(
        done > 0,
        "the storm did nothing at all, and so proves nothing{first}"
    );
    match done >= at_least {
        true => Ok(Verdict::Passed(tally.measurements())),
        false => Ok(Verdict::Failed(format!(
            "{done} actions were done, at least {at_least} were expected{first}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::hand::Shared;
    use super::super::serve::Log;
    use super::*;

    fn storm(yaml_as_json: &str) -> PuppetStorm {
        serde_json::from_str(yaml_as_json).unwrap()
    }

    /// A puppet without a device: `stop_serving` is always refused, `change_dir` to where it is
    /// always done.
    fn hand() -> (Hand, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::create(folder.path().join("log")).unwrap();
        (Hand::new(Arc::new(Shared::new(Arc::new(log)))), folder)
    }

    fn measured(verdict: Verdict) -> BTreeMap<String, f64> {
        match verdict {
            Verdict::Passed(all) => all.into_iter().map(|m| (m.name, m.value)).collect(),
            Verdict::Failed(reason) => panic!("{reason}"),
        }
    }

    #[test]
    fn every_thread_does_its_rounds_and_all_are_counted() {
        let (hand, _folder) = hand();
        let verdict = hand.storm(&storm(
            r#"{"threads": 3, "times": 5, "ignore_errors": true, "actions": [
                {"change_dir": {"path": "."}}, {"stop_serving": {}},
                {"close": {"of": "x"}}, {"change_dir": {"path": "."}}]}"#,
        ));
        let measured = measured(verdict.unwrap());
        for (name, value) in [
            ("storm.rounds", 15.0),
            ("storm.change_dir.done", 30.0),
            ("storm.change_dir.refused", 0.0),
            ("storm.stop_serving.done", 0.0),
            ("storm.stop_serving.refused", 15.0),
            ("storm.close.refused", 15.0),
        ] {
            assert_eq!(measured.get(name), Some(&value), "{name}: {measured:?}");
        }
    }

    #[test]
    fn the_first_refusal_ends_a_storm_that_does_not_ignore_it() {
        let (hand, _folder) = hand();
        let started = Instant::now();
        let result = hand.storm(&storm(
            r#"{"threads": 2, "for": "1m", "actions": [
                {"change_dir": {"path": "."}},
                {"change_dir": {"path": "/no/such/folder"}}]}"#,
        ));
        assert!(started.elapsed() < Duration::from_secs(20));
        match result.unwrap() {
            Verdict::Failed(reason) => {
                assert!(
                    reason.contains("round 1, action 2 (change_dir)"),
                    "{reason}"
                );
                assert!(reason.contains("ENOENT"), "{reason}");
            }
            Verdict::Passed(_) => panic!("passed"),
        }
    }

    #[test]
    fn a_storm_ends_in_time_though_its_actions_wait() {
        let (hand, _folder) = hand();
        let started = Instant::now();
        let verdict = hand.storm(&storm(
            r#"{"threads": 2, "for": "200ms", "actions": [
                {"change_dir": {"path": "."}},
                {"await_objects": {"count": 7, "within": "1m"}}]}"#,
        ));
        let measured = measured(verdict.unwrap());
        assert!(started.elapsed() < Duration::from_secs(20));
        assert_eq!(measured.get("storm.await_objects.refused"), None);
        assert_eq!(measured["storm.change_dir.done"], 2.0);
    }

    #[test]
    fn a_storm_that_did_nothing_proves_nothing() {
        let (hand, _folder) = hand();
        let refused = hand.storm(&storm(
            r#"{"threads": 2, "times": 3, "ignore_errors": true, "at_least": 0,
                "actions": [{"stop_serving": {}}]}"#,
        ));
        let error = refused.err().unwrap().to_string();
        assert!(error.contains("nothing at all"), "{error}");
        assert!(error.contains("does not serve"), "{error}");
        let few = hand.storm(&storm(
            r#"{"threads": 2, "times": 3, "at_least": 7,
                "actions": [{"change_dir": {"path": "."}}]}"#,
        ));
        match few.unwrap() {
            Verdict::Failed(reason) => {
                assert!(
                    reason.contains("6 actions were done, at least 7"),
                    "{reason}"
                );
            }
            Verdict::Passed(_) => panic!("passed"),
        }
    }

    #[test]
    fn impossible_storms_are_refused() {
        let (hand, _folder) = hand();
        for fields in [
            r#"{"threads": 0, "times": 1, "actions": [{"stop_serving": {}}]}"#,
            r#"{"threads": 1000, "times": 1, "actions": [{"stop_serving": {}}]}"#,
            r#"{"threads": 1, "for": "11m", "actions": [{"stop_serving": {}}]}"#,
        ] {
            assert!(hand.storm(&storm(fields)).is_err(), "{fields}");
        }
    }
}
