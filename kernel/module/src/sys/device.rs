// SPDX-License-Identifier: GPL-2.0-or-later
//! The misc device /dev/cachefiles.

use super::bindings;
use super::errno::check;
use super::errno::Errno;
use super::errno::Result;
use super::user::UserIn;
use super::user::UserOut;
use crate::daemon;
use crate::daemon::Binding;
use crate::interface::ObjectData;
use crate::ondemand_fd::OndemandFd;
use crate::volume::Volume;
use core::pin::Pin;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::sync::ArcBorrow;
use kernel::types::Opaque;

extern "C" {
    static __this_module: u8;
}

/// This module, for tables of file operations: an open file keeps the module loaded.
pub(super) const fn this_module() -> *mut bindings::module {
    core::ptr::addr_of!(__this_module).cast_mut().cast()
}

/// A reference to this module, so that what runs on its own, in a task of somebody else, ends before
/// the module can be unloaded.
pub(crate) struct Loaded(());

impl Loaded {
    /// Takes one. To be called from a file operation, during which the open file holds one.
    pub(super) fn get() -> Loaded {
        // SAFETY: the open file's reference keeps the count above zero.
        unsafe { bindings::cf_module_get() };
        Loaded(())
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: gives back what `get` took.
        unsafe { bindings::cf_module_put() };
    }
}

struct Fops(bindings::file_operations);

// SAFETY: the table is constant.
unsafe impl Sync for Fops {}

static FOPS: Fops = Fops(bindings::file_operations {
    owner: this_module(),
    open: Some(open),
    release: Some(release),
    read: Some(read),
    write: Some(write),
    poll: Some(poll),
    llseek: Some(bindings::noop_llseek),
    // SAFETY: all fields of this table may be zero.
    ..unsafe { core::mem::zeroed() }
});

// Open files hand these from task to task, and several use them at once.
const _: () = {
    shared::<Binding>();
    shared::<OndemandFd>();
    shared::<ObjectData>();
    shared::<Volume>();
};

const fn shared<T: Send + Sync>() {}

/// The registration of the device; dropping it takes the device away.
pub(crate) struct Registration(Pin<KBox<Opaque<bindings::miscdevice>>>);

// SAFETY: the record is used by the misc core only, under its lock.
unsafe impl Send for Registration {}
// SAFETY: as above.
unsafe impl Sync for Registration {}

impl Registration {
    /// Makes the device appear.
    ///
    /// # Errors
    /// EEXIST when the C module has it, ENOMEM.
    pub(crate) fn new() -> Result<Registration> {
        let misc = bindings::miscdevice {
            minor: bindings::cf_consts_CF_MISC_DYNAMIC_MINOR as i32,
            name: c"cachefiles".as_ptr().cast(),
            fops: &FOPS.0,
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
        if cfg!(cachefiles_mutant = "load-cycles") {
            return;
        }
        // SAFETY: registered by `new`.
        unsafe { bindings::misc_deregister(self.0.get()) };
    }
}

/// # Safety
/// `file` is open, made by `open`, and stays open for `'a`.
unsafe fn private<'a>(file: *mut bindings::file) -> ArcBorrow<'a, Binding> {
    // SAFETY: the caller's promise.
    let raw = unsafe { (*file).private_data };
    // SAFETY: made by `Arc::into_raw` in `open` and given back by the release only.
    unsafe { ArcBorrow::from_raw(raw.cast::<Binding>()) }
}

unsafe extern "C" fn open(_inode: *mut bindings::inode, file: *mut bindings::file) -> i32 {
    match daemon::open(Loaded::get()) {
        Ok(binding) => {
            // SAFETY: the file is being opened; nobody else uses it yet.
            let slot = unsafe { &mut (*file).private_data };
            *slot = Arc::into_raw(binding).cast_mut().cast();
            0
        }
        Err(e) => e.to_ret(),
    }
}

unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> i32 {
    // SAFETY: the file is being released.
    let raw = unsafe { (*file).private_data };
    // SAFETY: made by `Arc::into_raw` in `open`; a file is released once.
    let binding = unsafe { Arc::from_raw(raw.cast::<Binding>()) };
    daemon::release(binding);
    0
}

fn size_ret(result: core::result::Result<usize, Errno>) -> isize {
    match result {
        Ok(n) => isize::try_from(n).unwrap_or(isize::MAX),
        Err(e) => e.to_ret() as isize,
    }
}

unsafe extern "C" fn read(
    file: *mut bindings::file,
    buf: *mut u8,
    len: usize,
    _pos: *mut i64,
) -> isize {
    // SAFETY: the VFS holds the file during the call.
    let binding = unsafe { private(file) };
    let mut out = UserOut::new(buf.cast(), len);
    size_ret(daemon::read(&Arc::from(binding), &mut out))
}

unsafe extern "C" fn write(
    file: *mut bindings::file,
    buf: *const u8,
    len: usize,
    _pos: *mut i64,
) -> isize {
    // SAFETY: the VFS holds the file during the call.
    let binding = unsafe { private(file) };
    let data = UserIn::new(buf.cast(), len);
    size_ret(daemon::write(&binding, &data))
}

unsafe extern "C" fn poll(
    file: *mut bindings::file,
    table: *mut bindings::poll_table_struct,
) -> bindings::__poll_t {
    // SAFETY: the VFS holds the file during the call.
    let binding = unsafe { private(file) };
    let queue = binding.cache().pollq().as_ptr();
    // SAFETY: all three are valid during the call. The queue belongs to the cache, which the file holds
    // until its release, and that comes after the caller has been taken off.
    unsafe { bindings::cf_poll_wait(file, queue, table) };
    daemon::poll(&binding)
}
