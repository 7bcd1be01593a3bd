// SPDX-License-Identifier: GPL-2.0-or-later
//! The cachefiles trace events, one function each, under the kernel's names (shim/trace.c). Each is
//! a call that does nothing unless somebody traces.

use super::bindings;
use super::dentry::Dentry;
use super::errno::Errno;
use super::errno::Result;
use super::fscache::VolumeCookie;
use super::inode::Inode;
use super::object::Object;
use super::plain;

pub(crate) use bindings::cachefiles_coherency_trace as Coherency;
pub(crate) use bindings::cachefiles_error_trace as Failure;
pub(crate) use bindings::cachefiles_prepare_read_trace as PrepareRead;
pub(crate) use bindings::cachefiles_trunc_trace as Truncation;
pub(crate) use bindings::fscache_why_object_killed as Killed;

/// The words of the trace events, by the names that the kernel's header gives them.
pub(crate) mod word {
    pub(crate) use crate::sys::bindings::cachefiles_coherency_trace_cachefiles_coherency_check_aux as CHECK_AUX;
    pub(crate) use crate::sys::bindings::cachefiles_coherency_trace_cachefiles_coherency_check_dirty as CHECK_DIRTY;
    pub(crate) use crate::sys::bindings::cachefiles_coherency_trace_cachefiles_coherency_check_objsize as CHECK_OBJSIZE;
    pub(crate) use crate::sys::bindings::cachefiles_coherency_trace_cachefiles_coherency_check_ok as CHECK_OK;
    pub(crate) use crate::sys::bindings::cachefiles_coherency_trace_cachefiles_coherency_check_type as CHECK_TYPE;
    pub(crate) use crate::sys::bindings::cachefiles_coherency_trace_cachefiles_coherency_check_xattr as CHECK_XATTR;
    pub(crate) use crate::sys::bindings::cachefiles_coherency_trace_cachefiles_coherency_set_fail as SET_FAIL;
    pub(crate) use crate::sys::bindings::cachefiles_coherency_trace_cachefiles_coherency_set_ok as SET_OK;
    pub(crate) use crate::sys::bindings::cachefiles_coherency_trace_cachefiles_coherency_vol_check_cmp as VOL_CHECK_CMP;
    pub(crate) use crate::sys::bindings::cachefiles_coherency_trace_cachefiles_coherency_vol_check_ok as VOL_CHECK_OK;
    pub(crate) use crate::sys::bindings::cachefiles_coherency_trace_cachefiles_coherency_vol_check_resv as VOL_CHECK_RESV;
    pub(crate) use crate::sys::bindings::cachefiles_coherency_trace_cachefiles_coherency_vol_check_xattr as VOL_CHECK_XATTR;
    pub(crate) use crate::sys::bindings::cachefiles_coherency_trace_cachefiles_coherency_vol_set_fail as VOL_SET_FAIL;
    pub(crate) use crate::sys::bindings::cachefiles_coherency_trace_cachefiles_coherency_vol_set_ok as VOL_SET_OK;
    pub(crate) use crate::sys::bindings::cachefiles_error_trace_cachefiles_trace_fallocate_error as FALLOCATE;
    pub(crate) use crate::sys::bindings::cachefiles_error_trace_cachefiles_trace_getxattr_error as GETXATTR;
    pub(crate) use crate::sys::bindings::cachefiles_error_trace_cachefiles_trace_link_error as LINK;
    pub(crate) use crate::sys::bindings::cachefiles_error_trace_cachefiles_trace_lookup_error as LOOKUP;
    pub(crate) use crate::sys::bindings::cachefiles_error_trace_cachefiles_trace_mkdir_error as MKDIR;
    pub(crate) use crate::sys::bindings::cachefiles_error_trace_cachefiles_trace_notify_change_error as NOTIFY_CHANGE;
    pub(crate) use crate::sys::bindings::cachefiles_error_trace_cachefiles_trace_open_error as OPEN;
    pub(crate) use crate::sys::bindings::cachefiles_error_trace_cachefiles_trace_read_error as READ;
    pub(crate) use crate::sys::bindings::cachefiles_error_trace_cachefiles_trace_remxattr_error as REMXATTR;
    pub(crate) use crate::sys::bindings::cachefiles_error_trace_cachefiles_trace_rename_error as RENAME;
    pub(crate) use crate::sys::bindings::cachefiles_error_trace_cachefiles_trace_seek_error as SEEK;
    pub(crate) use crate::sys::bindings::cachefiles_error_trace_cachefiles_trace_setxattr_error as SETXATTR;
    pub(crate) use crate::sys::bindings::cachefiles_error_trace_cachefiles_trace_statfs_error as STATFS;
    pub(crate) use crate::sys::bindings::cachefiles_error_trace_cachefiles_trace_tmpfile_error as TMPFILE;
    pub(crate) use crate::sys::bindings::cachefiles_error_trace_cachefiles_trace_trunc_error as TRUNC;
    pub(crate) use crate::sys::bindings::cachefiles_error_trace_cachefiles_trace_unlink_error as UNLINK;
    pub(crate) use crate::sys::bindings::cachefiles_error_trace_cachefiles_trace_write_error as WRITE;
    pub(crate) use crate::sys::bindings::cachefiles_prepare_read_trace_cachefiles_trace_read_after_eof as READ_AFTER_EOF;
    pub(crate) use crate::sys::bindings::cachefiles_prepare_read_trace_cachefiles_trace_read_found_hole as READ_FOUND_HOLE;
    pub(crate) use crate::sys::bindings::cachefiles_prepare_read_trace_cachefiles_trace_read_found_part as READ_FOUND_PART;
    pub(crate) use crate::sys::bindings::cachefiles_prepare_read_trace_cachefiles_trace_read_have_data as READ_HAVE_DATA;
    pub(crate) use crate::sys::bindings::cachefiles_prepare_read_trace_cachefiles_trace_read_no_data as READ_NO_DATA;
    pub(crate) use crate::sys::bindings::cachefiles_prepare_read_trace_cachefiles_trace_read_no_file as READ_NO_FILE;
    pub(crate) use crate::sys::bindings::cachefiles_prepare_read_trace_cachefiles_trace_read_seek_error as READ_SEEK_ERROR;
    pub(crate) use crate::sys::bindings::cachefiles_prepare_read_trace_cachefiles_trace_read_seek_nxio as READ_SEEK_NXIO;
    pub(crate) use crate::sys::bindings::cachefiles_trunc_trace_cachefiles_trunc_dio_adjust as DIO_ADJUST;
    pub(crate) use crate::sys::bindings::cachefiles_trunc_trace_cachefiles_trunc_expand_tmpfile as EXPAND_TMPFILE;
    pub(crate) use crate::sys::bindings::cachefiles_trunc_trace_cachefiles_trunc_shrink as SHRINK;
    pub(crate) use crate::sys::bindings::fscache_why_object_killed_FSCACHE_OBJECT_INVALIDATED as INVALIDATED;
    pub(crate) use crate::sys::bindings::fscache_why_object_killed_FSCACHE_OBJECT_IS_STALE as IS_STALE;
    pub(crate) use crate::sys::bindings::fscache_why_object_killed_FSCACHE_OBJECT_IS_WEIRD as IS_WEIRD;
    pub(crate) use crate::sys::bindings::fscache_why_object_killed_FSCACHE_OBJECT_WAS_CULLED as WAS_CULLED;
    pub(crate) use crate::sys::bindings::fscache_why_object_killed_FSCACHE_OBJECT_WAS_RETIRED as WAS_RETIRED;
    pub(crate) use crate::sys::bindings::fscache_why_object_killed_FSCACHE_VOLUME_IS_WEIRD as VOLUME_IS_WEIRD;
}

