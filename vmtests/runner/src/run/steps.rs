// SPDX-License-Identifier: GPL-2.0-or-later
//! Walking through a scenario's steps.

use std::time::Duration;
use std::time::Instant;

use vmtest_protocol::FromAgent;
use vmtest_protocol::Step;
use vmtest_protocol::ToAgent;
use vmtest_protocol::message;

use super::Run;
use super::Verdict;
use super::judge::splat_text;
use crate::evidence;
use crate::results::Outcome;
use crate::results::StepOutcome;
use crate::vm::Trouble;
use crate::vm::Vm;

/// A step's answer may come so much later than its own limit: the guest needs time to look at what
/// hangs, and to say so.
const STEP_GRACE: Duration = Duration::from_secs(10);

impl Run<'_> {
    /// Carries the steps out; a verdict when one does not pass.
    pub(super) fn steps(&mut self, vm: &mut Vm) -> Option<Verdict> {
        let scenario = self.planned.scenario;
        let limit = match scenario.limit.get() {
            Ok(limit) => self.common.scaled(limit.0),
            Err(error) => return Some(Verdict::new(Outcome::Error, error)),
        };
        let whole = Instant::now() + limit;
        for (number, step) in scenario.steps.iter().enumerate() {
            if !self.guide.goes_on(number + 1, step) {
                let reason = format!("stopped before step {}, as asked", number + 1);
                return Some(Verdict::new(Outcome::Skipped, reason));
            }
            (self.stage)(&format!(
                "{}/{} {}",
                number + 1,
                scenario.steps.len(),
                step.title()
            ));
            self.recorder
                .step_begins(number as u64 + 1, scenario.steps.len(), step);
            let what = format!("step {} ({})", number + 1, step.title());
            let verdict = self.step(vm, number as u64 + 1, step, &what, whole);
            if let Some(result) = self.result.steps.get_mut(number) {
                result.line = scenario.lines.get(number).map(|line| *line as u32);
            }
            if verdict.is_some() {
                return verdict;
            }
        }
        None
    }

    fn step(
        &mut self,
        vm: &mut Vm,
        id: u64,
        step: &Step,
        what: &str,
        whole: Instant,
    ) -> Option<Verdict> {
        let vars = &self.planned.scenario.params;
        let limit = step
            .resolve(vars)
            .map_err(|error| error.to_string())
            .and_then(|step| step.limit());
        let limit = match limit {
            Ok(limit) => self.common.scaled(limit),
            Err(error) => return Some(Verdict::new(Outcome::Error, format!("{what}: {error}"))),
        };
        let run = ToAgent::Run {
            id,
            step: Box::new(step.clone()),
            vars: vars.clone(),
            timeout_ms: limit.as_millis() as u64,
        };
        let began = Instant::now();
        let deadline = (began + limit + self.common.scaled(STEP_GRACE)).min(whole);
        let ended = vm.send(&run).and_then(|()| {
            vm.wait_for(deadline, |message| match message {
                FromAgent::StepEnded { id: ended, .. } if *ended == id => Some(message.clone()),
                _ => None,
            })
        });
        let (outcome, seconds) = match ended {
            Ok(FromAgent::StepEnded {
                outcome,
                seconds,
                measurements,
                ..
            }) => {
                self.result.measurements.extend(measurements);
                (outcome, seconds)
            }
            Ok(_) => return None,
            Err(trouble) => {
                let seconds = began.elapsed().as_secs_f64();
                self.record(step, StepOutcome::NoAnswer, "no answer", seconds);
                let what = match (&trouble, Instant::now() >= whole) {
                    (Trouble::Deadline, true) => {
                        format!("{what}: the scenario's whole time is up")
                    }
                    (Trouble::Deadline, false) => format!(
                        "{what}: no answer within its {} s and {} s more: the guest is stuck",
                        limit.as_secs(),
                        self.common.scaled(STEP_GRACE).as_secs()
                    ),
                    _ => what.to_owned(),
                };
                return Some(self.judge(&what, &trouble, vm));
            }
        };
        let reason = outcome.reason();
        let why = reason.clone().unwrap_or_default();
        self.record(step, StepOutcome::from(&outcome), &why, seconds);
        let reason = reason?;
        // What the kernel has to say about it often comes a moment later.
        if let Err(Trouble::Splat(splat)) = vm.listen(Duration::from_millis(100)) {
            return Some(Verdict::new(
                Outcome::Failed,
                format!("{}\n{what}: {reason}", splat_text(&splat)),
            ));
        }
        Some(match outcome {
            message::Outcome::Passed => return None,
            message::Outcome::Failed { .. } => {
                Verdict::new(Outcome::Failed, format!("{what}: {reason}"))
            }
            message::Outcome::TimedOut { blocked, .. } => {
                self.result.blocked.clone_from(&blocked);
                let console = vm.show_blocked();
                Verdict::new(
                    Outcome::Failed,
                    format!(
                        "{what}: {reason}{}\nconsole:\n{console}",
                        evidence::blocked_text(&blocked),
                    ),
                )
            }
            message::Outcome::Cancelled | message::Outcome::Error { .. } => Verdict::new(
                Outcome::Error,
                format!("{what}: {reason}\nconsole:\n{}", vm.console_tail()),
            ),
        })
    }

    fn record(&mut self, step: &Step, outcome: StepOutcome, reason: &str, seconds: f64) {
        let result = self.recorder.step_ended(step, outcome, reason, seconds);
        self.result.steps.push(result);
    }
}
