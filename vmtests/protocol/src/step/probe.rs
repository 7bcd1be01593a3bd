// SPDX-License-Identifier: GPL-2.0-or-later
//! A client of fscache played by hand, through the module `cachefiles_probe`.

use serde::Deserialize;
use serde::Serialize;

use super::CookieState;
use crate::value::Count;
use crate::value::ErrnoName;
use crate::value::Size;
use crate::value::Span;
use crate::value::seconds;

/// Does `actions` one after the other in the process called `name`, which is started when the name
/// is new, opens `/dev/cachefiles-probe`, and lives until `end` or the run's end. The module must
/// have been loaded by `load_module: {name: cachefiles_probe}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The process.
    #[serde(default = "default_probe")]
    pub name: String,
    /// What it does.
    pub actions: Vec<ProbeAction>,
}

fn default_probe() -> String {
    "probe".to_owned()
}

impl Probe {
    pub(super) fn check(&self) -> Result<(), String> {
        let Some((_, before)) = self.actions.split_last() else {
            return Err("a probe without actions".to_owned());
        };
        match before.iter().any(|a| matches!(a, ProbeAction::End(_))) {
            true => Err("`end` must be a probe's last action".to_owned()),
            false => Ok(()),
        }
    }
}

one_key_actions! {
    ProbeAction, "one of the probe's actions";
    /// Acquires volumes.
    acquire_volumes: AcquireVolumes(ProbeAcquireVolumes),
    /// Relinquishes volumes.
    relinquish_volumes: RelinquishVolumes(ProbeRelinquishVolumes),
    /// Acquires cookies.
    acquire: Acquire(ProbeAcquire),
    /// Acquires a cookie for each of many keys of one kind, of every length.
    acquire_keys: AcquireKeys(ProbeAcquireKeys),
    /// Unuses cookies as often as they are used, and relinquishes them.
    relinquish: Relinquish(ProbeRelinquish),
    /// Uses cookies: the cache looks their objects up, or makes them.
    use_cookies: Use(ProbeUse),
    /// Unuses cookies.
    unuse: Unuse(ProbeChange),
    /// Gives cookies other auxiliary data, or another size.
    update: Update(ProbeChange),
    /// Gives cookies' objects another size.
    resize: Resize(ProbeChange),
    /// Has what is cached of cookies discarded.
    invalidate: Invalidate(ProbeInvalidate),
    /// Reads ranges of cookies.
    read: Read(ProbeTransfer),
    /// Writes content to ranges of cookies.
    write: Write(ProbeTransfer),
    /// Waits for the transfers of a batch.
    await_batch: AwaitBatch(ProbeAwait),
    /// Asks where in a range of a cookie the cache has data.
    occupancy: Occupancy(ProbeOccupancy),
    /// Waits until cookies are in a state.
    await_state: AwaitState(ProbeState),
    /// Closes the device, by which everything is relinquished, and ends the process.
    end: End(ProbeEnd),
}

/// No fields: written `{}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProbeEnd {}

/// Acquires volumes. All must be acquired, or all fail with `expect_errno`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProbeAcquireVolumes {
    /// The first one's number.
    #[serde(default = "zero")]
    pub first: Count,
    /// How many. With more than one, each one's number is put behind the key.
    #[serde(default = "one")]
    pub count: Count,
    /// The key, such as `erofs,domain`.
    pub key: String,
    /// The name of the cache, as its `tag` has it; any cache without it.
    #[serde(default)]
    pub cache: Option<String>,
    /// Coherency data, in hexadecimal digits.
    #[serde(default)]
    pub coherency: String,
    /// All must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// Relinquishes volumes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProbeRelinquishVolumes {
    /// The first one's number.
    #[serde(default = "zero")]
    pub first: Count,
    /// How many.
    #[serde(default = "one")]
    pub count: Count,
    /// Coherency data that the volumes have from now on, in hexadecimal digits.
    #[serde(default)]
    pub coherency: String,
    /// The cache is to discard the volume.
    #[serde(default)]
    pub retire: bool,
    /// All must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// Acquires cookies: the first one in the volume `volume`, the next one in the volume behind it, and
/// so on, over `volumes` volumes and from the beginning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProbeAcquire {
    /// The first one's number.
    #[serde(default = "zero")]
    pub first: Count,
    /// How many. With more than one, each one's number is put behind the key.
    #[serde(default = "one")]
    pub count: Count,
    /// The first volume.
    #[serde(default = "zero")]
    pub volume: Count,
    /// Over how many volumes.
    #[serde(default = "one")]
    pub volumes: Count,
    /// The key as text ...
    #[serde(default)]
    pub key: String,
    /// ... and what follows it, in hexadecimal digits.
    #[serde(default)]
    pub key_hex: String,
    /// Auxiliary data, in hexadecimal digits.
    #[serde(default)]
    pub aux: String,
    /// The object's size as the client knows it.
    #[serde(default = "nothing")]
    pub size: Size,
    /// Advice: the size is the cache's to say, as erofs has it (`FSCACHE_ADV_WANT_CACHE_SIZE`).
    #[serde(default)]
    pub want_cache_size: bool,
    /// Advice: one piece of data (`FSCACHE_ADV_SINGLE_CHUNK`).
    #[serde(default)]
    pub single_chunk: bool,
    /// All must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// Acquires a cookie for each length from `shortest` to `longest`, with a key of that many bytes of