/// Stages of an object's life that are noted without a change of its count.
#[derive(Clone, Copy)]
pub(crate) enum Seen {
    /// Looked up.
    LookupCookie,
    /// Looked up in vain.
    LookupFailed,
    /// Its cookie is being withdrawn.
    WithdrawCookie,
    /// Taken off the list of live objects.
    Withdrawal,
    /// Cleaned up by committing it.
    CleanCommit,
    /// Cleaned up by deleting it.
    CleanDelete,
    /// Cleaned up by dropping its temporary file.
    CleanDropTmp,
}

impl Seen {
    pub(super) fn word(self) -> bindings::cachefiles_obj_ref_trace {
        match self {
            Seen::LookupCookie => {
                bindings::cachefiles_obj_ref_trace_cachefiles_obj_see_lookup_cookie
            }
            Seen::LookupFailed => {
                bindings::cachefiles_obj_ref_trace_cachefiles_obj_see_lookup_failed
            }
            Seen::WithdrawCookie => {
                bindings::cachefiles_obj_ref_trace_cachefiles_obj_see_withdraw_cookie
            }
            Seen::Withdrawal => bindings::cachefiles_obj_ref_trace_cachefiles_obj_see_withdrawal,
            Seen::CleanCommit => bindings::cachefiles_obj_ref_trace_cachefiles_obj_see_clean_commit,
            Seen::CleanDelete => bindings::cachefiles_obj_ref_trace_cachefiles_obj_see_clean_delete,
            Seen::CleanDropTmp => {
                bindings::cachefiles_obj_ref_trace_cachefiles_obj_see_clean_drop_tmp
            }
        }
    }
}

