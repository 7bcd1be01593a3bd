// SPDX-License-Identifier: GPL-2.0-or-later
//! The few system interfaces that cannot be had without `unsafe`.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use cachefiles_core::wire;
use cachefiles_probe_abi::call;
use cachefiles_probe_abi::call::Call;
use rustix::ioctl::Ioctl;
use rustix::ioctl::IoctlOutput;
use rustix::ioctl::Opcode;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;
use rustix::thread::UnshareFlags;

/// Addresses below this one have no memory in any process: the kernel's own lower bound.
pub const NO_MEMORY_BELOW: usize = 4096;

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

/// Closes a number without an owner; false when it is not open.
///
/// The caller must know that whatever is open under it has been put there by reading a message
/// and has not been adopted, and must see to it that it never is.
pub fn close_unclaimed(number: RawFd) -> bool {
    // SAFETY: closing touches no memory; and by the caller's knowledge nothing in this process
    // owns the number or has borrowed it.
    unsafe { libc::close(number) == 0 }
}

/// Completes the READ `msg_id` by the ioctl on its object's descriptor.
pub fn read_complete(object: impl AsFd, msg_id: usize) -> io::Result<()> {
    ioctl(object, wire::IOC_READ_COMPLETE, msg_id).map(drop)
}

/// An ioctl by its numbers, and what it returned. One that may take its argument for an address
/// gets none at which there is memory: it is refused here.
pub fn ioctl(on: impl AsFd, request: u32, argument: usize) -> io::Result<i32> {
    if request != wire::IOC_READ_COMPLETE && argument >= NO_MEMORY_BELOW {
        return Err(io::Error::other(format!(
            "the argument {argument:#x} of request {request:#x} might be an address with memory: \
             it must be below {NO_MEMORY_BELOW}"
        )));
    }
    // SAFETY: the request either takes its argument by value (that which <linux/cachefiles.h>
    // defines, of which every value is valid), or the argument is no address with memory, so that
    // the kernel reads and writes nothing in this process whatever it takes it for.
    unsafe { rustix::ioctl::ioctl(on, ByNumbers { request, argument }) }.map_err(Into::into)
}

/// Makes a call of the probe's device with this input; what it gives back goes to `output`.
pub fn probe_call(
    device: impl AsFd,
    record: &mut Call,
    input: &[u8],
    output: &mut [u8],
) -> io::Result<()> {
    record.input = input.as_ptr().expose_provenance() as u64;
    record.output = output.as_mut_ptr().expose_provenance() as u64;
    record.output_len = output.len() as u64;
    let given = record.name_len + record.cache_len + record.aux_len;
    if given != input.len() as u64 {
        return Err(io::Error::other(format!(
            "a call with {} bytes of input says that it has {given}",
            input.len()
        )));
    }
    let mut bytes = record.to_bytes();
    type Update<'a> = rustix::ioctl::Updater<'a, { call::IOC_CALL }, [u8; call::BYTES]>;
    // SAFETY: the ioctl takes and fills a record of exactly this type, of which any bytes are valid.
    let update = unsafe { Update::new(&mut bytes) };
    // SAFETY: the kernel reads the input, whose length was checked above, and writes at most
    // `output_len` bytes to the output, which is borrowed for it; any other device refuses the number.
    unsafe { rustix::ioctl::ioctl(device, update) }?;
    *record = Call::from_bytes(&bytes);
    Ok(())
}

struct ByNumbers {
    request: Opcode,
    argument: usize,
}

// SAFETY: the pointer is the argument's number and points nowhere; the output is made of the
// returned number alone. That the call itself is harmless is for its one caller, above.
unsafe impl Ioctl for ByNumbers {
    type Output = i32;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        self.request
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::without_provenance_mut(self.argument)
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i32> {
        Ok(out)
    }
}

/// Reads with a buffer at an address at which there is no memory.
pub fn read_to_nowhere(from: impl AsFd, length: usize) -> io::Result<usize> {
    // Not 0: that is no address for some checks, and this one is to look like any other.
    const NOWHERE: usize = 64;
    if length > NO_MEMORY_BELOW - NOWHERE {
        return Err(io::Error::other(format!(
            "a buffer of {length} bytes reaches to where there may be memory: at most {} can lie \
             at a bad address",
            NO_MEMORY_BELOW - NOWHERE
        )));
    }
    let fd = from.as_fd().as_raw_fd();
    // SAFETY: the whole buffer lies in the lowest page, in which this process has no memory: the
    // kernel can write nothing, and says EFAULT if it tries.
    let got = unsafe { libc::read(fd, std::ptr::without_provenance_mut(NOWHERE), length) };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
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

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd;

    use super::*;

    #[test]
    fn a_read_to_nowhere_fails_and_a_longer_one_is_not_tried() {
        let zeros = std::fs::File::open("/dev/zero").unwrap();
        let error = read_to_nowhere(&zeros, 1024).unwrap_err();
        assert_eq!(
            error.raw_os_error(),
            Some(rustix::io::Errno::FAULT.raw_os_error())
        );
        let error = read_to_nowhere(&zeros, 5000).unwrap_err();
        assert!(error.to_string().contains("at most 4032"), "{error}");
    }

    #[test]
    fn an_ioctl_goes_out_as_it_is_unless_its_argument_may_be_an_address() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let errno = |request, argument| {
            ioctl(&reader, request, argument)
                .map_err(|error| error.raw_os_error())
                .unwrap_err()
        };
        let number = |errno: rustix::io::Errno| Some(errno.raw_os_error());
        assert_eq!(
            errno(wire::IOC_READ_COMPLETE, usize::MAX),
            number(rustix::io::Errno::NOTTY)
        );
        // FIONREAD writes to its argument.
        assert_eq!(errno(0x541b, 8), number(rustix::io::Errno::FAULT));
        let refused = ioctl(&reader, 0x541b, 0x40_0000).unwrap_err();
        assert!(refused.to_string().contains("below 4096"), "{refused}");
        // FIOCLEX wants no argument.
        assert_eq!(ioctl(&reader, 0x5451, 0).unwrap(), 0);
    }

    #[test]
    fn adopting_takes_ownership_and_refuses_the_standard_streams() {
        assert!(adopt(2).is_err());
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(adopt(writer.into_raw_fd()).unwrap());
        let mut byte = [0];
        assert_eq!(rustix::io::read(&reader, &mut byte[..]).unwrap(), 0);
    }
}
