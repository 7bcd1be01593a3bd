// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! A cache: bound to a directory, then live, then withdrawn. Behaviour follows
//! fs/cachefiles/cache.c and security.c of Linux 6.12.
//!
//! Who owns what: the device fd and each anonymous fd hold the [`crate::daemon::Binding`], whose end
//! withdraws the cache; objects hold their volume, and volumes hold the cache, so that a cache ends
//! after its last object and volume. fscache's callbacks borrow it: a withdrawal waits for them.
//!
//! Lock order: the daemon's command lock, then the list of volumes or of objects, then the request
//! table. The last is a leaf: under it nothing sleeps, allocates, or drops a reference.

use crate::daemon::Token;
use crate::interface::ObjectList;
use crate::interface::PAGE;
use crate::name::Name;
use crate::namei;
use crate::namei::Directory;
use crate::prelude::*;
use crate::pure::limits::Limits;
use crate::pure::limits::Percents;
use crate::pure::protocol;
use crate::pure::status::Status;
use crate::requests::Requests;
use crate::space;
use crate::space::BlockSize;
use crate::sys::cred::Cred;
use crate::sys::cred::NewCred;
use crate::sys::dentry::Dentry;
use crate::sys::fscache::CacheCookie;
use crate::sys::fscache::VolumeCookie;
use crate::sys::fscache::VolumeCookieRef;
use crate::sys::kiocb::NoFs;
use crate::sys::list::List;
use crate::sys::mount::Mount;
use crate::sys::object::Object;
use crate::sys::once::Once;
use crate::sys::time;
use crate::sys::waitq::WaitQueue;
use crate::sys::waitq::EPOLLIN;
use crate::sys::waitq::EPOLLOUT;
use crate::volume::Volume;
use core::marker::PhantomData;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;
use kernel::new_mutex;
use kernel::str::CStr;
use kernel::sync::Arc;
use kernel::sync::Mutex;

/// Where the cache lies: set when it is bound.
pub(crate) struct Backing {
    pub(crate) mnt: Mount,
    pub(crate) cred: Cred,
    pub(crate) limits: Limits,
    pub(crate) block_size: BlockSize,
}

/// What a bound cache has. Fields end in the order in which they stand: fscache lets go first, and
/// the mount last but one.
pub(crate) struct Bound {
    pub(crate) cookie: CacheCookie,
    pub(crate) graveyard: Directory,
    pub(crate) store: Directory,
    pub(crate) backing: Backing,
    /// The name under which fscache knows the cache, for messages.
    tag: Name,
}

/// A cache, from the opening of the device to the end of its last user.
#[pin_data]
pub(crate) struct Cache {
    bound: Once<Bound>,
    ready: AtomicBool,
    dead: AtomicBool,
    ondemand_mode: AtomicBool,
    /// Culling is wanted.
    pub(crate) culling: AtomicBool,
    /// Something that the state line tells has changed since it was last read.
    news: AtomicBool,
    /// Bytes under way to the disk, in blocks of the filesystem.
    pub(crate) b_writing: AtomicU64,
    /// Files that are no longer in use, since the daemon last asked.
    f_released: AtomicU32,
    /// Space of those files, in units of 512 bytes.
    b_released: AtomicU64,
    /// Makes names in the graveyard unique.
    pub(crate) graves: AtomicU32,
    #[pin]
    pollq: WaitQueue,
    #[pin]
    pub(crate) objects: Mutex<ObjectList>,
    #[pin]
    volumes: Mutex<List<Option<Arc<Volume>>>>,
    /// On-demand requests.
    #[pin]
    pub(crate) ondemand: Requests,
    /// Ends last.
    _token: Token,
}

/// Shows that the list of volumes is locked and that the volume in question is on it.
pub(crate) struct Listed<'a>(PhantomData<&'a [Option<Arc<Volume>>]>);