fn ino(dentry: &Dentry) -> u64 {
    dentry.inode().map_or(0, Inode::ino)
}

pub(super) fn reference(
    object: u32,
    cookie: u32,
    usage: i32,
    why: bindings::cachefiles_obj_ref_trace,
) {
    plain::cf_trace_ref(object, cookie, usage, why);
}

/// A name was looked up in `dir`. Not shown where that has no inode, which the event reads.
pub(crate) fn lookup(object: Option<&Object>, dir: &Dentry, found: &Result<Dentry>) {
    if dir.is_negative() {
        return;
    }
    let found = found.as_ref().map_err(|e| *e);
    plain::cf_trace_lookup(object, dir, found);
}

/// A directory was made. Not shown where the filesystem has made it under another dentry: the event
/// reads both inodes, and C stops the machine there.
pub(crate) fn mkdir(dir: &Dentry, subdir: &Dentry) {
    if dir.is_negative() || subdir.is_negative() {
        return;
    }
    plain::cf_trace_mkdir(dir, subdir);
}

/// A file without a name was made.
pub(crate) fn tmpfile(object: &Object, backer: &Inode) {
    plain::cf_trace_tmpfile(object, backer);
}

/// A file got its name.
pub(crate) fn link(object: &Object, backer: &Inode) {
    plain::cf_trace_link(object, backer);
}

/// A file loses its name.
pub(crate) fn unlink(object: Option<&Object>, victim: &Dentry, why: Killed) {
    plain::cf_trace_unlink(object, ino(victim), why);
}

/// A directory goes to the graveyard.
pub(crate) fn rename(object: Option<&Object>, victim: &Dentry, why: Killed) {
    plain::cf_trace_rename(object, ino(victim), why);
}

/// An object's coherency record was read or written; `aux` is the filesystem's part of it.
pub(crate) fn coherency(object: &Object, backer: &Inode, aux: &[u8], content: u8, why: Coherency) {
    // The event shows this many bytes, whether there are as many or not.
    let mut shown = [0u8; 8];
    shown.iter_mut().zip(aux).for_each(|(to, from)| *to = *from);
    let shown = u64::from_ne_bytes(shown);
    plain::cf_trace_coherency(object, backer.ino(), &shown, content, why);
}

/// A volume's coherency record was read or written.
pub(crate) fn vol_coherency(volume: &VolumeCookie, dir: &Dentry, why: Coherency) {
    let mut seen = bindings::cachefiles_volume {
        vcookie: volume.as_ptr(),
    };
    // SAFETY: the event reads the cookie's number through the struct, which outlives the call.
    unsafe { bindings::cf_trace_vol_coherency(&mut seen, ino(dir), why) };
}

