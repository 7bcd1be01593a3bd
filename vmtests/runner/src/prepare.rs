// SPDX-License-Identifier: GPL-2.0-or-later
//! What a run needs before its first step: folders and disks on the host, the machine, and what the
//! guest is told to load and mount.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::anyhow;
use vmtest_protocol::message;
use vmtest_protocol::message::Setup;

use crate::disk;
use crate::disk::DiskFile;
use crate::evidence;
use crate::matrix::Planned;
use crate::qemu::Machine;
use crate::run::Common;
use crate::scenario;
use crate::scenario::DiskFs;
use crate::share::ShareSpec;
use crate::store;
use crate::timeline::Recorder;
use crate::vm::Surroundings;
use crate::vm::Traces;
use crate::vm::Vm;

/// The share for what the guest leaves.
const ARTIFACTS: &str = "artifacts";
/// The share with the daemon's blobs.
const BLOBS: &str = "blobs";
/// The share with the images' manifests.
const FIXTURES: &str = "fixtures";

/// Everything on the host that the machine needs.
#[derive(Debug)]
pub struct Prepared {
    dir: PathBuf,
    disks: Vec<DiskFile>,
    shares: Vec<ShareSpec>,
}

impl Prepared {
    /// Makes folders and disks in `dir`, which the run has made.
    pub fn make(common: &Common, planned: &Planned<'_>, dir: &Path) -> anyhow::Result<Self> {
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
            let images = scenario::images_named(planned.scenario, &common.index);
            store::fill(&blobs, &fixtures, &common.index, &images)?;
            shares.push(share(BLOBS, blobs, true));
            shares.push(share(FIXTURES, fixtures, true));
        }
        let disks = needs
            .disks
            .iter()
            .map(|need| disk::make(need, &dir))
            .collect::<anyhow::Result<_>>()?;
        Ok(Prepared { dir, disks, shares })
    }

    /// Starts the machine. The calling thread must live until it is gone.
    pub fn start(
        &self,
        common: &Common,
        planned: &Planned<'_>,
        recorder: &Recorder,
    ) -> anyhow::Result<Vm> {
        let needs = &planned.scenario.needs;
        let machine = Machine {
            program: &common.qemu,
            name: &planned.folder,
            accel: common.accel,
            cpus: needs.cpus.get().map_err(|error| anyhow!(error))?,
            memory: needs.memory.get().map_err(|error| anyhow!(error))?.0,
            kernel: &common.index.bzimage,
            initramfs: Some(&planned.initramfs),
            disks: &self.disks,
            append: "",
            console_log: &self.dir.join("console.log"),
        };
        Vm::start(
            &machine,
            Surroundings {
                own: &common.own,
                shares: &self.shares,
                splats: &common.splats,
                traces: Traces {
                    dir: self.dir.clone(),
                    recorder: recorder.clone(),
                },
                interrupt: common.interrupt.clone(),
            },
        )
    }
}

/// What the guest loads and mounts before the first step.
pub fn guest_setup(planned: &Planned<'_>) -> Setup {
    let needs = &planned.scenario.needs;
    let share = |tag: &str, read_only: bool| message::Share {
        tag: tag.to_owned(),
        at: format!("/{tag}"),
        read_only,
    };
    let mut shares = vec![share(ARTIFACTS, false)];
    if !needs.images.is_empty() {
        shares.push(share(BLOBS, true));
        shares.push(share(FIXTURES, true));
    }
    let disks = needs
        .disks
        .iter()
        .map(|need| message::Disk {
            serial: need.name.clone(),
            at: (need.fs != DiskFs::None)
                .then(|| need.at.clone().unwrap_or(format!("/{}", need.name))),
            mount: true,
            fs: "ext4".to_owned(),
            options: need.options.clone(),
        })
        .collect();
    Setup {
        boot: 0,
        modules: planned.module.files(),
        disks,
        shares,
    }
}