/// the kind. How many there are is measured as `probe.keys`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProbeAcquireKeys {
    /// The first one's number; the others follow.
    #[serde(default = "zero")]
    pub first: Count,
    /// The volume.
    #[serde(default = "zero")]
    pub volume: Count,
    /// The shortest key's bytes.
    #[serde(default = "one")]
    pub shortest: Count,
    /// The longest key's bytes.
    pub longest: Count,
    /// What they are made of.
    pub kind: KeyKind,
    /// Advice, as for `acquire`.
    #[serde(default)]
    pub want_cache_size: bool,
    /// The object's size as the client knows it.
    #[serde(default = "nothing")]
    pub size: Size,
    /// All must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// What a key's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// Letters.
    Text,
    /// Slashes.
    Slashes,
    /// NULs.
    Zeros,
    /// Bytes of 255.
    Ones,
    /// Letters, and a NUL at the end.
    Terminated,
    /// Anything, the same each time.
    Mixed,
    /// Words of 32 bits with small values, as inode numbers are; lengths are rounded down to whole
    /// words.
    Words,
}

/// Relinquishes cookies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProbeRelinquish {
    /// The first one's number.
    #[serde(default = "zero")]
    pub first: Count,
    /// How many.
    #[serde(default = "one")]
    pub count: Count,
    /// The cache is to discard the object.
    #[serde(default)]
    pub retire: bool,
    /// All must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// Uses cookies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProbeUse {
    /// The first one's number.
    #[serde(default = "zero")]
    pub first: Count,
    /// How many.
    #[serde(default = "one")]
    pub count: Count,
    /// The object is about to be changed.
    #[serde(default)]
    pub modify: bool,
    /// All must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// Changes cookies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProbeChange {
    /// The first one's number.
    #[serde(default = "zero")]
    pub first: Count,
    /// How many.
    #[serde(default = "one")]
    pub count: Count,
    /// Auxiliary data from now on, in hexadecimal digits; as many bytes as the cookie has.
    #[serde(default)]
    pub aux: String,
    /// The size from now on.
    #[serde(default)]
    pub size: Option<Size>,
    /// All must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// Invalidates cookies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProbeInvalidate {
    /// The first one's number.
    #[serde(default = "zero")]
    pub first: Count,
    /// How many.
    #[serde(default = "one")]
    pub count: Count,
    /// Auxiliary data from now on, in hexadecimal digits; as many bytes as the cookie has.
    #[serde(default)]
    pub aux: String,
    /// The size from now on.
    pub size: Size,
    /// Because of a direct write: nothing is cached until the cookie is unused.
    #[serde(default)]
    pub direct_write: bool,
    /// All must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// Transfers ranges: every cookie's `times` ranges at once, each in a kernel thread of its own.
/// Without `batch` it waits for all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProbeTransfer {
    /// The first cookie's number.
    #[serde(default = "zero")]
    pub first: Count,
    /// How many cookies.
    #[serde(default = "one")]
    pub count: Count,
    /// Where the first range begins.
    #[serde(default = "nothing")]
    pub offset: Size,
    /// How long each range is.
    pub length: Size,
    /// How many ranges of each cookie.
    #[serde(default = "one")]
    pub times: Count,
    /// How much farther each of them begins than the one before; all are the same range without it.
    #[serde(default = "nothing")]
    pub stride: Size,
    /// Which generation of the content is written or expected.
    #[serde(default = "zero")]
    pub generation: Count,
    /// Reads: the daemon fills holes, as erofs wants it.
    #[serde(default)]
    pub ondemand: bool,
    /// Reads: what the cache does about holes.
    #[serde(default)]
    pub holes: Holes,
    /// The cache says by a call when it is done, and does not wait.
    #[serde(default, rename = "async")]
    pub by_call: bool,
    /// One after the other, in the process's own task, which a signal can end.
    #[serde(default)]
    pub inline: bool,
    /// Reads: do not look at the bytes. For measurements, beside scenarios that do look.
    #[serde(default)]
    pub unseen: bool,
    /// Writes: only over what the cache has already.
    #[serde(default)]
    pub allocated: bool,
    /// Reads: how many bytes may be wrong; none without it. A seeded or known error makes it more.
    #[serde(default)]
    pub expect_wrong: Option<Size>,
    /// How many bytes must have been transferred; whatever was asked for without it.
    #[serde(default)]
    pub expect_bytes: Option<Size>,
    /// Begin only, under this number; `await_batch` waits for the end.
    #[serde(default)]
    pub batch: Option<Count>,
    /// All must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
    /// Any of them may fail; what was transferred must be right all the same.
    #[serde(default)]
    pub ignore_errors: bool,
}

