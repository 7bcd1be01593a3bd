// SPDX-License-Identifier: GPL-2.0-or-later
//! Whether what a probe did went as its action expects.

use anyhow::Result;
use cachefiles_probe_abi::call::Call;
use cachefiles_probe_abi::call::State;
use cachefiles_probe_abi::call::op;
use vmtest_protocol::message::Measurement;
use vmtest_protocol::step::ProbeState;
use vmtest_protocol::step::ProbeTransfer;
use vmtest_protocol::value::Errno;
use vmtest_protocol::value::ErrnoName;

use super::child::Verdict;
use super::probe::count;
use super::probe::size;

/// The name of an error number.
pub fn errno(number: u64) -> String {
    Errno(i32::try_from(number).unwrap_or(i32::MAX)).to_string()
}

/// One thing that was measured.
pub fn measured(name: &str, value: u64, unit: &str) -> Measurement {
    Measurement {
        name: name.to_owned(),
        value: value as f64,
        unit: unit.to_owned(),
    }
}

/// What the first that failed did so with, to be put behind how many did.
pub fn first_error(seen: &Call) -> String {
    match seen.error {
        0 => String::new(),
        number => format!(", the first with {}", errno(number)),
    }
}

/// That bytes were wrong, in words.
pub fn wrong_bytes(seen: &Call) -> String {
    format!(
        "{} of {} bytes are wrong, the first at {} of its object",
        seen.wrong, seen.bytes, seen.place
    )
}

/// Whether all have succeeded, or all have failed as expected.
pub fn alike(what: &str, seen: &Call, expected: &Option<ErrnoName>) -> Result<Verdict> {
    let all = seen.done + seen.failed;
    let expected = expected.as_ref().map(ErrnoName::get).transpose();
    let why = match expected.map_err(anyhow::Error::msg)? {
        None if seen.failed == 0 => return Ok(Verdict::passed()),
        None => format!("{} of {all} failed{}", seen.failed, first_error(seen)),
        Some(wanted) if seen.done > 0 => {
            format!("{} of {all} succeeded, {wanted} was expected", seen.done)
        }
        Some(wanted) if seen.error == wanted.0 as u64 => return Ok(Verdict::passed()),
        Some(wanted) => format!(
            "all of {all} failed{}; {wanted} was expected",
            first_error(seen)
        ),
    };
    Ok(Verdict::Failed(format!("{what}: {why}")))
}

/// Whether transfers that have ended did so as they should.
pub fn finished(what: &str, seen: &Call, step: &ProbeTransfer, ask: &Call) -> Result<Verdict> {
    if (seen.failed > 0 && !step.ignore_errors) || step.expect_errno.is_some() {
        return alike(what, seen, &step.expect_errno);
    }
    let asked = ask.count * ask.times.max(1) * ask.length;
    let bytes = step.expect_bytes.as_ref().map(size).transpose()?;
    let wanted = match step.ignore_errors {
        true => 0,
        false => bytes.unwrap_or(asked),
    };
    // A write is rounded out to whole blocks.
    let least = step.ignore_errors || (ask.op == op::WRITE && bytes.is_none());
    if seen.bytes != wanted && !(least && seen.bytes > wanted) {
        return Ok(Verdict::Failed(format!(
            "{what}: {} bytes were transferred, {wanted} were expected",
            seen.bytes
        )));
    }
    let wrong = step
        .expect_wrong
        .as_ref()
        .map(size)
        .transpose()?
        .unwrap_or(0);
    if seen.wrong != wrong {
        let seen = wrong_bytes(seen);
        return Ok(Verdict::Failed(format!(
            "{what}: {seen}; {wrong} were expected"
        )));
    }
    Ok(Verdict::Passed(vec![measured(
        "probe.bytes",
        seen.bytes,
        "B",
    )]))
}

