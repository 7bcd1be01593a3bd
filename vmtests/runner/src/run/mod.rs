// SPDX-License-Identifier: GPL-2.0-or-later
//! One run: prepare, boot, carry out the steps, collect the evidence, judge.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use vmtest_protocol::FromAgent;
use vmtest_protocol::PROTOCOL_VERSION;
use vmtest_protocol::ToAgent;
use vmtest_protocol::message;
use vmtest_protocol::message::Collected;

use crate::accel::Accel;
use crate::artifacts::Index;
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
use crate::splat::Splats;
use crate::timeline;
use crate::timeline::Level;
use crate::timeline::Recorder;
use crate::vm::Trouble;
use crate::vm::Vm;

mod guide;
mod judge;
mod steps;

pub use guide::Guide;
pub use guide::Unguided;

/// Longest wait for the guest's modules and mounts.
const SETUP_LIMIT: Duration = Duration::from_secs(30);
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
    /// What was built.
    pub index: Index,
    /// What counts as a splat.
    pub splats: Splats,
    /// Time from QEMU's start to the agent's first message.
    pub boot_limit: Duration,
    /// Every limit is multiplied by this: for slow machines.
    pub scale: f64,
    /// Whether disks are kept when a run has ended.
    pub keep_disks: bool,
    /// Ctrl-C.
    pub interrupt: Interrupt,
}

impl Common {
    fn scaled(&self, limit: Duration) -> Duration {
        limit.mul_f64(self.scale)
    }
}

/// How a run ended, before it is made a [`RunResult`].
#[derive(Debug)]
pub struct Verdict {
    /// Outcome.
    pub outcome: Outcome,
    /// Why; empty when passed.
    pub reason: String,
}

impl Verdict {
    fn new(outcome: Outcome, reason: impl Into<String>) -> Self {
        Verdict {
            outcome,
            reason: reason.into(),
        }
    }
}

/// Carries a run out, whatever happens; `stage` is told what is under way. The calling thread must
/// live until this returns.
pub fn run(common: &Common, planned: &Planned<'_>, stage: &dyn Fn(&str)) -> RunResult {
    run_with(common, planned, stage, &mut Unguided)
}

