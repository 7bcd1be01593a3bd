// SPDX-License-Identifier: GPL-2.0-or-later
//! One run: prepare, boot, carry out the steps, collect the evidence, judge.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use vmtest_protocol::FromAgent;
use vmtest_protocol::ToAgent;
use vmtest_protocol::message;
use vmtest_protocol::message::Collected;

use crate::accel::Accel;
use crate::evidence;
use crate::interrupt::Interrupt;
use crate::matrix::Planned;
use crate::prepare;
use crate::prepare::Prepared;
use crate::replay;
use crate::results::Outcome;
use crate::results::RunResult;
use crate::results::invocation;
use crate::results::markers;
use crate::seed;
use crate::seed::Chance;
use crate::snapshot::Store;
use crate::splat::Splat;
use crate::splat::Splats;
use crate::timeline;
use crate::timeline::Level;
use crate::timeline::Recorder;
use crate::vm::Observer;
use crate::vm::Trouble;
use crate::vm::Vm;
use crate::xfail;

mod boot;
mod guide;
mod host;
mod inspect;
mod judge;
mod patience;
mod steps;
mod walk;

use boot::Boot;
pub use guide::Guide;
pub use guide::Unguided;

/// Longest wait for the evidence of a run that passed.
const COLLECT_LIMIT: Duration = Duration::from_secs(30);
/// The same for one that did not: its guest may be beyond answering.
const COLLECT_LIMIT_BAD: Duration = Duration::from_secs(5);
/// Longest wait for a guest to power off.
const POWER_OFF_LIMIT: Duration = Duration::from_secs(20);
/// The same after a failure, which is known already.
const POWER_OFF_LIMIT_BAD: Duration = Duration::from_secs(3);

/// What all runs of an invocation have in common.
#[derive(Debug, Clone)]
pub struct Common {
    /// This program's file.
    pub own: PathBuf,
    /// QEMU.
    pub qemu: PathBuf,
    /// How guest instructions are executed.
    pub accel: Accel,
    /// The results' folder.
    pub out: PathBuf,
    /// What counts as a splat.
    pub splats: Splats,
    /// Time from QEMU's start to the agent's first message.
    pub boot_limit: Duration,
    /// Every limit is multiplied by this: for slow machines.
    pub scale: f64,
    /// Memory snapshots.
    pub snapshots: Arc<Store>,
    /// Whether QEMU listens for a debugger: on this port of 127.0.0.1, or on a free one for 0.
    pub gdb: Option<u16>,
    /// What all choices by chance of all runs come from.
    pub seed: u64,
    /// Whether disks are kept when a run has ended.
    pub keep_disks: bool,
    /// Ctrl-C.
    pub interrupt: Interrupt,
}

/// How a run ended, before it is made a [`RunResult`].
#[derive(Debug)]
pub struct Verdict {
    /// Outcome.
    pub outcome: Outcome,
    /// Why; empty when passed.
    pub reason: String,
    /// The kind of the splat that was the reason.
    pub splat: Option<String>,
}

impl Verdict {
    fn new(outcome: Outcome, reason: impl Into<String>) -> Self {
        Verdict {
            outcome,
            reason: reason.into(),
            splat: None,
        }
    }

    /// The same, for this splat.
    fn because_of(self, splat: &Splat) -> Self {
        Verdict {
            splat: Some(splat.pattern.clone()),
            ..self
        }
    }
}

/// Carries a run out, whatever happens; `stage` is told what is under way. The calling thread must
/// live until this returns.
pub fn run(common: &Common, planned: &Planned<'_>, stage: &dyn Fn(&str)) -> RunResult {
    run_observed(common, planned, stage, Vec::new())
}

/// The same; everything that comes from its machines is shown to `observers`, as it comes.
pub fn run_observed(
    common: &Common,
    planned: &Planned<'_>,
    stage: &dyn Fn(&str),
    observers: Vec<Observer>,
) -> RunResult {
    run_with(common, planned, stage, observers, &mut Unguided)
}

