// SPDX-License-Identifier: GPL-2.0-or-later
//! A process that has the probe's device open, and the actions of a `probe` step.

use std::fs::File;
use std::io;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use cachefiles_probe_abi::call::Call;
use cachefiles_probe_abi::call::State;
use cachefiles_probe_abi::call::flag;
use cachefiles_probe_abi::call::op;
use vmtest_protocol::step::Holes;
use vmtest_protocol::step::ProbeAcquire;
use vmtest_protocol::step::ProbeAcquireKeys;
use vmtest_protocol::step::ProbeAcquireVolumes;
use vmtest_protocol::step::ProbeAction;
use vmtest_protocol::step::ProbeAwait;
use vmtest_protocol::step::ProbeChange;
use vmtest_protocol::step::ProbeOccupancy;
use vmtest_protocol::step::ProbeState;
use vmtest_protocol::step::ProbeTransfer;
use vmtest_protocol::value::Bytes;
use vmtest_protocol::value::Count;
use vmtest_protocol::value::Errno;
use vmtest_protocol::value::ErrnoName;
use vmtest_protocol::value::Size;

use super::child::Verdict;
use super::child::judge;
use super::probe_keys;
use super::probe_verdict::alike;
use super::probe_verdict::differences;
use super::probe_verdict::errno;
use super::probe_verdict::finished;
use super::probe_verdict::first_error;
use super::probe_verdict::measured;
use super::probe_verdict::wrong_bytes;
use crate::probe_device;
use crate::probe_device::Input;

/// Advice of a cookie (include/linux/fscache.h).
const SINGLE_CHUNK: u64 = 0x01;
/// As above: the daemon says how large its object is.
pub const WANT_CACHE_SIZE: u64 = 0x04;
/// An invalidation's flag: because of a direct write.
const DIO_WRITE: u64 = 0x01;
/// Batches of transfers that are waited for at once have numbers from here on.
const OWN_BATCHES: u64 = 1 << 32;
/// Pause between two looks at something that is awaited.
const PAUSE: Duration = Duration::from_millis(5);

/// The probe of this process.
#[derive(Default)]
pub struct Probe {
    device: Option<File>,
    batches: u64,
}

/// A count whose template has been filled in.
pub fn count(count: &Count) -> Result<u64> {
    count.get().map_err(anyhow::Error::msg)
}

/// A size whose template has been filled in.
pub fn size(size: &Size) -> Result<u64> {
    let Bytes(bytes) = size.get().map_err(anyhow::Error::msg)?;
    Ok(bytes)
}

fn unhex(what: &str, text: &str) -> Result<Vec<u8>> {
    hex::decode(text).with_context(|| format!("`{what}: {text}` are no hexadecimal digits"))
}

fn set(flag: u64, wanted: bool) -> u64 {
    if wanted { flag } else { 0 }
}

