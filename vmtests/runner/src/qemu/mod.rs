// SPDX-License-Identifier: GPL-2.0-or-later
//! QEMU's command line: one function for each concern, and the descriptors that it inherits.
//!
//! All channels (console, QMP, agent, shares) are connected sockets that QEMU inherits. Nothing has
//! a name in the filesystem, nothing is to be cleaned up, and there is no moment at which a socket
//! does not exist yet.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context;
use command_fds::CommandFdExt;
use command_fds::FdMapping;

use crate::accel::Accel;
use crate::exec;
use crate::exec::Guarded;

pub mod devices;
mod line;

use devices::Equipment;
use devices::NinePFolder;
use line::Line;
use line::comma_safe;
use line::shell_line;

/// The program.
pub const PROGRAM: &str = "qemu-system-x86_64";

/// Name of the console's character device, for [`crate::qmp::Control::send_break`].
pub const CONSOLE_ID: &str = "console";

/// Kernel parameters of every guest. What is less important than a notice is not printed: the
/// serial line is slow under TCG, and everything that can be a splat is more important.
///
/// `no_timer_check`: the kernel's own check counts timer ticks for a moment, and panics when QEMU
/// got no CPU just then ("IO-APIC + timer doesn't work!", seen on a host with load 9).
const APPEND: &str =
    "console=ttyS0 loglevel=6 panic=-1 rdinit=/init sysrq_always_enabled no_timer_check";

/// Name of the balloon, by which the guest's memory is taken away.
pub const BALLOON_ID: &str = "balloon";

/// Changes whenever a machine is made of other devices, or of the same in another order: memory
/// snapshots of the old one do not fit then.
pub const LAYOUT: u32 = 1;

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
    /// PCIe ports into which something can be plugged.
    pub ports: usize,
    /// Kernel image.
    pub kernel: &'a Path,
    /// Initial root, if any.
    pub initramfs: Option<&'a Path>,
    /// Further kernel parameters.
    pub append: String,
    /// What is plugged in when the power is switched on.
    pub equipment: Equipment<'a>,
    /// 9p folders, whether they are plugged in at once or later.
    pub folders: &'a [NinePFolder],
    /// Whether the machine waits to be told where its memory comes from, instead of booting.
    pub incoming: bool,
    /// Whether QEMU listens for a debugger, on a port of 127.0.0.1: this one, or a free one for 0.
    pub gdb: Option<u16>,
    /// Where the console's text goes, besides the socket. Appended to.
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
    /// vhost-user socket of each share.
    pub shares: Vec<OwnedFd>,
}

/// A QEMU that was started.
#[derive(Debug)]
pub struct Started {
    /// Its process.
    pub process: Guarded,
    /// The guest's memory.
    pub memory: File,
    /// The port on which it listens for a debugger.
    pub gdb: Option<u16>,
}

