// SPDX-License-Identifier: GPL-2.0-or-later
//! Counters of what the daemon did.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// One counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Some more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// All of them. Counted since the process began.
#[derive(Debug, Default)]
pub struct Stats {
    /// OPENs that were delivered.
    pub opens: Counter,
    /// OPENs that were answered with an error.
    pub opens_failed: Counter,
    /// READs that were delivered.
    pub reads: Counter,
    /// READs that were completed without their data.
    pub reads_failed: Counter,
    /// READs that waited for another one's fetch.
    pub reads_joined: Counter,
    /// CLOSEs that were delivered.
    pub closes: Counter,
    /// Reads of a blob.
    pub fetches: Counter,
    /// Bytes that were written to the cache.
    pub filled: Counter,
    /// Objects and volumes that were culled.
    pub culled: Counter,
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "opens={} opens_failed={} reads={} reads_failed={} reads_joined={} closes={} \
             fetches={} filled_bytes={} culled={}",
            self.opens.get(),
            self.opens_failed.get(),
            self.reads.get(),
            self.reads_failed.get(),
            self.reads_joined.get(),
            self.closes.get(),
            self.fetches.get(),
            self.filled.get(),
            self.culled.get(),
        )
    }
}
