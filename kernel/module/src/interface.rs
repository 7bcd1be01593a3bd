// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! Objects as fscache sees them: looked up, withdrawn, invalidated, resized. Behaviour follows
//! fs/cachefiles/interface.c of Linux 6.12.

use crate::cache::Bound;
use crate::cache::Cache;
use crate::chunked::Chunked;
use crate::debug::debug;
use crate::error_inject;
use crate::lookup;
use crate::lookup::round_up_dio;
use crate::name;
use crate::namei;
use crate::ondemand;
use crate::ondemand::Anchor;
use crate::prelude::*;
use crate::pure::xattr::Content;
use crate::sys::dentry::Dentry;
use crate::sys::file::File;
use crate::sys::fscache::Cookie;
use crate::sys::fscache::CookieFlag;
use crate::sys::kiocb::NoFs;
use crate::sys::netfs::Resources;
use crate::sys::object::ObjRef;
use crate::sys::object::Object;
use crate::sys::object::RefReason;
use crate::sys::ops;
use crate::sys::trace;
use crate::sys::trace::word;
use crate::sys::trace::Seen;
use crate::volume::Volume;
use crate::xattr;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering;
use kernel::new_spinlock;
use kernel::str::CStr;
use kernel::sync::Arc;
use kernel::sync::SpinLock;

/// Size of a page in bytes.
pub(crate) const PAGE: u64 = kernel::page::PAGE_SIZE as u64;

/// The backing file of an object, and what is known of it.
struct Backed {
    file: Option<File>,
    /// The file has no name yet.
    tmpfile: bool,
    content: Content,
}

/// What the module keeps of an object. A `File` is there from a successful lookup to the cleaning
/// up at withdrawal; an invalidation puts another one in its place.
#[pin_data]
pub(crate) struct ObjectData {
    volume: Arc<Volume>,
    #[pin]
    backed: SpinLock<Backed>,
    /// Place on the cache's list of objects, plus one; zero off the list.
    pub(crate) listed: AtomicU32,
    /// Place in the request table, in on-demand mode.
    anchor: Option<Anchor>,
}

impl ObjectData {
    fn new(volume: Arc<Volume>, anchor: Option<Anchor>) -> impl PinInit<ObjectData, Errno> {
        try_pin_init!(ObjectData {
            anchor,
            volume,
            backed <- new_spinlock!(
                Backed { file: None, tmpfile: false, content: Content::NoData },
                "Object::backed"
            ),
            listed: AtomicU32::new(0),
        }? Errno)
    }

    /// The cache.
    pub(crate) fn cache(&self) -> &Arc<Cache> {
        self.volume.cache()
    }

    /// The object's place in the request table; none outside on-demand mode.
    pub(crate) fn anchor(&self) -> Option<&Anchor> {
        self.anchor.as_ref()
    }

    /// A reference to the backing file, while there is one.
    pub(crate) fn file(&self) -> Option<File> {
        self.backed.lock().file.as_ref().map(File::get)
    }

    /// Whether the file has no name yet.
    pub(crate) fn uses_tmpfile(&self) -> bool {
        self.backed.lock().tmpfile
    }

    /// What is known of the file's content.
    pub(crate) fn content(&self) -> Content {
        self.backed.lock().content
    }

    /// The file got its name.
    pub(crate) fn set_committed(&self) {
        self.backed.lock().tmpfile = false;
    }

    /// The object has a new, empty file without a name; returns the file that it had.
    pub(crate) fn set_tmpfile(&self, file: File) -> Option<File> {
        let mut backed = self.backed.lock();
        backed.tmpfile = true;
        backed.content = Content::NoData;
        backed.file.replace(file)
    }

    /// The object's file was found on disk.
    pub(crate) fn set_found_file(&self, file: File) {
        self.backed.lock().file = Some(file);
    }

    fn take_file(&self) -> Option<File> {
        self.backed.lock().file.take()
    }
}

impl Object {
    /// The directory that holds the object's file.
    pub(crate) fn fan(&self) -> Option<&Dentry> {
        self.volume.fan(self.cookie().fan_index())
    }

