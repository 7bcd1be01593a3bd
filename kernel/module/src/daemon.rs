// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! The device /dev/cachefiles: opening, commands, polling, and the end of a cache. Behaviour follows
//! fs/cachefiles/daemon.c of Linux 6.12; the grammar is `core/src/command.rs`.

use crate::cache::Cache;
use crate::name::Name;
use crate::namei;
use crate::ondemand;
use crate::prelude::*;
use crate::pure::command;
use crate::pure::command::Command;
use crate::pure::limits::Percents;
use crate::pure::protocol;
use crate::pure::status::STATUS_MAX;
use crate::space;
use crate::sys::cred;
use crate::sys::device::Loaded;
use crate::sys::list::Bytes;
use crate::sys::mount::Mount;
use crate::sys::param;
use crate::sys::user::UserIn;
use crate::sys::user::UserOut;
use crate::sys::waitq::EPOLLIN;
use crate::sys::waitq::EPOLLOUT;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering;
use kernel::new_mutex;
use kernel::str::CStr;
use kernel::sync::Arc;
use kernel::sync::Mutex;

/// Whether a cache exists: there can be one at a time.
static IN_USE: AtomicBool = AtomicBool::new(false);

/// The right to have a cache; given back when dropped, which is the last that a cache does: then its
/// name is free and its directories are no longer marked as in use. Until then the module stays: the
/// cache may end in the task that puts its last volume, after the device has been closed.
pub(crate) struct Token {
    _loaded: Option<Loaded>,
}

impl Token {
    /// # Errors
    /// EBUSY when there is a cache already.
    fn take(loaded: Loaded) -> Result<Token> {
        if IN_USE.swap(true, Ordering::Acquire) {
            return Err(EBUSY);
        }
        Ok(Token {
            _loaded: Some(loaded).filter(|_| !cfg!(cachefiles_mutant = "module-in-use")),
        })
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        IN_USE.store(false, Ordering::Release);
    }
}

/// What the daemon has said so far.
struct Config {
    dir: Option<Name>,
    tag: Option<Name>,
    secid: Option<u32>,
    percents: Percents,
}

/// What the device fd and every anonymous fd hold. When the last of them goes, the cache is
/// withdrawn, and with it goes everything else that holds it.
#[pin_data(PinnedDrop)]
pub(crate) struct Binding {
    /// Commands run one at a time, under this lock.
    #[pin]
    config: Mutex<Config>,
    cache: Arc<Cache>,
}

impl Binding {
    /// The cache.
    pub(crate) fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    pub(crate) fn withdraw(&self) {
        self.cache.withdraw();
    }
}

/// The device is opened.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN, EBUSY while there is a cache, ENOMEM.
pub(crate) fn open(loaded: Loaded) -> Result<Arc<Binding>> {
    if !cred::current_is_admin() && !cfg!(cachefiles_mutant = "device-open-rules") {
        return Err(EPERM);
    }
    let cache = Cache::new(Token::take(loaded)?)?;
    let config = Config {
        dir: None,
        tag: None,
        secid: None,
        percents: Percents::DEFAULT,
    };
    Ok(Arc::pin_init(
        try_pin_init!(Binding {
            config <- new_mutex!(config, "Binding::config"),
            cache,
        }? KernelError),
        GFP_KERNEL,
    )?)
}

/// The device is closed: the cache is dead, though it stays until the last anonymous fd is closed.
pub(crate) fn release(binding: Arc<Binding>) {
    if !cfg!(cachefiles_mutant = "unbind-open-fds") {
        binding.cache.die();
    }
    drop(binding);
}

/// A message is read, or nothing; in classic mode, the cache's state.
///
/// # Errors
/// As [`ondemand::daemon_read`]; EMSGSIZE when the state does not fit, EFAULT.
pub(crate) fn read(binding: &Arc<Binding>, out: &mut UserOut<'_>) -> Result<usize> {
    let cache = &binding.cache;
    if !cache.is_ready() {
        Ok(0)
    } else if cache.is_ondemand() {
        ondemand::daemon_read(binding, out)
    } else {
        read_state(cache, out)
    }
}

/// The state of a classic cache, as one line. Reading it acknowledges what had changed.
fn read_state(cache: &Cache, out: &mut UserOut<'_>) -> Result<usize> {
    let bound = cache.bound().ok_or(EIO)?;
    // Only to bring the state of culling up to date.
    let _ = space::check(cache, &bound.backing, space::Need::nothing());
    let mut line = [0u8; STATUS_MAX];
    let len = cache.take_status(bound).format(&mut line);
    out.write(line.get(..len).ok_or(EIO)?)?;
    Ok(len)
}

/// What can be had now: a message to read, in classic mode a change of state, and whether culling is
/// wanted.
pub(crate) fn poll(binding: &Binding) -> u32 {
    let cache = &binding.cache;
    let mut events = 0;
    let readable = match cache.is_ondemand() {
        true => protocol::has_waiting(&**cache),
        false => cache.has_news(),
    };
    if readable && !cfg!(cachefiles_mutant = "poll-loop") {
        events |= EPOLLIN;
    }
    if cache.culling.load(Ordering::Relaxed) {
        events |= EPOLLOUT;
    }
    events
}