impl Probe {
    /// Carries out one action; the device is opened for the first.
    pub fn act(&mut self, action: &ProbeAction) -> Result<Verdict> {
        match action {
            ProbeAction::AcquireVolumes(step) => self.acquire_volumes(step),
            ProbeAction::RelinquishVolumes(step) => {
                let aux = unhex("coherency", &step.coherency)?;
                let ask = Call {
                    op: op::RELINQUISH_VOLUMES,
                    flags: set(flag::RETIRE, step.retire),
                    volume: count(&step.first)?,
                    volumes: count(&step.count)?,
                    ..Call::default()
                };
                self.many(
                    "relinquish_volumes",
                    ask,
                    with_aux(&aux),
                    &step.expect_errno,
                )
            }
            ProbeAction::Acquire(step) => self.acquire(step),
            ProbeAction::AcquireKeys(step) => self.acquire_keys(step),
            ProbeAction::Relinquish(step) => {
                let ask = Call {
                    op: op::RELINQUISH,
                    flags: set(flag::RETIRE, step.retire),
                    first: count(&step.first)?,
                    count: count(&step.count)?,
                    ..Call::default()
                };
                self.many("relinquish", ask, Input::default(), &step.expect_errno)
            }
            ProbeAction::Use(step) => {
                let ask = Call {
                    op: op::USE,
                    flags: set(flag::MODIFY, step.modify),
                    first: count(&step.first)?,
                    count: count(&step.count)?,
                    ..Call::default()
                };
                self.many("use_cookies", ask, Input::default(), &step.expect_errno)
            }
            ProbeAction::Unuse(step) => self.change("unuse", op::UNUSE, step),
            ProbeAction::Update(step) => self.change("update", op::UPDATE, step),
            ProbeAction::Resize(step) => self.change("resize", op::RESIZE, step),
            ProbeAction::Invalidate(step) => {
                let aux = unhex("aux", &step.aux)?;
                let ask = Call {
                    op: op::INVALIDATE,
                    first: count(&step.first)?,
                    count: count(&step.count)?,
                    size: size(&step.size)?,
                    extra: set(DIO_WRITE, step.direct_write),
                    ..Call::default()
                };
                self.many("invalidate", ask, with_aux(&aux), &step.expect_errno)
            }
            ProbeAction::Read(step) => self.transfer("read", op::READ, step),
            ProbeAction::Write(step) => self.transfer("write", op::WRITE, step),
            ProbeAction::AwaitBatch(step) => self.await_batch(step),
            ProbeAction::Occupancy(step) => self.occupancy(step),
            ProbeAction::AwaitState(step) => self.await_state(step),
            ProbeAction::End(_) => {
                self.device = None;
                Ok(Verdict::passed())
            }
        }
    }

    /// Makes one call.
    fn call(
        &mut self,
        ask: &Call,
        input: &Input<'_>,
        output: &mut [u8],
    ) -> Result<io::Result<Call>> {
        let device = match &self.device {
            Some(device) => device,
            None => self.device.insert(probe_device::open().with_context(|| {
                format!(
                    "cannot open {}: has `load_module: {{name: cachefiles_probe}}` been done?",
                    probe_device::path()
                )
            })?),
        };
        Ok(probe_device::call(device, ask, input, output))
    }

    /// Makes a call that is for many, all of which must end alike.
    fn many(
        &mut self,
        what: &str,
        ask: Call,
        input: Input<'_>,
        expected: &Option<ErrnoName>,
    ) -> Result<Verdict> {
        match self.call(&ask, &input, &mut [])? {
            Ok(answer) => alike(what, &answer, expected),
            Err(error) => Ok(judge(what, Err(error), expected)),
        }
    }

    fn acquire_volumes(&mut self, step: &ProbeAcquireVolumes) -> Result<Verdict> {
        let aux = unhex("coherency", &step.coherency)?;
        let volumes = count(&step.count)?;
        let ask = Call {
            op: op::ACQUIRE_VOLUMES,
            flags: set(flag::NUMBERED, volumes > 1),
            volume: count(&step.first)?,
            volumes,
            ..Call::default()
        };
        let input = Input {
            name: step.key.as_bytes(),
            cache: step.cache.as_deref().unwrap_or_default().as_bytes(),
            aux: &aux,
        };
        self.many("acquire_volumes", ask, input, &step.expect_errno)
    }

    fn acquire(&mut self, step: &ProbeAcquire) -> Result<Verdict> {
        let aux = unhex("aux", &step.aux)?;
        let mut name = step.key.clone().into_bytes();
        name.extend(unhex("key_hex", &step.key_hex)?);
        let cookies = count(&step.count)?;
        let ask = Call {
            op: op::ACQUIRE,
            flags: set(flag::NUMBERED, cookies > 1),
            first: count(&step.first)?,
            count: cookies,
            volume: count(&step.volume)?,
            volumes: count(&step.volumes)?,
            size: size(&step.size)?,
            extra: set(WANT_CACHE_SIZE, step.want_cache_size)
                | set(SINGLE_CHUNK, step.single_chunk),
            ..Call::default()
        };
        let input = Input {
            name: &name,
            aux: &aux,
            ..Input::default()
        };
        self.many("acquire", ask, input, &step.expect_errno)
    }

