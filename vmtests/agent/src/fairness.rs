// SPDX-License-Identifier: GPL-2.0-or-later
//! Whether requests are handed out fairly, judged from the kernel's trace and a daemon's event log.
//!
//! For each request: the deliveries between its enqueueing and its own must be no more than the
//! requests pending at its enqueueing plus the daemon's threads.
//!
//! Neither moment is seen exactly, so each is known as an interval:
//! - Enqueueing is after the trace event that announces the request, and before its task goes to
//!   sleep to wait for the answer (`sched_switch`). A task may be preempted in between.
//! - Delivery is after the daemon's thread did the last thing that it logged, and before it logs
//!   the delivery. A thread may be preempted in between.
//!
//! Deliveries are counted only where they are certainly in between, pending requests wherever they
//! may have been pending: what is called unfair is so however the moments lay. A module that hands
//! out the newest request first is off by hundreds, not by the few that the intervals hide.

use std::collections::HashMap;
use std::collections::VecDeque;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use vmtest_protocol::message::Measurement;

use crate::events::Event;

/// A moment or bound in nanoseconds of CLOCK_MONOTONIC.
type Ns = u64;

/// The trace clock is printed in microseconds, cut off.
const TRACE_STEP: Ns = 1000;

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Requests whose moments are known well enough.
    pub judged: u64,
    /// The most requests that were pending at any enqueueing.
    pub max_pending: u64,
    /// The most deliveries that lay in between for any request.
    pub max_between: u64,
    /// Requests that were overtaken too often, in words.
    pub unfair: Vec<String>,
    threads: u64,
}

impl Report {
    /// The numbers for the run's results.
    pub fn measurements(&self) -> Vec<Measurement> {
        [
            ("fairness.judged", self.judged),
            ("fairness.max_pending", self.max_pending),
            ("fairness.max_between", self.max_between),
        ]
        .into_iter()
        .map(|(name, value)| Measurement {
            name: name.to_owned(),
            value: value as f64,
            unit: "count".to_owned(),
        })
        .collect()
    }

    /// The reason of a failure.
    pub fn complaint(&self) -> String {
        format!(
            "{} of {} requests were overtaken more often than the requests pending before them \
             plus {} threads allow: {}",
            self.unfair.len(),
            self.judged,
            self.threads,
            self.unfair
                .iter()
                .take(4)
                .cloned()
                .collect::<Vec<_>>()
                .join("; ")
        )
    }
}

/// What a request is about. Requests of equal keys are matched in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Open { object: u64 },
    Read { object: u64, off: u64, len: u64 },
    Close { object: u64 },
}

/// A request as the kernel announced it.
#[derive(Debug)]
struct Announced {
    key: Key,
    task: u64,
    after: Ns,
    /// Unknown when the task was never seen going to sleep.
    before: Option<Ns>,
}

/// A request with all that is known of it.
#[derive(Debug)]
struct Request {
    key: Key,
    enqueued_after: Ns,
    enqueued_before: Option<Ns>,
    delivered: Option<(Ns, Ns)>,
}

/// Judges the requests of one trace and one log; `threads` is the number of the daemon's threads.
pub fn check(trace: &str, log: &str, threads: u64) -> Result<Report> {
    let (announced, opened) = parse_trace(trace)?;
    let deliveries = parse_log(log)?;
    let objects = name_objects(opened, &deliveries);
    let requests = join(announced, deliveries, &objects)?;
    Ok(judge(&requests, threads))
}

