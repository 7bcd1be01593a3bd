// SPDX-License-Identifier: GPL-2.0-or-later
//! QEMU's command line: one function for each concern, and the descriptors that it inherits.
//!
//! All channels (console, QMP, agent, shares) are connected sockets that QEMU inherits. Nothing has
//! a name in the filesystem, nothing is to be cleaned up, and there is no moment at which a socket
//! does not exist yet.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context;
use command_fds::CommandFdExt;
use command_fds::FdMapping;

use crate::accel::Accel;
use crate::disk::DiskFile;
use crate::exec;
use crate::exec::Guarded;

/// The program.
pub const PROGRAM: &str = "qemu-system-x86_64";

/// Number of the first inherited descriptor in QEMU: the console's; QMP and the agent's port follow.
const FIRST_FD: i32 = 3;

/// Name of the console's character device, for [`crate::qmp::Control::send_break`].
pub const CONSOLE_ID: &str = "console";

/// Kernel parameters of every guest. What is less important than a notice is not printed: the
/// serial line is slow under TCG, and everything that can be a splat is more important.
///
/// `no_timer_check`: the kernel's own check counts timer ticks for a moment, and panics when QEMU
/// got no CPU just then ("IO-APIC + timer doesn't work!", seen on a host with load 9).
const APPEND: &str =
    "console=ttyS0 loglevel=6 panic=-1 rdinit=/init sysrq_always_enabled no_timer_check";

/// A machine to be started.
#[derive(Debug)]
pub struct Machine<'a> {
    /// QEMU itself.
    pub program: &'a Path,
    /// Name in the process list.
    pub name: &'a str,
    /// How guest instructions are executed.
    pub accel: Accel,
    /// Virtual CPUs.
    pub cpus: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// Kernel image.
    pub kernel: &'a Path,
    /// Initial root, if any.
    pub initramfs: Option<&'a Path>,
    /// Disks.
    pub disks: &'a [DiskFile],
    /// Further kernel parameters.
    pub append: &'a str,
    /// Where the console's text goes, besides the socket.
    pub console_log: &'a Path,
}

/// The ends of the channels that QEMU inherits.
#[derive(Debug)]
pub struct Channels {
    /// Serial console.
    pub console: OwnedFd,
    /// QMP.
    pub qmp: OwnedFd,
    /// The agent's port.
    pub agent: OwnedFd,
    /// Tag and vhost-user socket of each share.
    pub shares: Vec<(String, OwnedFd)>,
}

impl Machine<'_> {
    /// Starts QEMU. The command line goes to `cmdline`, its messages to `stderr`.
    pub fn spawn(
        &self,
        own: &Path,
        channels: Channels,
        cmdline: &Path,
        stderr: &Path,
    ) -> anyhow::Result<Guarded> {
        let (arguments, mappings) = self.arguments(channels);
        let program = self.program.as_os_str().to_owned();
        let text = shell_line(std::iter::once(&program).chain(&arguments));
        std::fs::write(cmdline, text + "\n")
            .with_context(|| format!("cannot write {}", cmdline.display()))?;
        let messages =
            File::create(stderr).with_context(|| format!("cannot write {}", stderr.display()))?;
        let mut command = exec::command(own, self.program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(messages)
            .fd_mappings(mappings)
            .context("two channels have one descriptor number")?;
        Guarded::spawn(&mut command)
            .with_context(|| format!("cannot start {}", self.program.display()))
    }

    fn arguments(&self, channels: Channels) -> (Vec<OsString>, Vec<FdMapping>) {
        let mut line = Line::default();
        self.machine(&mut line);
        self.boot(&mut line);
        console(&mut line, channels.console, self.console_log);
        control(&mut line, channels.qmp);
        agent(&mut line, channels.agent);
        for (number, disk) in self.disks.iter().enumerate() {
            block(&mut line, number, disk);
        }
        for (number, (tag, socket)) in channels.shares.into_iter().enumerate() {
            share(&mut line, number, &tag, socket);
        }
        (line.arguments, line.mappings)
    }

    fn machine(&self, line: &mut Line) {
        line.flag("-nodefaults");
        line.flag("-no-user-config");
        // A panic reboots at once (panic=-1), and a reboot ends QEMU.
        line.flag("-no-reboot");
        line.pair("-name", format!("vmtest-{}", self.name));
        line.pair("-display", "none");
        line.pair("-machine", "q35,memory-backend=mem");
        let (accel, cpu) = match self.accel {
            Accel::Tcg => ("tcg,thread=multi", "max"),
            Accel::Kvm => ("kvm", "host"),
        };
        line.pair("-accel", accel);
        line.pair("-cpu", cpu);
        line.pair("-smp", self.cpus.to_string());
        line.pair("-m", format!("{}B", self.memory));
        // Shared memory, because the shares' helpers read requests from it.
        line.pair(
            "-object",
            format!("memory-backend-memfd,id=mem,size={}B,share=on", self.memory),
        );
        line.pair("-device", "virtio-rng-pci");
        line.pair("-device", "pvpanic-pci");
    }

    fn boot(&self, line: &mut Line) {
        line.pair("-kernel", self.kernel);
        if let Some(initramfs) = self.initramfs {
            line.pair("-initrd", initramfs);
        }
        line.pair("-append", format!("{APPEND} {}", self.append).trim_end());
    }
}

