// SPDX-License-Identifier: GPL-2.0-or-later
//! The system interfaces that cannot be had without `unsafe`.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;

use cachefiles_core::wire;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;
use rustix::thread::UnshareFlags;

/// Takes over the descriptor that reading an OPEN message has put into this process.
///
/// `fd` must be the number from a message that was just read from the device, taken over once.
pub fn adopt(fd: i32) -> io::Result<OwnedFd> {
    if fd < 3 {
        return Err(io::Error::other(format!(
            "an OPEN message carries descriptor {fd}, which cannot be: 0 to 2 are in use"
        )));
    }
    // SAFETY: the kernel installed a new descriptor under this number for the message that the
    // caller has just read, and nobody else in this process learns of it: it is ours to close.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Completes the READ `msg_id` by the ioctl on its object's descriptor.
pub fn read_complete(object: impl AsFd, msg_id: u32) -> io::Result<()> {
    const OPCODE: rustix::ioctl::Opcode = wire::IOC_READ_COMPLETE;
    // SAFETY: the opcode is the one that <linux/cachefiles.h> defines; its argument is the message
    // id by value, of which every `u32` is valid (an unknown one is answered with EINVAL), and no
    // memory of this process is read or written.
    unsafe {
        let setter = rustix::ioctl::IntegerSetter::<OPCODE>::new_usize(msg_id as usize);
        rustix::ioctl::ioctl(object, setter)?;
    }
    Ok(())
}

/// Enters a new user namespace, in which nobody has a number yet.
///
/// The kernel refuses it to a process with more than one thread.
pub fn enter_user_namespace() -> io::Result<()> {
    // SAFETY: only a namespace is left, and the table of open files stays shared: this is the one
    // thing that makes the call dangerous, and it needs another flag.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) }?;
    Ok(())
}

/// Makes a mount that is not attached yet read-only, and gives its files the owners that they
/// have in the user namespace `users`.
pub fn change_mount(
    mount: impl AsFd,
    read_only: bool,
    users: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut attr = libc::mount_attr {
        attr_set: 0,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    if read_only {
        attr.attr_set |= libc::MOUNT_ATTR_RDONLY;
    }
    if let Some(users) = users {
        attr.attr_set |= libc::MOUNT_ATTR_IDMAP;
        attr.userns_fd = users.as_raw_fd() as u64;
    }
    // SAFETY: the arguments are those of mount_setattr(2): a descriptor that is open during the
    // call, an empty string that ends with NUL, flags, and a `mount_attr` with its size. The kernel
    // only reads the two, both outlive the call, and a wrong descriptor in the last is an EBADF.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Grows the ext4 in which `inside` lies to so many of its blocks.
pub fn grow_ext4(inside: impl AsFd, blocks: u64) -> io::Result<()> {
    /// EXT4_IOC_RESIZE_FS of the kernel's <linux/ext4.h>.
    const OPCODE: rustix::ioctl::Opcode = rustix::ioctl::opcode::write::<u64>(b'f', 16);
    // SAFETY: the argument of this opcode is a pointer to a `u64`, from which the kernel reads, and
    // of which every value is valid: one that cannot be is answered with an error.
    let setter = unsafe { rustix::ioctl::Setter::<OPCODE, u64>::new(blocks) };
    // SAFETY: `setter` describes the opcode rightly, as argued above; a file of a filesystem that
    // does not know the opcode answers ENOTTY and touches nothing.
    unsafe { rustix::ioctl::ioctl(inside, setter) }?;
    Ok(())
}

/// A whole file in memory, shared with everybody who has it.
pub struct Mapping {
    start: *mut c_void,
    length: usize,
}

impl Mapping {
    /// Maps `file` as it is now; an empty one cannot be mapped.
    pub fn of(file: &File, write: bool) -> io::Result<Mapping> {
        let length = usize::try_from(file.metadata()?.len())
            .map_err(|_| io::Error::from(rustix::io::Errno::FBIG))?;
        let mut access = ProtFlags::READ;
        access.set(ProtFlags::WRITE, write);
        // SAFETY: with a null address and without MAP_FIXED the kernel picks a place that is free,
        // so no memory that is in use changes. The new memory is only reached through `touch`.
        let start = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                length,
                access,
                MapFlags::SHARED,
                file,
                0,
            )
        }?;
        Ok(Mapping { start, length })
    }

    /// Reads a byte of every page, and says how many pages these were.
    pub fn touch(&self) -> usize {
        let pages = (0..self.length).step_by(rustix::param::page_size());
        pages
            .map(|offset| {
                let byte = self.start.cast::<u8>().wrapping_add(offset).cast_const();
                // SAFETY: `offset` is less than the mapping's length, and the mapping lives as
                // long as `self`. Others may change the byte at any time, which a volatile read
                // allows for and whose value nobody uses; a page without data ends the process
                // by SIGBUS, which whoever touches wants to know.
                let _seen: u8 = unsafe { byte.read_volatile() };
            })
            .count()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: start and length are those that mmap was given and gave, nothing else unmaps
        // them, and no reference into the mapping is ever handed out.
        let result = unsafe { rustix::mm::munmap(self.start, self.length) };
        debug_assert!(result.is_ok(), "munmap: {result:?}");
    }
}