fn judge(requests: &[Request], threads: u64) -> Report {
    let mut report = Report {
        threads,
        ..Report::default()
    };
    for (index, request) in requests.iter().enumerate() {
        let Some(before) = request.enqueued_before else {
            continue;
        };
        let others = || {
            requests
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
                .map(|(_, other)| other)
        };
        let pending = others()
            .filter(|other| {
                other.enqueued_after <= before
                    && other
                        .delivered
                        .is_none_or(|(_, last)| last >= request.enqueued_after)
            })
            .count() as u64;
        report.judged += 1;
        report.max_pending = report.max_pending.max(pending);
        let Some((delivered, _)) = request.delivered else {
            report
                .unfair
                .push(format!("{:?} was never delivered", request.key));
            continue;
        };
        let between = others()
            .filter_map(|other| other.delivered)
            .filter(|(first, last)| *first >= before && *last <= delivered)
            .count() as u64;
        report.max_between = report.max_between.max(between);
        if between > pending + threads {
            report.unfair.push(format!(
                "{:?}: {between} deliveries in between, {pending} were pending",
                request.key
            ));
        }
    }
    report
}

/// A delivery as a daemon logged it.
#[derive(Debug)]
struct Delivery {
    op: String,
    msg_id: u64,
    object_id: u64,
    off: u64,
    len: u64,
    after: Ns,
    before: Ns,
}

fn parse_log(log: &str) -> Result<Vec<Delivery>> {
    let mut last: HashMap<String, Ns> = HashMap::new();
    let mut deliveries = Vec::new();
    for line in log.lines().filter(|line| !line.is_empty()) {
        let event: Event =
            serde_json::from_str(line).with_context(|| format!("event log: `{line}`"))?;
        let thread = event
            .thread
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let after = last.insert(thread, event.t_ns).unwrap_or(0);
        if event.ev == "deliver" {
            deliveries.push(Delivery {
                op: event.op.context("a delivery without `op`")?,
                msg_id: event.msg_id.context("a delivery without `msg_id`")?,
                object_id: event.object_id.context("a delivery without `object_id`")?,
                off: event.off.unwrap_or(0),
                len: event.len.unwrap_or(0),
                after,
                before: event.t_ns,
            });
        }
    }
    Ok(deliveries)
}

/// For each OPEN's message id, the objects whose OPENs were answered under it, in order.
type Opened = HashMap<u64, VecDeque<u64>>;

/// The trace names objects by a number of its own. The answer to an OPEN has that number and the
/// message id; the daemon's log has that message id and the object id.
fn name_objects(mut opened: Opened, deliveries: &[Delivery]) -> HashMap<u64, u64> {
    let opens = deliveries.iter().filter(|delivery| delivery.op == "open");
    opens
        .filter_map(|open| {
            let object = opened.get_mut(&open.msg_id)?.pop_front()?;
            Some((open.object_id, object))
        })
        .collect()
}

/// The announced requests, and the OPENs that were answered.
fn parse_trace(trace: &str) -> Result<(Vec<Announced>, Opened)> {
    let mut announced: Vec<Announced> = Vec::new();
    let mut opened = Opened::new();
    for line in trace.lines() {
        let Some(record) = Record::parse(line) else {
            continue;
        };
        let object = || record.hex("o=").context("a record without its object");
        let key = match record.event {
            "cachefiles_ondemand_copen" => {
                let id = record.hex("mid=").context("an answer without its id")?;
                opened.entry(id).or_default().push_back(object()?);
                continue;
            }
            "sched_switch" => {
                let waits = record
                    .word("prev_state=")
                    .is_some_and(|state| !state.starts_with('R'));
                let task = record
                    .word("prev_pid=")
                    .and_then(|pid| pid.parse::<u64>().ok());
                if waits {
                    let latest = announced
                        .iter_mut()
                        .rev()
                        .find(|known| Some(known.task) == task);
                    if let Some(known) = latest {
                        known.before.get_or_insert(record.time + TRACE_STEP);
                    }
                }
                continue;
            }
            "cachefiles_tmpfile" => Key::Open { object: object()? },
            "cachefiles_ondemand_close" => Key::Close { object: object()? },
            "cachefiles_ondemand_read" => Key::Read {
                object: object()?,
                off: record.hex("s=").context("a READ without its offset")?,
                len: record.hex("l=").context("a READ without its length")?,
            },
            _ => continue,
        };
        announced.push(Announced {
            key,
            task: record.task,
            after: record.time,
            before: None,
        });
    }
    Ok((announced, opened))
}