impl Machine<'_> {
    /// Starts QEMU. The command line is added to `cmdline`, its messages to `stderr`.
    pub fn spawn(
        &self,
        own: &Path,
        channels: Channels,
        cmdline: &Path,
        stderr: &Path,
    ) -> anyhow::Result<Started> {
        let listener = self.gdb.map(listen_for_gdb).transpose()?;
        let gdb = match &listener {
            Some(listener) => Some(listener.local_addr()?.port()),
            None => None,
        };
        let memory = self.empty_memory()?;
        let inherited = memory.try_clone().context("cannot copy a descriptor")?;
        let (arguments, mappings) = self.arguments(channels, inherited.into(), listener);
        let program = self.program.as_os_str().to_owned();
        let text = shell_line(std::iter::once(&program).chain(&arguments));
        let append = |file: &Path| {
            let mut options = File::options();
            options.create(true).append(true);
            options
                .open(file)
                .with_context(|| format!("cannot write {}", file.display()))
        };
        writeln!(append(cmdline)?, "{text}")
            .with_context(|| format!("cannot write {}", cmdline.display()))?;
        let mut command = exec::command(own, self.program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(append(stderr)?)
            .fd_mappings(mappings)
            .context("two channels have one descriptor number")?;
        let process = Guarded::spawn(&mut command)
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        Ok(Started {
            process,
            memory,
            gdb,
        })
    }

    /// The guest's memory, which QEMU, the shares' helpers and we can all look into.
    fn empty_memory(&self) -> anyhow::Result<File> {
        let what = || format!("cannot get {} bytes of memory for the guest", self.memory);
        let memory = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC)
            .with_context(what)?;
        let memory = File::from(memory);
        memory.set_len(self.memory).with_context(what)?;
        Ok(memory)
    }

    fn arguments(
        &self,
        channels: Channels,
        memory: OwnedFd,
        gdb: Option<TcpListener>,
    ) -> (Vec<OsString>, Vec<FdMapping>) {
        let mut line = Line::default();
        self.machine(&mut line);
        self.boot(&mut line);
        console(&mut line, channels.console, self.console_log);
        control(&mut line, channels.qmp);
        agent(&mut line, channels.agent);
        let fd = line.inherit(memory);
        line.pair(
            "-object",
            format!(
                "memory-backend-file,id=mem,size={}B,mem-path=/proc/self/fd/{fd},share=on",
                self.memory
            ),
        );
        for number in 0..self.ports {
            let port = devices::port_id(number);
            // Virtio devices need no I/O ports, of which there are too few for so many bridges.
            line.pair(
                "-device",
                format!("pcie-root-port,id={port},chassis={number},slot={number},io-reserve=0"),
            );
        }
        for (number, socket) in channels.shares.into_iter().enumerate() {
            let fd = line.inherit(socket);
            let id = devices::chardev_id(number);
            line.pair("-chardev", format!("socket,id={id},fd={fd}"));
        }
        for (number, folder) in self.folders.iter().enumerate() {
            line.pair("-fsdev", folder.backend(number));
        }
        for node in self.equipment.nodes() {
            line.pair("-blockdev", node.to_string());
        }
        for device in self.equipment.devices() {
            line.pair("-device", device.to_string());
        }
        if self.incoming {
            line.pair("-incoming", "defer");
        }
        if let Some(listener) = gdb {
            let fd = line.inherit(listener.into());
            line.pair(
                "-chardev",
                format!("socket,id=gdb,fd={fd},server=on,wait=off"),
            );
            line.pair("-gdb", "chardev:gdb");
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
            Accel::Counted => ("tcg,thread=single", "max"),
        };
        if self.accel == Accel::Counted {
            // An instruction takes 2^0 ns. A guest that waits sees the host's time go by: with
            // sleep=off it would skip to its next timer, and every limit would be over before a
            // disk has answered.
            line.pair("-icount", "shift=0,sleep=on");
        }
        line.pair("-accel", accel);
        line.pair("-cpu", cpu);
        line.pair("-smp", self.cpus.to_string());
        line.pair("-m", format!("{}B", self.memory));
        line.pair("-device", "virtio-rng-pci");
        line.pair("-device", "pvpanic-pci");
        line.pair("-device", format!("virtio-balloon-pci,id={BALLOON_ID}"));
    }

    fn boot(&self, line: &mut Line) {
        line.pair("-kernel", self.kernel);
        if let Some(initramfs) = self.initramfs {
            line.pair("-initrd", initramfs);
        }
        line.pair("-append", format!("{APPEND} {}", self.append).trim_end());
    }
}

/// The socket is ours from the beginning: no other process can take its port before QEMU has it.
fn listen_for_gdb(port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("cannot listen for a debugger on port {port} of 127.0.0.1"))
}

fn console(line: &mut Line, socket: OwnedFd, log: &Path) {
    let fd = line.inherit(socket);
    let log = comma_safe(log);
    line.pair(
        "-chardev",
        format!("socket,id={CONSOLE_ID},fd={fd},logfile={log},logappend=on"),
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

    fn end() -> OwnedFd {
        UnixStream::pair().unwrap().0.into()
    }

    fn channels() -> Channels {
        Channels {
            console: end(),
            qmp: end(),
            agent: end(),
            shares: vec![end()],
        }
    }

    fn machine() -> Machine<'static> {
        Machine {
            program: Path::new("qemu"),
            name: "a",
            accel: Accel::Tcg,
            cpus: 2,
            memory: 512 << 20,
            ports: 8,
            kernel: Path::new("/k"),
            initramfs: None,
            append: String::new(),
            equipment: devices::NOTHING,
            folders: &[],
            incoming: false,
            gdb: None,
            console_log: Path::new("/a,b/console.log"),
        }
    }

    #[test]
    fn a_comma_in_a_path_does_not_end_the_option() {
        let (arguments, mappings) = machine().arguments(channels(), end(), None);
        let line = shell_line(arguments.iter());
        assert!(line.contains("logfile=/a,,b/console.log"), "{line}");
        assert_eq!(mappings.len(), 5);
        assert_eq!(mappings[4].child_fd, line::FIRST_FD + 4);
    }

    #[test]
    fn a_machine_that_is_restored_has_the_devices_of_one_that_boots() {
        let devices = |incoming: bool| {
            let machine = Machine {
                incoming,
                ..machine()
            };
            let (arguments, _) = machine.arguments(channels(), end(), None);
            let flags = arguments.windows(2).filter(|pair| pair[0] == "-device");
            flags.map(|pair| pair[1].clone()).collect::<Vec<_>>()
        };
        assert_eq!(devices(false), devices(true));
        assert_eq!(devices(true).len(), 3 + 2 + 8);
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
