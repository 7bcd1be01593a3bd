// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! On-demand mode: asking the daemon, delivering what is asked, and taking its answers. Behaviour
//! follows fs/cachefiles/ondemand.c of Linux 6.12 and the protocol of include/uapi/linux/cachefiles.h.
//!
//! Where it is better than that:
//! - A request whose delivery fails (a bad buffer, no free fd) is handed back and can be read again;
//!   C fails it, and with it the mount.
//! - When an object's fd is closed, what the daemon had of it becomes new again: nobody waits for
//!   an answer that cannot come.
//! - An answer counts only for what was delivered.
//! - A second delivery of an OPEN replaces the first one's fd; C fails the request.

use crate::cache::Cache;
use crate::daemon::Binding;
use crate::ondemand_fd::OndemandFd;
use crate::prelude::*;
use crate::pure::protocol;
use crate::pure::protocol::Next;
use crate::pure::requests::ObjectQueue;
use crate::pure::requests::Op;
use crate::pure::wire;
use crate::sys::anon::AnonFile;
use crate::sys::anon::FdSlot;
use crate::sys::complete::Completion;
use crate::sys::fscache::CookieFlag;
use crate::sys::list::Bytes;
use crate::sys::object::ObjRef;
use crate::sys::object::Object;
use crate::sys::object::RefReason;
use crate::sys::trace;
use crate::sys::user::UserOut;
use kernel::sync::Arc;

/// How often it is tried to tell the daemon that an object goes.
const CLOSE_TRIES: u32 = 16;

/// A request on its way to the daemon.
type Delivery = protocol::Delivery<ObjRef>;

/// An object's place in the request table, given up when the object ends.
pub(crate) struct Anchor {
    cache: Arc<Cache>,
    queue: ObjectQueue,
}

impl Anchor {
    /// # Errors
    /// ENOMEM.
    pub(crate) fn new(cache: &Arc<Cache>) -> Result<Anchor> {
        Ok(Anchor {
            queue: protocol::add_object(&**cache)?,
            cache: cache.clone(),
        })
    }

    /// The object's name in the table.
    pub(crate) fn queue(&self) -> ObjectQueue {
        self.queue
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        // The object's requests hold it, so that none is left.
        protocol::remove_object(&*self.cache, self.queue);
    }
}

/// Asks the daemon and waits for its answer. A fatal signal ends the wait, unless the answer is just
/// being given.
///
/// # Errors
/// EIO when the cache is dead or the object going, EINTR when killed, or what the answer says.
fn send(object: &Object, op: Op) -> Result {
    let cache = object.cache();
    let queue = object.anchor().ok_or(EIO)?.queue();
    if cache.is_dead() {
        return Err(EIO);
    }
    let waiter = Arc::pin_init(Completion::new(), GFP_KERNEL).map_err(|_| ENOMEM)?;
    match op {
        Op::Open => {}
        Op::Close => trace::ondemand_close(object),
        Op::Read { off, len } => trace::ondemand_read(object, off, len),
    }
    let object = object.get(RefReason::Request);
    protocol::send(&**cache, queue, op, object, waiter)
}

/// Has the daemon open an object that is being looked up, and learns its size. Nothing to do when it
/// has it open already.
///
/// # Errors
/// As [`send`].
pub(crate) fn init_object(object: &Object) -> Result {
    let Some(anchor) = object.anchor() else {
        return Ok(());
    };
    if protocol::is_open(&**object.cache(), anchor.queue()) {
        return Ok(());
    }
    send(object, Op::Open)
}

/// Tells the daemon that an object goes, and cancels what it was asked about it. Waits until the
/// daemon knows.
pub(crate) fn clean_object(object: &Object) {
    let Some(anchor) = object.anchor() else {
        return;
    };
    let cache = &**object.cache();
    if protocol::is_open(cache, anchor.queue()) {
        for _ in 0..CLOSE_TRIES {
            // A dead cache has no daemon to tell. For want of memory or room it is tried again: a
            // daemon that does not hear of it keeps its fd, which keeps the object and its cookie.
            if !matches!(send(object, Op::Close), Err(ENOMEM | EBUSY)) {
                break;
            }
        }
    }
    protocol::withdraw(cache, anchor.queue());
}

/// Has the daemon fill a range (bytes) of an object. In classic mode there is nobody to ask, and
/// the reader finds the hole again.
///
/// # Errors
/// As [`send`].
pub(crate) fn read(object: &Object, off: u64, len: usize) -> Result {
    if object.anchor().is_none() {
        return Ok(());
    }
    let len = len as u64;
    send(object, Op::Read { off, len })
}

fn message_len(op: Op, object: &Object) -> usize {
    match op {
        Op::Open => {
            let cookie = object.cookie();
            let volume_key = cookie.volume().key_with_nul().len();
            wire::open_len(volume_key, cookie.key().len()).unwrap_or(usize::MAX)
        }
        Op::Close => wire::CLOSE_LEN,
        Op::Read { .. } => wire::READ_LEN,
    }
}