/// Matches announcements with deliveries.
fn join(
    announced: Vec<Announced>,
    deliveries: Vec<Delivery>,
    objects: &HashMap<u64, u64>,
) -> Result<Vec<Request>> {
    let mut waiting: HashMap<Key, VecDeque<usize>> = HashMap::new();
    let mut requests: Vec<Request> = Vec::new();
    for one in announced {
        waiting
            .entry(one.key)
            .or_default()
            .push_back(requests.len());
        requests.push(Request {
            key: one.key,
            enqueued_after: one.after,
            enqueued_before: one.before,
            delivered: None,
        });
    }
    let mut unmatched = 0;
    for delivery in deliveries {
        let times = Some((delivery.after, delivery.before));
        let object = objects.get(&delivery.object_id).copied();
        let key = object.and_then(|object| match delivery.op.as_str() {
            "open" => Some(Key::Open { object }),
            "close" => Some(Key::Close { object }),
            "read" => Some(Key::Read {
                object,
                off: delivery.off,
                len: delivery.len,
            }),
            _ => None,
        });
        let index = key.and_then(|key| waiting.get_mut(&key)?.pop_front());
        match index.and_then(|index| requests.get_mut(index)) {
            Some(request) => request.delivered = times,
            None if delivery.op == "read" => unmatched += 1,
            // An OPEN without a new file, or of a kind that was not traced.
            None => {}
        }
    }
    // An object may be opened without a new file: then nothing announces its OPEN, and one that
    // was announced and needed no request was never enqueued. Neither is judged.
    requests
        .retain(|request| request.delivered.is_some() || matches!(request.key, Key::Read { .. }));
    if unmatched > 0 {
        bail!(
            "{unmatched} READs were delivered that the trace does not announce: trace \
             cachefiles/cachefiles_ondemand_copen and cachefiles_ondemand_read, from before the \
             first mount"
        );
    }
    Ok(requests)
}

/// A line of the trace: `comm-pid [cpu] flags seconds: event: fields`.
struct Record<'a> {
    task: u64,
    time: Ns,
    event: &'a str,
    fields: &'a str,
}

impl<'a> Record<'a> {
    fn parse(line: &'a str) -> Option<Record<'a>> {
        if line.starts_with('#') {
            return None;
        }
        // The name may contain anything, also brackets; what follows the CPU may not.
        let cpu = line.find(" [").filter(|at| {
            line[at + 2..]
                .split(']')
                .next()
                .is_some_and(|cpu| cpu.chars().all(|c| c.is_ascii_digit()))
        })?;
        let task = line[..cpu].trim_end().rsplit('-').next()?.parse().ok()?;
        let rest = line[cpu + 2..].split_once(']')?.1;
        let (head, rest) = rest.split_once(": ")?;
        let time = seconds(head.split_whitespace().last()?)?;
        let (event, fields) = rest.split_once(':')?;
        Some(Record {
            task,
            time,
            event: event.trim(),
            fields,
        })
    }

    fn word(&self, name: &str) -> Option<&'a str> {
        self.fields
            .split_whitespace()
            .find_map(|word| word.strip_prefix(name))
    }

    fn hex(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.word(name)?, 16).ok()
    }
}