/// The same, with somebody who goes along.
pub fn run_with(
    common: &Common,
    planned: &Planned<'_>,
    stage: &dyn Fn(&str),
    mut observers: Vec<Observer>,
    guide: &mut dyn Guide,
) -> RunResult {
    let began = Instant::now();
    let artifacts = Path::new("runs").join(&planned.folder);
    let mut result = begin(common, planned, artifacts.clone());
    if let Some(why) = &planned.skip {
        result.outcome = Outcome::Skipped;
        result.reason = why.clone();
        return result;
    }
    let dir = common.out.join(&artifacts);
    let marked = markers::begin(&dir, &result)
        .and_then(|()| replay::record(&dir, common, planned, &result))
        .and_then(|()| Recorder::create(&dir, began));
    let verdict = match marked {
        Ok(recorder) => {
            observers.push(recorder.observer());
            let mut run = Run {
                common,
                planned,
                dir: dir.clone(),
                stage,
                recorder,
                guide,
                observers,
                chance: Chance::new(seed::of_run(common.seed, &planned.folder)),
                off: false,
                before: message::Requests::default(),
                result: &mut result,
            };
            let verdict = run.whole();
            run.tidy();
            verdict
        }
        Err(error) => Verdict::new(Outcome::Error, format!("set-up: {error:#}")),
    };
    result.outcome = verdict.outcome;
    result.reason = verdict.reason;
    result.splat = verdict.splat;
    result.seconds = began.elapsed().as_secs_f64();
    xfail::judge(planned.scenario, planned.module, &mut result);
    if let Err(error) = markers::end(&dir, &result) {
        result.notes.push(format!("{error:#}"));
    }
    result
}

/// What is known about a run before it has begun.
fn begin(common: &Common, planned: &Planned<'_>, artifacts: PathBuf) -> RunResult {
    let scenario = planned.scenario;
    RunResult {
        scenario: scenario.name.clone(),
        name: scenario.title(),
        file: scenario.file.display().to_string(),
        about: scenario.about.clone(),
        rows: scenario.rows.clone(),
        refs: scenario.refs.clone(),
        kernel: planned.index.kernel.clone(),
        module: planned.module.word().to_owned(),
        profile: planned.index.profile.clone(),
        outcome: Outcome::Error,
        seconds: 0.0,
        reason: String::new(),
        splat: None,
        xfail: None,
        artifacts,
        files: Vec::new(),
        timeline: None,
        began: invocation::now(),
        accel: common.accel.word().to_owned(),
        started_from: String::new(),
        boots: 0,
        seed: common.seed,
        params: scenario.params.clone(),
        release: planned.index.release.clone(),
        seconds_to_first_step: None,
        modules: Vec::new(),
        requests: message::Requests::default(),
        measurements: Vec::new(),
        steps: Vec::new(),
        steps_planned: scenario.steps.len() as u32,
        blocked: Vec::new(),
        notes: Vec::new(),
    }
}

struct Run<'a> {
    common: &'a Common,
    planned: &'a Planned<'a>,
    dir: PathBuf,
    stage: &'a dyn Fn(&str),
    recorder: Recorder,
    guide: &'a mut dyn Guide,
    observers: Vec<Observer>,
    chance: Chance,
    /// Whether the power was cut and not switched on again.
    off: bool,
    /// Requests of the boots that ended with a power cut.
    before: message::Requests,
    result: &'a mut RunResult,
}

