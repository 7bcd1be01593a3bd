// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! Names in the cache: finding, making, committing, burying and culling files and directories.
//!
//! On disk a cache is `cache/I<volume>/@<xx>/<object>` and `graveyard/<number>`. An inode that the
//! cache uses carries a mark, which keeps it from being culled and from being used twice.
//! Behaviour follows fs/cachefiles/namei.c of Linux 6.12.

use crate::cache::Backing;
use crate::cache::Bound;
use crate::cache::Cache;
use crate::error_inject;
use crate::prelude::*;
use crate::space;
use crate::sys::dentry::Dentry;
use crate::sys::dirlock::DirLock;
use crate::sys::dirlock::Renaming;
use crate::sys::inode::Inode;
use crate::sys::object::Object;
use crate::sys::stats;
use crate::sys::time;
use crate::sys::trace;
use crate::sys::trace::word;
use core::sync::atomic::Ordering;
use kernel::str::CStr;

/// Permission bits of a directory of the cache.
const DIR_MODE: u16 = 0o700;

/// How often the search for a free name in the graveyard, or the making of a directory that
/// vanishes at once, is repeated before it counts as an error.
const TRIES: u32 = 64;

/// Marks an inode as in use; false when it already is.
pub(crate) fn mark(object: Option<&Object>, inode: &Inode) -> bool {
    let marked = inode.lock().mark();
    trace::mark(object, inode, marked);
    marked
}

/// Takes an inode's mark away.
pub(crate) fn unmark(object: Option<&Object>, inode: &Inode) {
    inode.lock().unmark();
    trace::unmark(object, inode);
}

/// A directory that the cache has marked as in use. Dropping it takes the mark away.
pub(crate) struct Directory(Dentry);

impl core::ops::Deref for Directory {
    type Target = Dentry;

    fn deref(&self) -> &Dentry {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(inode) = self.0.inode() {
            unmark(None, inode);
        }
    }
}

/// Finds or makes the directory `name` below `dir`, marked; true when it was made.
///
/// # Errors
/// EBUSY when something uses it already, EIO when it is no directory, EPERM when it lacks an
/// operation, ENOBUFS when there is no space, or the filesystem's.
pub(crate) fn get_directory(
    cache: &Cache,
    backing: &Backing,
    dir: &Dentry,
    name: &CStr,
) -> Result<(Directory, bool)> {
    let (parent, subdir, is_new) = find_or_make(cache, backing, dir.lock_dir()?, name)?;
    let inode = subdir.inode().ok_or(EIO)?;
    // The child is locked before the parent is let go: nobody can remove it in between.
    let locked = inode.lock();
    drop(parent);
    let marked = locked.mark();
    trace::mark(None, inode, marked);
    drop(locked);
    if !marked {
        pr_notice!("Inode already in use: {} (B={:x})\n", name, inode.ino());
        return Err(EBUSY);
    }
    let subdir = Directory(subdir);
    if !subdir.can_lookup() {
        pr_err!("{} is not a directory\n", name);
        return Err(EIO);
    }
    if !subdir.can_hold_objects() {
        return Err(EPERM);
    }
    Ok((subdir, is_new))
}

/// Finds or makes the directory `name`; `parent` stays locked.
fn find_or_make<'a>(
    cache: &Cache,
    backing: &Backing,
    mut parent: DirLock<'a>,
    name: &CStr,
) -> Result<(DirLock<'a>, Dentry, bool)> {
    let mut is_new = false;
    for _ in 0..TRIES {
        let found = error_inject::read().and_then(|()| parent.lookup(name));
        trace::lookup(None, parent.dir(), &found);
        let found = found.map_err(|e| {
            trace::vfs_error(None, parent.dir().inode(), e, word::LOOKUP);
            if e != ENOMEM {
                pr_err!("Lookup {} failed with error {}\n", name, e.to_ret());
            }
            e
        })?;
        if !found.is_negative() {
            return Ok((parent, found, is_new));
        }
        let dir = parent.dir();
        let refused = |e: Errno| {
            pr_err!("mkdir {} failed with error {}\n", name, e.to_ret());
            e
        };
        // No room is not the filesystem's error, and not traced as one.
        space::check(cache, backing, space::Need::create()).map_err(refused)?;
        let made = match error_inject::write() {
            Ok(()) => parent.mkdir(&backing.mnt, found, DIR_MODE),
            Err(e) => Err(e),
        };
        let made = made.map_err(|e| {
            trace::vfs_error(None, dir.inode(), e, word::MKDIR);
            refused(e)
        })?;
        if !cfg!(cachefiles_mutant = "trace-events") {
            trace::mkdir(dir, &made.1);
        }
        parent = made.0;
        let made = made.1;
        is_new = true;
        // Some filesystems instantiate another dentry than the one they were given.
        if !made.is_unhashed() && !made.is_negative() {
            return Ok((parent, made, is_new));
        }
    }
    Err(EIO)
}