    /// Calls `f` with the name of the object's file. It is made when it is asked for, which is when
    /// the object begins and when it ends: in between it need not take memory.
    pub(crate) fn with_name<R>(&self, f: impl FnOnce(&CStr) -> Result<R>) -> Result<R> {
        name::of_object(self.cookie(), f)?
    }
}

fn new_object(cookie: &Cookie, volume: Arc<Volume>) -> Result<ObjRef> {
    // Before the cookie can be seen as being created, when operations may begin on it.
    let any_client = cfg!(any(
        cachefiles_mutant = "mode-mismatch",
        cachefiles_mutant = "nfs-ondemand-cache"
    ));
    if volume.cache().is_ondemand() && !cookie.wants_cache_size() && !any_client {
        pr_err!("WANT_CACHE_SIZE is needed for on-demand mode\n");
        return Err(EINVAL);
    }
    name::of_object(cookie, |_| ())?;
    let anchor = match volume.cache().is_ondemand() {
        true => Some(Anchor::new(volume.cache())?),
        false => None,
    };
    Object::new(cookie, ObjectData::new(volume, anchor))
}

/// Looks up the object of `cookie` in `cache`, making it where there is none; true when I/O may
/// begin. Also the beginning of an object's life.
pub(crate) fn look_up_cookie(cache: &Cache, cookie: &Cookie) -> bool {
    let (Some(bound), Some(volume)) = (cache.bound(), cookie.volume().volume()) else {
        return false;
    };
    let object = match new_object(cookie, volume) {
        Ok(object) => object,
        Err(e) => {
            // C leaves the cookie quiescent here, or stops the machine when the key is too long;
            // an error lets the filesystem's mount fail instead of waiting.
            pr_err!("Cannot make an object: error {}\n", e.to_ret());
            cookie.caching_failed();
            return false;
        }
    };
    let id = object.debug_id();
    debug!(ENTER, "==> lookup(o={:08x})\n", id);
    let listed = object.get(RefReason::Request);
    let seen = object.get(RefReason::Request);
    ops::attach(cookie, object);
    let _as_cache = bound.backing.cred.override_current();
    if !lookup::look_up_object(cache, bound, &seen) {
        seen.see(Seen::LookupFailed);
        if cfg!(cachefiles_mutant = "mount-loops") {
            core::mem::forget(listed);
        }
        // The caller holds an access to the cookie: only when that ends is the object withdrawn.
        cookie.caching_failed();
        debug!(LEAVE, "<== lookup(o={:08x}): no file\n", id);
        return false;
    }
    debug!(LEAVE, "<== lookup(o={:08x}): found or made\n", id);
    seen.see(Seen::LookupCookie);
    let added = {
        // Reclaim could wait for a client whose lookup waits for this lock.
        let _nofs = NoFs::enter();
        cache.objects.lock().add(listed)
    };
    if added.is_err() {
        // It would not be found when the cache is withdrawn.
        cookie.caching_failed();
        return false;
    }
    adjust_size(cache, &seen);
    true
}

/// Makes the backing file as long as the object, rounded up to the unit of direct I/O.
fn adjust_size(cache: &Cache, object: &Object) {
    let Some(file) = object.file() else { return };
    let Ok(new) = round_up_dio(object.cookie().object_size()) else {
        return;
    };
    let inode = file.inode();
    let old = inode.size();
    if old == new {
        return;
    }
    let dentry = file.dentry();
    let locked = inode.lock();
    let tail = old.checked_rem(PAGE).unwrap_or(0);
    // A partial page at the end would keep its old tail when the file grows over it.
    let cut = if tail != 0 && new > old {
        error_inject::remove().and_then(|()| dentry.set_size(&locked, old.saturating_sub(tail)))
    } else {
        Ok(())
    };
    let result = cut
        .and_then(|()| error_inject::write())
        .and_then(|()| dentry.set_size(&locked, new));
    drop(locked);
    if let Err(e) = result {
        trace::io_error(None, inode, e, word::NOTIFY_CHANGE);
        if e == EIO {
            cache.io_error_of(object, "Size set failed", e);
        }
    }
}