/// What of a state is not as wanted.
pub fn differences(step: &ProbeState, state: &State) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let index = usize::try_from(state.state).unwrap_or(usize::MAX);
    let name = State::NAMES
        .get(index)
        .copied()
        .unwrap_or("in no known state");
    if let Some(is) = step.is {
        if is.word() != name {
            wrong.push(format!("is {name}, {} was expected", is.word()));
        }
    }
    let caching = state.flags & State::IS_CACHING != 0;
    if let Some(wanted) = step.caching {
        if wanted != caching {
            wrong.push(format!("has `caching: {caching}`"));
        }
    }
    if let Some(wanted) = &step.size {
        let wanted = size(wanted)?;
        if wanted != state.size {
            wrong.push(format!("has {} bytes, {wanted} were expected", state.size));
        }
    }
    if let Some(wanted) = &step.invalidations {
        let wanted = count(wanted)?;
        if wanted != state.invalidations {
            let seen = state.invalidations;
            wrong.push(format!(
                "was invalidated {seen} times, {wanted} were expected"
            ));
        }
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::super::testing::failed;
    use super::super::testing::passed;
    use super::super::testing::step;
    use super::*;

    fn seen(done: u64, failed: u64, error: u64) -> Call {
        Call {
            done,
            failed,
            error,
            ..Call::default()
        }
    }

    #[test]
    fn many_end_alike_or_the_step_fails() {
        let eio = || Some(Errno(5).into());
        passed(alike("x", &seen(3, 0, 0), &None));
        passed(alike("x", &seen(0, 3, 5), &eio()));
        for (seen, expected, part) in [
            (
                seen(2, 1, 105),
                None,
                "1 of 3 failed, the first with ENOBUFS",
            ),
            (seen(1, 2, 5), eio(), "1 of 3 succeeded, EIO was expected"),
            (
                seen(0, 3, 105),
                eio(),
                "all of 3 failed, the first with ENOBUFS; EIO",
            ),
        ] {
            let said = super::super::testing::failed(alike("x", &seen, &expected));
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn a_read_that_brings_too_little_or_wrong_bytes_fails() {
        let read: ProbeTransfer = step(r#"{"length": "8KiB", "times": 2}"#);
        let ask = Call {
            op: op::READ,
            count: 1,
            times: 2,
            length: 8192,
            ..Call::default()
        };
        let done = |bytes, wrong| Call {
            bytes,
            wrong,
            ..seen(2, 0, 0)
        };
        assert!(matches!(
            finished("read", &done(16384, 0), &read, &ask).unwrap(),
            Verdict::Passed(_)
        ));
        let said = failed(finished("read", &done(8192, 0), &read, &ask));
        assert!(
            said.contains("8192 bytes were transferred, 16384"),
            "{said}"
        );
        let said = failed(finished("read", &done(16384, 7), &read, &ask));
        assert!(said.contains("7 of 16384 bytes are wrong"), "{said}");
        let lenient = ProbeTransfer {
            ignore_errors: true,
            ..read
        };
        let some = |wrong| Call {
            bytes: 8192,
            wrong,
            ..seen(1, 1, 12)
        };
        assert!(matches!(
            finished("read", &some(0), &lenient, &ask).unwrap(),
            Verdict::Passed(_)
        ));
        let said = failed(finished("read", &some(7), &lenient, &ask));
        assert!(said.contains("7 of 8192 bytes are wrong"), "{said}");
    }

    #[test]
    fn a_state_is_compared_in_all_that_is_wanted() {
        let wanted: ProbeState =
            step(r#"{"is": "active", "caching": true, "size": 4096, "invalidations": 1}"#);
        let right = State {
            state: 3,
            flags: State::IS_CACHING,
            size: 4096,
            invalidations: 1,
            ..State::default()
        };
        assert!(differences(&wanted, &right).unwrap().is_empty());
        let wrong = differences(&wanted, &State::default()).unwrap();
        assert_eq!(wrong.len(), 4, "{wrong:?}");
        assert!(wrong[0].contains("is quiescent, active"), "{wrong:?}");
    }
}
