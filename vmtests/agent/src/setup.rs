// SPDX-License-Identifier: GPL-2.0-or-later
//! Mounts and modules: what a guest needs before its first step.

use std::ffi::CString;
use std::fs;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use rustix::mount::MountFlags;
use vmtest_protocol::message::Disk;
use vmtest_protocol::message::ModuleFile;
use vmtest_protocol::message::Setup;
use vmtest_protocol::message::Share;

use crate::client;

/// How long a disk or share may take to appear: hot-plugged ones come after boot, on a debug kernel
/// and a busy host long after.
const DEVICE_LIMIT: Duration = Duration::from_secs(25);

/// Mounts the filesystems that every Linux program expects.
pub fn base_mounts() -> Result<()> {
    let none = MountFlags::empty();
    for (kind, at) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("devpts", "/dev/pts"),
        ("tmpfs", "/tmp"),
        ("tmpfs", "/run"),
        ("tracefs", "/sys/kernel/tracing"),
    ] {
        fs::create_dir_all(at).ok();
        match mount(kind, Path::new(at), kind, none, "") {
            Ok(()) => {}
            // The kernel mounts /dev itself where it is configured to; tracefs may not be built in.
            // Only interactive programs want devpts, and say so.
            Err(_) if matches!(kind, "devtmpfs" | "tracefs" | "devpts") => {}
            Err(error) => return Err(error),
        }
    }
    fs::create_dir_all(crate::events::FOLDER)
        .with_context(|| format!("cannot make {}", crate::events::FOLDER))?;
    Ok(())
}

/// Carries out a [`Setup`].
pub fn carry_out(setup: &Setup) -> Result<()> {
    client::choose(setup.client)?;
    for share in &setup.shares {
        mount_share(share)?;
        if share.at_root {
            let at = Path::new(&share.at);
            link_files(at, Path::new("/"))
                .with_context(|| format!("cannot link the files of {} into /", at.display()))?;
        }
    }
    for module in setup.modules.iter().filter(|module| module.load) {
        load_module(module)?;
    }
    for disk in &setup.disks {
        mount_disk(disk)?;
    }
    Ok(())
}

fn mount_share(share: &Share) -> Result<()> {
    let flags = match share.read_only {
        true => MountFlags::RDONLY,
        false => MountFlags::empty(),
    };
    let give_up = Instant::now() + DEVICE_LIMIT;
    loop {
        // The tag is unknown (EINVAL) until the device has been probed.
        match mount(&share.tag, Path::new(&share.at), "virtiofs", flags, "") {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > give_up => {
                return Err(error).with_context(|| {
                    format!(
                        "cannot mount the share `{}`: is its vhost-user-fs device on QEMU's \
                         command line, and its virtiofsd alive?",
                        share.tag
                    )
                });
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Makes a symbolic link below `to` to each file below `from`, at the same relative path. What has
/// that name already stays.
fn link_files(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&target)
                .with_context(|| format!("cannot make {}", target.display()))?;
            link_files(&entry.path(), &target)?;
        } else if fs::symlink_metadata(&target).is_err() {
            std::os::unix::fs::symlink(entry.path(), &target)
                .with_context(|| format!("cannot make the link {}", target.display()))?;
        }
    }
    Ok(())
}

fn mount_disk(disk: &Disk) -> Result<()> {
    let device = find_disk(&disk.serial)?;
    let at = match &disk.at {
        Some(at) if disk.mount => at,
        _ => return Ok(()),
    };
    let source = device.to_string_lossy().into_owned();
    let none = MountFlags::empty();
    let options = disk_options(&disk.fs, &disk.options);
    mount(&source, Path::new(at), &disk.fs, none, &options)
        .with_context(|| format!("cannot mount the disk `{}`", disk.serial))
}

/// The options with which a filesystem on a disk is mounted, by the set-up and by steps. ext4 reads its
/// bitmaps ahead in the background: when the power is turned off meanwhile, Linux 7.2 takes the disk away
/// from under that, and ext4 complains.
pub fn disk_options(fs: &str, options: &str) -> String {
    let quiet = match fs {
        "ext4" => "no_prefetch_block_bitmaps",
        _ => "",
    };
    let all = [quiet, options];
    let said: Vec<&str> = all.into_iter().filter(|part| !part.is_empty()).collect();
    said.join(",")
}

/// The device of a disk, by its serial number; waits a while for one that is about to come.
pub fn find_disk(serial: &str) -> Result<PathBuf> {
    let give_up = Instant::now() + DEVICE_LIMIT;
    loop {
        let mut seen = Vec::new();
        for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
            let Ok(found) = fs::read_to_string(entry.path().join("serial")) else {
                continue;
            };
            if found.trim() == serial {
                return Ok(PathBuf::from("/dev").join(entry.file_name()));
            }
            seen.push(found.trim().to_owned());
        }
        if Instant::now() > give_up {
            bail!(
                "no disk with the serial number `{serial}` after {} s; there are: {}",
                DEVICE_LIMIT.as_secs(),
                seen.join(", ")
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn load_module(module: &ModuleFile) -> Result<()> {
    let file = File::open(&module.path)
        .with_context(|| format!("cannot open the module {}", module.path))?;
    let params = CString::new(module.params.as_str()).context("module parameters contain NUL")?;
    match rustix::system::finit_module(&file, &params, 0) {
        Ok(()) => Ok(()),
        // Two modules of a run may need the same one.
        Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error).with_context(|| {
            format!(
                "cannot load {} with parameters `{}` (the kernel says more on the console)",
                module.path, module.params
            )
        }),
    }
}

/// `mount(2)`, with a mount point made if absent, and an error that says what was tried.
pub fn mount(source: &str, at: &Path, kind: &str, flags: MountFlags, data: &str) -> Result<()> {
    fs::create_dir_all(at)
        .with_context(|| format!("cannot make the mount point {}", at.display()))?;
    let options = CString::new(data).context("mount options contain NUL")?;
    rustix::mount::mount(source, at, kind, flags, options.as_c_str()).with_context(|| {
        format!(
            "mount -t {kind} -o '{data}' {source} {} failed",
            at.display()
        )
    })
}

/// Names under /sys/module of whichever modules matter to a run.
pub fn loaded_modules() -> Vec<String> {
    ["cachefiles", "cachefiles_rs", "erofs", "netfs"]
        .into_iter()
        .filter(|name| Path::new("/sys/module").join(name).exists())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ext4_reads_no_bitmaps_ahead() {
        assert_eq!(disk_options("ext4", ""), "no_prefetch_block_bitmaps");
        assert_eq!(
            disk_options("ext4", "noatime,ro"),
            "no_prefetch_block_bitmaps,noatime,ro"
        );
        assert_eq!(disk_options("ext2", "noatime"), "noatime");
        assert_eq!(disk_options("tmpfs", ""), "");
    }

    #[test]
    fn files_are_linked_at_their_paths_and_what_is_there_stays() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["lib64/ld.so", "usr/sbin/a", "usr/sbin/b"] {
            let path = from.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        fs::create_dir_all(to.path().join("usr/sbin")).unwrap();
        fs::write(to.path().join("usr/sbin/b"), "own").unwrap();
        link_files(from.path(), to.path()).unwrap();
        let text = |name: &str| fs::read_to_string(to.path().join(name)).unwrap();
        assert_eq!(text("lib64/ld.so"), "lib64/ld.so");
        assert_eq!(text("usr/sbin/a"), "usr/sbin/a");
        assert_eq!(text("usr/sbin/b"), "own");
    }
}