impl<'a> Listed<'a> {
    fn by(_volumes: &'a [Option<Arc<Volume>>]) -> Listed<'a> {
        Listed(PhantomData)
    }
}

impl Cache {
    /// A cache that is not bound.
    ///
    /// # Errors
    /// ENOMEM.
    pub(crate) fn new(token: Token) -> Result<Arc<Cache>> {
        Ok(Arc::pin_init(
            try_pin_init!(Cache {
                bound: Once::new(),
                ready: AtomicBool::new(false),
                dead: AtomicBool::new(false),
                ondemand_mode: AtomicBool::new(false),
                culling: AtomicBool::new(false),
                news: AtomicBool::new(false),
                b_writing: AtomicU64::new(0),
                f_released: AtomicU32::new(0),
                b_released: AtomicU64::new(0),
                graves: AtomicU32::new(0),
                pollq <- WaitQueue::new(),
                objects <- new_mutex!(ObjectList::new()?, "Cache::objects"),
                volumes <- new_mutex!(List::new(), "Cache::volumes"),
                ondemand <- Requests::new(),
                _token: token,
            }? KernelError),
            GFP_KERNEL,
        )?)
    }

    /// What binding brought, once it has.
    pub(crate) fn bound(&self) -> Option<&Bound> {
        self.bound.get()
    }

    /// Whether the cache is bound and live.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Whether the cache has stopped for ever.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Whether the daemon fills holes when they are met.
    pub(crate) fn is_ondemand(&self) -> bool {
        self.ondemand_mode.load(Ordering::Acquire)
    }

    /// The queue on which the daemon polls.
    pub(crate) fn pollq(&self) -> &WaitQueue {
        &self.pollq
    }

    /// Tells the daemon that there is something to read or to cull.
    pub(crate) fn state_changed(&self) {
        self.news.store(true, Ordering::Release);
        self.pollq.wake(EPOLLIN | EPOLLOUT);
    }

    /// A file of `blocks` (512 bytes each) is no longer in use and may be culled.
    pub(crate) fn note_released(&self, blocks: u64) {
        self.b_released.fetch_add(blocks, Ordering::Relaxed);
        self.f_released.fetch_add(1, Ordering::Relaxed);
        self.state_changed();
    }

    /// Whether something has changed since the state was last taken.
    pub(crate) fn has_news(&self) -> bool {
        self.news.load(Ordering::Acquire)
    }

    /// The state of a bound cache, for the daemon; what was released counts from here anew.
    pub(crate) fn take_status(&self, bound: &Bound) -> Status {
        // Before the counts are taken: what is released from here on is news again. C takes them
        // first, and forgets what is released in between until the next change.
        self.news.swap(false, Ordering::AcqRel);
        let files_released = match cfg!(cachefiles_mutant = "classic-state-line") {
            true => self.f_released.load(Ordering::Acquire),
            false => self.f_released.swap(0, Ordering::AcqRel),
        };
        Status {
            culling: self.culling.load(Ordering::Relaxed),
            limits: bound.backing.limits,
            files_released,
            blocks_released: self.b_released.swap(0, Ordering::AcqRel),
        }
    }

    /// Stops the cache: from now on commands fail, and requests end with EIO.
    pub(crate) fn die(&self) {
        self.dead.store(true, Ordering::Release);
        if self.is_ondemand() {
            protocol::die(self);
        }
    }

    /// Stops the cache because its filesystem failed.
    pub(crate) fn io_error(&self, what: &str, e: Errno) {
        pr_err!("I/O Error: {} (error {})\n", what, e.to_ret());
        self.stop();
    }

    /// As [`Cache::io_error`], for a failure that an object met.
    pub(crate) fn io_error_of(&self, object: &Object, what: &str, e: Errno) {
        pr_err!(
            "I/O Error: {} (error {}) [o={:08x}]\n",
            what,
            e.to_ret(),
            object.debug_id()
        );
        self.stop();
    }

    fn stop(&self) {
        if let Some(bound) = self.bound() {
            bound.cookie.io_error();
        }
        if cfg!(cachefiles_mutant = "disk-eio") {
            return;
        }
        self.die();
    }

    /// Binds the cache to the directory `dir` and makes it live under the name `tag`.
    ///
    /// # Errors
    /// EBUSY when it is bound or the tag is taken; EINVAL, EOPNOTSUPP, EROFS when the directory
    /// will not do; EIO when its parts are damaged; and the filesystem's.
    pub(crate) fn bind(
        self: &Arc<Self>,
        dir: &CStr,
        tag: &CStr,
        secid: Option<u32>,
        percents: &Percents,
        ondemand: bool,
    ) -> Result {
        if self.bound().is_some() {
            pr_err!("Cache already bound\n");
            return Err(EBUSY);
        }
        self.add(dir, tag, secid, percents, ondemand).map_err(|e| {
            pr_err!("Failed to register: {}\n", e.to_ret());
            e
        })
    }