/// As [`run()`], with somebody who goes along.
pub fn run_with(
    common: &Common,
    planned: &Planned<'_>,
    stage: &dyn Fn(&str),
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
            let mut run = Run {
                common,
                planned,
                dir: dir.clone(),
                stage,
                recorder,
                guide,
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
    result.seconds = began.elapsed().as_secs_f64();
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
        name: scenario.name.clone(),
        file: String::new(),
        about: scenario.about.clone(),
        rows: scenario.rows.clone(),
        refs: Vec::new(),
        kernel: common.index.kernel.clone(),
        module: planned.module.word().to_owned(),
        profile: common.index.profile.clone(),
        outcome: Outcome::Error,
        seconds: 0.0,
        reason: String::new(),
        xfail: None,
        artifacts,
        files: Vec::new(),
        timeline: None,
        began: invocation::now(),
        accel: common.accel.word().to_owned(),
        started_from: String::new(),
        boots: 0,
        seed: 0,
        params: scenario.params.clone(),
        release: common.index.release.clone(),
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
    result: &'a mut RunResult,
}

impl Run<'_> {
    /// Says what is under way.
    fn stage(&self, text: &str) {
        self.recorder.host(Level::Info, text);
        (self.stage)(text);
    }

    fn whole(&mut self) -> Verdict {
        self.stage("preparing");
        let prepared = match Prepared::make(self.common, self.planned, &self.dir) {
            Ok(prepared) => prepared,
            Err(error) => return Verdict::new(Outcome::Error, format!("set-up: {error:#}")),
        };
        self.stage("booting");
        let started = Instant::now();
        let mut vm = match prepared.start(self.common, self.planned, &self.recorder) {
            Ok(vm) => vm,
            Err(error) => return Verdict::new(Outcome::Error, format!("set-up: {error:#}")),
        };
        let verdict = self.booted(&mut vm, started);
        self.result.notes.extend(
            vm.allowed_splats()
                .iter()
                .map(|reason| format!("allowed splat: {reason}")),
        );
        verdict
    }

    fn booted(&mut self, vm: &mut Vm, started: Instant) -> Verdict {
        if let Err(trouble) = self.reach_agent(vm, started) {
            // Nothing of the subject has run yet.
            let reason = self.describe("boot", &trouble, vm);
            return Verdict::new(Outcome::Error, reason);
        }
        self.stage("setting up");
        if let Some(verdict) = self.set_up(vm) {
            self.guide.stopped(vm, Some(&verdict));
            self.end_badly(vm);
            return verdict;
        }
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
        let verdict = self.steps(vm);
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

    fn reach_agent(&mut self, vm: &mut Vm, started: Instant) -> Result<(), Trouble> {
        let limit = self.common.scaled(self.common.boot_limit);
        vm.connect_control(limit)?;
        let deadline = started + limit;
        let hello = vm.wait_for(deadline, |message| match message {
            FromAgent::Hello(hello) => Some(hello.clone()),
            _ => None,
        })?;
        if hello.protocol != PROTOCOL_VERSION {
            return Err(Trouble::AgentGone(format!(
                "the agent speaks protocol {}, this program {PROTOCOL_VERSION}: build the \
                 initramfs again",
                hello.protocol
            )));
        }
        self.result.release = hello.release;
        Ok(())
    }

    /// Loads modules and mounts; a verdict when that fails.
    fn set_up(&mut self, vm: &mut Vm) -> Option<Verdict> {
        let setup = prepare::guest_setup(self.planned);
        let limit = Instant::now() + self.common.scaled(SETUP_LIMIT);
        let done = vm.send(&ToAgent::Setup(setup)).and_then(|()| {
            vm.wait_for(limit, |message| match message {
                FromAgent::SetupDone { error } => Some(error.clone()),
                _ => None,
            })
        });
        match done {
            Ok(None) => None,
            Ok(Some(error)) => Some(Verdict::new(
                Outcome::Error,
                format!(
                    "set-up in the guest: {error}\nconsole:\n{}",
                    vm.console_tail()
                ),
            )),
            Err(trouble) => Some(self.judge("set-up in the guest", &trouble, vm)),
        }
    }

    /// Which module is loaded is looked at before the steps: these may unload it.
    fn check_module(&mut self, vm: &mut Vm) -> Option<Verdict> {
        let collected = match collect(vm, self.common.scaled(COLLECT_LIMIT)) {
            Ok(collected) => collected,
            Err(trouble) => return Some(self.judge("looking at the modules", &trouble, vm)),
        };
        self.result.modules = collected.modules.clone();
        evidence::wrong_module(self.planned.module, &collected)
            .map(|reason| Verdict::new(Outcome::Error, reason))
    }

    /// All steps passed: collect, power off, and see that both work.
    fn end_well(&mut self, vm: &mut Vm) -> Verdict {
        self.stage("collecting");
        let collected = match collect(vm, self.common.scaled(COLLECT_LIMIT)) {
            Ok(collected) => collected,
            Err(trouble) => return self.judge("collecting evidence", &trouble, vm),
        };
        evidence::record(self.result, &collected);
        let limit = self.common.scaled(POWER_OFF_LIMIT);
        let off = vm
            .send(&ToAgent::PowerOff)
            .and_then(|()| vm.wait_for_end(limit));
        match off {
            Ok(true) => {}
            Ok(false) => {
                let console = vm.show_blocked();
                return Verdict::new(
                    Outcome::Failed,
                    format!(
                        "the guest did not power off within {} s\nconsole:\n{console}",
                        limit.as_secs(),
                    ),
                );
            }
            Err(trouble) => return self.judge("power off", &trouble, vm),
        }
        let required = self.planned.scenario.requires_requests;
        match evidence::too_few(&collected, required) {
            None => Verdict::new(Outcome::Passed, ""),
            Some(reason) => Verdict::new(Outcome::Error, reason),
        }
    }

    /// Something went wrong and is known: take what evidence can still be had, within short limits.
    fn end_badly(&mut self, vm: &mut Vm) -> Option<Collected> {
        self.stage("collecting");
        let collected = collect(vm, self.common.scaled(COLLECT_LIMIT_BAD)).ok();
        if collected.is_some() && vm.send(&ToAgent::PowerOff).is_ok() {
            let _ = vm.wait_for_end(self.common.scaled(POWER_OFF_LIMIT_BAD));
        }
        collected
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
