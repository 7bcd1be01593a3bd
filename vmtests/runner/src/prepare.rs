// SPDX-License-Identifier: GPL-2.0-or-later
//! What a run needs before its first step: folders and disks on the host, the machine, and what the
//! guest is told to load and mount.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::anyhow;
use vmtest_protocol::Action;
use vmtest_protocol::message;
use vmtest_protocol::message::Setup;

use crate::accel::Accel;
use crate::disk;
use crate::disk::DiskFile;
use crate::evidence;
use crate::matrix::Planned;
use crate::qemu::Machine;
use crate::qemu::devices;
use crate::qemu::devices::Equipment;
use crate::qemu::devices::NinePFolder;
use crate::run::Common;
use crate::scenario;
use crate::share::ShareSpec;
use crate::store;
use crate::vm::Observer;
use crate::vm::Surroundings;
use crate::vm::Traces;
use crate::vm::Vm;

/// The share for what the guest leaves.
const ARTIFACTS: &str = "artifacts";
/// The share with the daemon's blobs.
const BLOBS: &str = "blobs";
/// The share with the images' manifests.
const FIXTURES: &str = "fixtures";

/// How a machine is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It boots with everything plugged in.
    Cold,
    /// It boots, and everything is plugged in later.
    Plug,
    /// Its memory is restored, and then everything plugged in.
    Restore,
}

/// Everything on the host that the machine needs.
#[derive(Debug)]
pub struct Prepared {
    /// The run's folder.
    pub dir: PathBuf,
    /// The disks, in the scenario's order.
    pub disks: Vec<DiskFile>,
    shares: Vec<ShareSpec>,
    tags: Vec<String>,
    folders: Vec<NinePFolder>,
    console_log: PathBuf,
}

impl Prepared {
    /// Makes folders and disks in `dir`, which the run has made.
    pub fn make(planned: &Planned<'_>, dir: &Path) -> anyhow::Result<Self> {
        // QEMU and the helpers are told absolute names.
        let dir = dir
            .canonicalize()
            .with_context(|| format!("cannot resolve {}", dir.display()))?;
        let folder = |name: &str| -> anyhow::Result<PathBuf> {
            let path = dir.join(name);
            fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
            Ok(path)
        };
        let share = |tag: &str, dir: PathBuf, read_only: bool| ShareSpec {
            tag: tag.to_owned(),
            dir,
            read_only,
        };
        let mut shares = vec![share(ARTIFACTS, folder(evidence::GUEST)?, false)];
        let needs = &planned.scenario.needs;
        if !needs.images.is_empty() {
            let blobs = folder(evidence::BLOBS)?;
            let fixtures = folder(evidence::FIXTURES)?;
            let images = scenario::images_named(planned.scenario, planned.index);
            store::fill(&blobs, &fixtures, planned.index, &images)?;
            shares.push(share(BLOBS, blobs, true));
            shares.push(share(FIXTURES, fixtures, true));
        }
        for (name, dir) in programs(planned)? {
            shares.push(share(&program_tag(name), dir.clone(), true));
        }
        let mut folders = Vec::new();
        for need in &needs.shares {
            let dir = folder(&format!("share-{}", need.tag))?;
            if need.nine_p {
                folders.push(NinePFolder {
                    tag: need.tag.clone(),
                    dir: dir.clone(),
                    read_only: need.read_only,
                });
            }
            shares.push(share(&need.tag, dir, need.read_only));
        }
        let logged = loses_power(planned);
        let disks = needs
            .disks
            .iter()
            .map(|need| disk::make(need, &dir, logged))
            .collect::<anyhow::Result<_>>()?;
        let tags = shares.iter().map(|share| share.tag.clone()).collect();
        Ok(Prepared {
            console_log: dir.join("console.log"),
            dir,
            disks,
            shares,
            tags,
            folders,
        })
    }

