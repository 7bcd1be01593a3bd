// SPDX-License-Identifier: GPL-2.0-or-later
//! The misc device /dev/cachefiles-probe.

use super::bindings;
use super::errno::check;
use super::errno::to_ret;
use super::errno::Result;
use super::errno::EFAULT;
use super::user::UserIn;
use super::user::UserOut;
use crate::abi::call;
use crate::abi::call::Call;
use crate::session;
use crate::session::Session;
use core::pin::Pin;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::sync::ArcBorrow;
use kernel::types::Opaque;

extern "C" {
    static __this_module: u8;
}

struct Fops(bindings::file_operations);

// SAFETY: the table is constant.
unsafe impl Sync for Fops {}

static FOPS: Fops = Fops(bindings::file_operations {
    owner: core::ptr::addr_of!(__this_module).cast_mut().cast(),
    open: Some(open),
    release: Some(release),
    unlocked_ioctl: Some(ioctl),
    llseek: Some(bindings::noop_llseek),
    // SAFETY: all fields of this table may be zero.
    ..unsafe { core::mem::zeroed() }
});

/// The registration of the device; dropping it takes the device away.
pub(crate) struct Registration(Pin<KBox<Opaque<bindings::miscdevice>>>);

// SAFETY: the record is used by the misc core only, under its lock.
unsafe impl Send for Registration {}
// SAFETY: as above.
unsafe impl Sync for Registration {}

impl Registration {
    /// Makes the device appear, for its owner only.
    ///
    /// # Errors
    /// ENOMEM, or what registering it says.
    pub(crate) fn new() -> Result<Registration> {
        let misc = bindings::miscdevice {
            minor: bindings::cf_consts_CF_MISC_DYNAMIC_MINOR as i32,
            name: c"cachefiles-probe".as_ptr().cast(),
            fops: &FOPS.0,
            mode: 0o600,
            ..Default::default()
        };
        let boxed = KBox::pin(Opaque::new(misc), GFP_KERNEL)?;
        // SAFETY: the record stays where it is until it is deregistered.
        check(unsafe { bindings::misc_register(boxed.get()) })?;
        Ok(Registration(boxed))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: registered by `new`.
        unsafe { bindings::misc_deregister(self.0.get()) };
    }
}

/// Memory of the caller at an address that a call carries; the copy finds out whether it is.
pub(crate) fn input<'a>(address: u64, len: usize) -> UserIn<'a> {
    UserIn::new(core::ptr::without_provenance(address as usize), len)
}

/// As [`input`], to be written.
pub(crate) fn output<'a>(address: u64, len: usize) -> UserOut<'a> {
    UserOut::new(core::ptr::without_provenance_mut(address as usize), len)
}

/// # Safety
/// `file` is open, made by `open`, and stays open for `'a`.
unsafe fn private<'a>(file: *mut bindings::file) -> ArcBorrow<'a, Session> {
    // SAFETY: the caller's promise.
    let raw = unsafe { (*file).private_data };
    // SAFETY: made by `Arc::into_raw` in `open` and given back by the release only.
    unsafe { ArcBorrow::from_raw(raw.cast::<Session>()) }
}

unsafe extern "C" fn open(_inode: *mut bindings::inode, file: *mut bindings::file) -> i32 {
    match Session::new() {
        Ok(session) => {
            // SAFETY: the file is being opened; nobody else uses it yet.
            let slot = unsafe { &mut (*file).private_data };
            *slot = Arc::into_raw(session).cast_mut().cast();
            0
        }
        Err(e) => e.to_ret(),
    }
}

unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> i32 {
    // SAFETY: the file is being released.
    let raw = unsafe { (*file).private_data };
    // SAFETY: made by `Arc::into_raw` in `open`; a file is released once.
    drop(unsafe { Arc::from_raw(raw.cast::<Session>()) });
    0
}

unsafe extern "C" fn ioctl(file: *mut bindings::file, request: u32, argument: usize) -> isize {
    // SAFETY: the VFS holds the file during the call.
    let session = unsafe { private(file) };
    to_ret(serve(&session, request, argument)) as isize
}

fn serve(session: &Session, request: u32, argument: usize) -> Result {
    if request != call::IOC_CALL {
        return Err(super::errno::EINVAL);
    }
    let mut bytes = [0u8; call::BYTES];
    input(argument as u64, call::BYTES).read(&mut bytes)?;
    let mut call = Call::from_bytes(&bytes);
    session::serve(session, &mut call)?;
    output(argument as u64, call::BYTES).write(&call.to_bytes())
}