/// What a cache does when a read meets a hole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Holes {
    /// Whatever the file has there.
    Ignore,
    /// Zeros.
    Clear,
    /// It fails.
    #[default]
    Fail,
}

/// Waits for a batch: `pending` of its transfers are still under way, or none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProbeAwait {
    /// Its number.
    pub batch: Count,
    /// How many must be pending: 0 waits for its end.
    #[serde(default = "zero")]
    pub pending: Count,
    /// How many must have been done without an error.
    #[serde(default)]
    pub done: Option<Count>,
    /// How many must have failed; none without it.
    #[serde(default = "zero")]
    pub failed: Count,
    /// What the first that failed must have failed with.
    #[serde(default)]
    pub errno: Option<ErrnoName>,
    /// How long it may take.
    #[serde(default = "half_a_minute")]
    pub within: Span,
}

/// Asks the cache for data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProbeOccupancy {
    /// The cookie's number.
    #[serde(default = "zero")]
    pub of: Count,
    /// Where the range begins.
    #[serde(default = "nothing")]
    pub offset: Size,
    /// How long it is.
    pub length: Size,
    /// Data are counted in whole pieces of this size.
    #[serde(default = "page")]
    pub granularity: Size,
    /// Where data must begin; without it there must be none.
    #[serde(default)]
    pub at: Option<Size>,
    /// How much data there must be.
    #[serde(default = "nothing")]
    pub bytes: Size,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// Waits until all of the cookies are as wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProbeState {
    /// The first one's number.
    #[serde(default = "zero")]
    pub first: Count,
    /// How many.
    #[serde(default = "one")]
    pub count: Count,
    /// The state.
    #[serde(default)]
    pub is: Option<CookieState>,
    /// Whether the cache has an object for it.
    #[serde(default)]
    pub caching: Option<bool>,
    /// Its size.
    #[serde(default)]
    pub size: Option<Size>,
    /// How often it has been invalidated.
    #[serde(default)]
    pub invalidations: Option<Count>,
    /// How long it may take.
    #[serde(default = "half_a_minute")]
    pub within: Span,
}

fn zero() -> Count {
    0.into()
}

fn one() -> Count {
    1.into()
}

fn nothing() -> Size {
    Size::Now(crate::value::Bytes(0))
}

fn page() -> Size {
    Size::Now(crate::value::Bytes(4096))
}

fn half_a_minute() -> Span {
    seconds(30)
}

macro_rules! nothing_to_check {
    ($($type:ident),* $(,)?) => {
        $(impl $type {
            #[allow(clippy::unused_self)]
            fn check(&self) -> Result<(), String> {
                Ok(())
            }
        })*
    };
}

nothing_to_check! {
    ProbeEnd, ProbeRelinquish, ProbeUse, ProbeChange, ProbeInvalidate, ProbeAwait, ProbeOccupancy,
}

/// Whether a text is bytes in hexadecimal digits; a template may become some.
fn hex(what: &str, text: &str) -> Result<(), String> {
    let digits = text.len() % 2 == 0 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match digits || text.contains("${") {
        true => Ok(()),
        false => Err(format!(
            "`{what}: {text}` is no even number of hexadecimal digits"
        )),
    }
}

impl ProbeAcquireVolumes {
    fn check(&self) -> Result<(), String> {
        hex("coherency", &self.coherency)
    }
}

impl ProbeRelinquishVolumes {
    fn check(&self) -> Result<(), String> {
        hex("coherency", &self.coherency)
    }
}

impl ProbeAcquire {
    fn check(&self) -> Result<(), String> {
        hex("key_hex", &self.key_hex)?;
        hex("aux", &self.aux)
    }
}

impl ProbeAcquireKeys {
    fn check(&self) -> Result<(), String> {
        match (self.shortest.get(), self.longest.get()) {
            (Ok(shortest), Ok(longest)) if shortest > longest => {
                Err("`longest` is shorter than `shortest`: no key at all".to_owned())
            }
            _ => Ok(()),
        }
    }
}

impl ProbeTransfer {
    fn check(&self) -> Result<(), String> {
        let ends = self.expect_errno.is_some() || self.expect_bytes.is_some();
        if self.batch.is_some() && (ends || self.inline || self.expect_wrong.is_some()) {
            return Err("a transfer with `batch` ends in `await_batch`, which says how".to_owned());
        }
        if self.unseen && self.expect_wrong.is_some() {
            return Err("`expect_wrong` counts bytes that `unseen` does not look at".to_owned());
        }
        if self.ignore_errors && (ends || self.batch.is_some()) {
            return Err("with `ignore_errors` nothing is expected but right bytes".to_owned());
        }
        Ok(())
    }
}

impl ProbeState {
    fn check(&self) -> Result<(), String> {
        let nothing = self.is.is_none()
            && self.caching.is_none()
            && self.size.is_none()
            && self.invalidations.is_none();
        match nothing {
            true => Err(
                "`await_state` wants at least one of `is`, `caching`, `size` and \
                         `invalidations`"
                    .to_owned(),
            ),
            false => Ok(()),
        }
    }
}
