// SPDX-License-Identifier: GPL-2.0-or-later
//! Bringing a machine up to its first step: from a memory snapshot, or by booting.
//!
//! There are three ways. A machine that boots *cold* has everything plugged in from the start and is
//! set up at once. One that *makes* a snapshot boots with empty ports, loads the modules, is saved,
//! and goes on as one that was *restored*: everything is plugged in, the agent is woken, and mounts.
//!
//! What goes wrong in a machine that was restored says nothing about the run: it is tried again,
//! cold. Only what goes wrong there counts.

use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use vmtest_protocol::FromAgent;
use vmtest_protocol::PROTOCOL_VERSION;
use vmtest_protocol::ToAgent;
use vmtest_protocol::message::Hello;
use vmtest_protocol::message::ModuleFile;
use vmtest_protocol::message::Setup;

use super::Run;
use super::Verdict;
use crate::prepare::Prepared;
use crate::prepare::Way;
use crate::results::Outcome;
use crate::snapshot::Found;
use crate::snapshot::Key;
use crate::snapshot::Maker;
use crate::snapshot::Snapshot;
use crate::vm::Trouble;
use crate::vm::Vm;

/// Longest wait for the guest's modules and mounts.
const SETUP_LIMIT: Duration = Duration::from_secs(30);
/// Longest wait for a state to be written or read: some 50 MB.
const STATE_LIMIT: Duration = Duration::from_secs(30);
/// Longest wait for the first word of an agent that was restored.
const WAKE_LIMIT: Duration = Duration::from_secs(10);

/// What `started_from` says.
const FROM_SNAPSHOT: &str = "snapshot";
const FROM_COLD: &str = "cold";

/// What a boot is to bring up.
#[derive(Debug, Clone)]
pub(super) struct Boot {
    /// What the guest gets.
    pub setup: Setup,
}

/// Why a machine did not come up.
enum Failure {
    /// It would have been the same in any machine.
    Final(Verdict),
    /// A restored machine did not come so far that its set-up began.
    Restore(String),
    /// The set-up of a machine that was plugged together while it ran.
    SetUp(String),
}