/// Ends the caching of an object: what the daemon still has of it is cancelled, its file gets its
/// name and its record, or goes.
pub(crate) fn withdraw_cookie(object: &Object) {
    let cache = object.cache();
    debug!(ENTER, "==> withdraw(o={:08x})\n", object.debug_id());
    object.see(Seen::WithdrawCookie);
    if let Some(listed) = cache.objects.lock().remove(object) {
        listed.see(Seen::Withdrawal);
    }
    ondemand::clean_object(object);
    let Some(bound) = cache.bound() else { return };
    if let Some(file) = object.file() {
        let _as_cache = bound.backing.cred.override_current();
        clean_up(cache, bound, object, &file);
    }
}

fn clean_up(cache: &Cache, bound: &Bound, object: &Object, file: &File) {
    let tmpfile = object.uses_tmpfile();
    if object.cookie().test(CookieFlag::Retired) {
        if tmpfile {
            object.see(Seen::CleanDropTmp);
        } else {
            object.see(Seen::CleanDelete);
            namei::delete_object(cache, bound, object, word::WAS_RETIRED);
        }
    } else {
        object.see(Seen::CleanCommit);
        commit(cache, bound, object);
    }
    let inode = file.inode();
    namei::unmark(Some(object), inode);
    if !object.uses_tmpfile() {
        cache.note_released(inode.blocks());
    }
    drop(object.take_file());
}

fn commit(cache: &Cache, bound: &Bound, object: &Object) {
    let cookie = object.cookie();
    let written = cookie.clear(CookieFlag::LocalWrite);
    let stale = cookie.clear(CookieFlag::NeedsUpdate);
    if (written || stale) && !cfg!(cachefiles_mutant = "nfs-cached-read") {
        // An error has been reported and has stopped the cache where it was serious.
        let _ = xattr::set_object(cache, object);
    }
    if object.uses_tmpfile() && !cfg!(cachefiles_mutant = "9p-cached-read") {
        namei::commit_tmpfile(cache, bound, object);
    }
}

/// Throws away what is cached of an object: it gets an empty file; operations under way go on with
/// the old one and find out at their end.
pub(crate) fn invalidate(object: &Object) -> bool {
    let cache = object.cache();
    let Some(bound) = cache.bound() else {
        return false;
    };
    debug!(ENTER, "==> invalidate(o={:08x})\n", object.debug_id());
    if object.file().is_none() || cfg!(cachefiles_mutant = "probe-invalidate") {
        object.cookie().resume_after_invalidation();
        return true;
    }
    let had_name = !object.uses_tmpfile();
    let Ok(new) = lookup::create_tmpfile(cache, bound, object) else {
        return false;
    };
    let old = object.set_tmpfile(new);
    object.cookie().set(CookieFlag::NeedsUpdate);
    object.cookie().resume_after_invalidation();
    if let (Some(old), true, Some(fan)) = (old, had_name, object.fan()) {
        let buried = fan.lock_dir().and_then(|parent| {
            let (dentry, why) = (old.dentry(), word::INVALIDATED);
            namei::bury(cache, bound, Some(object), parent, fan, &dentry, why)
        });
        if buried.is_err() {
            // It has been reported, and the file is replaced when the new one is committed; until
            // then nothing uses it.
            namei::unmark(Some(object), old.inode());
        }
    }
    true
}

/// The object is now `size` bytes long.
pub(crate) fn resize(res: &Resources, size: u64) {
    let Some(object) = res.object() else { return };
    let cache = object.cache();
    let old = object.cookie().object_size();
    debug!(
        ENTER,
        "==> resize(o={:08x}, {} -> {})\n",
        object.debug_id(),
        old,
        size
    );
    if size < old && !cfg!(cachefiles_mutant = "probe-write") {
        if let (Some(file), Some(bound)) = (res.file(), cache.bound()) {
            let _as_cache = bound.backing.cred.override_current();
            shorten(cache, object, file, size);
        }
    }
    // A file that grows needs nothing: what lies beyond its old end is a hole.
    object.cookie().set_object_size(size);
}