/// What was decided about a read.
pub(crate) struct Prepared {
    /// First byte.
    pub(crate) start: u64,
    /// Bytes.
    pub(crate) len: usize,
    /// The flag word of netfs's subrequest.
    pub(crate) flags: usize,
    /// Where the data is to come from.
    pub(crate) source: bindings::netfs_io_source,
    /// Why.
    pub(crate) why: PrepareRead,
    /// Inode of the backing file.
    pub(crate) cache_ino: u64,
    /// Inode of the client.
    pub(crate) netfs_ino: u64,
}

/// A read was prepared.
pub(crate) fn prep_read(object: Option<&Object>, p: &Prepared) {
    plain::cf_trace_prep_read(
        object,
        p.start as i64,
        p.len,
        p.flags,
        p.source,
        p.why,
        p.cache_ino,
        p.netfs_ino,
    );
}

/// A read of the backing file begins.
pub(crate) fn read(object: &Object, backer: &Inode, start: u64, len: usize) {
    plain::cf_trace_read(object, backer, start as i64, len);
}

/// A write to the backing file begins.
pub(crate) fn write(object: &Object, backer: &Inode, start: u64, len: usize) {
    plain::cf_trace_write(object, backer, start as i64, len);
}

/// The backing file's size changes.
pub(crate) fn trunc(object: &Object, backer: &Inode, from: u64, to: u64, why: Truncation) {
    plain::cf_trace_trunc(object, backer, from as i64, to as i64, why);
}

/// An inode was marked as in use, or could not be because it already was.
pub(crate) fn mark(object: Option<&Object>, inode: &Inode, marked: bool) {
    if marked {
        plain::cf_trace_mark_active(object, inode);
    } else {
        plain::cf_trace_mark_failed(object, inode);
    }
}

/// An inode's mark was taken away.
pub(crate) fn unmark(object: Option<&Object>, inode: &Inode) {
    plain::cf_trace_mark_inactive(object, inode);
}

/// The backing filesystem refused something.
pub(crate) fn vfs_error(object: Option<&Object>, backer: Option<&Inode>, e: Errno, at: Failure) {
    let Some(backer) = backer else { return };
    plain::cf_trace_vfs_error(object, backer, e.to_ret(), at);
}

/// A transfer failed.
pub(crate) fn io_error(object: Option<&Object>, backer: &Inode, e: Errno, at: Failure) {
    plain::cf_trace_io_error(object, backer, e.to_ret(), at);
}

/// An OPEN is about to be delivered with its anonymous fd.
pub(crate) fn ondemand_open(object: &Object, msg_id: u32, object_id: u32, fd: u32) {
    plain::cf_trace_ondemand_open(object, msg_id, object_id, fd, 0);
}

/// An OPEN was answered.
pub(crate) fn ondemand_copen(object: &Object, msg_id: u32, size: i64) {
    plain::cf_trace_ondemand_copen(object, msg_id, size as isize);
}

/// A CLOSE is about to be enqueued; its number is not known yet.
pub(crate) fn ondemand_close(object: &Object) {
    plain::cf_trace_ondemand_close(object, 0, 0);
}

/// A READ is about to be enqueued; its number is not known yet.
pub(crate) fn ondemand_read(object: &Object, off: u64, len: u64) {
    plain::cf_trace_ondemand_read(object, 0, 0, off as i64, len as usize);
}

/// A READ was answered.
pub(crate) fn ondemand_cread(object: &Object, msg_id: u32) {
    plain::cf_trace_ondemand_cread(object, msg_id);
}

/// The daemon writes to an anonymous fd.
pub(crate) fn ondemand_fd_write(object: &Object, backer: &Inode, start: u64, len: usize) {
    plain::cf_trace_ondemand_fd_write(object, backer, start as i64, len);
}

/// An anonymous fd was closed for the last time.
pub(crate) fn ondemand_fd_release(object: &Object, object_id: u32) {
    plain::cf_trace_ondemand_fd_release(object, object_id as i32);
}
