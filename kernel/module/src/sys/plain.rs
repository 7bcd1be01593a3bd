// SPDX-License-Identifier: GPL-2.0-or-later
//! Functions of C that whoever has references may call, as safe functions.
//!
//! A function is on one of the lists below when all that it asks for is in the types: that what its
//! pointers point to is alive during the call, and is what it should be. It keeps no pointer, has no
//! state of its caller's to go by, and needs no lock that the caller would have to hold: what it
//! needs it takes. Whether it may sleep is not a matter of memory: the kernel says so, loudly. What
//! asks for more is called where that is seen to, with a reason of its own.

use super::bindings;
use super::dentry::Dentry;
use super::errno::Errno;
use super::field::Struct;
use super::file::File;
use super::fscache::Cookie;
use super::fscache::VolumeCookie;
use super::inode::Inode;
use super::mount::Mount;
use super::netfs::Resources;
use super::object::Object;
use super::subreq::WritePart;
use super::waitq::WaitQueue;

/// An argument of a function of C.
///
/// # Safety
/// While `self` lives, what `c` returns is what C makes of it: a number; or a pointer to a live
/// struct, or to what else the type says.
unsafe trait Argument {
    /// Its type in C.
    type C;

    /// The argument for C.
    fn c(self) -> Self::C;
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        // SAFETY: a number.
        unsafe impl Argument for $number {
            type C = $number;

            fn c(self) -> $number {
                self
            }
        }
    )*};
}

numbers!(i8, u8, u32, i32, u64, i64, usize, isize);

// SAFETY: alive while borrowed: what `Struct` promises.
unsafe impl<T: Struct> Argument for &T {
    type C = *mut T::C;

    fn c(self) -> *mut T::C {
        self.raw()
    }
}

// SAFETY: as above, or null: only functions that know of null have such a parameter.
unsafe impl<T: Struct> Argument for Option<&T> {
    type C = *mut T::C;

    fn c(self) -> *mut T::C {
        self.map_or(core::ptr::null_mut(), T::raw)
    }
}

// SAFETY: as above, or an error pointer: only functions that know of these have such a parameter.
unsafe impl<T: Struct> Argument for Result<&T, Errno> {
    type C = *mut T::C;

    fn c(self) -> *mut T::C {
        match self {
            Ok(alive) => alive.raw(),
            Err(e) => (e.to_ret() as isize) as *mut T::C,
        }
    }
}

// SAFETY: eight bytes, alive while borrowed, for functions that read as many, perhaps in larger units:
// they are aligned.
unsafe impl Argument for &u64 {
    type C = *const core::ffi::c_void;

    fn c(self) -> *const core::ffi::c_void {
        core::ptr::from_ref(self).cast()
    }
}

macro_rules! plain {
    ($(fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)?;)*) => {$(
        #[inline(always)]
        pub(super) fn $name($($arg: $type),*) $(-> $ret)? {
            $(let $arg = Argument::c($arg);)*
            // SAFETY: a function of the lists below, and so content with arguments that are what
            // their types say (see the file's beginning); that they are is what `Argument` promises.
            unsafe { bindings::$name($($arg),*) }
        }
    )*};
}

// What a dentry is, as it is now. Whoever has a dentry has its mount, too, which keeps the superblock
// (see `Dentry`). A positive one that is referenced stays positive: who removes its name unhashes it.
plain! {
    fn cf_dentry_inode(dentry: &Dentry) -> *mut bindings::inode;
    fn cf_dentry_is_negative(dentry: &Dentry) -> bool;
    fn cf_dentry_is_dir(dentry: &Dentry) -> bool;
    fn cf_dentry_is_reg(dentry: &Dentry) -> bool;
    fn cf_dentry_can_lookup(dentry: &Dentry) -> bool;
    fn cf_dentry_unhashed(dentry: &Dentry) -> bool;
    fn cf_dentry_is_mountpoint(dentry: &Dentry) -> bool;
    fn cf_sb_is_read_only(dentry: &Dentry) -> bool;
    fn is_subdir(dentry: &Dentry, dir: &Dentry) -> bool;
}

// What an inode is, and its lock: to take it asks for nothing, to release it asks for the lock.
plain! {
    fn cf_inode_ino(inode: &Inode) -> u64;
    fn cf_inode_size(inode: &Inode) -> i64;
    fn cf_inode_blocks(inode: &Inode) -> u64;
    fn cf_inode_is_dead_dir(inode: &Inode) -> bool;
    fn cf_inode_lock(inode: &Inode);
    fn cf_inode_lock_parent(inode: &Inode);
}

