// SPDX-License-Identifier: GPL-2.0-or-later
//! How full the backing filesystem may get: percentages, thresholds, and when to cull.
//!
//! Six percentages, three of blocks and three of files, `stop < cull < run < 100`. While less than
//! *cull* is free, the daemon is asked to cull, until *run* is free again; while less than *stop*
//! is free, nothing is stored. Bound to a filesystem, they become numbers of blocks and files: a
//! hundredth of its size times the percentage.

/// The seeded bug of the full-at-zero-stop mutant: with exactly *stop* free, nothing is stored.
#[allow(unexpected_cfgs)]
const FULL_IS_STOP: bool = cfg!(cachefiles_mutant = "full-at-zero-stop");

/// A percentage below 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

impl Percent {
    /// `None` for 100 and above: no limit may be that high.
    pub fn new(number: u64) -> Option<Percent> {
        u8::try_from(number)
            .ok()
            .filter(|percent| *percent < 100)
            .map(Percent)
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }

    /// That part of a size that is counted in hundredths.
    fn of(self, size: u64) -> u64 {
        (size / 100).saturating_mul(u64::from(self.0))
    }
}

/// Names one of the limits, as the commands do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// `brun`: with this many blocks free, culling ends.
    BlocksRun,
    /// `bcull`: with fewer blocks free, culling begins.
    BlocksCull,
    /// `bstop`: with fewer blocks free, nothing is stored.
    BlocksStop,
    /// `frun`: with this many files free, culling ends.
    FilesRun,
    /// `fcull`: with fewer files free, culling begins.
    FilesCull,
    /// `fstop`: with fewer files free, nothing is created.
    FilesStop,
}

/// The limits are not `stop < cull < run < 100`. `EINVAL` for one that is being set, `ERANGE` for
/// a cache that is being bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfOrder;

/// Three percentages of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Triple {
    run: Percent,
    cull: Percent,
    stop: Percent,
}

impl Triple {
    const DEFAULT: Triple = Triple {
        run: Percent(7),
        cull: Percent(5),
        stop: Percent(1),
    };

    fn is_ordered(self) -> bool {
        self.stop < self.cull && self.cull < self.run
    }
}

/// The limits of a cache that need not be bound yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percents {
    blocks: Triple,
    files: Triple,
}

impl Percents {
    /// 7, 5 and 1 %.
    pub const DEFAULT: Percents = Percents {
        blocks: Triple::DEFAULT,
        files: Triple::DEFAULT,
    };

    /// Sets one limit, if it fits the two beside it as they are now: who moves all of them must do
    /// it in an order that keeps them apart.
    pub fn set(&mut self, limit: Limit, percent: Percent) -> Result<(), OutOfOrder> {
        let (mut blocks, mut files) = (self.blocks, self.files);
        match limit {
            Limit::BlocksRun => blocks.run = percent,
            Limit::BlocksCull => blocks.cull = percent,
            Limit::BlocksStop => blocks.stop = percent,
            Limit::FilesRun => files.run = percent,
            Limit::FilesCull => files.cull = percent,
            Limit::FilesStop => files.stop = percent,
        }
        let changed = Percents { blocks, files };
        changed.validate()?;
        *self = changed;
        Ok(())
    }

    /// Whether a cache can be bound with these.
    pub fn validate(&self) -> Result<(), OutOfOrder> {
        if self.blocks.is_ordered() && self.files.is_ordered() {
            Ok(())
        } else {
            Err(OutOfOrder)
        }
    }

    /// One of the limits.
    pub fn get(&self, limit: Limit) -> Percent {
        match limit {
            Limit::BlocksRun => self.blocks.run,
            Limit::BlocksCull => self.blocks.cull,
            Limit::BlocksStop => self.blocks.stop,
            Limit::FilesRun => self.files.run,
            Limit::FilesCull => self.files.cull,
            Limit::FilesStop => self.files.stop,
        }
    }
}

impl Default for Percents {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The limits of a bound cache, in blocks and files of its filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// With this many blocks free, culling ends.
    pub brun: u64,
    /// With fewer blocks free, culling begins.
    pub bcull: u64,
    /// With fewer blocks free, nothing is stored.
    pub bstop: u64,
    /// With this many files free, culling ends.
    pub frun: u64,
    /// With fewer files free, culling begins.
    pub fcull: u64,
    /// With fewer files free, nothing is created.
    pub fstop: u64,
}

/// What is free on the backing filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Free {
    /// `f_ffree`: files that may be created.
    pub files: u64,
    /// `f_bavail`: blocks that may be used.
    pub blocks: u64,
    /// Blocks of writes in flight: spoken for, but not yet missing in `blocks`.
    pub writing: u64,
}

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Below *stop*: `ENOBUFS`, and culling is due.
    Stop,
    /// Room, but below *cull*: culling is due.
    Cull,
    /// Between *cull* and *run*: culling goes on if it is under way.
    Enough,
    /// At *run* or above: no culling.
    Plenty,
}

impl Verdict {
    /// Whether what is wanted may be stored.
    pub fn has_room(self) -> bool {
        self != Verdict::Stop
    }

    /// Whether the daemon should be culling from now on, given whether it is told to now. A change
    /// is one that pollers are woken for.
    pub fn culling(self, now: bool) -> bool {
        match self {
            Verdict::Stop | Verdict::Cull => true,
            Verdict::Enough => now,
            Verdict::Plenty => false,
        }
    }
}

impl Limits {
    /// The limits on a filesystem of that many files and blocks, free or not.
    pub fn new(percents: &Percents, files: u64, blocks: u64) -> Limits {
        Limits {
            brun: percents.blocks.run.of(blocks),
            bcull: percents.blocks.cull.of(blocks),
            bstop: percents.blocks.stop.of(blocks),
            frun: percents.files.run.of(files),
            fcull: percents.files.cull.of(files),
            fstop: percents.files.stop.of(files),
        }
    }

    /// Compares what would remain after that many files and blocks with the limits.
    pub fn check(&self, free: &Free, files: u64, blocks: u64) -> Verdict {
        let blocks = free
            .blocks
            .saturating_sub(free.writing)
            .saturating_sub(blocks);
        let files = free.files.saturating_sub(files);
        if files < self.fstop || blocks < self.bstop || (FULL_IS_STOP && blocks == self.bstop) {
            Verdict::Stop
        } else if files < self.fcull || blocks < self.bcull {
            Verdict::Cull
        } else if files >= self.frun && blocks >= self.brun {
            Verdict::Plenty
        } else {
            Verdict::Enough
        }
    }
}
