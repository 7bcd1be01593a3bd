// SPDX-License-Identifier: GPL-2.0-or-later
//! Counters, conditions, traces: what is seen, compared with what is expected.

use std::time::Instant;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use vmtest_protocol::step::CheckFairness;
use vmtest_protocol::step::Comparison;
use vmtest_protocol::step::CounterIs;
use vmtest_protocol::step::DevicePolls;
use vmtest_protocol::step::Expect;
use vmtest_protocol::step::FileMatches;
use vmtest_protocol::step::LogHas;
use vmtest_protocol::step::PathIs;
use vmtest_protocol::step::RatioIs;
use vmtest_protocol::step::Snapshot;
use vmtest_protocol::step::StartTrace;
use vmtest_protocol::step::WaitUntil;
use vmtest_protocol::value::Factor;

use super::Context;
use super::Done;
use super::Moment;
use super::Stop;
use super::lock;
use super::wrong;
use crate::counters::Counters;
use crate::fairness;
use crate::worker::Answer;
use crate::worker::Task;

/// Whether something holds; if not, what is seen instead.
type Seen = Result<(), String>;

impl Context {
    /// Every counter there is.
    pub fn counters(&self) -> Result<Counters, Stop> {
        let agent = &self.agent;
        let paths = lock(&agent.room_paths).clone();
        let answer = self.ask_worker(&Task::Counters(paths), "reading counters")?;
        let mut counters = match answer {
            Answer::Counters(counters) => counters,
            _ => return Err(wrong("a worker did not answer with counters")),
        };
        let (tally, outstanding) = agent.events.total();
        for (name, value) in [
            ("requests.open", tally.requests.open),
            ("requests.read", tally.requests.read),
            ("requests.close", tally.requests.close),
            ("requests.replied", tally.replied),
            ("requests.outstanding", outstanding),
        ] {
            counters.insert(name.to_owned(), value as i64);
        }
        // A daemon that never culled has no such line, yet the counter exists.
        for name in ["fill", "cull"] {
            counters.insert(format!("daemon.{name}"), 0);
        }
        for (ev, count) in tally.lines {
            counters.insert(format!("daemon.{ev}"), count as i64);
        }
        let mut tracer = lock(&agent.tracer);
        for (event, count) in tracer
            .counts()
            .map_err(|error| wrong(format!("{error:#}")))?
        {
            counters.insert(format!("trace.{event}"), count as i64);
        }
        Ok(counters)
    }

    pub(super) fn snapshot(&self, snapshot: &Snapshot) -> Result<Done, Stop> {
        let moment = Moment {
            counters: self.counters()?,
            logs: self.agent.logs.positions(),
        };
        lock(&self.agent.snapshots).insert(snapshot.name.clone(), moment);
        Ok(Done::default())
    }

    fn moment(&self, name: &str) -> Result<Moment, Stop> {
        lock(&self.agent.snapshots)
            .get(name)
            .cloned()
            .ok_or_else(|| wrong(format!("no snapshot is called `{name}`")))
    }

    fn counter_is(&self, check: &CounterIs, counters: &Counters) -> Result<Seen, Stop> {
        let find = |counters: &Counters| {
            counters.get(&check.of).copied().ok_or_else(|| {
                wrong(format!(
                    "there is no counter `{}`; there are: {}",
                    check.of,
                    counters.keys().cloned().collect::<Vec<_>>().join(", ")
                ))
            })
        };
        let now = find(counters)?;
        let than = check.than.get().map_err(wrong)?;
        let (value, what) = match &check.since {
            None => (now, check.of.clone()),
            Some(name) => {
                let then = self.moment(name)?;
                let what = format!("{} since `{name}`", check.of);
                (now - find(&then.counters)?, what)
            }
        };
        Ok(match check.is.holds(value, than) {
            true => Ok(()),
            false => Err(format!(
                "{what} is {value}, {} {than} was expected",
                check.is.words()
            )),
        })
    }

    fn file_matches(&self, check: &FileMatches) -> Result<Seen, Stop> {
        let pattern = super::pattern(&check.regex)?;
        let text = std::fs::read_to_string(&check.path)
            .map_err(|error| wrong(format!("cannot read {}: {error}", check.path)))?;
        Ok(match pattern.is_match(&text) != check.absent {
            true => Ok(()),
            false => Err(format!(
                "{} {} `{}`; it is: {}",
                check.path,
                match check.absent {
                    true => "must not match and matches",
                    false => "does not match",
                },
                check.regex,
                text.chars().take(400).collect::<String>()
            )),
        })
    }