/// Unlinks `victim` from the locked directory `parent`.
fn unlink(
    cache: &Cache,
    backing: &Backing,
    object: Option<&Object>,
    parent: &DirLock<'_>,
    victim: &Dentry,
    why: trace::Killed,
) -> Result {
    trace::unlink(object, victim, why);
    if let Err(e) = parent.may_unlink(&backing.mnt, victim) {
        cache.io_error("Unlink security error", e);
        return Err(e);
    }
    let result = error_inject::remove().and_then(|()| parent.unlink(victim));
    if let Err(e) = result {
        if e == EIO {
            cache.io_error("Unlink failed", e);
        }
        trace::vfs_error(object, parent.dir().inode(), e, word::UNLINK);
    }
    result
}

/// Removes `victim` from `dir`: a file is unlinked, a directory goes to the graveyard, from where
/// the daemon removes it.
///
/// # Errors
/// ESTALE when it is no longer there, or what went wrong.
pub(crate) fn bury(
    cache: &Cache,
    bound: &Bound,
    object: Option<&Object>,
    parent: DirLock<'_>,
    dir: &Dentry,
    victim: &Dentry,
    why: trace::Killed,
) -> Result {
    if !victim.is_child_of(parent.dir()) {
        return Err(ESTALE);
    }
    if !victim.is_dir() {
        return unlink(cache, &bound.backing, object, &parent, victim, why);
    }
    // The rename takes both directories' locks by itself.
    drop(parent);
    for _ in 0..TRIES {
        match try_bury(cache, bound, object, dir, victim, why) {
            Err(EEXIST) => continue,
            result => return result,
        }
    }
    cache.io_error("No free name in the graveyard", EEXIST);
    Err(EIO)
}

/// One attempt; EEXIST when the name that was chosen is taken.
fn try_bury(
    cache: &Cache,
    bound: &Bound,
    object: Option<&Object>,
    dir: &Dentry,
    victim: &Dentry,
    why: trace::Killed,
) -> Result {
    let count = cache.graves.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    let name = crate::name::grave(time::real_seconds(), count)?;
    let refuse = |what: &'static str| {
        cache.io_error(what, EIO);
        Err(EIO)
    };
    if !bound.graveyard.can_lookup() {
        return refuse("Graveyard no longer a directory");
    }
    let renaming = match Renaming::start(dir, victim, &bound.graveyard, &name) {
        Ok(renaming) => renaming,
        Err(EXDEV) => return Err(EXDEV),
        Err(e) => {
            let dead = victim.inode().map_or(true, Inode::is_dead_dir);
            if dead || victim.is_unhashed() || !victim.is_child_of(dir) {
                // Culled while the directory was not locked.
                return Ok(());
            }
            if e == EINVAL || e == ENOTEMPTY {
                return refuse("May not make directory loop");
            }
            trace::vfs_error(object, bound.graveyard.inode(), e, word::LOOKUP);
            if e == ENOMEM {
                return Err(e);
            }
            return refuse("Lookup error in the graveyard");
        }
    };
    if victim.is_mountpoint() {
        return refuse("Mountpoint in cache");
    }
    if !renaming.target().is_negative() {
        return Err(EEXIST);
    }
    if renaming.target().is_mountpoint() {
        return refuse("Mountpoint in graveyard");
    }
    let result = match renaming.is_allowed(&bound.backing.mnt) {
        Err(e) => {
            cache.io_error("Rename security error", e);
            Err(e)
        }
        Ok(()) => {
            trace::rename(object, victim, why);
            let renamed = error_inject::read().and_then(|()| {
                match cfg!(cachefiles_mutant = "cull-directory") {
                    true => Ok(()),
                    false => renaming.rename(),
                }
            });
            renamed.map_err(|e| {
                trace::vfs_error(object, dir.inode(), e, word::RENAME);
                if e != ENOMEM {
                    cache.io_error("Rename failed", e);
                }
                e
            })
        }
    };
    // Where it stays, the mark is the caller's business.
    if let (Ok(()), Some(inode)) = (&result, victim.inode()) {
        unmark(object, inode);
    }
    result
}