// What system calls do with an open file, and with a mount. They check what they are given.
plain! {
    fn cf_get_file(file: &File) -> *mut bindings::file;
    fn cf_file_inode(file: &File) -> *mut bindings::inode;
    fn cf_file_dentry(file: &File) -> *mut bindings::dentry;
    fn cf_file_has_iter_ops(file: &File) -> bool;
    fn cf_touch_atime(file: &File);
    fn cf_truncate(file: &File, size: i64) -> i32;
    fn vfs_llseek(file: &File, pos: i64, whence: i32) -> i64;
    fn vfs_fallocate(file: &File, mode: i32, pos: i64, len: i64) -> i32;
    fn mnt_want_write_file(file: &File) -> i32;
    fn mnt_want_write(mnt: &Mount) -> i32;
    fn cf_mnt_is_idmapped(mnt: &Mount) -> bool;
    fn cf_sync_fs(mnt: &Mount) -> i32;
}

// What a cache tells fscache of cookies and volumes. fscache locks what it changes.
plain! {
    fn fscache_cookie_lookup_negative(cookie: &Cookie);
    fn fscache_caching_failed(cookie: &Cookie);
    fn fscache_resume_after_invalidation(cookie: &Cookie);
    fn fscache_withdraw_cookie(cookie: &Cookie);
    fn cf_volume_pin_accesses(volume: &VolumeCookie) -> i32;
    fn fscache_withdraw_volume(volume: &VolumeCookie);
    fn fscache_wait_for_operation(res: &Resources, want: bindings::fscache_want_state) -> bool;
}

// The current task, the clock, and fscache's counters: no pointers.
plain! {
    fn cf_capable_sys_admin() -> bool;
    fn cf_get_current_ioprio() -> i32;
    fn cf_real_seconds() -> u32;
    fn cf_cond_resched();
    fn cf_count_read();
    fn cf_count_write();
    fn cf_count_no_write_space();
    fn cf_count_no_create_space();
    fn cf_count_culled();
    fn cf_count_dio_misfit();
    fn cf_wake_up_poll(queue: &WaitQueue, events: u32);
}

// The trace events. Each reads through its pointers, when somebody traces, and only while it runs.
// Where the object is an `Option`, the event knows of null.
plain! {
    fn cf_trace_ref(object: u32, cookie: u32, usage: i32, why: bindings::cachefiles_obj_ref_trace);
    fn cf_trace_lookup(object: Option<&Object>, dir: &Dentry, found: Result<&Dentry, Errno>);
    fn cf_trace_mkdir(dir: &Dentry, subdir: &Dentry);
    fn cf_trace_tmpfile(object: &Object, backer: &Inode);
    fn cf_trace_link(object: &Object, backer: &Inode);
    fn cf_trace_unlink(object: Option<&Object>, ino: u64, why: bindings::fscache_why_object_killed);
    fn cf_trace_rename(object: Option<&Object>, ino: u64, why: bindings::fscache_why_object_killed);
    fn cf_trace_coherency(
        object: &Object,
        ino: u64,
        aux: &u64,
        content: u8,
        why: bindings::cachefiles_coherency_trace,
    );
    fn cf_trace_prep_read(
        object: Option<&Object>,
        start: i64,
        len: usize,
        flags: usize,
        source: bindings::netfs_io_source,
        why: bindings::cachefiles_prepare_read_trace,
        cache_ino: u64,
        netfs_ino: u64,
    );
    fn cf_trace_read(object: &Object, backer: &Inode, start: i64, len: usize);
    fn cf_trace_write(object: &Object, backer: &Inode, start: i64, len: usize);
    fn cf_trace_trunc(
        object: &Object,
        backer: &Inode,
        from: i64,
        to: i64,
        why: bindings::cachefiles_trunc_trace,
    );
    fn cf_trace_mark_active(object: Option<&Object>, inode: &Inode);
    fn cf_trace_mark_failed(object: Option<&Object>, inode: &Inode);
    fn cf_trace_mark_inactive(object: Option<&Object>, inode: &Inode);
    fn cf_trace_vfs_error(
        object: Option<&Object>,
        backer: &Inode,
        error: i32,
        at: bindings::cachefiles_error_trace,
    );
    fn cf_trace_io_error(
        object: Option<&Object>,
        backer: &Inode,
        error: i32,
        at: bindings::cachefiles_error_trace,
    );
    fn cf_trace_ondemand_open(object: &Object, msg_id: u32, object_id: u32, fd: u32, flags: u32);
    fn cf_trace_ondemand_copen(object: &Object, msg_id: u32, len: isize);
    fn cf_trace_ondemand_close(object: &Object, msg_id: u32, object_id: u32);
    fn cf_trace_ondemand_read(object: &Object, msg_id: u32, object_id: u32, off: i64, len: usize);
    fn cf_trace_ondemand_cread(object: &Object, msg_id: u32);
    fn cf_trace_ondemand_fd_write(object: &Object, backer: &Inode, start: i64, len: usize);
    fn cf_trace_ondemand_fd_release(object: &Object, object_id: i32);
    fn cf_trace_sreq_refused(part: &WritePart);
    fn cf_trace_sreq_prepare(part: &WritePart);
    fn cf_trace_sreq_write(part: &WritePart);
}
