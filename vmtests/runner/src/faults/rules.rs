// SPDX-License-Identifier: GPL-2.0-or-later
//! QEMU's `blkdebug` in terms of a scenario: which of a disk's requests fail.
//!
//! blkdebug knows events (a read begins, a write begins, a flush begins), a state that events may
//! change, and requests that fail while certain rules are active. A rule becomes active when its
//! event happens in its state, and takes the place of those that were active before. Without
//! counting, rules that are active from the start do. To count requests, each event leads from one
//! state to the next, and the rules belong to the states in which requests are to fail; the state
//! after them has a rule that never matches, so that none of the others stays active.

use serde_json::Value;
use serde_json::json;
use vmtest_protocol::step::DiskErrno;
use vmtest_protocol::step::DiskErrors;
use vmtest_protocol::step::DiskRequest;
use vmtest_protocol::step::MAX_SECTORS;

/// The state in which blkdebug begins.
const FIRST_STATE: u64 = 1;
/// How far requests can be counted.
pub const MAX_COUNT: u64 = 4096;
/// Rules that QEMU compares every request with, at most.
const MAX_RULES: u64 = 16384;
/// A sector that no disk has.
const NOWHERE: u64 = 1 << 50;

/// The options `inject-error` and `set-state` of a blkdebug node.
#[derive(Debug, Default, PartialEq)]
pub struct Rules {
    /// Which requests fail.
    pub inject: Vec<Value>,
    /// How states follow each other.
    pub states: Vec<Value>,
}

/// The rules of a step whose templates are filled in.
pub fn rules(step: &DiskErrors) -> Result<Rules, String> {
    let number = |count: &Option<vmtest_protocol::value::Count>| {
        count.as_ref().map(|count| count.get()).transpose()
    };
    let (after, times) = (number(&step.after)?, number(&step.times)?);
    let sectors: Vec<Option<u64>> = match &step.sectors {
        None => vec![None],
        Some(sectors) => {
            let (from, count) = (sectors.from.get()?, sectors.count.get()?);
            if !(1..=MAX_SECTORS).contains(&count) || from >= NOWHERE {
                return Err(format!(
                    "{count} sectors from {from}: from 1 to {MAX_SECTORS} is possible"
                ));
            }
            (from..from + count).map(Some).collect()
        }
    };
    let counted = after.unwrap_or(0).saturating_add(times.unwrap_or(0));
    if counted > MAX_COUNT {
        return Err(format!(
            "`after` and `times` are {counted} requests: up to {MAX_COUNT} can be counted"
        ));
    }
    if times == Some(0) {
        return Err("`times: 0`: nothing would fail".to_owned());
    }
    let mut kinds = step.on.clone();
    kinds.sort();
    kinds.dedup();
    let errno = match step.errno {
        DiskErrno::Io => 5,
        DiskErrno::NoSpace => 28,
    };
    let inject = |event: &str, state: Option<u64>, kind: DiskRequest, sector: Option<u64>| {
        let mut rule = json!({"event": event, "iotype": iotype(kind), "errno": errno});
        if let Some(state) = state {
            rule["state"] = state.into();
        }
        if let Some(sector) = sector {
            rule["sector"] = sector.into();
        }
        rule
    };
    let mut rules = Rules::default();
    if after.unwrap_or(0) == 0 && times.is_none() {
        for kind in &kinds {
            let all = sectors.iter();
            rules
                .inject
                .extend(all.map(|sector| inject("none", None, *kind, *sector)));
        }
        return Ok(rules);
    }
    let failing = FIRST_STATE + after.unwrap_or(0);
    let last = failing + times.unwrap_or(1);
    if (last - failing) * (kinds.len() * sectors.len()) as u64 > MAX_RULES {
        return Err(format!("more than {MAX_RULES} rules for the disk"));
    }
    for kind in &kinds {
        let event = event(*kind);
        for state in failing..last {
            let all = sectors.iter();
            rules
                .inject
                .extend(all.map(|sector| inject(event, Some(state), *kind, *sector)));
        }
        // Without `times` the last state stays for ever.
        let end = match times {
            Some(_) => last,
            None => failing,
        };
        for state in FIRST_STATE..end {
            rules
                .states
                .push(json!({"event": event, "state": state, "new_state": state + 1}));
        }
        if times.is_some() {
            rules
                .inject
                .push(inject(event, Some(last), *kind, Some(NOWHERE)));
        }
    }
    Ok(rules)
}

