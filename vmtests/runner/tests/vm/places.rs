// SPDX-License-Identifier: GPL-2.0-or-later
//! Folders that are taken, and disks that are full.

use std::fs;
use std::path::PathBuf;

use crate::ground::Ground;
use crate::ground::said;
use crate::ground::to_its_end;

#[test]
fn a_folder_takes_one_runner_at_a_time_and_the_second_disturbs_nothing() {
    let ground = Ground::new();
    let first = ground.begin("waits-shortly", "a short sleep");
    let second = to_its_end(ground.run_command("passes"));
    assert_eq!(second.status.code(), Some(3), "{}", said(&second));
    let text = said(&second);
    assert!(text.contains("another vmtest is writing to"), "{text}");
    assert!(text.contains("--out DIR"), "{text}");
    let first = first.wait();
    assert_eq!(first.status.code(), Some(0), "{}", said(&first));
    let result = ground.result("waits-shortly").unwrap();
    assert_eq!(result["outcome"], "passed");
    assert!(ground.result("passes").is_none());
}

/// A small filesystem at a folder; gone with this.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this user, or this container, may not mount.
    fn mount(at: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let options = std::ffi::CString::new(format!("size={size}")).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        let mounted = rustix::mount::mount("none", &at, "tmpfs", flags, options.as_c_str());
        mounted.ok().map(|()| SmallDisk(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_of_the_host_ends_the_run_with_a_word_on_it() {
    let ground = Ground::new();
    let disk = SmallDisk::mount(ground.out(), "12m");
    let mut command = ground.run_command("fills-host");
    if disk.is_none() {
        // Without the right to mount: no file may grow beyond this, which is as full.
        command = limited(&command);
    }
    let output = to_its_end(command);
    let text = said(&output);
    assert_ne!(output.status.code(), Some(0), "{text}");
    assert!(output.status.code().is_some(), "ended by a signal: {text}");
    let full = [
        "No space left on device",
        "File too large",
        "os error 28",
        "os error 27",
    ];
    assert!(full.iter().any(|word| text.contains(word)), "{text}");
    // Room for the verdict was found, or its absence was said.
    match ground.result("fills-host") {
        Some(result) => assert_ne!(result["outcome"], "passed", "{text}"),
        None => assert!(text.contains("results.json"), "{text}"),
    }
}

/// The same command with files of at most 8 MiB.
fn limited(command: &std::process::Command) -> std::process::Command {
    let mut shell = std::process::Command::new("/bin/sh");
    shell
        .args(["-c", "ulimit -f 16384; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        shell.current_dir(dir);
    }
    shell
}