    /// What is plugged into the machine.
    pub fn equipment(&self) -> Equipment<'_> {
        Equipment {
            tags: &self.tags,
            disks: &self.disks,
            folders: &self.folders,
        }
    }

    /// The machine, not started yet.
    pub fn machine<'a>(
        &'a self,
        common: &'a Common,
        planned: &'a Planned<'_>,
        way: Way,
    ) -> anyhow::Result<Machine<'a>> {
        let needs = &planned.scenario.needs;
        Ok(Machine {
            program: &common.qemu,
            name: &planned.folder,
            accel: common.accel,
            cpus: needs.cpus.get().map_err(|error| anyhow!(error))?,
            memory: planned.memory().map_err(|error| anyhow!(error))?,
            ports: self.equipment().ports().map_err(|error| anyhow!(error))?,
            kernel: &planned.index.bzimage,
            initramfs: Some(&planned.initramfs),
            append: planned.append(),
            equipment: match way {
                Way::Cold => self.equipment(),
                Way::Plug | Way::Restore => devices::NOTHING,
            },
            folders: &self.folders,
            incoming: way == Way::Restore,
            gdb: common.gdb,
            console_log: &self.console_log,
        })
    }

    /// Starts the machine. The calling thread must live until it is gone.
    pub fn start(
        &self,
        common: &Common,
        planned: &Planned<'_>,
        way: Way,
        observers: Vec<Observer>,
    ) -> anyhow::Result<Vm> {
        let splats = common.splats.of_scenario(planned.scenario)?;
        Vm::start(
            &self.machine(common, planned, way)?,
            Surroundings {
                own: &common.own,
                shares: &self.shares,
                splats: &splats,
                traces: Traces {
                    dir: self.dir.clone(),
                },
                observers,
                interrupt: common.interrupt.clone(),
            },
        )
    }
}

/// The programs that a scenario needs, by their names.
fn programs<'a>(planned: &'a Planned<'_>) -> anyhow::Result<Vec<(&'a str, &'a PathBuf)>> {
    let find = |name: &'a String| {
        let dir = planned.index.programs.get(name).with_context(|| {
            let known: Vec<&str> = planned.index.programs.keys().map(String::as_str).collect();
            format!(
                "{} has no programs `{name}` (it has: {}): is there a configs/programs/{name}.yaml? \
                 Then make the index again",
                planned.index.file.display(),
                known.join(", ")
            )
        })?;
        Ok((name.as_str(), dir))
    };
    planned.scenario.needs.programs.iter().map(find).collect()
}

fn program_tag(name: &str) -> String {
    format!("programs-{name}")
}

/// Whether what is written to the disks must be logged, since the power is cut somewhere.
fn loses_power(planned: &Planned<'_>) -> bool {
    let mut found = false;
    for step in &planned.scenario.steps {
        step.walk(&mut |step| found |= matches!(step.action, Action::PowerCut(_)));
    }
    found
}

/// What the guest loads and mounts before the first step.
pub fn guest_setup(planned: &Planned<'_>, accel: Accel) -> Setup {
    let needs = &planned.scenario.needs;
    let share = |tag: &str, read_only: bool| message::Share {
        tag: tag.to_owned(),
        at: format!("/{tag}"),
        read_only,
        at_root: false,
    };
    let mut shares = vec![share(ARTIFACTS, false)];
    if !needs.images.is_empty() {
        shares.push(share(BLOBS, true));
        shares.push(share(FIXTURES, true));
    }
    shares.extend(needs.programs.iter().map(|name| message::Share {
        at_root: true,
        ..share(&program_tag(name), true)
    }));
    shares.extend(needs.shares.iter().map(|need| message::Share {
        tag: need.tag.clone(),
        at: need.mounted_at(),
        read_only: need.read_only,
        at_root: false,
    }));
    let disks = needs
        .disks
        .iter()
        .map(|need| message::Disk {
            serial: need.name.clone(),
            at: need.mounted_at(),
            mount: need.mount,
            fs: need.fs.word().to_owned(),
            options: need.options.clone(),
        })
        .collect();
    Setup {
        boot: 0,
        modules: planned.module.files(&needs.module),
        disks,
        shares,
        client: planned.client,
        counted: accel == Accel::Counted,
    }
}
