// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps for which the agent knows something that a worker does not: where the modules of the run
//! are, which disk has which device, and that a mount's room is a counter from now on.

use std::path::Path;

use vmtest_protocol::Action;
use vmtest_protocol::Step;
use vmtest_protocol::message::ModuleFile;
use vmtest_protocol::step::LoadModule;
use vmtest_protocol::step::MountFs;

use super::Context;
use super::Done;
use super::Stop;
use super::lock;
use super::wrong;
use crate::setup;
use crate::worker::Task;

impl Context {
    pub(super) fn mount_fs(&self, step: &Step, mount: &MountFs) -> Result<Done, Stop> {
        let mut mount = mount.clone();
        if let Some(disk) = mount.disk.take() {
            let device = setup::find_disk(&disk).map_err(|error| wrong(format!("{error:#}")))?;
            mount.source = Some(device.to_string_lossy().into_owned());
        }
        let at = mount.at.clone();
        let counted = mount.expect_errno.is_none();
        let what = format!("mounting {} at {at}", mount.fs);
        let step = Step {
            action: Action::MountFs(mount),
            ..step.clone()
        };
        let done = self.in_worker(&Task::Step(Box::new(step)), &what)?;
        let mut paths = lock(&self.agent.room_paths);
        if counted && !paths.contains(&at) {
            paths.push(at);
        }
        Ok(done)
    }

    /// The worker gets the module's path in place of its name, and all parameters.
    pub(super) fn load_module(&self, step: &Step, load: &LoadModule) -> Result<Done, Stop> {
        let found = find_module(&lock(&self.agent.modules), &load.name);
        let load = LoadModule {
            name: found.path,
            params: Some(load.params.clone().unwrap_or(found.params)),
            expect_errno: load.expect_errno.clone(),
        };
        let what = format!("loading {}", load.name);
        let step = Step {
            action: Action::LoadModule(load),
            ..step.clone()
        };
        self.in_worker(&Task::Step(Box::new(step)), &what)
    }
}

/// The file and the parameters of a module by its name; `cachefiles` is either of the two.
fn find_module(known: &[ModuleFile], name: &str) -> ModuleFile {
    let stem = |file: &ModuleFile| {
        let stem = Path::new(&file.path).file_stem();
        stem.map(|stem| stem.to_string_lossy().into_owned())
    };
    let is_it = |file: &&ModuleFile| match stem(file).as_deref() {
        Some("cachefiles_rs") if name == "cachefiles" => true,
        Some(stem) => stem == name,
        None => false,
    };
    known.iter().find(is_it).cloned().unwrap_or(ModuleFile {
        path: format!("/lib/modules/{name}.ko"),
        params: String::new(),
        load: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_cachefiles_means_the_module_of_the_run() {
        let module = |path: &str, params: &str| ModuleFile {
            path: path.to_owned(),
            params: params.to_owned(),
            load: false,
        };
        let known = [
            module("/lib/modules/netfs.ko", ""),
            module("/lib/modules/cachefiles_rs.ko", "debug=1"),
        ];
        let found = find_module(&known, "cachefiles");
        assert_eq!(found.path, "/lib/modules/cachefiles_rs.ko");
        assert_eq!(found.params, "debug=1");
        let found = find_module(&known, "erofs");
        assert_eq!(found.path, "/lib/modules/erofs.ko");
    }
}
