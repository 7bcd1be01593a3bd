// SPDX-License-Identifier: GPL-2.0-or-later
//! Anonymous fds: the daemon's handle on one object.

use super::bindings;
use super::device::this_module;
use super::errno::check;
use super::errno::check_ptr;
use super::errno::Result;
use super::netfs::IovIter;
use crate::ondemand_fd::OndemandFd;
use core::marker::PhantomData;
use kernel::prelude::*;

/// A number reserved in the current process's table of fds, not yet visible to it. Dropping it
/// gives the number back.
pub(crate) struct FdSlot(u32, PhantomData<*mut ()>);

impl FdSlot {
    /// Reserves the lowest free number, as `open` would.
    ///
    /// # Errors
    /// EMFILE, ENOMEM.
    pub(crate) fn reserve() -> Result<FdSlot> {
        // SAFETY: changes the current process's table of fds only.
        let fd = unsafe { bindings::get_unused_fd_flags(bindings::cf_consts_CF_O_WRONLY) };
        check(fd)?;
        Ok(FdSlot(fd as u32, PhantomData))
    }

    /// The number.
    pub(crate) fn number(&self) -> u32 {
        self.0
    }

    /// Makes `file` visible under the number. There is no way back.
    pub(crate) fn install(self, file: AnonFile) {
        let (fd, raw) = (self.0, file.0);
        core::mem::forget(self);
        core::mem::forget(file);
        // SAFETY: the number is reserved and the reference to the file passes to the table.
        unsafe { bindings::fd_install(fd, raw) };
    }
}

impl Drop for FdSlot {
    fn drop(&mut self) {
        // SAFETY: reserved by this value and not installed.
        unsafe { bindings::put_unused_fd(self.0) };
    }
}

/// An anonymous file that is not installed yet. Dropping it releases it.
pub(crate) struct AnonFile(*mut bindings::file);

impl AnonFile {
    /// Makes the file; from now on its release ends `fd`.
    ///
    /// # Errors
    /// ENFILE, ENOMEM; `fd` is dropped then.
    pub(crate) fn new(fd: KBox<OndemandFd>) -> Result<AnonFile> {
        let raw = KBox::into_raw(fd);
        // SAFETY: name and operations are static; the private pointer is ours.
        let file = unsafe {
            bindings::anon_inode_getfile(
                c"[cachefiles]".as_ptr().cast(),
                fops(),
                raw.cast(),
                bindings::cf_consts_CF_O_WRONLY as i32,
            )
        };
        match check_ptr(file) {
            Ok(file) => {
                // SAFETY: nobody else has seen the file.
                unsafe { bindings::cf_file_allow_pwrite_seek(file.as_ptr()) };
                Ok(AnonFile(file.as_ptr()))
            }
            Err(e) => {
                // SAFETY: no file was made, so that the box is still ours alone.
                drop(unsafe { KBox::from_raw(raw) });
                Err(e)
            }
        }
    }
}

impl Drop for AnonFile {
    fn drop(&mut self) {
        // SAFETY: gives back the reference that this value owns.
        unsafe { bindings::fput(self.0) };
    }
}

struct Fops(bindings::file_operations);

// SAFETY: the table is constant.
unsafe impl Sync for Fops {}

fn fops() -> *const bindings::file_operations {
    static FOPS: Fops = Fops(bindings::file_operations {
        owner: match cfg!(cachefiles_mutant = "module-in-use") {
            true => core::ptr::null_mut(),
            false => this_module(),
        },
        release: Some(release),
        write_iter: Some(write_iter),
        llseek: Some(llseek),
        unlocked_ioctl: Some(ioctl),
        // SAFETY: all fields of this table may be zero.
        ..unsafe { core::mem::zeroed() }
    });
    &FOPS.0
}

/// # Safety
/// `file` is open, made by [`AnonFile::new`], and stays open for `'a`.
unsafe fn private<'a>(file: *mut bindings::file) -> &'a OndemandFd {
    // SAFETY: the caller's promise.
    let raw = unsafe { (*file).private_data };
    // SAFETY: made by `KBox::into_raw` in `new` and freed by the release only.
    unsafe { &*raw.cast::<OndemandFd>() }
}

unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> i32 {
    // SAFETY: the file is being released.
    let raw = unsafe { (*file).private_data };
    // SAFETY: made by `KBox::into_raw` in `new`; a file is released once.
    drop(unsafe { KBox::from_raw(raw.cast::<OndemandFd>()) });
    0
}

unsafe extern "C" fn write_iter(
    iocb: *mut bindings::kiocb,
    from: *mut bindings::iov_iter,
) -> isize {
    // SAFETY: the VFS hands over the kiocb for this call.
    let iocb = unsafe { &mut *iocb };
    // SAFETY: a kiocb holds its file.
    let fd = unsafe { private(iocb.ki_filp) };
    // SAFETY: the VFS hands over the iterator for this call.
    let mut iter = unsafe { IovIter::from_ptr(from) };
    let pos = u64::try_from(iocb.ki_pos).unwrap_or(u64::MAX);
    match fd.write(pos, &mut iter) {
        Ok(n) => {
            let end = pos.saturating_add(n as u64);
            iocb.ki_pos = i64::try_from(end).unwrap_or(i64::MAX);
            isize::try_from(n).unwrap_or(isize::MAX)
        }
        Err(e) => e.to_ret() as isize,
    }
}

unsafe extern "C" fn llseek(file: *mut bindings::file, pos: i64, whence: i32) -> i64 {
    // SAFETY: the VFS holds the file during the call.
    let fd = unsafe { private(file) };
    fd.llseek(pos, whence)
        .unwrap_or_else(|e| i64::from(e.to_ret()))
}

unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: u32, arg: usize) -> isize {
    // SAFETY: the VFS holds the file during the call.
    let fd = unsafe { private(file) };
    super::errno::to_ret(fd.ioctl(cmd, arg)) as isize
}
