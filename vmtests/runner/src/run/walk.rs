// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that hold steps of the host: the guest cannot carry them out as a whole, so they are taken
//! apart here. What they mean is the same as in the guest.

use std::time::Instant;

use vmtest_protocol::Action;
use vmtest_protocol::FromAgent;
use vmtest_protocol::Step;
use vmtest_protocol::message;
use vmtest_protocol::step::Repeat;
use vmtest_protocol::template::Var;
use vmtest_protocol::template::Vars;

use super::Run;
use super::Verdict;
use super::steps::Ended;
use super::steps::Scene;
use super::steps::Stop;
use crate::results::Outcome;
use crate::results::StepOutcome;
use crate::vm::Seen;

impl Run<'_> {
    /// Carries one step out, by whom it belongs to. `path` leads to it from the outermost step.
    pub(super) fn carry_out(
        &mut self,
        scene: &mut Scene<'_>,
        step: &Step,
        vars: &Vars,
        path: &str,
        what: &str,
        whole: Instant,
    ) -> Ended {
        if !step.holds_host() {
            return self.guest_step(scene, step, vars, what, whole);
        }
        let began = Instant::now();
        let step = step
            .resolve(vars)
            .map_err(|error| Stop::error(what, error.to_string()))?;
        let limit = step.limit().map_err(|error| Stop::error(what, error))?;
        let until = whole.min(began + self.scaled(limit));
        match &step.action {
            Action::Group(group) => {
                let mut vars = vars.clone();
                vars.extend(group.vars.clone());
                self.sequence(scene, &group.steps, &vars, path, what, until)?;
            }
            Action::Repeat(repeat) => self.rounds(scene, repeat, vars, path, what, until)?,
            action if action.is_host() => self.host_step(scene, action, what, until)?,
            action => {
                return Err(Stop::error(
                    what,
                    format!(
                        "`{}` holds a step of the host: these stand at the top level, in `group` \
                         and in `repeat` without `parallel`",
                        action.key()
                    ),
                ));
            }
        }
        Ok(began.elapsed().as_secs_f64())
    }

    fn sequence(
        &mut self,
        scene: &mut Scene<'_>,
        steps: &[Step],
        vars: &Vars,
        path: &str,
        what: &str,
        until: Instant,
    ) -> Result<(), Box<Stop>> {
        for step in steps {
            if Instant::now() >= until {
                let reason = "the time was used up before the next step";
                return Err(Box::new(Stop {
                    outcome: StepOutcome::TimedOut,
                    reason: reason.to_owned(),
                    verdict: Verdict::new(Outcome::Failed, format!("{what}: {reason}")),
                }));
            }
            let path = match path {
                "" => step.title().to_owned(),
                path => format!("{path} / {}", step.title()),
            };
            let what = format!("{what}: {}", step.title());
            self.tell_inner(scene, &path, None);
            let ended = self.carry_out(scene, step, vars, &path, &what, until);
            let outcome = match &ended {
                Ok(_) => message::Outcome::Passed,
                Err(stop) => told(stop),
            };
            self.tell_inner(scene, &path, Some(outcome));
            ended?;
        }
        Ok(())
    }

    fn rounds(
        &mut self,
        scene: &mut Scene<'_>,
        repeat: &Repeat,
        vars: &Vars,
        path: &str,
        what: &str,
        until: Instant,
    ) -> Result<(), Box<Stop>> {
        let wrong = |error: String| Stop::error(what, error);
        if repeat.parallel.get().map_err(wrong)? > 1 {
            return Err(Stop::error(
                what,
                "rounds that hold a step of the host follow each other: no `parallel`",
            ));
        }
        let from = repeat.from.get().map_err(wrong)?;
        let to = match &repeat.to {
            Some(to) => to.get().map_err(wrong)?,
            None => u64::MAX,
        };
        let end = match &repeat.span {
            Some(span) => Some(Instant::now() + self.scaled(span.get().map_err(wrong)?.0)),
            None => None,
        };
        if from >= to {
            let reason = format!("from {from} to {to}: no round at all, the check would be empty");
            return Err(Stop::error(what, reason));
        }
        for round in from..to {
            // The first round is always carried out, as in the guest.
            if round > from && end.is_some_and(|end| Instant::now() >= end) {
                break;
            }
            let mut vars = vars.clone();
            let number = i64::try_from(round).unwrap_or(i64::MAX);
            vars.insert(repeat.var.clone(), Var::Number(number));
            let here = format!("[{}={round}]", repeat.var);
            let path = format!("{path}{here}");
            let what = format!("{what}{here}");
            self.sequence(scene, &repeat.steps, &vars, &path, &what, until)?;
        }
        Ok(())
    }

    /// The timeline learns of inner steps as it does of those in the guest.
    fn tell_inner(&self, scene: &Scene<'_>, path: &str, outcome: Option<message::Outcome>) {
        let message = FromAgent::Inner {
            id: scene.number,
            path: path.to_owned(),
            outcome,
        };
        self.recorder.see(Instant::now(), &Seen::Agent(&message));
    }
}

/// As the agent would have said it.
fn told(stop: &Stop) -> message::Outcome {
    let reason = stop.reason.clone();
    match stop.outcome {
        StepOutcome::Failed => message::Outcome::Failed { reason },
        StepOutcome::TimedOut | StepOutcome::NoAnswer => message::Outcome::TimedOut {
            after_ms: 0,
            reason,
            blocked: Vec::new(),
        },
        _ => message::Outcome::Error { reason },
    }
}