/// What happens when such a request begins.
fn event(kind: DiskRequest) -> &'static str {
    match kind {
        DiskRequest::Read => "read_aio",
        DiskRequest::Write => "write_aio",
        DiskRequest::Flush => "flush_to_os",
    }
}

fn iotype(kind: DiskRequest) -> &'static str {
    match kind {
        DiskRequest::Read => "read",
        DiskRequest::Write => "write",
        DiskRequest::Flush => "flush",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Plays blkdebug: which of these requests (kind, sector) fail.
    fn played(rules: &Rules, requests: &[(&'static str, u64)]) -> Vec<bool> {
        let events = BTreeMap::from([
            ("read", "read_aio"),
            ("write", "write_aio"),
            ("flush", "flush_to_os"),
        ]);
        let of = |rule: &&Value, event: &str| rule["event"] == event;
        let mut active: Vec<&Value> = rules
            .inject
            .iter()
            .filter(|rule| of(rule, "none"))
            .collect();
        let mut state = 1;
        let mut failed = Vec::new();
        for (kind, sector) in requests {
            let event = events[kind];
            let fits = |rule: &&Value| of(rule, event) && rule["state"] == state;
            let fresh: Vec<&Value> = rules.inject.iter().filter(fits).collect();
            let next = rules.states.iter().find(fits);
            if !fresh.is_empty() {
                active = fresh;
            }
            if let Some(next) = next {
                state = next["new_state"].as_u64().unwrap();
            }
            failed.push(active.iter().any(|rule| {
                rule["iotype"] == *kind && rule.get("sector").is_none_or(|at| at == sector)
            }));
        }
        failed
    }

    fn of(yaml: &str) -> Result<Rules, String> {
        let step: DiskErrors = serde_yaml::from_str(yaml).unwrap();
        rules(&step)
    }

    const READS: [(&str, u64); 6] = [("read", 0); 6];

    #[test]
    fn without_counts_all_fail_for_ever() {
        let rules = of("{disk: a}").unwrap();
        assert_eq!(
            played(&rules, &[("read", 0), ("write", 9), ("flush", 0)]),
            [true, true, false]
        );
        let rules = of("{disk: a, on: [flush, flush]}").unwrap();
        assert_eq!(rules.inject.len(), 1);
        assert_eq!(played(&rules, &[("read", 0), ("flush", 0)]), [false, true]);
    }

    #[test]
    fn the_first_are_let_through_and_so_many_fail() {
        let played = |yaml: &str| played(&of(yaml).unwrap(), &READS);
        let (t, f) = (true, false);
        assert_eq!(played("{disk: a, after: 2}"), [f, f, t, t, t, t]);
        assert_eq!(played("{disk: a, times: 2}"), [t, t, f, f, f, f]);
        assert_eq!(played("{disk: a, after: 1, times: 3}"), [f, t, t, t, f, f]);
        assert_eq!(played("{disk: a, after: 0}"), [t; 6]);
    }

    #[test]
    fn requests_of_other_kinds_do_not_count_and_do_not_fail() {
        let requests = [
            ("write", 0),
            ("read", 0),
            ("write", 0),
            ("read", 0),
            ("write", 0),
            ("read", 0),
            ("read", 0),
        ];
        let rules = of("{disk: a, on: [read], after: 1, times: 2}").unwrap();
        let (t, f) = (true, false);
        assert_eq!(played(&rules, &requests), [f, f, f, t, f, t, f]);
        let rules = of("{disk: a, on: [read, write], after: 2, times: 3}").unwrap();
        assert_eq!(played(&rules, &requests), [f, f, t, t, t, f, f]);
    }

    #[test]
    fn only_bad_sectors_fail() {
        let requests = [("read", 7), ("read", 8), ("write", 9), ("read", 10)];
        let rules = of("{disk: a, sectors: {from: 8, count: 2}}").unwrap();
        assert_eq!(played(&rules, &requests), [false, true, true, false]);
        let rules = of("{disk: a, sectors: {from: 8, count: 2}, after: 2}").unwrap();
        assert_eq!(played(&rules, &requests), [false, false, true, false]);
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        assert!(of("{disk: a, after: 5000}").unwrap_err().contains("4096"));
        assert!(of("{disk: a, times: 0}").is_err());
        assert!(of("{disk: a, after: '${n}'}").unwrap_err().contains("${n}"));
    }
}