    fn add(
        self: &Arc<Self>,
        dir: &CStr,
        tag: &CStr,
        secid: Option<u32>,
        percents: &Percents,
        ondemand: bool,
    ) -> Result {
        let cookie = CacheCookie::acquire(tag)?;
        let kernel_cred = Cred::for_kernel(secid).map_err(|e| {
            if secid.is_some() {
                pr_err!("Security denies the security context: {}\n", e.to_ret());
            }
            e
        })?;
        let (mnt, root, cred) = survey(dir, &kernel_cred)?;
        if cfg!(cachefiles_mutant = "backing-in-use") {
            core::mem::forget(Mount::look_up_dir(dir)?);
        }
        let cred = cred.creating_like(root.inode().ok_or(ENOENT)?)?;
        let (limits, block_size) = {
            let _as_cache = cred.override_current();
            measure(&mnt, &root, percents)?
        };
        let backing = Backing {
            mnt,
            cred,
            limits,
            block_size,
        };
        let (store, graveyard) = self.make_parts(&backing, root)?;
        let bound = KBox::new(
            Bound {
                cookie,
                graveyard,
                store,
                backing,
                tag: Name::of(tag)?,
            },
            GFP_KERNEL,
        )?;
        let bound = self.bound.set(bound).map_err(|_| EBUSY)?;
        self.ondemand_mode.store(ondemand, Ordering::Release);
        if let Err(e) = bound.cookie.add(self) {
            // The cache cannot be bound a second time; the daemon must open the device anew.
            self.dead.store(true, Ordering::Release);
            return Err(e);
        }
        self.ready.store(true, Ordering::Release);
        pr_info!("File cache on {} registered\n", tag);
        let _as_cache = bound.backing.cred.override_current();
        // Only to begin culling at once where that is needed.
        let _ = space::check(self, &bound.backing, space::Need::nothing());
        Ok(())
    }

    /// Finds or makes the directories of the cache in `root`, which ends here, before its mount does.
    fn make_parts(&self, backing: &Backing, root: Dentry) -> Result<(Directory, Directory)> {
        let _as_cache = backing.cred.override_current();
        check_holes(backing, &root)?;
        let (store, _) = namei::get_directory(self, backing, &root, kernel::c_str!("cache"))?;
        let (graveyard, _) =
            namei::get_directory(self, backing, &root, kernel::c_str!("graveyard"))?;
        Ok((store, graveyard))
    }

    /// Withdraws the cache: every object goes, then every volume, and what was written is on disk.
    /// To be called once, when nobody can reach the cache from user space any more.
    pub(crate) fn withdraw(&self) {
        let Some(bound) = self.bound().filter(|_| self.is_ready()) else {
            return;
        };
        pr_info!("File cache on {} unregistering\n", bound.tag.as_c_str());
        bound.cookie.withdraw();
        self.withdraw_fscache_volumes();
        self.objects.lock().withdraw_all();
        bound.cookie.wait_for_objects();
        self.withdraw_volumes(bound);
        let _as_cache = bound.backing.cred.override_current();
        if let Err(EIO) = bound.backing.mnt.sync_fs() {
            self.io_error("Cannot sync the backing filesystem", EIO);
        }
    }

    /// Lets no new access to any volume begin, and waits for those under way.
    fn withdraw_fscache_volumes(&self) {
        while let Some(vcookie) = self.accessed_volume() {
            vcookie.withdraw();
        }
    }

    /// A volume with accesses, with a reference: none is dropped here, as that could call back for
    /// the list that is locked.
    fn accessed_volume(&self) -> Option<VolumeCookieRef> {
        let volumes = self.volumes.lock();
        let listed = Listed::by(&volumes);
        volumes
            .iter()
            .flatten()
            .filter(|volume| volume.vcookie.has_accesses(&listed))
            .find_map(|volume| volume.vcookie.try_get(&listed))
    }

