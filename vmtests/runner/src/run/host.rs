// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that the host carries out.

use std::time::Instant;

use vmtest_protocol::Action;
use vmtest_protocol::step;
use vmtest_protocol::step::Keep;

use super::Run;
use super::Verdict;
use super::boot::Boot;
use super::steps::Scene;
use super::steps::Stop;
use crate::blocklog::replay::Kept;
use crate::evidence;
use crate::faults;
use crate::faults::Faults;
use crate::faults::NotDone;
use crate::faults::power;
use crate::prepare;
use crate::results::Outcome;
use crate::results::StepOutcome;
use crate::seed::Chance;
use crate::timeline::Level;
use crate::vm::Trouble;

impl Run<'_> {
    /// Carries out a step whose templates are filled in.
    pub(super) fn host_step(
        &mut self,
        scene: &mut Scene<'_>,
        action: &Action,
        what: &str,
        until: Instant,
    ) -> Result<(), Box<Stop>> {
        let done = match action {
            Action::PowerCut(cut) => return self.power_cut(scene, cut, what),
            Action::Boot(boot) => return self.boot(scene, boot, what),
            Action::GrowDisk(grow) if self.off => self.grow_switched_off(scene, grow),
            _ if self.off => Err(NotDone::Impossible(
                "the power is off: `boot` must come first".to_owned(),
            )),
            _ => self.fault(scene, action, until),
        };
        done.map_err(|why| self.not_done(scene, what, why))
    }

    fn fault(
        &mut self,
        scene: &mut Scene<'_>,
        action: &Action,
        until: Instant,
    ) -> Result<(), NotDone> {
        let limit = until.saturating_duration_since(Instant::now());
        let (vm, disks) = (&mut *scene.vm, &scene.prepared.disks);
        match action {
            Action::DiskErrors(step) => scene.faults.disk_errors(vm, disks, step),
            Action::HealDisk(step) => scene.faults.heal_disk(vm, disks, &step.disk),
            Action::ThrottleDisk(step) => faults::throttle_disk(vm, disks, step),
            Action::GrowDisk(step) => faults::grow_disk(vm, disks, &step.disk, step.to.get()?.0),
            Action::PauseVm(step) => {
                let span = step.span.get()?.0;
                match span < limit {
                    true => faults::pause(vm, span),
                    false => Err(NotDone::Impossible(
                        "the pause is as long as the step may take: give it a `timeout`".to_owned(),
                    )),
                }
            }
            Action::UnplugDisk(step) => scene.faults.unplug_disk(vm, disks, &step.disk, limit),
            Action::PlugDisk(step) => {
                let equipment = scene.prepared.equipment();
                scene.faults.plug_disk(vm, &equipment, &step.disk)
            }
            Action::MemoryPressure(step) => {
                let all = self.planned.scenario.needs.memory.get()?.0;
                let leave = match &step.leave {
                    Some(leave) => leave.get()?.0,
                    None => all,
                };
                match (step::LEAST_MEMORY.0..=all).contains(&leave) {
                    true => faults::memory(vm, leave, limit),
                    false => Err(NotDone::Impossible(format!(
                        "{leave} bytes: of its {all} a guest can be left {} or more",
                        step::LEAST_MEMORY.0
                    ))),
                }
            }
            other => Err(NotDone::Impossible(format!(
                "`{}` is no step of the host",
                other.key()
            ))),
        }
    }

    fn power_cut(
        &mut self,
        scene: &mut Scene<'_>,
        step: &step::PowerCut,
        what: &str,
    ) -> Result<(), Box<Stop>> {
        if self.off {
            return Err(Stop::error(what, "the power is off already"));
        }
        let keep = step.keep.get().map_err(|error| Stop::error(what, error))?;
        let seed = match &step.seed {
            Some(seed) => seed.get().map_err(|error| Stop::error(what, error))?,
            None => self.chance.bits(),
        };
        scene.vm.kill();
        self.off = true;
        self.recorder.host(Level::Warn, "the power is cut");
        // The counts of this boot are in its memory, which is gone; its logs are on the host.
        self.before = evidence::requests_in(&self.dir.join(evidence::GUEST));
        for (number, disk) in scene.prepared.disks.iter().enumerate() {
            let kept = match keep {
                Keep::Flushed => Kept::Flushed,
                Keep::Written => Kept::Written,
                // Each disk makes its own choices.
                Keep::Some => Kept::Some(Chance::new(seed.wrapping_add(number as u64))),
            };
            let account =
                power::cut(disk, kept).map_err(|error| Stop::error(what, format!("{error:#}")))?;
            if let Some(line) = account {
                self.recorder.host(Level::Info, &line);
            }
        }
        if keep == Keep::Some {
            let line = format!("which writes were kept was chosen by the seed {seed}");
            self.recorder.host(Level::Info, &line);
        }
        Ok(())
    }

    fn boot(
        &mut self,
        scene: &mut Scene<'_>,
        step: &step::Boot,
        what: &str,
    ) -> Result<(), Box<Stop>> {
        if !self.off {
            return Err(Stop::error(
                what,
                "the power is on: `power_cut` comes first",
            ));
        }
        let mut setup = prepare::guest_setup(self.planned, self.common.accel);
        setup.boot = self.result.boots;
        if let Some(mount) = &step.mount {
            for name in mount {
                faults::find(&scene.prepared.disks, name)
                    .map_err(|error| Stop::error(what, error))?;
            }
            for disk in &mut setup.disks {
                disk.mount = mount.contains(&disk.serial);
            }
        }
        if let Some(load) = step.modules {
            setup
                .modules
                .iter_mut()
                .for_each(|module| module.load = load);
        }
        for disk in &scene.prepared.disks {
            power::restore(disk).map_err(|error| Stop::error(what, format!("{error:#}")))?;
        }
        self.leave(scene.vm);
        let began = Instant::now();
        let boot = Boot { setup };
        let up = self.bring_up(scene.prepared, &boot).map_err(|verdict| {
            Box::new(Stop {
                outcome: StepOutcome::Error,
                reason: verdict.reason.clone(),
                verdict: Verdict {
                    reason: format!("{what}: {}", verdict.reason),
                    ..verdict
                },
            })
        })?;
        *scene.vm = up;
        scene.faults = Faults::default();
        self.off = false;
        let line = format!("on again after {:.2} s", began.elapsed().as_secs_f64());
        self.recorder.host(Level::Info, &line);
        Ok(())
    }

    fn grow_switched_off(&self, scene: &Scene<'_>, step: &step::GrowDisk) -> Result<(), NotDone> {
        let disks = &scene.prepared.disks;
        let disk = &disks[faults::find(disks, &step.disk)?];
        let to = step.to.get()?.0;
        faults::check_growth(disk, to)?;
        Ok(power::grow(disk, to).map_err(|error| format!("{error:#}"))?)
    }

    fn not_done(&mut self, scene: &mut Scene<'_>, what: &str, why: NotDone) -> Box<Stop> {
        match why {
            NotDone::Impossible(why) => Stop::error(what, why),
            NotDone::Late(why) => {
                let console = scene.vm.show_blocked();
                Box::new(Stop {
                    outcome: StepOutcome::TimedOut,
                    verdict: Verdict::new(
                        Outcome::Failed,
                        format!("{what}: {why}\nconsole:\n{console}"),
                    ),
                    reason: why,
                })
            }
            NotDone::Trouble(trouble) => {
                let outcome = match &trouble {
                    Trouble::Splat(_) => StepOutcome::Failed,
                    _ => StepOutcome::Error,
                };
                let verdict = self.judge(what, &trouble, scene.vm);
                let reason = verdict.reason.lines().next().unwrap_or_default().to_owned();
                Box::new(Stop {
                    outcome,
                    reason,
                    verdict,
                })
            }
        }
    }
}
