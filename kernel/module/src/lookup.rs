// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! Looking up an object: its file is found, opened and checked, or made anew without a name.
//! Behaviour follows fs/cachefiles/namei.c of Linux 6.12.

use crate::cache::Bound;
use crate::cache::Cache;
use crate::error_inject;
use crate::namei;
use crate::ondemand;
use crate::prelude::*;
use crate::pure::dio;
use crate::space;
use crate::sys::dentry::Dentry;
use crate::sys::file::File;
use crate::sys::fscache::CookieFlag;
use crate::sys::object::Object;
use crate::sys::trace;
use crate::sys::trace::word;
use crate::xattr;

/// Gives `object` its backing file; true when it has one. Runs under the cache's credentials.
pub(crate) fn look_up_object(cache: &Cache, bound: &Bound, object: &Object) -> bool {
    let Some(fan) = object.fan() else {
        return false;
    };
    let found = error_inject::read()
        .and_then(|()| object.with_name(|name| fan.lookup_positive_unlocked(name)));
    trace::lookup(Some(object), fan, &found);
    match found {
        Ok(dentry) if dentry.is_reg() => open_file(cache, bound, object, &dentry),
        Ok(dentry) => {
            let _ = object.with_name(|name| {
                pr_err!("{} is not a file\n", name);
                Ok(())
            });
            let buried = fan.lock_dir().and_then(|parent| {
                let why = word::IS_WEIRD;
                namei::bury(cache, bound, Some(object), parent, fan, &dentry, why)
            });
            buried.is_ok() && new_file(cache, bound, object)
        }
        Err(ENOENT) => new_file(cache, bound, object),
        Err(e) => {
            if e == EIO {
                cache.io_error_of(object, "Lookup failed", e);
            }
            false
        }
    }
}

fn new_file(cache: &Cache, bound: &Bound, object: &Object) -> bool {
    object.cookie().lookup_negative();
    create_file(cache, bound, object)
}

fn create_file(cache: &Cache, bound: &Bound, object: &Object) -> bool {
    if space::check(cache, &bound.backing, space::Need::create()).is_err() {
        return false;
    }
    let Ok(file) = create_tmpfile(cache, bound, object) else {
        return false;
    };
    object.cookie().set(CookieFlag::NeedsUpdate);
    object.set_tmpfile(file);
    true
}

/// Makes a file without a name for `object`, of the object's size, marked as in use. In on-demand
/// mode the daemon is asked for the size first.
///
/// # Errors
/// The filesystem's, or the daemon's refusal.
pub(crate) fn create_tmpfile(cache: &Cache, bound: &Bound, object: &Object) -> Result<File> {
    let fan = object.fan().ok_or(EIO)?;
    let _as_cache = bound.backing.cred.override_current();
    let backing = &bound.backing;
    let file = error_inject::write()
        .and_then(|()| backing.mnt.open_tmpfile(fan, &backing.cred))
        .map_err(|e| {
            trace::vfs_error(Some(object), fan.inode(), e, word::TMPFILE);
            if e == EIO {
                cache.io_error_of(object, "Failed to create tmpfile", e);
            }
            e
        })?;
    trace::tmpfile(object, file.inode());
    if !namei::mark(Some(object), file.inode()) {
        // Nobody else can know of a file that has just been made.
        pr_err!(
            "A new file is already in use (o={:08x})\n",
            object.debug_id()
        );
    }
    match prepare_tmpfile(object, &file) {
        Ok(()) => Ok(file),
        Err(e) => {
            namei::unmark(Some(object), file.inode());
            Err(e)
        }
    }
}

fn prepare_tmpfile(object: &Object, file: &File) -> Result {
    ondemand::init_object(object)?;
    let size = round_up_dio(object.cookie().object_size())?;
    if size > 0 {
        trace::trunc(object, file.inode(), 0, size, word::EXPAND_TMPFILE);
        let grown = error_inject::write().and_then(|()| file.truncate(size));
        grown.map_err(|e| {
            trace::vfs_error(Some(object), Some(file.inode()), e, word::TRUNC);
            e
        })?;
    }
    if !file.has_iter_ops() {
        pr_notice!("Cache does not support read_iter and write_iter\n");
        return Err(EINVAL);
    }
    Ok(())
}

/// `size` rounded up to the unit of direct I/O, in bytes.
///
/// # Errors
/// EINVAL when that is more than a file can have.
pub(crate) fn round_up_dio(size: u64) -> Result<u64> {
    dio::round_up(size).ok_or(EINVAL)
}

/// Opens and checks an existing file; one that does not match the cookie is replaced by a new one.
fn open_file(cache: &Cache, bound: &Bound, object: &Object, dentry: &Dentry) -> bool {
    let Some(inode) = dentry.inode() else {
        return false;
    };
    if !namei::mark(Some(object), inode) {
        let _ = object.with_name(|name| {
            pr_notice!("Inode already in use: {} (B={:x})\n", name, inode.ino());
            Ok(())
        });
        if cfg!(cachefiles_mutant = "in-use-twice") {
            let fan = object.fan();
            core::mem::forget(
                fan.map(|fan| object.with_name(|name| fan.lookup_positive_unlocked(name))),
            );
        }
        return false;
    }
    // It must be opened now: later, writeback may come from a task that is exiting, which cannot.
    let file = match bound.backing.mnt.open_file(dentry, &bound.backing.cred) {
        Ok(file) => file,
        Err(e) => {
            trace::vfs_error(Some(object), Some(inode), e, word::OPEN);
            namei::unmark(Some(object), inode);
            return false;
        }
    };
    if !file.has_iter_ops() {
        pr_notice!("Cache does not support read_iter and write_iter\n");
        namei::unmark(Some(object), inode);
        return false;
    }
    if ondemand::init_object(object).is_err() {
        namei::unmark(Some(object), inode);
        return false;
    }
    match xattr::check_object(cache, object, &file) {
        Ok(()) => {
            object.cookie().clear(CookieFlag::NoDataToRead);
            // Lookup and open leave the access time alone, by which culling goes.
            file.touch_atime();
            object.set_found_file(file);
            true
        }
        Err(e) => {
            object.cookie().lookup_negative();
            namei::unmark(Some(object), inode);
            cache.note_released(inode.blocks());
            drop(file);
            // A file without a record, or with one that does not match, is made anew.
            let remade = match e {
                ENODATA => !cfg!(cachefiles_mutant = "lost-object-record"),
                e => matches!(e, ESTALE | ERANGE),
            };
            remade && create_file(cache, bound, object)
        }
    }
}