impl Run<'_> {
    /// Starts a machine and brings it to its first step.
    pub(super) fn bring_up(&mut self, prepared: &Prepared, boot: &Boot) -> Result<Vm, Verdict> {
        self.result.boots += 1;
        let key = match self.snapshot_key(prepared, &boot.setup.modules) {
            Some(key) => key,
            None => return self.cold(prepared, boot),
        };
        let patience = self.scaled(self.common.boot_limit);
        let found = self
            .common
            .snapshots
            .find(&key, patience, &self.common.interrupt);
        let failure = match found {
            Found::Cold => return self.cold(prepared, boot),
            Found::Ready(snapshot) => match self.restore(prepared, boot, snapshot) {
                Ok(vm) => return Ok(vm),
                Err(failure) => failure,
            },
            Found::Make(maker) => match self.make(prepared, boot, maker) {
                Ok(vm) => return Ok(vm),
                Err(failure) => failure,
            },
        };
        match failure {
            Failure::Final(verdict) => Err(verdict),
            Failure::Restore(why) => {
                self.common.snapshots.discard(&key, &why);
                self.result
                    .notes
                    .push(format!("the memory snapshot was thrown away: {why}"));
                self.cold(prepared, boot)
            }
            Failure::SetUp(why) => {
                let vm = self.cold(prepared, boot)?;
                // Cold it works: plugging in does not, in this kernel.
                self.common.snapshots.unfit(&key, &why);
                Ok(vm)
            }
        }
    }

    fn snapshot_key(&self, prepared: &Prepared, modules: &[ModuleFile]) -> Option<Key> {
        // A snapshot of a kernel with parameters of its own would serve no other scenario.
        let own = !self.planned.scenario.needs.kernel.args.is_empty();
        if own || !self.common.snapshots.is_on() {
            return None;
        }
        let machine = prepared.machine(self.common, self.planned, Way::Cold);
        // What is wrong with these files is said when the machine is started.
        Key::of(&machine.ok()?, modules, &self.common.snapshots.digests).ok()
    }

    fn cold(&mut self, prepared: &Prepared, boot: &Boot) -> Result<Vm, Verdict> {
        self.started_from(FROM_COLD);
        let mut vm = self.powered(prepared, Way::Cold)?;
        self.stage("setting up");
        match self.set_up(&mut vm, boot.setup.clone()) {
            Ok(()) => Ok(vm),
            Err(verdict) => {
                self.end_badly(&mut vm);
                self.leave(&vm);
                Err(verdict)
            }
        }
    }

    fn make(&mut self, prepared: &Prepared, boot: &Boot, maker: Maker) -> Result<Vm, Failure> {
        self.started_from(FROM_COLD);
        let mut vm = self.powered(prepared, Way::Plug).map_err(Failure::Final)?;
        self.stage("loading modules");
        let modules = Setup {
            modules: boot.setup.modules.clone(),
            ..Setup::default()
        };
        if let Err(verdict) = self.set_up(&mut vm, modules) {
            self.end_badly(&mut vm);
            self.leave(&vm);
            return Err(Failure::Final(verdict));
        }
        self.stage("saving a memory snapshot");
        self.save(&mut vm, maker)?;
        self.plug_and_wake(prepared, boot, vm)
    }

    fn save(&mut self, vm: &mut Vm, maker: Maker) -> Result<(), Failure> {
        let limit = self.scaled(STATE_LIMIT);
        let saved = match maker.files() {
            Err(error) => Err(format!("{error:#}")),
            Ok(files) => match vm.save(&files, limit) {
                Ok(()) => Ok(()),
                Err(Trouble::Host(why)) => Err(why),
                // The machine is gone, and the run with it.
                Err(trouble) => {
                    let verdict = self.judge("saving a memory snapshot", &trouble, vm);
                    self.leave(vm);
                    return Err(Failure::Final(verdict));
                }
            },
        };
        match saved {
            Ok(()) => {
                let qemu = vm.qemu_version().unwrap_or_default().to_owned();
                self.common.snapshots.add(maker, &qemu);
            }
            Err(why) => self.common.snapshots.failed(&maker, &why),
        }
        Ok(())
    }

    fn restore(
        &mut self,
        prepared: &Prepared,
        boot: &Boot,
        snapshot: Snapshot,
    ) -> Result<Vm, Failure> {
        self.started_from(FROM_SNAPSHOT);
        self.stage("restoring");
        let mut vm = prepared
            .start(self.common, self.planned, Way::Restore, self.observers())
            .map_err(|error| {
                Failure::Final(Verdict::new(Outcome::Error, format!("set-up: {error:#}")))
            })?;
        let limit = self.scaled(STATE_LIMIT);
        // QEMU needs a moment to start, in which its memory is filled.
        if let Err(error) = vm.load_memory(&snapshot.files.memory) {
            return Err(Failure::Restore(format!(
                "its memory cannot be read: {error}"
            )));
        }
        let loaded = vm.connect_control(limit).and_then(|()| {
            match vm.qemu_version() == Some(snapshot.qemu.as_str()) {
                true => vm.load_devices(&snapshot.files.devices, limit),
                false => Err(Trouble::Host(format!(
                    "it is of QEMU {}, this one is {}",
                    snapshot.qemu,
                    vm.qemu_version().unwrap_or("unknown")
                ))),
            }
        });
        if let Err(trouble) = loaded {
            return Err(self.not_restored(&trouble, &mut vm));
        }
        self.plug_and_wake(prepared, boot, vm)
    }

    /// Plugs everything into a machine that stands or runs, and sets the rest up.
    fn plug_and_wake(
        &mut self,
        prepared: &Prepared,
        boot: &Boot,
        mut vm: Vm,
    ) -> Result<Vm, Failure> {
        let woken = vm
            .plug_all(&prepared.equipment())
            .and_then(|()| vm.go_on())
            .and_then(|()| self.wake(&mut vm));
        let hello = match woken {
            Ok(hello) => hello,
            Err(trouble) => return Err(self.not_restored(&trouble, &mut vm)),
        };
        self.result.release = hello.release;
        self.stage("setting up");
        let setup = Setup {
            // They are loaded; those that are not to be are remembered.
            modules: Vec::new(),
            ..boot.setup.clone()
        };
        match self.set_up(&mut vm, setup) {
            Ok(()) => Ok(vm),
            Err(_) if self.common.interrupt.asked() => {
                Err(Failure::Final(Verdict::new(Outcome::Error, "interrupted")))
            }
            Err(verdict) => {
                let first = verdict.reason.lines().next().unwrap_or_default();
                let why = format!("a machine whose devices are plugged in later: {first}");
                Err(Failure::SetUp(why))
            }
        }
    }

    fn not_restored(&self, trouble: &Trouble, vm: &mut Vm) -> Failure {
        match trouble {
            Trouble::Interrupted => {
                Failure::Final(Verdict::new(Outcome::Error, "boot: interrupted"))
            }
            // The kernel's blocked tasks are of no use here.
            Trouble::Deadline => Failure::Restore("the agent does not answer in it".to_owned()),
            _ => {
                let text = self.describe("it cannot be used", trouble, vm);
                Failure::Restore(text.lines().next().unwrap_or_default().to_owned())
            }
        }
    }

    fn wake(&mut self, vm: &mut Vm) -> Result<Hello, Trouble> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let unix_ns = now.map_or(0, |since| since.as_nanos() as i64);
        vm.send(&ToAgent::Wake {
            unix_ns,
            seed: self.chance.bits(),
        })?;
        hello(vm, Instant::now() + self.scaled(WAKE_LIMIT))
    }

    /// A machine whose power was switched on and whose agent has spoken.
    fn powered(&mut self, prepared: &Prepared, way: Way) -> Result<Vm, Verdict> {
        self.stage("booting");
        let started = Instant::now();
        let mut vm = prepared
            .start(self.common, self.planned, way, self.observers())
            .map_err(|error| Verdict::new(Outcome::Error, format!("set-up: {error:#}")))?;
        match self.reach_agent(&mut vm, started) {
            Ok(()) => Ok(vm),
            Err(trouble) => {
                // Nothing of the subject has run yet.
                let reason = self.describe("boot", &trouble, &mut vm);
                self.leave(&vm);
                Err(Verdict::new(Outcome::Error, reason))
            }
        }
    }

    fn reach_agent(&mut self, vm: &mut Vm, started: Instant) -> Result<(), Trouble> {
        let limit = self.scaled(self.common.boot_limit);
        vm.connect_control(limit)?;
        let hello = hello(vm, started + limit)?;
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

    /// Loads modules and mounts.
    fn set_up(&mut self, vm: &mut Vm, setup: Setup) -> Result<(), Verdict> {
        let limit = Instant::now() + self.scaled(SETUP_LIMIT);
        let done = vm.send(&ToAgent::Setup(setup)).and_then(|()| {
            vm.wait_for(limit, |message| match message {
                FromAgent::SetupDone { error } => Some(error.clone()),
                _ => None,
            })
        });
        match done {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(Verdict::new(
                Outcome::Error,
                format!(
                    "set-up in the guest: {error}\nconsole:\n{}",
                    vm.console_tail()
                ),
            )),
            Err(trouble) => Err(self.judge("set-up in the guest", &trouble, vm)),
        }
    }

    /// The first boot of a run says how the run started.
    fn started_from(&mut self, what: &str) {
        if self.result.boots == 1 {
            self.result.started_from = what.to_owned();
        }
    }
}

fn hello(vm: &mut Vm, deadline: Instant) -> Result<Hello, Trouble> {
    vm.wait_for(deadline, |message| match message {
        FromAgent::Hello(hello) => Some(hello.clone()),
        _ => None,
    })
}
