// SPDX-License-Identifier: GPL-2.0-or-later
//! The real device. All of the daemon's unsafe code is here: taking over descriptors by their
//! number, and the ioctl.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use cachefiles_core::wire;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::event::poll;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use rustix::ioctl::IntegerSetter;

use super::Device;
use super::Interest;
use super::ObjectFile;
use super::Wake;
use crate::failure::Failure;
use crate::stop::Stop;

/// `/dev/cachefiles`, open.
#[derive(Debug)]
pub struct KernelDevice {
    fd: OwnedFd,
}

impl KernelDevice {
    /// Opens the device; only one process can.
    ///
    /// # Errors
    /// One kind of failure for each reason that an operator can do something about.
    pub fn open(path: &Path) -> Result<KernelDevice, Failure> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty());
        opened
            .map(|fd| KernelDevice { fd })
            .map_err(|errno| match errno {
                Errno::BUSY => Failure::DeviceBusy {
                    path: path.to_owned(),
                    source: errno.into(),
                },
                Errno::PERM | Errno::ACCESS => Failure::NotAllowed {
                    path: path.to_owned(),
                    source: errno.into(),
                },
                _ => Failure::DeviceMissing {
                    path: path.to_owned(),
                    source: errno.into(),
                },
            })
    }

    /// Takes over a device that whoever started this process left open at `number`.
    ///
    /// # Errors
    /// [`Failure::Usage`] when there is no character device.
    pub fn inherited(number: i32) -> Result<KernelDevice, Failure> {
        let fd = take_over(number).map_err(|error| {
            Failure::Usage(format!(
                "--device-fd {number}: {error}. Whoever starts the daemon must leave the device \
                 open at that number"
            ))
        })?;
        let kind = rustix::fs::fstat(&fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
        if kind != Ok(FileType::CharacterDevice) {
            return Err(Failure::Usage(format!(
                "--device-fd {number} is not a device, but {kind:?}. It must be an open \
                 /dev/cachefiles"
            )));
        }
        Ok(KernelDevice { fd })
    }
}

/// Makes the descriptor `number` this process's to close.
fn take_over(number: i32) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: the number is not -1, and the borrow ends with this statement; if it names no open
    // descriptor the kernel answers EBADF to the one call that uses it.
    rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) })?;
    // SAFETY: it is open, as was just seen, and nothing else in this process owns it: a number in
    // an OPEN was installed by the kernel for that message alone, and the one on the command line
    // was left by our parent and is taken over once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

impl Device for KernelDevice {
    fn wait(&self, interest: Interest, stop: &Stop, limit: Option<Duration>) -> io::Result<Wake> {
        let wanted = match interest {
            Interest::Request => PollFlags::IN,
            Interest::Culling => PollFlags::OUT,
        };
        let deadline = limit.map(|limit| Instant::now() + limit);
        loop {
            let left = deadline
                .map(|deadline| deadline.saturating_duration_since(Instant::now()))
                .map(Timespec::try_from)
                .transpose()
                .map_err(io::Error::other)?;
            let mut fds = [
                PollFd::new(&self.fd, wanted),
                PollFd::new(stop, PollFlags::IN),
            ];
            match poll(&mut fds, left.as_ref()) {
                Ok(0) => return Ok(Wake::TimedOut),
                Ok(_) if !fds[1].revents().is_empty() => return Ok(Wake::Stopped),
                Ok(_) => return Ok(Wake::Ready),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn wants_culling(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::OUT)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(&now)))?;
        Ok(fds[0].revents().contains(PollFlags::OUT))
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = rustix::io::retry_on_intr(|| rustix::io::read(&self.fd, &mut *buffer))?;
        Ok(read)
    }

    fn adopt(&self, number: i32) -> io::Result<Box<dyn ObjectFile>> {
        Ok(Box::new(KernelObject {
            fd: take_over(number)?,
        }))
    }

    fn command(&self, command: &[u8]) -> io::Result<()> {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&self.fd, command))?;
        if written == command.len() {
            Ok(())
        } else {
            // One write is one command: the rest cannot be sent after it.
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    fn command_in(&self, folder: &File, command: &[u8]) -> io::Result<()> {
        rustix::process::fchdir(folder)?;
        self.command(command)
    }
}

/// The anonymous descriptor of an object.
#[derive(Debug)]
struct KernelObject {
    fd: OwnedFd,
}

impl KernelObject {
    fn seek(&self, to: SeekFrom) -> io::Result<Option<u64>> {
        match rustix::io::retry_on_intr(|| rustix::fs::seek(&self.fd, to)) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NXIO) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl ObjectFile for KernelObject {
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize> {
        let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(&self.fd, data, offset))?;
        Ok(written)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        self.seek(SeekFrom::Data(offset))
    }

    fn next_hole(&self, offset: u64) -> io::Result<Option<u64>> {
        self.seek(SeekFrom::Hole(offset))
    }

    fn complete(&self, msg_id: u32) -> io::Result<()> {
        // SAFETY: the opcode is the one of cachefiles' descriptors, which takes the message id by
        // value and follows no pointer; any number is valid, and one that is not pending is
        // refused with EINVAL.
        let request =
            unsafe { IntegerSetter::<{ wire::IOC_READ_COMPLETE }>::new_usize(msg_id as usize) };
        // SAFETY: the request neither reads nor writes memory of this process, as said above.
        unsafe { rustix::ioctl::ioctl(self.fd.as_fd(), request) }?;
        Ok(())
    }
}