/// Unlinks the file of an object that was retired.
pub(crate) fn delete_object(cache: &Cache, bound: &Bound, object: &Object, why: trace::Killed) {
    let (Some(file), Some(fan)) = (object.file(), object.fan()) else {
        return;
    };
    let dentry = file.dentry();
    if let Ok(parent) = fan.lock_dir() {
        // An error has been reported; the object goes in any case.
        let _ = unlink(cache, &bound.backing, Some(object), &parent, &dentry, why);
    }
}

/// Gives the temporary file of an object its name, in place of what has the name now.
pub(crate) fn commit_tmpfile(cache: &Cache, bound: &Bound, object: &Object) {
    let (Some(file), Some(fan)) = (object.file(), object.fan()) else {
        return;
    };
    let Ok(parent) = fan.lock_dir() else { return };
    let lookup = || {
        let found =
            error_inject::read().and_then(|()| object.with_name(|name| parent.lookup(name)));
        found.map_err(|e| {
            trace::vfs_error(Some(object), fan.inode(), e, word::LOOKUP);
        })
    };
    let Ok(mut place) = lookup() else { return };
    if let Some(inode) = place.inode() {
        let keep = cfg!(cachefiles_mutant = "nfs-write-truncate");
        if inode.is(file.inode()) || keep {
            return;
        }
        let why = word::IS_STALE;
        if unlink(cache, &bound.backing, Some(object), &parent, &place, why).is_err() {
            return;
        }
        drop(place);
        match lookup() {
            Ok(free) => place = free,
            Err(()) => return,
        }
    }
    match error_inject::read().and_then(|()| parent.link(&file.dentry(), &place)) {
        Ok(()) => {
            trace::link(object, file.inode());
            object.set_committed();
        }
        Err(e) => trace::vfs_error(Some(object), fan.inode(), e, word::LINK),
    }
}

/// Finds what `cull` and `inuse` name, in the locked directory `parent`.
///
/// # Errors
/// EBUSY when the cache uses it, ENOENT or ESTALE when it is not there, EIO for a name that cannot
/// be one.
fn look_up_for_cull(cache: &Cache, parent: &DirLock<'_>, name: &CStr) -> Result<Dentry> {
    let anything = cfg!(any(
        cachefiles_mutant = "cull-rules",
        cachefiles_mutant = "device-classic"
    ));
    match parent.lookup(name) {
        Ok(victim) => match victim.inode() {
            None => Err(ENOENT),
            Some(inode) if inode.is_marked() && !anything => Err(EBUSY),
            Some(_) => Ok(victim),
        },
        // Probably retired by the filesystem that it belonged to.
        Err(ENOENT) => Err(ESTALE),
        Err(EIO) => {
            cache.io_error("Lookup failed", EIO);
            Err(EIO)
        }
        Err(ENOMEM) => Err(ENOMEM),
        Err(e) => {
            pr_err!(
                "Cannot look up what is to be culled: error {}\n",
                e.to_ret()
            );
            Err(EIO)
        }
    }
}

/// Removes the file or directory `name` of `dir` from the cache, unless it is in use.
///
/// # Errors
/// As [`look_up_for_cull`]; EIO when it could not be removed.
pub(crate) fn cull(cache: &Cache, bound: &Bound, dir: &Dentry, name: &CStr) -> Result {
    let parent = dir.lock_dir()?;
    let victim = look_up_for_cull(cache, &parent, name)?;
    let inode = victim.inode().ok_or(ENOENT)?;
    // The mark stops the cache from picking it up again.
    if !inode.lock().mark() {
        return Err(EBUSY);
    }
    if cfg!(cachefiles_mutant = "distribution-daemon") {
        inode.lock().unmark();
        return Ok(());
    }
    if cfg!(cachefiles_mutant = "cull-against-lookup") {
        core::mem::forget(parent.lookup(name));
    }
    match bury(cache, bound, None, parent, dir, &victim, word::WAS_CULLED) {
        Ok(()) => {
            stats::count_culled();
            Ok(())
        }
        Err(e) => {
            // It stays; it must not stay marked, or nobody could use or cull it again.
            if !victim.is_negative() {
                inode.lock().unmark();
            }
            match e {
                ENOENT | ESTALE => Err(ESTALE),
                ENOMEM => Err(ENOMEM),
                e => {
                    pr_err!("Culling failed: error {}\n", e.to_ret());
                    Err(EIO)
                }
            }
        }
    }
}

/// Asks whether `name` of `dir` is in use.
///
/// # Errors
/// EBUSY when it is; otherwise as [`look_up_for_cull`].
pub(crate) fn check_in_use(cache: &Cache, dir: &Dentry, name: &CStr) -> Result {
    let parent = dir.lock_dir()?;
    look_up_for_cull(cache, &parent, name).map(|_| ())
}