    fn device_polls(&self, check: &DevicePolls) -> Result<Seen, Stop> {
        let daemons = lock(&self.agent.daemons);
        let device = daemons.kept(&check.name).ok_or_else(|| {
            wrong(format!(
                "no device is kept for `{}`: start its daemon with `keeper: true`",
                check.name
            ))
        })?;
        let mut fds = [PollFd::new(device, PollFlags::IN | PollFlags::OUT)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        rustix::event::poll(&mut fds, Some(&now))
            .map_err(|error| wrong(format!("cannot poll the kept device: {error}")))?;
        let seen = fds[0].revents();
        for (flag, name, wanted) in [
            (PollFlags::IN, "readable", check.readable),
            (PollFlags::OUT, "writable", check.writable),
        ] {
            if wanted.is_some_and(|wanted| seen.contains(flag) != wanted) {
                return Ok(Err(format!(
                    "the device polls {name}: {}, {} was expected",
                    seen.contains(flag),
                    !seen.contains(flag)
                )));
            }
        }
        Ok(Ok(()))
    }

    fn log_has(&self, check: &LogHas) -> Result<Seen, Stop> {
        let from = match &check.since {
            // A log that began after the snapshot is new from its first line on.
            Some(name) => self.moment(name)?.logs.get(&check.of).copied(),
            None => None,
        };
        let pattern = super::pattern(&check.regex)?;
        let (found, tail) = self
            .agent
            .logs
            .count(&check.of, from.unwrap_or(0), |line| pattern.is_match(line))
            .map_err(wrong)?;
        let (is, than) = match &check.count {
            Some(count) => (count.is, count.than.get().map_err(wrong)?),
            None => (Comparison::AtLeast, 1),
        };
        Ok(match is.holds(found as i64, than as i64) {
            true => Ok(()),
            false => Err(format!(
                "{found} lines of the log of `{}`{} match `{}`, {} {than} were expected; it ends: \
                 {tail}",
                check.of,
                match &check.since {
                    Some(name) => format!(" since `{name}`"),
                    None => String::new(),
                },
                check.regex,
                is.words()
            )),
        })
    }

    /// What is not as wanted about files and folders; a worker looks, since that may hang.
    fn paths_are(&self, checks: &[PathIs]) -> Result<Vec<String>, Stop> {
        if checks.is_empty() {
            return Ok(Vec::new());
        }
        let first = checks.first().map_or("", |check| check.path.as_str());
        let task = Task::Paths(checks.to_vec());
        match self.ask_worker(&task, &format!("looking at {first}"))? {
            Answer::Paths(seen) => Ok(seen.into_iter().filter_map(Result::err).collect()),
            Answer::Error(why) => Err(wrong(why)),
            _ => Err(wrong("a worker did not answer with what paths are like")),
        }
    }

    fn ratio_is(&self, check: &RatioIs) -> Result<Seen, Stop> {
        let measured = lock(&self.agent.measured);
        let find = |name: &str| {
            measured.get(name).copied().ok_or_else(|| {
                wrong(format!(
                    "nothing called `{name}` was measured so far; there are: {}",
                    measured.keys().cloned().collect::<Vec<_>>().join(", ")
                ))
            })
        };
        let (of, to) = (find(&check.of)?, find(&check.to)?);
        if to <= 0.0 {
            return Err(wrong(format!(
                "`{}` is {to}: nothing can be a multiple of it",
                check.to
            )));
        }
        let ratio = of / to;
        let bound = |factor: &Option<Factor>| match factor {
            Some(factor) => factor.get().map(|ratio| Some(ratio.0)).map_err(wrong),
            None => Ok(None),
        };
        let high = bound(&check.at_most)?.filter(|most| ratio > *most);
        let low = bound(&check.at_least)?.filter(|least| ratio < *least);
        let expected = match (high, low) {
            (None, None) => return Ok(Ok(())),
            (Some(most), _) => format!("at most {most}"),
            (None, Some(least)) => format!("at least {least}"),
        };
        Ok(Err(format!(
            "`{}` is {of:.3}, {ratio:.2} times `{}`, which is {to:.3}; {expected} times was expected",
            check.of, check.to
        )))
    }

    /// Whether the one condition of a `wait_until` holds.
    fn holds(&self, wait: &WaitUntil) -> Result<Seen, Stop> {
        if let Some(check) = &wait.counter {
            self.counter_is(check, &self.counters()?)
        } else if let Some(check) = &wait.file {
            self.file_matches(check)
        } else if let Some(check) = &wait.poll {
            self.device_polls(check)
        } else if let Some(check) = &wait.log {
            self.log_has(check)
        } else if let Some(check) = &wait.state {
            self.state_is(check)
        } else if let Some(check) = &wait.path {
            let wrongs = self.paths_are(std::slice::from_ref(check))?;
            Ok(match wrongs.is_empty() {
                true => Ok(()),
                false => Err(wrongs.join("; ")),
            })
        } else {
            Err(wrong("`wait_until` without a condition"))
        }
    }

    pub(super) fn wait_until(&self, wait: &WaitUntil) -> Result<Done, Stop> {
        let within = wait.within.get().map_err(wrong)?.0;
        let mut last = String::new();
        let mut look = || -> Result<Option<()>, Stop> {
            Ok(match self.holds(wait)? {
                Ok(()) => Some(()),
                Err(instead) => {
                    last = instead;
                    None
                }
            })
        };
        match self.poll(Instant::now() + within, &mut look)? {
            Some(()) => Ok(Done::default()),
            None => Err(Stop::Failed(format!(
                "after {} ms: {last}",
                within.as_millis()
            ))),
        }
    }

    pub(super) fn expect(&self, expect: &Expect) -> Result<Done, Stop> {
        let mut wrongs = Vec::new();
        // First what changes soonest.
        for check in &expect.states {
            wrongs.extend(self.state_is(check)?.err());
        }
        if !expect.counters.is_empty() {
            let counters = self.counters()?;
            for check in &expect.counters {
                wrongs.extend(self.counter_is(check, &counters)?.err());
            }
        }
        for check in &expect.files {
            wrongs.extend(self.file_matches(check)?.err());
        }
        for check in &expect.polls {
            wrongs.extend(self.device_polls(check)?.err());
        }
        for check in &expect.logs {
            wrongs.extend(self.log_has(check)?.err());
        }
        wrongs.extend(self.paths_are(&expect.paths)?);
        for check in &expect.ratios {
            wrongs.extend(self.ratio_is(check)?.err());
        }
        match wrongs.is_empty() {
            true => Ok(Done::default()),
            false => Err(Stop::Failed(wrongs.join("; "))),
        }
    }

    pub(super) fn start_trace(&self, start: &StartTrace) -> Result<Done, Stop> {
        lock(&self.agent.tracer)
            .start(start)
            .map_err(|error| wrong(format!("{error:#}")))?;
        Ok(Done::default())
    }

    pub(super) fn stop_trace(&self) -> Result<Done, Stop> {
        lock(&self.agent.tracer)
            .stop()
            .map_err(|error| wrong(format!("{error:#}")))?;
        Ok(Done::default())
    }

    pub(super) fn check_fairness(&self, check: &CheckFairness) -> Result<Done, Stop> {
        self.agent.events.poll();
        let logs = self.agent.events.of(&check.daemon);
        let log = match logs.as_slice() {
            [log] => log,
            _ => {
                return Err(wrong(format!(
                    "`check_fairness` wants one event log of `{}`, there are {}",
                    check.daemon,
                    logs.len()
                )));
            }
        };
        let trace = lock(&self.agent.tracer)
            .recorded()
            .map_err(|error| wrong(format!("{error:#}")))?;
        let log = std::fs::read_to_string(log)
            .map_err(|error| wrong(format!("cannot read {}: {error}", log.display())))?;
        let report = fairness::check(&trace, &log, check.threads.get().map_err(wrong)?)
            .map_err(|error| wrong(format!("{error:#}")))?;
        let judged = check.min_requests.get().map_err(wrong)?;
        let pending = check.min_pending.get().map_err(wrong)?;
        if report.judged < judged || report.max_pending < pending {
            return Err(wrong(format!(
                "too little competed to judge: {} requests judged ({judged} wanted), at most {} \
                 pending at once ({pending} wanted)",
                report.judged, report.max_pending
            )));
        }
        match report.unfair.is_empty() {
            true => Ok(Done {
                measurements: report.measurements(),
                exit: None,
            }),
            false => Err(Stop::Failed(report.complaint())),
        }
    }
}
