// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! Is there room in the cache, and must the daemon cull? The arithmetic is `core/src/limits.rs`;
//! behaviour follows `cachefiles_has_space` in fs/cachefiles/cache.c of Linux 6.12, but for one
//! thing: blocks are counted from bytes by the filesystem's block size, where C counts pages.

use crate::cache::Backing;
use crate::cache::Cache;
use crate::interface::PAGE;
use crate::prelude::*;
use crate::pure::limits::Free;
use crate::sys::stats;
use crate::sys::trace;
use core::sync::atomic::Ordering;

/// Whose counter moves when there is no room.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counter {
    None,
    Write,
    Create,
}

/// What somebody is about to take.
#[derive(Clone, Copy)]
pub(crate) struct Need {
    files: u64,
    bytes: u64,
    counter: Counter,
}

impl Need {
    /// Nothing: only the state of culling is brought up to date.
    pub(crate) fn nothing() -> Need {
        Need {
            files: 0,
            bytes: 0,
            counter: Counter::None,
        }
    }

    /// A new file or directory.
    pub(crate) fn create() -> Need {
        Need {
            files: 1,
            bytes: 0,
            counter: Counter::Create,
        }
    }

    /// A write of that many bytes to a hole.
    pub(crate) fn write(bytes: u64) -> Need {
        Need {
            files: 0,
            bytes,
            counter: Counter::Write,
        }
    }

    /// A write of that many bytes over data that may be there already: not counted.
    pub(crate) fn overwrite(bytes: u64) -> Need {
        Need {
            files: 0,
            bytes,
            counter: Counter::None,
        }
    }
}

/// Whether there is room for `need`; begins and ends culling on the way.
///
/// # Errors
/// ENOBUFS when there is none, or what statfs said.
pub(crate) fn check(cache: &Cache, backing: &Backing, need: Need) -> Result {
    let space = backing.mnt.statfs().map_err(|e| {
        trace::statfs_error(&backing.mnt, e);
        if e == EIO {
            cache.io_error("statfs failed", e);
        }
        e
    })?;
    let free = Free {
        blocks: space.blocks_avail,
        files: space.files_free,
        writing: cache.b_writing.load(Ordering::Relaxed),
    };
    let blocks = backing.block_size.blocks(need.bytes);
    let verdict = backing.limits.check(&free, need.files, blocks);
    if !verdict.has_room() {
        match need.counter {
            Counter::Write => stats::count_no_write_space(),
            Counter::Create => stats::count_no_create_space(),
            Counter::None => {}
        }
    }
    let now = cache.culling.load(Ordering::Relaxed);
    let culling = verdict.culling(now) && !cfg!(cachefiles_mutant = "enospc");
    // Of several who find it out at once, one tells the daemon.
    if culling != now && cache.culling.swap(culling, Ordering::Relaxed) != culling {
        cache.state_changed();
    }
    if verdict.has_room() {
        Ok(())
    } else {
        Err(ENOBUFS)
    }
}

/// The block size of the backing filesystem in bytes: a power of two, a page at most.
#[derive(Clone, Copy)]
pub(crate) struct BlockSize(u64);

impl BlockSize {
    /// # Errors
    /// ERANGE when it is not positive, EOPNOTSUPP when direct I/O from single pages cannot serve it.
    pub(crate) fn new(size: i64) -> Result<BlockSize> {
        match u64::try_from(size) {
            Err(_) | Ok(0) => Err(ERANGE),
            Ok(size) if size > PAGE || !size.is_power_of_two() => Err(EOPNOTSUPP),
            Ok(size) => Ok(BlockSize(size)),
        }
    }

    /// Bytes of a block.
    pub(crate) fn bytes(self) -> u64 {
        self.0
    }

    /// How many blocks that many bytes take.
    pub(crate) fn blocks(self, bytes: u64) -> u64 {
        let shift = self.0.trailing_zeros();
        let partial = bytes & self.0.wrapping_sub(1) != 0;
        bytes.wrapping_shr(shift).saturating_add(u64::from(partial))
    }
}
