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
use crate::pure::requests::Id;
use crate::pure::requests::Kind;
use crate::pure::requests::ObjectQueue;
use crate::pure::requests::Op;
use crate::pure::requests::SendError;
use crate::pure::requests::Table;
use crate::pure::requests::Ticket;
use crate::pure::wire;
use crate::requests::Chunks;
use crate::requests::Pending;
use crate::requests::Phase;
use crate::requests::TRIES;
use crate::sys::anon::AnonFile;
use crate::sys::anon::FdSlot;
use crate::sys::complete::Completion;
use crate::sys::fscache::CookieFlag;
use crate::sys::object::ObjRef;
use crate::sys::object::Object;
use crate::sys::object::RefReason;
use crate::sys::trace;
use crate::sys::user::UserOut;
use crate::sys::waitq::EPOLLIN;
use kernel::sync::Arc;

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
            queue: cache.ondemand.add_object()?,
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
        self.cache
            .ondemand
            .with(|table| table.remove_object(self.queue));
    }
}

/// Whether a request of this kind makes sense in the object's state.
///
/// # Errors
/// EIO when the object is going; ENOENT for a CLOSE of what is not open.
fn may_send(table: &Table<Chunks>, queue: ObjectQueue, op: Op) -> Result {
    match (table.object(queue).map(|state| state.phase), op) {
        (None | Some(Phase::Dropping), _) => Err(EIO),
        (Some(Phase::Open), _) => Ok(()),
        (Some(Phase::Closed | Phase::Reopening), Op::Close) => Err(ENOENT),
        (Some(Phase::Closed | Phase::Reopening), _) => Ok(()),
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
    let id = enqueue(cache, object, queue, op, &waiter)?;
    cache.pollq().wake(EPOLLIN);
    let ended = match cfg!(cachefiles_mutant = "kill-blocked-reader") {
        true => Ok(waiter.wait()),
        false => waiter.wait_killable(),
    };
    if let Ok(result) = ended {
        return result;
    }
    match cache.ondemand.with(|table| table.remove(id)) {
        Some(taken) => {
            drop(taken);
            Err(EINTR)
        }
        None => waiter.wait(),
    }
}

fn enqueue(
    cache: &Cache,
    object: &Object,
    queue: ObjectQueue,
    op: Op,
    waiter: &Arc<Completion>,
) -> Result<Id> {
    let mut pending = Pending {
        object: object.get(RefReason::Request),
        waiter: Some(waiter.clone()),
    };
    for _ in 0..TRIES {
        cache.ondemand.make_room()?;
        let sent = cache
            .ondemand
            .with(|table| match may_send(table, queue, op) {
                Ok(()) => table
                    .enqueue(op, queue, pending)
                    .map_err(|(e, pending)| (Some(e), EIO, pending)),
                Err(e) => Err((None, e, pending)),
            });
        match sent {
            Ok(id) => return Ok(id),
            // Others were faster; there is room for more.
            Err((Some(SendError::Full), _, unsent)) => pending = unsent,
            Err((_, e, _)) => return Err(e),
        }
    }
    Err(EBUSY)
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
    let table = &object.cache().ondemand;
    if table.with(|t| t.object(anchor.queue()).map(|s| s.phase)) == Some(Phase::Open) {
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
    let queue = anchor.queue();
    let requests = &object.cache().ondemand;
    let open = requests.with(|t| t.object(queue).map(|s| s.phase)) == Some(Phase::Open);
    if open {
        trace::ondemand_close(object);
        // A dead cache has no daemon to tell.
        let _ = send(object, Op::Close);
    }
    requests.with(|table| {
        if let Some(state) = table.object_mut(queue) {
            state.phase = Phase::Dropping;
        }
    });
    requests.end_all(Err(EIO), |table| table.pop_object(queue));
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
    trace::ondemand_read(object, off, len);
    send(object, Op::Read { off, len })
}

/// A request on its way to the daemon.
struct Delivery {
    ticket: Ticket,
    msg_id: u32,
    op: Op,
    queue: ObjectQueue,
    /// Id of the object's fd at the moment; zero for an OPEN, which brings one.
    id: u32,
    object: ObjRef,
}

/// What a look at the front of the queue brought.
enum Pick {
    Nothing,
    TooShort,
    Deliver(Delivery),
    /// A READ whose object has no fd was set aside; what could not be used is to be dropped.
    Parked(Option<Pending>),
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

fn pick(table: &mut Table<Chunks>, room: usize) -> Pick {
    let Some(view) = table.peek() else {
        return Pick::Nothing;
    };
    let (op, queue) = (view.op, view.object);
    let phase = table.object(queue).map(|state| state.phase);
    if op.kind() == Kind::Read && matches!(phase, Some(Phase::Closed | Phase::Reopening)) {
        // The daemon could not answer: it has no fd for the object. An OPEN gets it one.
        let object = view.payload.object.get(RefReason::Request);
        table.park();
        let reopen = Pending {
            object,
            waiter: None,
        };
        if phase == Some(Phase::Reopening) || cfg!(cachefiles_mutant = "many-withheld") {
            return Pick::Parked(Some(reopen));
        }
        return match table.enqueue_reopen(queue, reopen) {
            Ok(_) => {
                if let Some(state) = table.object_mut(queue) {
                    state.phase = Phase::Reopening;
                }
                Pick::Parked(None)
            }
            Err((_, unsent)) => Pick::Parked(Some(unsent)),
        };
    }
    if message_len(op, &view.payload.object) > room {
        if cfg!(cachefiles_mutant = "message-size") {
            table.deliver();
        }
        return Pick::TooShort;
    }
    let object = view.payload.object.get(RefReason::Request);
    let id = table.object(queue).map_or(0, |state| state.id);
    match table.deliver() {
        Some(view) => Pick::Deliver(Delivery {
            ticket: view.ticket,
            msg_id: view.msg_id,
            op,
            queue,
            id,
            object,
        }),
        None => Pick::Parked(Some(Pending {
            object,
            waiter: None,
        })),
    }
}

/// The daemon reads one message; 0 when there is none. Never waits.
///
/// # Errors
/// EMSGSIZE when its buffer is too short, EFAULT when it is not its own, EMFILE when it cannot have
/// another fd: the request stays, or is handed back, and can be read again.
pub(crate) fn daemon_read(binding: &Arc<Binding>, out: &mut UserOut<'_>) -> Result<usize> {
    let cache = binding.cache();
    let delivery = loop {
        match cache.ondemand.with(|table| pick(table, out.len())) {
            Pick::Nothing => return Ok(0),
            Pick::TooShort => return Err(EMSGSIZE),
            Pick::Deliver(delivery) => break delivery,
            Pick::Parked(unused) => drop(unused),
        }
    };
    let result = match delivery.op {
        Op::Open => deliver_open(binding, &delivery, out),
        Op::Close => deliver_close(cache, &delivery, out),
        Op::Read { off, len } => deliver_read(&delivery, off, len, out),
    };
    if result.is_err() && !cfg!(cachefiles_mutant = "failed-delivery") {
        let is_open = delivery.op == Op::Open;
        cache.ondemand.with(|table| {
            if is_open {
                // It may be for want of fds, which what comes behind it may bring.
                table.hand_back_last(delivery.ticket)
            } else {
                table.hand_back(delivery.ticket)
            }
        });
        cache.pollq().wake(EPOLLIN);
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
    // A CLOSE has no answer: it is complete when it has been read.
    let taken = cache.ondemand.with(|table| table.deliver_done(d.ticket));
    if let Some(taken) = taken.filter(|_| !cfg!(cachefiles_mutant = "volume-collision")) {
        taken.payload.end(Ok(()));
    }
    Ok(n)
}

fn deliver_open(binding: &Arc<Binding>, d: &Delivery, out: &mut UserOut<'_>) -> Result<usize> {
    let requests = &binding.cache().ondemand;
    if cfg!(cachefiles_mutant = "restore-kept-fd")
        && requests.with(|table| table.object(d.queue).map_or(0, |state| state.id)) != 0
    {
        return Err(EEXIST);
    }
    let slot = FdSlot::reserve()?;
    let fd = OndemandFd::new(binding, &d.object, d.queue)?;
    let id = fd.id();
    let file = AnonFile::new(fd)?;
    // From here on the object has this fd. An earlier one, of a delivery before a restore, is no
    // longer the object's: its release will find that out.
    let still_asked = requests.with(|table| {
        let current = table.is_current(d.ticket);
        if let Some(state) = table.object_mut(d.queue).filter(|_| current) {
            state.id = id;
        }
        current
    });
    if !still_asked {
        // Answered or given up while the fd was being made: there is nothing to tell any more.
        return Ok(0);
    }
    trace::ondemand_open(&d.object, d.msg_id, id, slot.number());
    let cookie = d.object.cookie();
    let volume_key = cookie.volume().key_with_nul();
    let len = message_len(d.op, &d.object).min(wire::MSG_MAX);
    let mut buf = zeroed(len)?;
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
    let taken = cache.ondemand.with(|table| {
        let view = table.find(msg_id, Kind::Open).ok_or(EINVAL)?;
        let queue = view.object;
        let object_id = table.object(queue).map_or(0, |state| state.id);
        let may_open = object_id != 0 || cfg!(cachefiles_mutant = "close-before-copen");
        if answer.is_ok() && !may_open {
            return Err(EINVAL);
        }
        let taken = table
            .complete(msg_id, Kind::Open, None)
            .map_err(|_| EINVAL)?;
        if let Ok(size) = answer {
            set_size(&taken.payload.object, size);
        }
        if let Some(state) = table.object_mut(queue) {
            state.phase = match (state.phase, &answer) {
                (Phase::Dropping, _) => Phase::Dropping,
                // Refused, but open through another OPEN.
                (Phase::Open, _) | (_, Ok(_)) => Phase::Open,
                (_, Err(_)) => Phase::Closed,
            };
        }
        table.unpark(queue);
        Ok(taken)
    })?;
    let queue = taken.object;
    match answer {
        Ok(size) => {
            trace::ondemand_copen(&taken.payload.object, msg_id, size as i64);
            taken.payload.end(Ok(()));
            cache.pollq().wake(EPOLLIN);
            Ok(())
        }
        Err((e, result)) => {
            taken.payload.end(Err(e));
            // Those who waited for the object to be opened anew would ask for ever.
            if !cfg!(cachefiles_mutant = "close-against-copen") {
                cache.ondemand.end_waiting(queue, Kind::Read, Err(EIO));
            }
            result
        }
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
pub(crate) fn read_complete(object: &Object, queue: ObjectQueue, msg_id: u32) -> Result {
    let cache = object.cache();
    let taken = cache
        .ondemand
        .with(|table| table.complete(msg_id, Kind::Read, Some(queue)))
        .map_err(|_| EINVAL)?;
    trace::ondemand_cread(object, msg_id);
    taken.payload.end(Ok(()));
    Ok(())
}

/// A daemon takes over from one that died: what that had becomes new again.
pub(crate) fn restore(cache: &Cache) {
    if !cfg!(cachefiles_mutant = "daemon-restart") {
        cache.ondemand.with(|table| {
            table.restore();
            if cfg!(cachefiles_mutant = "restore-storm") {
                // Nothing opens its object anew.
                table.park();
            }
        });
    }
    cache.pollq().wake(EPOLLIN);
}

/// The anonymous fd of that id was closed for the last time.
pub(crate) fn fd_released(cache: &Cache, queue: ObjectQueue, id: u32) {
    let told = cache.ondemand.with(|table| {
        let state = table.object_mut(queue).filter(|state| state.id == id)?;
        state.id = 0;
        if cfg!(cachefiles_mutant = "reopen-after-close") {
            state.phase = Phase::Dropping;
        }
        if state.phase != Phase::Dropping {
            state.phase = Phase::Closed;
        }
        if !cfg!(cachefiles_mutant = "close-before-cread") {
            table.renew_object(queue);
        }
        // Nobody needs to be told any more that the object goes; there is one CLOSE at most.
        Some(table.pop_object_waiting(queue, Kind::Close))
    });
    if let Some(close) = told {
        if let Some(taken) = close {
            taken.payload.end(Ok(()));
        }
        cache.pollq().wake(EPOLLIN);
    }
    cache.ondemand.ids.give_back(id);
}
