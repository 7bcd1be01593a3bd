// SPDX-License-Identifier: GPL-2.0-or-later
//! The sysctl `cachefiles.error_injection`.

use super::bindings;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering;

/// Its value: see `core/src/inject.rs` for what the bits mean.
static ERROR_INJECTION: AtomicU32 = AtomicU32::new(0);

struct Table(bindings::ctl_table);

// SAFETY: the table is constant, and the value that it points to is atomic.
unsafe impl Sync for Table {}

static TABLE: Table = Table(bindings::ctl_table {
    procname: c"error_injection".as_ptr().cast(),
    data: ERROR_INJECTION.as_ptr().cast(),
    maxlen: core::mem::size_of::<u32>() as i32,
    mode: 0o644,
    proc_handler: Some(bindings::proc_douintvec),
    // SAFETY: all fields of this table may be zero.
    ..unsafe { core::mem::zeroed() }
});

/// What the sysctl is set to.
pub(crate) fn error_injection() -> u32 {
    ERROR_INJECTION.load(Ordering::Relaxed)
}

/// The sysctl while it can be seen; dropping it takes it away.
pub(crate) struct Registration(NonNull<bindings::ctl_table_header>);

// SAFETY: an address that only the sysctl core uses, under its lock.
unsafe impl Send for Registration {}
// SAFETY: as above.
unsafe impl Sync for Registration {}

impl Registration {
    /// Makes the sysctl appear; `None` when there is no memory or another module has it.
    pub(crate) fn new() -> Option<Registration> {
        let table = core::ptr::addr_of!(TABLE.0).cast_mut();
        // SAFETY: path and table live as long as the module, which takes the sysctl away first. The
        // core changes nothing in the table.
        let header =
            unsafe { bindings::register_sysctl_sz(c"cachefiles".as_ptr().cast(), table, 1) };
        NonNull::new(header).map(Registration)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: registered by `new`.
        unsafe { bindings::unregister_sysctl_table(self.0.as_ptr()) };
    }
}
