// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! Volumes: a directory of the store with 256 directories in it, and a record of the volume's
//! coherency data. Behaviour follows fs/cachefiles/volume.c of Linux 6.12.

use crate::cache::Bound;
use crate::cache::Cache;
use crate::name;
use crate::namei;
use crate::namei::Directory;
use crate::prelude::*;
use crate::sys::dentry::Dentry;
use crate::sys::fscache::VolumeCookie;
use crate::sys::fscache::VolumeCookieWeak;
use crate::sys::list::List;
use crate::sys::time;
use crate::sys::trace::word;
use crate::xattr;
use kernel::sync::Arc;

/// How many directories the objects of a volume are spread over.
const FANS: u16 = 256;

/// How often a volume whose record does not match is moved away and made anew before that counts
/// as an error. Once is enough unless the graveyard does not do its work; C repeats it for ever.
const REBUILDS: u32 = match cfg!(cachefiles_mutant = "dead-graveyard") {
    true => u32::MAX,
    false => 3,
};

/// What the module keeps of a volume. The volume cookie holds it, and so does each object.
pub(crate) struct Volume {
    /// Ends first: the directories below before the one above.
    fans: List<Directory>,
    dir: Directory,
    pub(crate) vcookie: VolumeCookieWeak,
    cache: Arc<Cache>,
}

impl Volume {
    /// The cache.
    pub(crate) fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// The directory that holds the objects whose key's hash ends in `index`.
    pub(crate) fn fan(&self, index: u8) -> Option<&Dentry> {
        self.fans.get(usize::from(index)).map(|dir| &**dir)
    }

    /// Writes the volume's record, and lets the volume cookie forget the volume.
    pub(crate) fn withdraw(&self, cache: &Cache, bound: &Bound, vcookie: &VolumeCookie) {
        let _as_cache = bound.backing.cred.override_current();
        // An error has been reported; at the next use the record will not match.
        let _ = xattr::set_volume(cache, bound, vcookie, &self.dir);
        drop(vcookie.take_volume());
    }
}

/// fscache has a new volume: makes its directories. Where that fails the volume is not cached.
pub(crate) fn acquire(cache: &Arc<Cache>, vcookie: &VolumeCookie) {
    let Some(bound) = cache.bound() else { return };
    match make(cache, bound, vcookie) {
        Ok(volume) => {
            // The list first: what is not on it would not be withdrawn.
            if cache.list_volume(volume.clone()).is_err() {
                return;
            }
            vcookie.set_volume(volume);
            vcookie.pin_accesses();
        }
        Err(e) => pr_err!("Cannot set up a volume: error {}\n", e.to_ret()),
    }
}

fn make(cache: &Arc<Cache>, bound: &Bound, vcookie: &VolumeCookie) -> Result<Arc<Volume>> {
    let _as_cache = bound.backing.cred.override_current();
    let name = name::volume(vcookie.key_with_nul())?;
    for _ in 0..REBUILDS {
        let (dir, is_new) =
            namei::get_directory(cache, &bound.backing, &bound.store, name.as_c_str())?;
        if is_new {
            xattr::set_volume(cache, bound, vcookie, &dir)?;
        } else {
            match xattr::check_volume(cache, vcookie, &dir) {
                Ok(()) => {}
                Err(ENODATA) if cfg!(cachefiles_mutant = "lost-volume-record") => {
                    return Err(ENODATA);
                }
                Err(ESTALE | ENODATA | ERANGE) => {
                    let parent = bound.store.lock_dir()?;
                    let why = word::VOLUME_IS_WEIRD;
                    let buried = namei::bury(cache, bound, None, parent, &bound.store, &dir, why);
                    if !cfg!(cachefiles_mutant = "dead-graveyard") {
                        buried?;
                    }
                    drop(dir);
                    time::yield_now();
                    continue;
                }
                Err(e) => return Err(e),
            }
        }
        let mut fans = List::with_capacity(usize::from(FANS))?;
        for index in 0..FANS {
            let name = name::fan(index as u8);
            let (fan, _) = namei::get_directory(cache, &bound.backing, &dir, name.as_c_str())?;
            fans.push(fan)?;
        }
        return Ok(Arc::new(
            Volume {
                fans,
                dir,
                vcookie: VolumeCookieWeak::new(vcookie),
                cache: cache.clone(),
            },
            GFP_KERNEL,
        )?);
    }
    Err(EIO)
}

/// The last user of a volume is gone: its directories are no longer in use.
pub(crate) fn free(vcookie: &VolumeCookie) {
    if let Some(volume) = vcookie.take_volume() {
        drop(volume.cache.unlist_volume(vcookie));
    }
}
