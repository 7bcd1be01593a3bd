// SPDX-License-Identifier: GPL-2.0-or-later
//! Counters, conditions, traces: what is seen, compared with what is expected.

use std::time::Instant;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use vmtest_protocol::step::CheckFairness;
use vmtest_protocol::step::CounterIs;
use vmtest_protocol::step::DevicePolls;
use vmtest_protocol::step::Expect;
use vmtest_protocol::step::FileMatches;
use vmtest_protocol::step::Snapshot;
use vmtest_protocol::step::StartTrace;
use vmtest_protocol::step::WaitUntil;

use super::Context;
use super::Done;
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
        let answer = agent.workers.carry_out(
            &Task::Counters(paths),
            "reading counters",
            self.deadline,
            &self.cancel,
            &agent.children,
        )?;
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
        Ok(counters)
    }

    pub(super) fn snapshot(&self, snapshot: &Snapshot) -> Result<Done, Stop> {
        let counters = self.counters()?;
        lock(&self.agent.snapshots).insert(snapshot.name.clone(), counters);
        Ok(Done::default())
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
                let snapshots = lock(&self.agent.snapshots);
                let then = snapshots
                    .get(name)
                    .ok_or_else(|| wrong(format!("no snapshot is called `{name}`")))?;
                (now - find(then)?, format!("{} since `{name}`", check.of))
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

    pub(super) fn wait_until(&self, wait: &WaitUntil) -> Result<Done, Stop> {
        let within = wait.within.get().map_err(wrong)?.0;
        let mut last = String::new();
        let mut look = || -> Result<Option<()>, Stop> {
            let seen = match (&wait.counter, &wait.file, &wait.poll) {
                (Some(check), None, None) => self.counter_is(check, &self.counters()?)?,
                (None, Some(check), None) => self.file_matches(check)?,
                (None, None, Some(check)) => self.device_polls(check)?,
                _ => {
                    return Err(wrong(
                        "`wait_until` wants exactly one of `counter`, `file` and `poll`",
                    ));
                }
            };
            Ok(match seen {
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
        if expect.counters.is_empty() && expect.files.is_empty() && expect.polls.is_empty() {
            return Err(wrong("`expect` without anything to expect"));
        }
        let counters = self.counters()?;
        let mut wrongs = Vec::new();
        for check in &expect.counters {
            wrongs.extend(self.counter_is(check, &counters)?.err());
        }
        for check in &expect.files {
            wrongs.extend(self.file_matches(check)?.err());
        }
        for check in &expect.polls {
            wrongs.extend(self.device_polls(check)?.err());
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