    fn withdraw_volumes(&self, bound: &Bound) {
        loop {
            let found = {
                let volumes = self.volumes.lock();
                let Some(volume) = volumes.iter().flatten().next() else {
                    return;
                };
                let vcookie = volume.vcookie.try_get(&Listed::by(&volumes));
                vcookie.map(|vcookie| (volume.clone(), vcookie))
            };
            match found {
                Some((volume, vcookie)) => {
                    drop(self.unlist_volume(&vcookie));
                    volume.withdraw(self, bound, &vcookie);
                }
                // Its last reference is being put; it takes itself off the list.
                None => time::yield_now(),
            }
        }
    }

    /// Puts a volume on the list.
    ///
    /// # Errors
    /// ENOMEM.
    pub(crate) fn list_volume(&self, volume: Arc<Volume>) -> Result {
        // Reclaim could wait for a client whose volume waits for this lock.
        let _nofs = NoFs::enter();
        let mut volumes = self.volumes.lock();
        match volumes.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(volume),
            None => volumes.push(Some(volume))?,
        }
        Ok(())
    }

    /// Takes the volume of `vcookie` off the list.
    pub(crate) fn unlist_volume(&self, vcookie: &VolumeCookie) -> Option<Arc<Volume>> {
        let mut volumes = self.volumes.lock();
        let is_it = |volume: &Arc<Volume>| volume.vcookie.is(vcookie);
        volumes
            .iter_mut()
            .find(|place| place.as_ref().map_or(false, is_it))?
            .take()
    }
}

/// Looks at the directory and at what its filesystem can do, under the credentials `cred`.
fn survey(dir: &CStr, cred: &Cred) -> Result<(Mount, Dentry, NewCred)> {
    let _as_cache = cred.override_current();
    let (mnt, root) = Mount::look_up_dir(dir)?;
    let unmapped = cfg!(any(
        cachefiles_mutant = "bad-backing",
        cachefiles_mutant = "backing-classic"
    ));
    if mnt.is_idmapped() && !unmapped {
        pr_warn!("File cache on idmapped mounts not supported\n");
        return Err(EINVAL);
    }
    if !root.can_hold_cache() {
        return Err(EOPNOTSUPP);
    }
    if root.is_read_only() {
        return Err(EROFS);
    }
    Ok((mnt, root, Cred::copy_current()?))
}

/// Asks whether files may be made in `root`, and how large its filesystem is.
fn measure(mnt: &Mount, root: &Dentry, percents: &Percents) -> Result<(Limits, BlockSize)> {
    match root.may_create() {
        Ok(()) | Err(EOPNOTSUPP) => {}
        Err(e) => {
            pr_err!("Security denies permission to make files: {}\n", e.to_ret());
            return Err(e);
        }
    }
    let space = mnt.statfs()?;
    let block_size = BlockSize::new(space.block_size)?;
    Ok((Limits::new(percents, space.files, space.blocks), block_size))
}

/// Sees to it that the filesystem can tell holes from data, by a file without a name in `root` that
/// is nothing but a hole. What is missing in the cache is a hole: where that passes for data, zeros
/// are served in its place. C does not look.
///
/// # Errors
/// EOPNOTSUPP when it cannot, or the filesystem's.
fn check_holes(backing: &Backing, root: &Dentry) -> Result {
    let file = match backing.mnt.open_tmpfile(root, &backing.cred) {
        Ok(file) => file,
        // A full disk must be bound to be culled. It has held a cache before, or will get no file.
        Err(e) if e == ENOSPC || e == EDQUOT => {
            pr_warn!("Disk full: not checked whether the filesystem can tell holes from data\n");
            return Ok(());
        }
        Err(e) => {
            pr_err!("Files without a name cannot be made: {}\n", e.to_ret());
            return Err(e);
        }
    };
    file.truncate(PAGE)?;
    let unseen = cfg!(any(
        cachefiles_mutant = "holes-needed",
        cachefiles_mutant = "holes-classic"
    ));
    if file.seek_data(0)?.is_some() && !unseen {
        pr_err!("The filesystem cannot tell holes from data: what is not cached would be zeros\n");
        return Err(EOPNOTSUPP);
    }
    Ok(())
}