/// A command is written; returns its length, also of what follows the first newline.
///
/// # Errors
/// EIO when the cache is dead, EOPNOTSUPP when the command is too long or not known, and those of
/// the commands.
pub(crate) fn write(binding: &Binding, data: &UserIn<'_>) -> Result<usize> {
    if binding.cache.is_dead() {
        return Err(EIO);
    }
    if data.len() as u64 >= crate::interface::PAGE {
        return Err(EOPNOTSUPP);
    }
    let mut text = Bytes::zeroed(data.len())?;
    data.read(&mut text)?;
    let command = command::parse(&text).map_err(refusal)?;
    let mut config = binding.config.lock();
    if binding.cache.is_dead() {
        return Err(EIO);
    }
    run(&binding.cache, &mut config, command)?;
    Ok(data.len())
}

/// What a command that does not parse is answered with.
fn refusal(e: command::CommandError) -> Errno {
    match e {
        command::CommandError::Invalid => EINVAL,
        command::CommandError::NotSupported => EOPNOTSUPP,
        command::CommandError::Range => ERANGE,
    }
}

fn run(cache: &Arc<Cache>, config: &mut Config, command: Command<'_>) -> Result {
    match command {
        Command::Bind(args) => bind(cache, config, args),
        Command::Limit(limit, percent) => config.percents.set(limit, percent).map_err(|_| {
            pr_err!("Free space limits must be in range 0%<=stop<cull<run<100%\n");
            EINVAL
        }),
        Command::Copen { id, size } => {
            ondemand_only(cache)?;
            ondemand::copen(cache, id.map_err(refusal)?, size.map_err(refusal))
        }
        Command::Restore => {
            ondemand_only(cache)?;
            ondemand::restore(cache);
            Ok(())
        }
        Command::Cull(name) => cull(cache, name, namei::cull),
        Command::Inuse(name) => cull(cache, name, |cache, _, dir, name| {
            namei::check_in_use(cache, dir, name)
        }),
        Command::Debug(mask) => {
            param::set_debug(mask as u32);
            Ok(())
        }
        Command::Dir(path) => set_once(&mut config.dir, path, EEXIST),
        Command::Tag(tag) => set_once(&mut config.tag, tag, EEXIST),
        Command::Secctx(context) => {
            if config.secid.is_some() && !cfg!(cachefiles_mutant = "secctx-smack") {
                pr_err!("Second security context specified\n");
                return Err(EINVAL);
            }
            let context = Name::copy(context)?;
            config.secid = Some(cred::secctx_to_secid(context.as_c_str())?);
            Ok(())
        }
    }
}

fn set_once(place: &mut Option<Name>, text: &[u8], again: Errno) -> Result {
    let name = Name::copy(text)?;
    if place.is_some() && !cfg!(cachefiles_mutant = "parser-rules") {
        return Err(again);
    }
    *place = Some(name);
    Ok(())
}

fn ondemand_only(cache: &Cache) -> Result {
    if cache.is_ondemand() {
        Ok(())
    } else {
        Err(EOPNOTSUPP)
    }
}

fn bind(cache: &Arc<Cache>, config: &Config, args: &[u8]) -> Result {
    config.percents.validate().map_err(|_| ERANGE)?;
    let Some(dir) = &config.dir else {
        pr_err!("No cache directory specified\n");
        return Err(EINVAL);
    };
    if cache.is_ready() {
        pr_err!("Cache already bound\n");
        return Err(EBUSY);
    }
    let ondemand = match args {
        b"ondemand" => true,
        b"" => false,
        _ => {
            pr_err!("Invalid argument to the 'bind' command\n");
            return Err(EINVAL);
        }
    };
    let tag = config.tag.as_ref().map(Name::as_c_str);
    let tag = tag.unwrap_or(kernel::c_str!("CacheFiles"));
    cache.bind(
        dir.as_c_str(),
        tag,
        config.secid,
        &config.percents,
        ondemand,
    )
}

/// Runs `cull` or `inuse` on a name of the caller's working directory, which must lie in the store
/// of this cache: C removes the name wherever the caller happens to be.
fn cull(
    cache: &Cache,
    name: &[u8],
    act: impl FnOnce(&Cache, &crate::cache::Bound, &crate::sys::dentry::Dentry, &CStr) -> Result,
) -> Result {
    let Some(bound) = cache.bound().filter(|_| cache.is_ready()) else {
        pr_err!("cull or inuse applied to unready cache\n");
        return Err(EIO);
    };
    let name = if name.is_empty() {
        // No file can have it: what the lookup would say.
        return Err(EIO);
    } else {
        Name::copy(name)?
    };
    let (_mnt, dir) = Mount::current_dir()?;
    if !dir.can_lookup() {
        pr_err!("cull and inuse need a working directory\n");
        return Err(ENOTDIR);
    }
    if !dir.is_below(&bound.store) && !cfg!(cachefiles_mutant = "cull-outside") {
        pr_err!("The working directory is not in this cache\n");
        return Err(EXDEV);
    }
    let _as_cache = bound.backing.cred.override_current();
    act(cache, bound, &dir, name.as_c_str())
}
