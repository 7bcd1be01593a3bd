// SPDX-License-Identifier: GPL-2.0-or-later
//! How much is free on the cache's disk.

use std::fs::File;
use std::io;

use cachefiles_core::limits::Limit;
use cachefiles_core::limits::Percents;

/// What is free and what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Blocks that are free for everybody.
    pub blocks_free: u64,
    /// All blocks.
    pub blocks: u64,
    /// Files that can be made.
    pub files_free: u64,
    /// All files; 0 where the filesystem has no such limit.
    pub files: u64,
}

impl Space {
    /// Of the filesystem that `folder` is on.
    ///
    /// # Errors
    /// When it cannot say.
    pub fn of(folder: &File) -> io::Result<Space> {
        let stat = rustix::fs::fstatvfs(folder)?;
        Ok(Space {
            blocks_free: stat.f_bavail,
            blocks: stat.f_blocks,
            files_free: stat.f_ffree,
            files: stat.f_files,
        })
    }

    /// Whether as much is free as is to be when culling ends. Not less than the kernel's own idea
    /// of it, which rounds down: when this is true, the kernel agrees.
    pub fn is_enough(&self, limits: &Percents) -> bool {
        let reached = |free: u64, all: u64, limit| {
            let percent = u128::from(limits.get(limit).get());
            all == 0 || u128::from(free) * 100 >= u128::from(all) * percent
        };
        reached(self.blocks_free, self.blocks, Limit::BlocksRun)
            && reached(self.files_free, self.files, Limit::FilesRun)
    }
}

#[cfg(test)]
mod tests {
    use cachefiles_core::limits::Free;
    use cachefiles_core::limits::Limits;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_enough_here_is_enough_for_the_kernel(
            blocks in 1u64..1 << 40, part in 0u64..=1000, files in 0u64..1 << 30,
        ) {
            let free = (u128::from(blocks) * u128::from(part) / 1000) as u64;
            let limits = Percents::DEFAULT;
            let space = Space { blocks_free: free, blocks, files_free: files, files };
            let kernel = Limits::new(&limits, files, blocks)
                .check(&Free { files, blocks: free, writing: 0 }, 0, 0);
            if space.is_enough(&limits) {
                prop_assert!(!kernel.culling(true), "{:?}", kernel);
            }
            prop_assert_eq!(space.is_enough(&limits), u128::from(free) * 100 >= u128::from(blocks) * 7);
        }
    }
}