impl Run<'_> {
    /// A limit for this machine and this kernel.
    fn scaled(&self, limit: Duration) -> Duration {
        limit.mul_f64(self.factor())
    }

    /// By how much every limit is longer here.
    fn factor(&self) -> f64 {
        self.common.scale * f64::from(self.planned.index.guest.limits)
    }

    /// Says what is under way.
    fn stage(&self, text: &str) {
        self.recorder.host(Level::Info, text);
        (self.stage)(text);
    }

    fn whole(&mut self) -> Verdict {
        self.stage("preparing");
        let prepared = match Prepared::make(self.planned, &self.dir) {
            Ok(prepared) => prepared,
            Err(error) => return Verdict::new(Outcome::Error, format!("set-up: {error:#}")),
        };
        let started = Instant::now();
        let boot = Boot {
            setup: prepare::guest_setup(self.planned, self.common.accel),
        };
        let mut vm = match self.bring_up(&prepared, &boot) {
            Ok(vm) => vm,
            Err(verdict) => return verdict,
        };
        let verdict = self.booted(&prepared, &mut vm, started);
        self.leave(&vm);
        verdict
    }

    fn booted(&mut self, prepared: &Prepared, vm: &mut Vm, started: Instant) -> Verdict {
        if let Some(verdict) = self.check_module(vm) {
            self.end_badly(vm);
            return verdict;
        }
        self.result.seconds_to_first_step = Some(started.elapsed().as_secs_f64());
        if let Err(trouble) = self.guide.ready(vm) {
            let verdict = self.judge("before the first step", &trouble, vm);
            self.end_badly(vm);
            return verdict;
        }
        let verdict = self.steps(prepared, vm);
        self.guide.stopped(vm, verdict.as_ref());
        if let Some(mut verdict) = verdict {
            if let Some(collected) = self.end_badly(vm) {
                evidence::record(self.result, &collected);
            }
            verdict.reason = verdict.reason.trim_end().to_owned();
            return verdict;
        }
        self.end_well(vm)
    }

    /// Takes from a machine what it has to say at its end.
    fn leave(&mut self, vm: &Vm) {
        for reason in vm.allowed_splats() {
            self.result.notes.push(format!("allowed splat: {reason}"));
        }
    }

    fn observers(&self) -> Vec<Observer> {
        self.observers.clone()
    }

    /// Which module is loaded is looked at before the steps: these may unload it.
    fn check_module(&mut self, vm: &mut Vm) -> Option<Verdict> {
        let collected = match self.collect(vm, self.scaled(COLLECT_LIMIT)) {
            Ok(collected) => collected,
            Err(trouble) => return Some(self.judge("looking at the modules", &trouble, vm)),
        };
        self.result.modules = collected.modules.clone();
        let load = self.planned.scenario.needs.module.load;
        evidence::wrong_module(self.planned.module, load, &collected)
            .map(|reason| Verdict::new(Outcome::Error, reason))
    }

    /// All steps passed: collect, power off, and see that both work.
    fn end_well(&mut self, vm: &mut Vm) -> Verdict {
        if !self.off {
            if let Some(verdict) = self.inspect(vm) {
                self.end_badly(vm);
                return verdict;
            }
        }
        self.stage("collecting");
        let collected = match self.off {
            true => self.collected_before(),
            false => match self.collect(vm, self.scaled(COLLECT_LIMIT)) {
                Ok(collected) => collected,
                Err(trouble) => return self.judge("collecting evidence", &trouble, vm),
            },
        };
        evidence::record(self.result, &collected);
        if !self.off {
            if let Some(verdict) = self.power_off(vm) {
                return verdict;
            }
        }
        let required = self.planned.scenario.requires_requests;
        match evidence::too_few(&collected, required) {
            None => Verdict::new(Outcome::Passed, ""),
            Some(reason) => Verdict::new(Outcome::Error, reason),
        }
    }

    fn power_off(&mut self, vm: &mut Vm) -> Option<Verdict> {
        let limit = self.scaled(POWER_OFF_LIMIT);
        let off = vm
            .send(&ToAgent::PowerOff)
            .and_then(|()| vm.wait_for_end(limit));
        match off {
            Ok(true) => None,
            Ok(false) => {
                let console = vm.show_blocked();
                Some(Verdict::new(
                    Outcome::Failed,
                    format!(
                        "the guest did not power off within {} s\nconsole:\n{console}",
                        limit.as_secs(),
                    ),
                ))
            }
            Err(trouble) => Some(self.judge("power off", &trouble, vm)),
        }
    }

    /// Something went wrong and is known: take what evidence can still be had, within short limits.
    fn end_badly(&mut self, vm: &mut Vm) -> Option<Collected> {
        self.stage("collecting");
        if self.off {
            return Some(self.collected_before());
        }
        let collected = self.collect(vm, self.scaled(COLLECT_LIMIT_BAD)).ok();
        if collected.is_some() && vm.send(&ToAgent::PowerOff).is_ok() {
            let _ = vm.wait_for_end(self.scaled(POWER_OFF_LIMIT_BAD));
        }
        collected
    }

    /// What is known of the boots whose power was cut.
    fn collected_before(&self) -> Collected {
        Collected {
            requests: self.before,
            ..Collected::default()
        }
    }

    /// What the guest has to tell, with the requests of the boots before this one.
    fn collect(&self, vm: &mut Vm, limit: Duration) -> Result<Collected, Trouble> {
        let mut collected = collect(vm, limit)?;
        collected.requests.open += self.before.open;
        collected.requests.read += self.before.read;
        collected.requests.close += self.before.close;
        Ok(collected)
    }

    /// Leaves only what is worth keeping, with the names that are promised.
    fn tidy(&mut self) {
        let tidied = evidence::arrange(&self.dir, self.common.keep_disks)
            .and_then(|events| self.recorder.finish(&self.dir, &events));
        if let Err(error) = tidied {
            self.result.notes.push(format!("{error:#}"));
        }
        self.result.files = markers::files(&self.dir);
        self.result.timeline = Some(timeline::FILE.to_owned());
    }
}

fn collect(vm: &mut Vm, limit: Duration) -> Result<Collected, Trouble> {
    vm.send(&ToAgent::Collect)?;
    vm.wait_for(Instant::now() + limit, |message| match message {
        FromAgent::Collected(collected) => Some(collected.clone()),
        _ => None,
    })
}
