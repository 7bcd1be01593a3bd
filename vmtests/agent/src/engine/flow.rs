// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that contain steps.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Instant;

use vmtest_protocol::message::Measurement;
use vmtest_protocol::step::Group;
use vmtest_protocol::step::Measure;
use vmtest_protocol::step::Repeat;
use vmtest_protocol::template::Var;

use super::Cancel;
use super::Context;
use super::Done;
use super::Stop;
use super::lock;
use super::merge;
use super::wrong;

impl Context {
    /// The steps, with variables of their own. A variable's text may be made of those outside.
    pub(super) fn group(&self, group: &Group) -> Result<Done, Stop> {
        let mut inner = self.clone();
        inner.vars.extend(group.vars.clone());
        let mut done = Done::default();
        inner.sequence(&group.steps, &mut done)?;
        Ok(done)
    }

    /// All rounds, several at once if wanted. The first failure ends the others.
    pub(super) fn repeat(&self, repeat: &Repeat) -> Result<Done, Stop> {
        let from = repeat.from.get().map_err(wrong)?;
        let to = match &repeat.to {
            Some(to) => to.get().map_err(wrong)?,
            None => u64::MAX,
        };
        let until = match &repeat.span {
            Some(span) => Some(Instant::now() + span.get().map_err(wrong)?.0),
            None => None,
        };
        if until.is_some_and(|until| until > self.deadline) {
            return Err(wrong("`for` is longer than the time limit of its step"));
        }
        let parallel = repeat.parallel.get().map_err(wrong)?.clamp(1, 256);
        if from >= to {
            return Err(Stop::Error(format!(
                "repeat from {from} to {to}: no round at all, the check would be empty"
            )));
        }
        let next = AtomicU64::new(from);
        let cancel = Cancel::below(&self.cancel);
        let total = Mutex::new((Done::default(), None::<Stop>));
        let rounds = || {
            let mut own = Done::default();
            let mut stopped = None;
            while !cancel.is_set() {
                let round = next.fetch_add(1, Ordering::Relaxed);
                // The first round is always carried out: an empty check proves nothing.
                let late = round > from && until.is_some_and(|until| Instant::now() >= until);
                if round >= to || late {
                    break;
                }
                if let Err(stop) = self.round(repeat, round, &cancel, &mut own) {
                    stopped = Some(stop);
                    break;
                }
            }
            let mut total = lock(&total);
            merge(&mut total.0.measurements, own.measurements);
            if let Some(stop) = stopped {
                // The first failure is the cause; those that it cancelled are not.
                if total.1.is_none() {
                    total.1 = Some(stop);
                }
                cancel.set();
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..parallel.min(to - from) {
                scope.spawn(rounds);
            }
            rounds();
        });
        let (done, stopped) = total
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match stopped {
            Some(stop) => Err(stop),
            None if self.cancel.is_set() => Err(Stop::Cancelled),
            None => Ok(done),
        }
    }

    fn round(
        &self,
        repeat: &Repeat,
        round: u64,
        cancel: &std::sync::Arc<Cancel>,
        done: &mut Done,
    ) -> Result<(), Stop> {
        let mut inner = self.clone();
        inner.cancel = std::sync::Arc::clone(cancel);
        inner
            .vars
            .insert(repeat.var.clone(), Var::Number(round as i64));
        let place = format!("{}={round}", repeat.var);
        inner.path = match self.path.as_str() {
            "" => place.clone(),
            path => format!("{path} [{place}]"),
        };
        inner
            .sequence(&repeat.steps, done)
            .map_err(|stop| stop.inside(&place))
    }

    /// Keeps what was measured for `ratios`; a later measurement of the same name takes its place.
    pub fn remember(&self, measurements: &[Measurement]) {
        let mut measured = lock(&self.agent.measured);
        for found in measurements {
            measured.insert(found.name.clone(), found.value);
        }
    }

    /// The steps, and what they took.
    pub(super) fn measure(&self, measure: &Measure) -> Result<Done, Stop> {
        let before = self.counters()?;
        // Twice: what lies between is what asking costs.
        let asked = self.executed()?;
        let executed_before = self.executed()?;
        let start = Instant::now();
        let mut done = Done::default();
        self.sequence(&measure.steps, &mut done)?;
        let seconds = start.elapsed().as_secs_f64();
        let executed_after = self.executed()?;
        let after = self.counters()?;
        let grown = |name: &str| -> f64 {
            match (before.get(name), after.get(name)) {
                (Some(before), Some(after)) => (after - before) as f64,
                _ => 0.0,
            }
        };
        let mut found = vec![
            ("seconds", seconds, "s"),
            ("memory_bytes", -grown("memory.memavailable"), "bytes"),
            ("slab_bytes", grown("memory.slab"), "bytes"),
            ("unreclaimable_bytes", grown("memory.sunreclaim"), "bytes"),
        ];
        if let (Some(asked), Some(before), Some(after)) = (asked, executed_before, executed_after) {
            let asking = before.saturating_sub(asked);
            let instructions = after.saturating_sub(before).saturating_sub(asking);
            found.push(("instructions", instructions as f64, "count"));
        }
        let objects = match &measure.objects {
            Some(count) => Some(count.get().map_err(wrong)?.max(1) as f64),
            None => None,
        };
        for (what, value, unit) in found {
            let name = format!("{}.{what}", measure.name);
            if let Some(objects) = objects {
                done.measurements.push(Measurement {
                    name: format!("{name}_per_object"),
                    value: value / objects,
                    unit: unit.to_owned(),
                });
            }
            done.measurements.push(Measurement {
                name,
                value,
                unit: unit.to_owned(),
            });
        }
        self.remember(&done.measurements);
        if let Some(limit) = &measure.at_most {
            let limit = limit.get().map_err(wrong)?.0;
            if seconds > limit.as_secs_f64() {
                return Err(Stop::Failed(format!(
                    "{} took {seconds:.2} s, at most {:.2} s was expected",
                    measure.name,
                    limit.as_secs_f64()
                )));
            }
        }
        Ok(done)
    }
}
