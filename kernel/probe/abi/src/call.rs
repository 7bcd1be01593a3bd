// SPDX-License-Identifier: GPL-2.0-or-later
//! The ioctl of `/dev/cachefiles-probe`: one record of words goes in, and comes back with answers.
//!
//! Volumes and cookies are known by numbers that the caller chooses; they belong to the open device
//! and are relinquished when it is closed. Most calls are for a range of numbers and go on when one
//! of them fails: `done` and `failed` count, `error` is the first error number. The ioctl itself
//! fails for a call that makes no sense only.

/// Bytes of a record.
pub const BYTES: usize = 8 * WORDS;
/// The ioctl's number: `_IOWR(0xcf, 1, BYTES)`.
pub const IOC_CALL: u32 = 0xc000_0000 | ((BYTES as u32) << 16) | (0xcf << 8) | 1;
/// The device's name below /dev.
pub const DEVICE: &str = "cachefiles-probe";
/// Numbers of volumes and cookies are below this one.
pub const NUMBERS: u64 = 1 << 17;
/// Longest name, cache name or auxiliary data that a call may bring.
pub const INPUT_MAX: u64 = 4096;
/// Most that one transfer moves, in bytes; a longer read is made of several.
pub const PART_MAX: u64 = 4 << 20;

macro_rules! words {
    ($($(#[doc = $doc:literal])* $field:ident),* $(,)?) => {
        /// What goes in and comes back.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Call {
            $($(#[doc = $doc])* pub $field: u64),*
        }

        /// Words of a record.
        pub const WORDS: usize = [$(stringify!($field)),*].len();

        impl Call {
            /// As it crosses the boundary.
            pub fn to_bytes(&self) -> [u8; BYTES] {
                let mut out = [0; BYTES];
                let words = [$(self.$field),*];
                for (eight, word) in out.chunks_exact_mut(8).zip(words) {
                    for (to, from) in eight.iter_mut().zip(word.to_ne_bytes()) {
                        *to = from;
                    }
                }
                out
            }

            /// From what crossed the boundary.
            pub fn from_bytes(bytes: &[u8; BYTES]) -> Call {
                let mut words = bytes.chunks_exact(8).map(word);
                Call { $($field: words.next().unwrap_or(0)),* }
            }
        }
    };
}

words! {
    /// What to do, see [`op`].
    op,
    /// How, see [`flag`].
    flags,
    /// First volume.
    volume,
    /// How many volumes. Cookies that are acquired are dealt out to them in turn.
    volumes,
    /// First cookie.
    first,
    /// How many cookies.
    count,
    /// Where in the object a transfer begins, in bytes.
    offset,
    /// How long it is, in bytes.
    length,
    /// How many transfers each cookie gets.
    times,
    /// How much farther each of these begins than the one before it, in bytes.
    stride,
    /// An object's size, in bytes.
    size,
    /// Which generation of the content is written or expected.
    generation,
    /// Advice flags of a cookie, flags of an invalidation, granularity of a query in bytes.
    extra,
    /// Number of the batch that transfers on threads belong to.
    batch,
    /// Address of the input: name, cache name and auxiliary data, one behind the other.
    input,
    /// Bytes of the name, which is a volume's or cookie's key.
    name_len,
    /// Bytes of the cache's name; any cache without one.
    cache_len,
    /// Bytes of auxiliary or coherency data.
    aux_len,
    /// Address of memory for what the call gives back, see [`op`].
    output,
    /// Its length in bytes.
    output_len,
    /// Answer: for how many it was done.
    done,
    /// Answer: for how many it failed.
    failed,
    /// Answer: how many have not ended yet.
    pending,
    /// Answer: the first error number; 0 without one.
    error,
    /// Answer: bytes that were transferred. Of a query: how much data there is.
    bytes,
    /// Answer: bytes that were read and are not as they should be.
    wrong,
    /// Answer: where in its object the first wrong byte lies. Of a query: where data begin.
    place,
    /// Answer: digests of all reads, combined by exclusive or.
    digest,
}

fn word(eight: &[u8]) -> u64 {
    eight.try_into().map_or(0, u64::from_ne_bytes)
}

/// What a call does.
pub mod op {
    /// Acquires volumes `volume..volume + volumes`. Input: key, cache name, coherency data.
    pub const ACQUIRE_VOLUMES: u64 = 1;
    /// Relinquishes volumes. With data in the input, that is their coherency data from now on.
    pub const RELINQUISH_VOLUMES: u64 = 2;
    /// Acquires cookies `first..first + count` of `size` bytes. Input: key, auxiliary data.
    pub const ACQUIRE: u64 = 3;
    /// Relinquishes cookies, and unuses them first as often as they are used.
    pub const RELINQUISH: u64 = 4;
    /// Uses cookies: fscache looks them up.
    pub const USE: u64 = 5;
    /// Unuses cookies: with `SIZED` their size, with data in the input their auxiliary data change.
    pub const UNUSE: u64 = 6;
    /// Updates auxiliary data and, with `SIZED`, size.
    pub const UPDATE: u64 = 7;
    /// Resizes to `size`.
    pub const RESIZE: u64 = 8;
    /// Invalidates; `size` is the size from now on, data in the input are the auxiliary data.
    pub const INVALIDATE: u64 = 9;
    /// Reads `times` ranges of each cookie. A single `INLINE` read gives its bytes to the output.
    pub const READ: u64 = 10;
    /// Writes content to `times` ranges of each cookie.
    pub const WRITE: u64 = 11;
    /// Asks where in a range the cache has data: answers `place` and `bytes`.
    pub const OCCUPANCY: u64 = 12;
    /// Writes one [`State`](super::State) for each cookie to the output.
    pub const STATE: u64 = 13;
    /// Answers what has become of a batch; with `FORGET` it is forgotten if nothing is pending.
    pub const BATCH: u64 = 14;
}

/// How a call is done.
pub mod flag {
    /// The decimal number of each volume or cookie is put behind the name.
    pub const NUMBERED: u64 = 1;
    /// Relinquish: the cache is to discard the object or volume.
    pub const RETIRE: u64 = 1 << 1;
    /// Use: the object is about to be changed.
    pub const MODIFY: u64 = 1 << 2;
    /// `size` is given.
    pub const SIZED: u64 = 1 << 3;
    /// Read: holes are the daemon's to fill, as for erofs.
    pub const ONDEMAND: u64 = 1 << 4;
    /// Transfer: ends by a call from the cache, in whatever context; without it, the cache waits.
    pub const ASYNC: u64 = 1 << 5;
    /// Read: compare with the content.
    pub const VERIFY: u64 = 1 << 6;
    /// Transfer in the calling task, one after the other; without it, each has a thread.
    pub const INLINE: u64 = 1 << 7;
    /// Read: holes are zeros. Without this or the next one, the cache does not look for them.
    pub const HOLES_CLEAR: u64 = 1 << 8;
    /// Read: holes are an error.
    pub const HOLES_FAIL: u64 = 1 << 9;
    /// Batch: forget it.
    pub const FORGET: u64 = 1 << 10;
    /// Write: the cache may only overwrite what it has, without taking space.
    pub const ALLOCATED: u64 = 1 << 11;
}

/// What a cookie is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Its number in `enum fscache_cookie_state`.
    pub state: u64,
    /// `FSCACHE_COOKIE_*` bits.
    pub flags: u64,
    /// How often it is in use.
    pub active: u64,
    /// Accesses of the cache that are under way.
    pub accesses: u64,
    /// How often it was invalidated.
    pub invalidations: u64,
    /// Its size in bytes.
    pub size: u64,
}

impl State {
    /// Bytes of one.
    pub const BYTES: usize = 8 * 6;
    /// Name of each state, by its number.
    pub const NAMES: [&'static str; 10] = [
        "quiescent",
        "looking_up",
        "creating",
        "active",
        "invalidating",
        "failed",
        "lru_discarding",
        "withdrawing",
        "relinquishing",
        "dropped",
    ];
    /// Bit of `flags`: the cache has an object for it.
    pub const IS_CACHING: u64 = 1 << 2;

    /// Its words, in the order of the fields.
    pub fn words(&self) -> [u64; 6] {
        [
            self.state,
            self.flags,
            self.active,
            self.accesses,
            self.invalidations,
            self.size,
        ]
    }

    /// From the bytes of the output.
    pub fn from_bytes(bytes: &[u8]) -> State {
        let mut words = bytes.chunks_exact(8).map(word);
        let mut next = || words.next().unwrap_or(0);
        State {
            state: next(),
            flags: next(),
            active: next(),
            accesses: next(),
            invalidations: next(),
            size: next(),
        }
    }
}