fn console(line: &mut Line, socket: OwnedFd, log: &Path) {
    let fd = line.inherit(socket);
    let log = comma_safe(log);
    line.pair(
        "-chardev",
        format!("socket,id={CONSOLE_ID},fd={fd},logfile={log},logappend=off"),
    );
    line.pair("-serial", format!("chardev:{CONSOLE_ID}"));
}

fn control(line: &mut Line, socket: OwnedFd) {
    let fd = line.inherit(socket);
    line.pair("-chardev", format!("socket,id=qmp,fd={fd}"));
    line.pair("-mon", "chardev=qmp,mode=control");
}

fn agent(line: &mut Line, socket: OwnedFd) {
    let fd = line.inherit(socket);
    line.pair("-device", "virtio-serial-pci");
    line.pair("-chardev", format!("socket,id=agent,fd={fd}"));
    line.pair(
        "-device",
        format!(
            "virtserialport,chardev=agent,name={}",
            vmtest_protocol::PORT_NAME
        ),
    );
}

fn block(line: &mut Line, number: usize, disk: &DiskFile) {
    // Nothing on a test's disk has to survive the host: flushes are not passed on.
    let node = serde_json::json!({
        "driver": "raw",
        "node-name": format!("disk{number}"),
        "cache": {"direct": false, "no-flush": true},
        "discard": "unmap",
        "file": {"driver": "file", "filename": disk.file},
    });
    line.pair("-blockdev", node.to_string());
    line.pair(
        "-device",
        format!("virtio-blk-pci,drive=disk{number},serial={}", disk.name),
    );
}

fn share(line: &mut Line, number: usize, tag: &str, socket: OwnedFd) {
    let fd = line.inherit(socket);
    line.pair("-chardev", format!("socket,id=share{number},fd={fd}"));
    line.pair(
        "-device",
        format!("vhost-user-fs-pci,chardev=share{number},tag={tag}"),
    );
}

#[derive(Default)]
struct Line {
    arguments: Vec<OsString>,
    mappings: Vec<FdMapping>,
}

impl Line {
    fn flag(&mut self, flag: &str) {
        self.arguments.push(flag.into());
    }

    fn pair(&mut self, flag: &str, value: impl Into<OsString>) {
        self.arguments.push(flag.into());
        self.arguments.push(value.into());
    }

    fn inherit(&mut self, parent_fd: OwnedFd) -> i32 {
        let child_fd = FIRST_FD + self.mappings.len() as i32;
        self.mappings.push(FdMapping {
            parent_fd,
            child_fd,
        });
        child_fd
    }
}

/// QEMU splits options at commas; a doubled comma is one of the text.
fn comma_safe(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

/// The command line as one would type it.
fn shell_line<'a>(words: impl Iterator<Item = &'a OsString>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.,:+@%".contains(c);
    words
        .map(|word| {
            let word = word.to_string_lossy();
            match !word.is_empty() && word.chars().all(plain) {
                true => word.into_owned(),
                false => format!("'{}'", word.replace('\'', r"'\''")),
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Finds QEMU, or says how to get it.
pub fn find() -> anyhow::Result<PathBuf> {
    exec::find_program(PROGRAM).with_context(|| {
        format!("{PROGRAM} is not in PATH: install the package qemu-system-x86 (`./setup` does)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn channels() -> Channels {
        let end = || OwnedFd::from(UnixStream::pair().unwrap().0);
        Channels {
            console: end(),
            qmp: end(),
            agent: end(),
            shares: vec![("blobs".to_owned(), end())],
        }
    }

    #[test]
    fn a_comma_in_a_path_does_not_end_the_option() {
        let machine = Machine {
            program: Path::new("qemu"),
            name: "a",
            accel: Accel::Tcg,
            cpus: 2,
            memory: 512 << 20,
            kernel: Path::new("/k"),
            initramfs: None,
            disks: &[],
            append: "",
            console_log: Path::new("/a,b/console.log"),
        };
        let (arguments, mappings) = machine.arguments(channels());
        let line = shell_line(arguments.iter());
        assert!(line.contains("logfile=/a,,b/console.log"), "{line}");
        assert!(line.contains("tag=blobs"), "{line}");
        assert_eq!(mappings.len(), 4);
        assert_eq!(mappings[3].child_fd, FIRST_FD + 3);
    }

    #[test]
    fn words_that_a_shell_would_split_are_quoted() {
        let words = [
            "plain".into(),
            "two words".into(),
            "it's".into(),
            OsString::new(),
        ];
        assert_eq!(shell_line(words.iter()), r"plain 'two words' 'it'\''s' ''");
    }
}