    fn acquire_keys(&mut self, step: &ProbeAcquireKeys) -> Result<Verdict> {
        let (shortest, longest) = (count(&step.shortest)?, count(&step.longest)?);
        let first = count(&step.first)?;
        let keys = probe_keys::of(step.kind, shortest..=longest);
        for (number, key) in (first..).zip(&keys) {
            let ask = Call {
                op: op::ACQUIRE,
                first: number,
                count: 1,
                volume: count(&step.volume)?,
                size: size(&step.size)?,
                extra: set(WANT_CACHE_SIZE, step.want_cache_size),
                ..Call::default()
            };
            let input = Input {
                name: key,
                ..Input::default()
            };
            let what = format!("acquire_keys, the key of {} bytes", key.len());
            match self.many(&what, ask, input, &step.expect_errno)? {
                Verdict::Passed(_) => {}
                failed => return Ok(failed),
            }
        }
        Ok(Verdict::Passed(vec![measured(
            "probe.keys",
            keys.len() as u64,
            "",
        )]))
    }

    fn change(&mut self, what: &str, op: u64, step: &ProbeChange) -> Result<Verdict> {
        let aux = unhex("aux", &step.aux)?;
        if op == op::RESIZE && step.size.is_none() {
            bail!("`resize` wants a `size`");
        }
        let ask = Call {
            op,
            flags: set(flag::SIZED, step.size.is_some()),
            first: count(&step.first)?,
            count: count(&step.count)?,
            size: step.size.as_ref().map(size).transpose()?.unwrap_or(0),
            ..Call::default()
        };
        self.many(what, ask, with_aux(&aux), &step.expect_errno)
    }