/// `12.345678` in nanoseconds.
fn seconds(text: &str) -> Option<Ns> {
    let (whole, part) = text.split_once('.')?;
    let whole: u64 = whole.parse().ok()?;
    let digits = part.len() as u32;
    let part: u64 = part.parse().ok()?;
    let scale = 10u64.checked_pow(9u32.checked_sub(digits)?)?;
    Some(whole * 1_000_000_000 + part * scale)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// The OPEN of the one object, as the daemon saw it.
    const OPEN: &str = "{\"t_ns\":500,\"ev\":\"deliver\",\"op\":\"open\",\"msg_id\":240,\"object_id\":1,\"thread\":0}\n";

    /// Forty readers that each ask again as soon as they are served, and a daemon of two threads
    /// that takes the request that `pick` chooses among those that wait.
    fn run(pick: impl Fn(usize) -> usize) -> Report {
        let mut trace = String::from("# tracer: nop\n");
        let mut log = String::from(OPEN);
        trace.push_str(
            "  kworker/u4:1-7 [001] ..... 0.000001: cachefiles_ondemand_copen: o=0000000a mid=f0 l=1000\n",
        );
        let mut waiting: Vec<u64> = Vec::new();
        let mut next = 0u64;
        let mut time = 10u64;
        let mut ask = |waiting: &mut Vec<u64>, time: &mut u64, reader: u64| {
            *time += 5;
            let pid = 100 + reader;
            writeln!(
                trace,
                " vt-read-{reader}-{pid} [000] ..... 0.{time:06}: cachefiles_ondemand_read: o=0000000a mid=0 oid=0 s={next:x}000 l=1000"
            )
            .unwrap();
            *time += 5;
            writeln!(
                trace,
                " vt-read-{reader}-{pid} [000] d..2. 0.{time:06}: sched_switch: prev_comm=vt-read-{reader} prev_pid={pid} prev_prio=120 prev_state=D ==> next_comm=x next_pid=1 next_prio=120"
            )
            .unwrap();
            waiting.push(next);
            next += 1;
        };
        for reader in 0..40 {
            ask(&mut waiting, &mut time, reader);
        }
        for round in 0..1000u64 {
            time += 10;
            let request = waiting.remove(pick(waiting.len()));
            let thread = round % 2;
            writeln!(
                log,
                r#"{{"t_ns":{},"ev":"deliver","op":"read","msg_id":{request},"object_id":1,"off":{},"len":4096,"thread":{thread}}}"#,
                time * 1000,
                request * 4096
            )
            .unwrap();
            time += 10;
            writeln!(
                log,
                r#"{{"t_ns":{},"ev":"reply","op":"read","msg_id":{request},"thread":{thread}}}"#,
                time * 1000
            )
            .unwrap();
            // A reader that is served asks for the next block, until the last forty.
            if round < 960 {
                ask(&mut waiting, &mut time, request % 40);
            }
        }
        check(&trace, &log, 2).unwrap()
    }

    #[test]
    fn first_in_first_out_is_fair() {
        let report = run(|_| 0);
        assert_eq!(report.judged, 1000);
        assert!(report.max_pending >= 39, "{report:?}");
        assert_eq!(report.unfair, Vec::<String>::new());
    }

    #[test]
    fn last_in_first_out_is_unfair() {
        let report = run(|waiting| waiting - 1);
        assert!(report.unfair.len() >= 38, "{}", report.complaint());
        assert!(report.max_between > 900, "{report:?}");
    }

    #[test]
    fn a_delivery_that_nobody_announced_is_an_error() {
        let trace =
            " x-1 [001] ..... 0.000001: cachefiles_ondemand_copen: o=0000000a mid=f0 l=1000\n";
        let log = r#"{"t_ns":5000,"ev":"deliver","op":"read","msg_id":1,"object_id":1,"off":0,"len":4096}"#;
        let error = check(trace, &format!("{OPEN}{log}"), 1)
            .unwrap_err()
            .to_string();
        assert!(error.contains("does not announce"), "{error}");
    }

    #[test]
    fn a_request_that_is_never_delivered_is_unfair() {
        let trace = " x-1 [001] ..... 0.000001: cachefiles_ondemand_read: o=0000000a mid=0 oid=0 s=0 l=1000\n\
                     x-1 [001] d..2. 0.000002: sched_switch: prev_comm=x prev_pid=1 prev_prio=1 prev_state=D ==> next_comm=y next_pid=2 next_prio=1\n";
        let report = check(trace, "", 1).unwrap();
        assert!(report.unfair[0].contains("never delivered"), "{report:?}");
    }
}