/// The daemon reads one message; 0 when there is none. Never waits.
///
/// # Errors
/// EMSGSIZE when its buffer is too short, EFAULT when it is not its own, EMFILE when it cannot have
/// another fd: the request stays, or is handed back, and can be read again.
pub(crate) fn daemon_read(binding: &Arc<Binding>, out: &mut UserOut<'_>) -> Result<usize> {
    let cache = &**binding.cache();
    let len = |op, object: &ObjRef| message_len(op, object);
    let delivery = match protocol::next_message(cache, out.len(), len) {
        Next::Nothing => return Ok(0),
        Next::TooShort => return Err(EMSGSIZE),
        Next::Message(delivery) => delivery,
    };
    // What the delivery has already keeps the object; this one is for those who trace references.
    let _traced = match cfg!(cachefiles_mutant = "trace-requests") {
        true => None,
        false => Some(delivery.object.get(RefReason::Delivery)),
    };
    let result = match delivery.op {
        Op::Open => deliver_open(binding, &delivery, out),
        Op::Close => deliver_close(cache, &delivery, out),
        Op::Read { off, len } => deliver_read(&delivery, off, len, out),
    };
    let forgotten = cfg!(any(
        cachefiles_mutant = "failed-delivery",
        cachefiles_mutant = "allocation-failures"
    ));
    if result.is_err() && !forgotten {
        protocol::hand_back(cache, &delivery);
    }
    result
}

fn deliver_read(d: &Delivery, off: u64, len: u64, out: &mut UserOut<'_>) -> Result<usize> {
    let mut buf = [0u8; wire::READ_LEN];
    let n = wire::encode_read(&mut buf, d.msg_id, d.id, off, len).map_err(|_| EIO)?;
    out.write(buf.get(..n).ok_or(EIO)?)?;
    Ok(n)
}

fn deliver_close(cache: &Cache, d: &Delivery, out: &mut UserOut<'_>) -> Result<usize> {
    let mut buf = [0u8; wire::CLOSE_LEN];
    let n = wire::encode_close(&mut buf, d.msg_id, d.id).map_err(|_| EIO)?;
    out.write(buf.get(..n).ok_or(EIO)?)?;
    protocol::delivered_close(cache, d);
    Ok(n)
}

fn deliver_open(binding: &Arc<Binding>, d: &Delivery, out: &mut UserOut<'_>) -> Result<usize> {
    if cfg!(cachefiles_mutant = "restore-kept-fd") && d.id != 0 {
        return Err(EEXIST);
    }
    let slot = FdSlot::reserve()?;
    let fd = OndemandFd::new(binding, &d.object)?;
    let id = fd.id();
    let file = AnonFile::new(fd)?;
    if !protocol::attach_fd(&**binding.cache(), d, id) {
        // Answered or given up while the fd was being made: there is nothing to tell any more.
        return Ok(0);
    }
    trace::ondemand_open(&d.object, d.msg_id, id, slot.number());
    let cookie = d.object.cookie();
    let volume_key = cookie.volume().key_with_nul();
    let len = message_len(d.op, &d.object).min(wire::MSG_MAX);
    let mut buf = Bytes::zeroed(len)?;
    let n = wire::encode_open(
        &mut buf,
        d.msg_id,
        id,
        slot.number() as i32,
        0,
        volume_key,
        cookie.key(),
    )
    .map_err(|_| EIO)?;
    // When this fails the file is dropped, and its release takes the id away again.
    out.write(buf.get(..n).ok_or(EIO)?)?;
    slot.install(file);
    if cfg!(cachefiles_mutant = "load-cycles--kmemleak") {
        core::mem::forget(buf);
    }
    Ok(n)
}

/// The daemon answers an OPEN with the object's size in bytes, or an error number (negative).
///
/// # Errors
/// EINVAL when no such OPEN was delivered, or when its fd has been closed since (it can be read
/// again then); the error of a size that is no number, or no error number: the OPEN fails with it.
pub(crate) fn copen(cache: &Cache, msg_id: u32, size: Result<i64>) -> Result {
    // What the OPEN ends with, and what the daemon is told of an answer that does not open.
    let answer = match size {
        Ok(size) if size >= 0 => Ok(size as u64),
        Ok(size) if size >= -i64::from(MAX_ERRNO) || cfg!(cachefiles_mutant = "copen-abuse") => {
            Err((Errno::from_ret(size), Ok(())))
        }
        Ok(_) => Err((EINVAL, Err(EINVAL))),
        Err(e) => Err((e, Err(e))),
    };
    let opened = |object: &ObjRef, size| set_size(object, size);
    let ending = |object: &ObjRef| {
        if let Ok(size) = answer {
            trace::ondemand_copen(object, msg_id, size as i64);
        }
    };
    let end = answer.map_err(|(e, _)| e);
    protocol::answer_open(cache, msg_id, end, opened, ending).map_err(|_| EINVAL)?;
    match answer {
        Ok(_) => Ok(()),
        Err((_, told)) => told,
    }
}

fn set_size(object: &Object, size: u64) {
    let cookie = object.cookie();
    cookie.set_object_size(size);
    if size > 0 {
        cookie.clear(CookieFlag::NoDataToRead);
    } else {
        cookie.set(CookieFlag::NoDataToRead);
    }
}

/// The daemon has filled what a READ asked for.
///
/// # Errors
/// EINVAL when no such READ of this object was delivered.
pub(crate) fn read_complete(object: &Object, msg_id: u32) -> Result {
    let queue = object.anchor().ok_or(EINVAL)?.queue();
    let ending = || trace::ondemand_cread(object, msg_id);
    protocol::answer_read(&**object.cache(), queue, msg_id, ending).map_err(|_| EINVAL)
}

/// A daemon takes over from one that died: what that had becomes new again.
pub(crate) fn restore(cache: &Cache) {
    protocol::restore(cache);
}

/// The object's anonymous fd of that id was closed for the last time.
pub(crate) fn fd_released(object: &Object, id: u32) {
    let cache = &**object.cache();
    if let Some(anchor) = object.anchor() {
        protocol::fd_released(cache, anchor.queue(), id);
    }
    cache.ondemand.ids.give_back(id);
}