    fn transfer(&mut self, what: &str, op: u64, step: &ProbeTransfer) -> Result<Verdict> {
        let own = match &step.batch {
            Some(batch) => count(batch)?,
            None => {
                self.batches += 1;
                OWN_BATCHES + self.batches
            }
        };
        let ask = Call {
            op,
            flags: set(flag::ONDEMAND, step.ondemand)
                | set(flag::ASYNC, step.by_call)
                | set(flag::INLINE, step.inline)
                | set(flag::VERIFY, op == op::READ && !step.unseen)
                | set(flag::HOLES_CLEAR, step.holes == Holes::Clear)
                | set(flag::HOLES_FAIL, step.holes == Holes::Fail)
                | set(flag::ALLOCATED, step.allocated),
            first: count(&step.first)?,
            count: count(&step.count)?,
            offset: size(&step.offset)?,
            length: size(&step.length)?,
            times: count(&step.times)?,
            stride: size(&step.stride)?,
            generation: count(&step.generation)?,
            batch: own,
            ..Call::default()
        };
        let begun = match self.call(&ask, &Input::default(), &mut [])? {
            Ok(answer) => answer,
            Err(error) => return Ok(judge(what, Err(error), &step.expect_errno)),
        };
        if step.batch.is_some() {
            return alike(&format!("starting to {what}"), &begun, &None);
        }
        if step.inline {
            return finished(what, &begun, step, &ask);
        }
        if begun.failed > 0 {
            return alike(&format!("starting to {what}"), &begun, &step.expect_errno);
        }
        // The step's own time limit ends this: the process is killed then.
        loop {
            let seen = self.batch(own, true)?;
            if seen.pending == 0 {
                return finished(what, &seen, step, &ask);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// What has become of a batch.
    fn batch(&mut self, number: u64, forget: bool) -> Result<Call> {
        let ask = Call {
            op: op::BATCH,
            flags: set(flag::FORGET, forget),
            batch: number,
            ..Call::default()
        };
        self.call(&ask, &Input::default(), &mut [])?
            .with_context(|| {
                format!("cannot ask for batch {number}: has a transfer begun with it?")
            })
    }

    fn await_batch(&mut self, step: &ProbeAwait) -> Result<Verdict> {
        let number = count(&step.batch)?;
        let wanted = count(&step.pending)?;
        let until = Instant::now() + step.within.get().map_err(anyhow::Error::msg)?.0;
        let seen = loop {
            let seen = self.batch(number, wanted == 0)?;
            if seen.pending == wanted {
                break seen;
            }
            if Instant::now() >= until {
                return Ok(Verdict::Failed(format!(
                    "await_batch {number}: {} transfers are pending, {} are done and {} have \
                     failed{}; {wanted} pending were expected",
                    seen.pending,
                    seen.done,
                    seen.failed,
                    first_error(&seen),
                )));
            }
            std::thread::sleep(PAUSE);
        };
        let mut wrong = Vec::new();
        if let Some(done) = &step.done {
            let done = count(done)?;
            if seen.done != done {
                wrong.push(format!("{} are done, {done} were expected", seen.done));
            }
        }
        let failed = count(&step.failed)?;
        if seen.failed != failed {
            let first = first_error(&seen);
            wrong.push(format!(
                "{} have failed{first}, {failed} were expected",
                seen.failed
            ));
        }
        if let Some(name) = &step.errno {
            let Errno(expected) = name.get().map_err(anyhow::Error::msg)?;
            if seen.error != expected as u64 {
                let first = errno(seen.error);
                wrong.push(format!(
                    "the first failed with {first}, {name:?} was expected"
                ));
            }
        }
        if seen.wrong > 0 {
            wrong.push(wrong_bytes(&seen));
        }
        Ok(match wrong.is_empty() {
            true => Verdict::Passed(vec![measured("probe.bytes", seen.bytes, "B")]),
            false => Verdict::Failed(format!("await_batch {number}: {}", wrong.join("; "))),
        })
    }

    fn occupancy(&mut self, step: &ProbeOccupancy) -> Result<Verdict> {
        let ask = Call {
            op: op::OCCUPANCY,
            first: count(&step.of)?,
            count: 1,
            offset: size(&step.offset)?,
            length: size(&step.length)?,
            extra: size(&step.granularity)?,
            ..Call::default()
        };
        let seen = match self.call(&ask, &Input::default(), &mut [])? {
            Ok(seen) => seen,
            Err(error) => return Ok(judge("occupancy", Err(error), &step.expect_errno)),
        };
        if seen.failed > 0 || step.expect_errno.is_some() {
            return alike("occupancy", &seen, &step.expect_errno);
        }
        let at = step.at.as_ref().map(size).transpose()?;
        let bytes = size(&step.bytes)?;
        let right = match at {
            None => seen.bytes == 0,
            Some(at) => (seen.place, seen.bytes) == (at, bytes),
        };
        Ok(match right {
            true => Verdict::passed(),
            false => Verdict::Failed(format!(
                "occupancy of {} bytes at {}: the cache has {} bytes at {}, {} were expected",
                ask.length,
                ask.offset,
                seen.bytes,
                seen.place,
                match at {
                    Some(at) => format!("{bytes} at {at}"),
                    None => "none".to_owned(),
                },
            )),
        })
    }

    fn await_state(&mut self, step: &ProbeState) -> Result<Verdict> {
        let until = Instant::now() + step.within.get().map_err(anyhow::Error::msg)?.0;
        let (first, cookies) = (count(&step.first)?, count(&step.count)?);
        let ask = Call {
            op: op::STATE,
            first,
            count: cookies,
            ..Call::default()
        };
        loop {
            let room = usize::try_from(cookies)? * State::BYTES;
            let mut output = vec![0; room];
            let answer = self
                .call(&ask, &Input::default(), &mut output)?
                .with_context(|| format!("cannot ask for the states of {cookies} cookies"))?;
            if answer.failed > 0 {
                return alike("await_state", &answer, &None);
            }
            let states = output.chunks_exact(State::BYTES).map(State::from_bytes);
            let mut others = Vec::new();
            for (number, state) in (first..).zip(states) {
                let wrong = differences(step, &state)?;
                if !wrong.is_empty() {
                    others.push(format!("cookie {number} {}", wrong.join(" and ")));
                }
            }
            if others.is_empty() {
                return Ok(Verdict::passed());
            }
            if Instant::now() >= until {
                return Ok(Verdict::Failed(format!(
                    "await_state: {} of {cookies} cookies are otherwise; {}",
                    others.len(),
                    others[0]
                )));
            }
            std::thread::sleep(PAUSE);
        }
    }
}

fn with_aux(aux: &[u8]) -> Input<'_> {
    Input {
        aux,
        ..Input::default()
    }
}
