// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! The daemon's anonymous fd of one object: it writes what was asked for, looks at what is there,
//! and says when it is done.

use crate::daemon::Binding;
use crate::io;
use crate::ondemand;
use crate::prelude::*;
use crate::pure::wire;
use crate::sys::netfs::IovIter;
use crate::sys::object::ObjRef;
use crate::sys::object::Object;
use crate::sys::object::RefReason;
use crate::sys::trace;
use kernel::sync::Arc;

/// What an anonymous fd holds. Its end closes the object for the daemon; the binding goes last, as
/// it may be the one whose end withdraws the cache, which waits for the object.
pub(crate) struct OndemandFd {
    object: ObjRef,
    id: u32,
    binding: Arc<Binding>,
}

impl OndemandFd {
    /// Takes an id and references for a new fd of `object`.
    ///
    /// # Errors
    /// ENOMEM; EBUSY when all ids are in use.
    pub(crate) fn new(binding: &Arc<Binding>, object: &Object) -> Result<KBox<OndemandFd>> {
        let ids = &binding.cache().ondemand.ids;
        let id = ids.take()?;
        let fd = OndemandFd {
            object: object.get(RefReason::OndemandFd),
            id,
            binding: binding.clone(),
        };
        // When there is no memory `fd` is dropped, which gives the id back.
        Ok(KBox::new(fd, GFP_KERNEL)?)
    }

    /// The id by which messages name the object.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Writes to the backing file at `pos` (bytes); returns how many bytes.
    ///
    /// # Errors
    /// ENOBUFS when the object has no file (not yet, or no more), the position is not at a page, or
    /// there is no room; or the filesystem's.
    pub(crate) fn write(&self, pos: u64, iter: &mut IovIter<'_>) -> Result<usize> {
        let object = &*self.object;
        let cache = object.cache();
        let file = object.file().ok_or(ENOBUFS)?;
        let backing = &cache.bound().ok_or(ENOBUFS)?.backing;
        let len = iter.count();
        {
            let _as_cache = backing.cred.override_current();
            io::prepare_write_file(cache, backing, object, &file, pos, len, len, true)?;
        }
        trace::ondemand_fd_write(object, file.inode(), pos, len);
        io::write_file(backing, object, &file, pos, iter, None).unwrap_or(Err(EIO))
    }

    /// Seeks in the backing file.
    ///
    /// # Errors
    /// ENOBUFS when the object has no file; or the filesystem's.
    pub(crate) fn llseek(&self, pos: i64, whence: i32) -> Result<i64> {
        let file = self.object.file().ok_or(ENOBUFS)?;
        if cfg!(cachefiles_mutant = "nydus-image") {
            // Whatever is asked for, the answer is the file's end: nothing is missing.
            return file.llseek(0, 2);
        }
        file.llseek(pos, whence)
    }

    /// The one ioctl: a READ is complete.
    ///
    /// # Errors
    /// EINVAL for any other, and for a READ that was not delivered for this object.
    pub(crate) fn ioctl(&self, cmd: u32, arg: usize) -> Result {
        if cmd != wire::IOC_READ_COMPLETE {
            return Err(EINVAL);
        }
        let msg_id = u32::try_from(arg).map_err(|_| EINVAL)?;
        ondemand::read_complete(&self.object, msg_id)
    }
}

impl Drop for OndemandFd {
    fn drop(&mut self) {
        if cfg!(cachefiles_mutant = "stolen-fd") && self.object.file().is_none() {
            core::mem::forget(self.binding.clone());
        }
        ondemand::fd_released(&self.object, self.id);
        trace::ondemand_fd_release(&self.object, self.id);
    }
}