/// Cuts the backing file off at `size`, so that a later growth does not bring old data back.
fn shorten(cache: &Cache, object: &Object, file: &File, size: u64) {
    let inode = file.inode();
    let result = round_up_dio(size).and_then(|rounded| {
        trace::trunc(object, inode, inode.size(), rounded, word::SHRINK);
        let cut = error_inject::remove().and_then(|()| file.truncate(rounded));
        cut.map_err(|e| {
            trace::io_error(Some(object), inode, e, word::TRUNC);
            e
        })?;
        let tail = rounded.saturating_sub(size);
        if tail == 0 {
            return Ok(());
        }
        trace::trunc(object, inode, rounded, size, word::DIO_ADJUST);
        let zeroed = error_inject::write().and_then(|()| file.zero_range(size, tail));
        zeroed.map_err(|e| {
            trace::io_error(Some(object), inode, e, word::FALLOCATE);
            e
        })
    });
    if let Err(e) = result {
        cache.io_error_of(object, "Cannot shorten the backing file", e);
        // Without its record the file will not be trusted again.
        let _ = xattr::remove_object(cache, object, file);
    }
}

/// Notes on disk that the object is about to be written to, so that a crash leaves it marked dirty.
pub(crate) fn prepare_to_write(object: &Object) {
    let cache = object.cache();
    if object.uses_tmpfile() {
        return;
    }
    if let Some(bound) = cache.bound() {
        let _as_cache = bound.backing.cred.override_current();
        let _ = xattr::set_object(cache, object);
    }
}

/// A place on the list of live objects.
enum Slot {
    /// Free, and the number of the next free one plus one.
    Free(u32),
    /// Taken.
    Used(ObjRef),
}

/// The live objects of a cache, so that they can be withdrawn when it is unbound. Adding and
/// removing one costs the same however many there are.
pub(crate) struct ObjectList {
    slots: Chunked<Slot>,
    /// Number of the first place that has been free before, plus one.
    free: u32,
    /// How many places have been used.
    used: u32,
}

impl ObjectList {
    /// No objects.
    ///
    /// # Errors
    /// ENOMEM.
    pub(crate) fn new() -> Result<ObjectList> {
        Ok(ObjectList {
            slots: Chunked::new()?,
            free: 0,
            used: 0,
        })
    }

    /// Puts an object on the list.
    ///
    /// # Errors
    /// ENOMEM.
    fn add(&mut self, object: ObjRef) -> Result {
        let number = match self.free {
            0 => self.used.checked_add(1).ok_or(ENOMEM)?,
            number => number,
        };
        let index = number.wrapping_sub(1);
        if index >= self.slots.capacity() {
            let next = self.slots.chunks();
            let surplus = self.slots.add(next, Chunked::make(next, || Slot::Free(0))?);
            drop(surplus);
        }
        let place = self.slots.get_mut(index).ok_or(ENOMEM)?;
        if let Slot::Free(next) = place {
            self.free = *next;
        }
        self.used = self.used.max(number);
        object.listed.store(number, Ordering::Relaxed);
        *place = Slot::Used(object);
        Ok(())
    }

    /// Takes an object off the list, if it is on it.
    fn remove(&mut self, object: &Object) -> Option<ObjRef> {
        let number = object.listed.swap(0, Ordering::Relaxed);
        let place = self.slots.get_mut(number.checked_sub(1)?)?;
        match core::mem::replace(place, Slot::Free(self.free)) {
            Slot::Used(found) => {
                self.free = number;
                Some(found)
            }
            Slot::Free(next) => {
                *place = Slot::Free(next);
                None
            }
        }
    }

    /// Asks fscache to withdraw every object on the list, and empties it. No object can end here:
    /// its withdrawal needs the lock of this list before it gives up the cookie's reference.
    pub(crate) fn withdraw_all(&mut self) {
        for place in self.slots.iter_mut() {
            if let Slot::Used(object) = core::mem::replace(place, Slot::Free(0)) {
                object.see(Seen::Withdrawal);
                object.listed.store(0, Ordering::Relaxed);
                object.cookie().withdraw();
            }
        }
        self.free = 0;
        self.used = 0;
    }
}
