// SPDX-License-Identifier: GPL-2.0-or-later
//! Walking through a scenario's steps.

use std::time::Duration;
use std::time::Instant;

use vmtest_protocol::FromAgent;
use vmtest_protocol::Step;
use vmtest_protocol::ToAgent;
use vmtest_protocol::message;
use vmtest_protocol::template::Vars;

use super::Run;
use super::Verdict;
use super::judge::splat_text;
use super::patience;
use crate::evidence;
use crate::faults::Faults;
use crate::prepare::Prepared;
use crate::results::Outcome;
use crate::results::StepOutcome;
use crate::vm::Trouble;
use crate::vm::Vm;

/// A step's answer may come so much later than its own limit: the guest needs time to look at what
/// hangs, and to say so.
const STEP_GRACE: Duration = Duration::from_secs(10);

/// How a step ended that did not pass.
pub(super) struct Stop {
    /// The word for reports.
    pub outcome: StepOutcome,
    /// Why, without where.
    pub reason: String,
    /// What that means for the run.
    pub verdict: Verdict,
}

/// The seconds that a step took, by the clock of whoever carried it out.
pub(super) type Ended = Result<f64, Box<Stop>>;

impl Stop {
    /// The step could not be carried out.
    pub(super) fn error(what: &str, reason: impl Into<String>) -> Box<Stop> {
        let reason = reason.into();
        Box::new(Stop {
            outcome: StepOutcome::Error,
            verdict: Verdict::new(Outcome::Error, format!("{what}: {reason}")),
            reason,
        })
    }
}

/// The machine that steps are about, and where in the scenario they stand.
pub(super) struct Scene<'a> {
    pub prepared: &'a Prepared,
    pub vm: &'a mut Vm,
    /// Faults of the machine.
    pub faults: Faults,
    /// The number of the outermost step that is under way.
    pub number: u64,
}

impl Run<'_> {
    /// Carries the steps out; a verdict when one does not pass.
    pub(super) fn steps(&mut self, prepared: &Prepared, vm: &mut Vm) -> Option<Verdict> {
        let scenario = self.planned.scenario;
        let limit = match scenario.limit.get() {
            Ok(limit) => self.scaled(limit.0),
            Err(error) => return Some(Verdict::new(Outcome::Error, error)),
        };
        let whole = Instant::now() + limit;
        let vars = scenario.params.clone();
        let mut scene = Scene {
            prepared,
            vm,
            faults: Faults::default(),
            number: 0,
        };
        for (index, step) in scenario.steps.iter().enumerate() {
            if !self.guide.goes_on(index + 1, step) {
                let reason = format!("stopped before step {}, as asked", index + 1);
                return Some(Verdict::new(Outcome::Skipped, reason));
            }
            scene.number += 1;
            let (number, all) = (scene.number, scenario.steps.len());
            (self.stage)(&format!("{number}/{all} {}", step.title()));
            self.recorder.step_begins(number, all, step);
            let what = format!("step {number} ({})", step.title());
            let began = Instant::now();
            let ended = self.carry_out(&mut scene, step, &vars, "", &what, whole);
            let (outcome, reason, seconds) = match &ended {
                Ok(seconds) => (StepOutcome::Passed, "", *seconds),
                Err(stop) => (
                    stop.outcome,
                    stop.reason.as_str(),
                    began.elapsed().as_secs_f64(),
                ),
            };
            self.record(step, outcome, reason, seconds);
            if let Some(result) = self.result.steps.last_mut() {
                result.line = scenario.lines.get(index).map(|line| *line as u32);
            }
            if let Err(stop) = ended {
                return Some(stop.verdict);
            }
        }
        None
    }

    /// Has a step carried out by the guest.
    pub(super) fn guest_step(
        &mut self,
        scene: &mut Scene<'_>,
        step: &Step,
        vars: &Vars,
        what: &str,
        whole: Instant,
    ) -> Ended {
        if self.off {
            return Err(Stop::error(
                what,
                "the power is off: only steps of the host can follow until `boot`",
            ));
        }
        let vm = &mut *scene.vm;
        let id = scene.number;
        let limit = step
            .resolve(vars)
            .map_err(|error| error.to_string())
            .and_then(|step| step.limit())
            .map_err(|error| Stop::error(what, error))?;
        let limit = self.scaled(limit);
        let stretched = patience::stretched(step, self.factor())
            .map_err(|error| Stop::error(what, format!("{error:#}")))?;
        let run = ToAgent::Run {
            id,
            step: Box::new(stretched),
            vars: vars.clone(),
            timeout_ms: limit.as_millis() as u64,
        };
        let deadline = (Instant::now() + limit + self.scaled(STEP_GRACE)).min(whole);
        let ended = vm.send(&run).and_then(|()| {
            vm.wait_for(deadline, |message| match message {
                FromAgent::StepEnded {
                    id: ended,
                    outcome,
                    seconds,
                    measurements,
                    ..
                } if *ended == id => Some((outcome.clone(), *seconds, measurements.clone())),
                _ => None,
            })
        });
        let (outcome, seconds) = match ended {
            Ok((outcome, seconds, measurements)) => {
                self.result.measurements.extend(measurements);
                (outcome, seconds)
            }
            Err(trouble) => {
                let what = match (&trouble, Instant::now() >= whole) {
                    (Trouble::Deadline, true) => {
                        format!("{what}: the scenario's whole time is up")
                    }
                    (Trouble::Deadline, false) => format!(
                        "{what}: no answer within its {} s and {} s more: the guest is stuck",
                        limit.as_secs(),
                        self.scaled(STEP_GRACE).as_secs()
                    ),
                    _ => what.to_owned(),
                };
                return Err(Box::new(Stop {
                    outcome: StepOutcome::NoAnswer,
                    reason: "no answer".to_owned(),
                    verdict: self.judge(&what, &trouble, vm),
                }));
            }
        };
        let Some(reason) = outcome.reason() else {
            return Ok(seconds);
        };
        let stop = |verdict| {
            Box::new(Stop {
                outcome: StepOutcome::from(&outcome),
                reason: reason.clone(),
                verdict,
            })
        };
        // What the kernel has to say about it often comes a moment later.
        if let Err(Trouble::Splat(splat)) = vm.listen(Duration::from_millis(100)) {
            let verdict = Verdict::new(
                Outcome::Failed,
                format!("{}\n{what}: {reason}", splat_text(&splat)),
            );
            return Err(stop(verdict.because_of(&splat)));
        }
        Err(stop(match &outcome {
            message::Outcome::Passed => return Ok(seconds),
            message::Outcome::Failed { .. } => {
                Verdict::new(Outcome::Failed, format!("{what}: {reason}"))
            }
            message::Outcome::TimedOut { blocked, .. } => {
                self.result.blocked.clone_from(blocked);
                let console = vm.show_blocked();
                Verdict::new(
                    Outcome::Failed,
                    format!(
                        "{what}: {reason}{}\nconsole:\n{console}",
                        evidence::blocked_text(blocked),
                    ),
                )
            }
            message::Outcome::Cancelled | message::Outcome::Error { .. } => Verdict::new(
                Outcome::Error,
                format!("{what}: {reason}\nconsole:\n{}", vm.console_tail()),
            ),
        }))
    }

    fn record(&mut self, step: &Step, outcome: StepOutcome, reason: &str, seconds: f64) {
        let result = self.recorder.step_ended(step, outcome, reason, seconds);
        self.result.steps.push(result);
    }
}
