// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that mount and unmount.

use std::ffi::CString;
use std::io;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use rustix::mount::MountFlags;
use rustix::mount::UnmountFlags;
use vmtest_protocol::step::Mount;
use vmtest_protocol::step::MountFs;
use vmtest_protocol::step::Umount;

use super::child::Verdict;
use super::child::judge;
use crate::client;
use crate::setup;

/// Options that `mount(2)` wants as flags, and that no filesystem would understand.
const FLAGS: &[(&str, MountFlags, bool)] = &[
    ("ro", MountFlags::RDONLY, true),
    ("rw", MountFlags::RDONLY, false),
    ("nosuid", MountFlags::NOSUID, true),
    ("suid", MountFlags::NOSUID, false),
    ("nodev", MountFlags::NODEV, true),
    ("dev", MountFlags::NODEV, false),
    ("noexec", MountFlags::NOEXEC, true),
    ("exec", MountFlags::NOEXEC, false),
    ("sync", MountFlags::SYNCHRONOUS, true),
    ("async", MountFlags::SYNCHRONOUS, false),
    ("dirsync", MountFlags::DIRSYNC, true),
    ("noatime", MountFlags::NOATIME, true),
    ("atime", MountFlags::NOATIME, false),
    ("nodiratime", MountFlags::NODIRATIME, true),
    ("relatime", MountFlags::RELATIME, true),
    ("strictatime", MountFlags::STRICTATIME, true),
    ("lazytime", MountFlags::LAZYTIME, true),
];

/// Comma-separated options as `mount(2)` wants them: flags, and the text for the filesystem.
fn split(options: &str, mut flags: MountFlags) -> (MountFlags, String) {
    let mut data = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match FLAGS.iter().find(|(word, _, _)| *word == option) {
            Some((_, flag, value)) => flags.set(*flag, *value),
            None => data.push(option),
        }
    }
    (flags, data.join(","))
}

/// Mounts, with a mount point made if absent.
fn try_mount(
    fs: &str,
    source: &str,
    at: &str,
    options: &str,
    flags: MountFlags,
) -> Result<io::Result<()>> {
    let (flags, data) = split(options, flags);
    let data = CString::new(data).context("mount options contain NUL")?;
    make_mount_point(at)?;
    let result = rustix::mount::mount(source, Path::new(at), fs, flags, data.as_c_str());
    Ok(result.map_err(Into::into))
}

/// A mount as a program's command line.
fn shown(fs: &str, source: &str, at: &str, options: &str, flags: MountFlags) -> String {
    let (flags, _) = split(options, flags);
    let mut shown = options.to_owned();
    if flags.contains(MountFlags::RDONLY) && !options.split(',').any(|option| option == "ro") {
        shown = format!("ro,{options}").trim_end_matches(',').to_owned();
    }
    match shown.is_empty() {
        true => format!("mount -t {fs} {source} {at}"),
        false => format!("mount -t {fs} -o {shown} {source} {at}"),
    }
}

/// Makes the folder on which something is to be mounted.
pub fn make_mount_point(at: &str) -> Result<()> {
    std::fs::create_dir_all(at).with_context(|| format!("cannot make the mount point {at}"))
}

/// The mount options of an erofs image over fscache.
fn image_options(step: &Mount) -> String {
    let mut options = vec![format!(
        "fsid={}",
        step.fsid.as_deref().unwrap_or(&step.image)
    )];
    options.extend(step.domain_id.iter().map(|id| format!("domain_id={id}")));
    options.extend(step.devices.iter().map(|name| format!("device={name}")));
    options.extend(step.options.clone());
    options.join(",")
}

/// Mounts an image, by whichever client this guest has.
pub fn mount_now(step: &Mount) -> Result<io::Result<()>> {
    if client::is_probe() {
        return client::mount(step);
    }
    let options = image_options(step);
    try_mount("erofs", "none", &step.at, &options, MountFlags::RDONLY)
}

/// Carries out a `mount` step.
pub fn mount(step: &Mount) -> Result<Verdict> {
    let by = match client::is_probe() {
        true => "by the probe: ",
        false => "",
    };
    let options = image_options(step);
    let what = shown("erofs", "none", &step.at, &options, MountFlags::RDONLY);
    let result = mount_now(step)?;
    Ok(judge(&format!("{by}{what}"), result, &step.expect_errno))
}

/// Carries out a `mount_fs` step.
pub fn mount_fs(step: &MountFs) -> Result<Verdict> {
    let source = match (&step.source, &step.disk) {
        (Some(source), None) => source.clone(),
        (None, Some(disk)) => setup::find_disk(disk)?.to_string_lossy().into_owned(),
        (None, None) => "none".to_owned(),
        (Some(_), Some(_)) => {
            anyhow::bail!("`mount_fs` wants `source` or `disk`, and not both")
        }
    };
    let mut flags = MountFlags::empty();
    flags.set(MountFlags::RDONLY, step.read_only);
    let options = setup::disk_options(&step.fs, step.options.as_deref().unwrap_or(""));
    let what = shown(&step.fs, &source, &step.at, &options, flags);
    let result = try_mount(&step.fs, &source, &step.at, &options, flags)?;
    Ok(judge(&what, result, &step.expect_errno))
}

/// Unmounts an image, by whichever client has mounted it.
pub fn umount_now(at: &str) -> Result<io::Result<()>> {
    if let Some(result) = client::umount(at)? {
        return Ok(result);
    }
    let result = rustix::mount::unmount(Path::new(at), UnmountFlags::empty());
    Ok(result.map_err(Into::into))
}

/// Carries out a `umount` step.
pub fn umount(step: &Umount) -> Result<Verdict> {
    let mut flags = UnmountFlags::empty();
    let mut what = "umount".to_owned();
    if step.lazy {
        flags |= UnmountFlags::DETACH;
        what.push_str(" -l");
    }
    if step.force {
        flags |= UnmountFlags::FORCE;
        what.push_str(" -f");
    }
    let result = match flags.is_empty() {
        true => umount_now(&step.at)?,
        false => rustix::mount::unmount(Path::new(&step.at), flags).map_err(Into::into),
    };
    Ok(judge(
        &format!("{what} {}", step.at),
        result,
        &step.expect_errno,
    ))
}

#[cfg(test)]
mod tests {
    use super::super::testing::step;
    use super::*;

    #[test]
    fn image_options_name_the_image_unless_told_otherwise() {
        let step: Mount =
            step(r#"{"image":"multi","at":"/m","devices":["multi-blob"],"domain_id":"d1"}"#);
        assert_eq!(
            image_options(&step),
            "fsid=multi,domain_id=d1,device=multi-blob"
        );
    }

    #[test]
    fn options_that_are_flags_are_told_from_those_of_the_filesystem() {
        let none = MountFlags::empty();
        let split = |options| split(options, none);
        assert_eq!(split(""), (none, String::new()));
        let (flags, data) = split("noatime,data=ordered,ro,errors=panic");
        assert_eq!(flags, MountFlags::NOATIME | MountFlags::RDONLY);
        assert_eq!(data, "data=ordered,errors=panic");
        // The last one counts.
        assert_eq!(split("ro,rw").0, none);
        assert_eq!(super::split("rw", MountFlags::RDONLY).0, none);
    }
}
