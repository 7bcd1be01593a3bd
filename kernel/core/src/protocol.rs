// SPDX-License-Identifier: GPL-2.0-or-later
//! The protocol around the request table: asking the daemon and waiting for it, delivering what is
//! asked, taking answers, cancelling, and the end of it all.
//!
//! It is written against what it needs of its surroundings, [`Host`]: a lock, events to wait on, and
//! counted references. In the kernel these are a spinlock, completions and objects; a model checker
//! gives its own, and so tries the order of every step of the very code that the kernel runs.
//!
//! What holds, in any order of steps:
//! - a request is ended exactly once, by whoever takes it out of the table, and after unlocking:
//!   it may hold the last reference to its object, whose end sleeps;
//! - what is sent before [`die`] or [`withdraw`] is ended by it, what is sent after is refused:
//!   the check and the taking in share one critical section;
//! - whoever puts something into the FIFO wakes the daemon afterwards;
//! - a sender that is killed leaves only with its request in hand. When somebody else has it, that
//!   somebody is about to end it, and the sender goes on waiting.

use super::chunks::CHUNKS;
use super::host::{has, PendingOf};
pub use super::host::{
    Bug, ErrorOf, Event, Failure, Hold, Host, Killed, Lock, Pending, Phase, State,
};
use super::requests::{Id, Kind, ObjectQueue, Op, SendError, Slots, Table, Taken, Ticket};

/// How often room is made before giving up, when others keep taking it. In vain it is made only when
/// somebody else has added a chunk meanwhile, and of these there cannot be so many.
const TRIES: u32 = CHUNKS as u32 + 1;

/// Takes an object into the table.
///
/// # Errors
/// [`Failure::NoMemory`], or what making room says.
pub fn add_object<H: Host>(host: &H) -> Result<ObjectQueue, ErrorOf<H>> {
    for _ in 0..TRIES {
        let made = host.make_object_room();
        let state = State {
            phase: Phase::Closed,
            id: 0,
        };
        if let Ok(queue) = host.table().with(|table| table.add_object(state)) {
            return Ok(queue);
        }
        // It is full again, as others were faster; or there was no memory.
        made?;
    }
    Err(Failure::NoMemory.into())
}

/// Lets go of an object that has no requests.
pub fn remove_object<H: Host>(host: &H, queue: ObjectQueue) {
    host.table().with(|table| table.remove_object(queue));
}

/// Whether the daemon has the object open.
pub fn is_open<H: Host>(host: &H, queue: ObjectQueue) -> bool {
    host.table()
        .with(|table| table.object(queue).map(|state| state.phase))
        == Some(Phase::Open)
}

/// Whether the daemon would read something now.
pub fn has_waiting<H: Host>(host: &H) -> bool {
    host.table().with(|table| table.has_waiting())
}

/// Whether a request of this kind makes sense in the object's state.
fn may_send<S: Slots<Object = State>>(
    table: &Table<S>,
    queue: ObjectQueue,
    op: Op,
) -> Result<(), Failure> {
    match (table.object(queue).map(|state| state.phase), op) {
        (None | Some(Phase::Dropping), _) => Err(Failure::Gone),
        (Some(Phase::Open), _) => Ok(()),
        (Some(Phase::Closed | Phase::Reopening), Op::Close) => Err(Failure::NotOpen),
        (Some(Phase::Closed | Phase::Reopening), _) => Ok(()),
    }
}

/// Asks the daemon and waits for its answer. A fatal signal ends the wait, unless the answer is just
/// being given.
///
/// # Errors
/// [`Failure`], or what the answer says.
#[allow(unexpected_cfgs)]
pub fn send<H: Host>(
    host: &H,
    queue: ObjectQueue,
    op: Op,
    object: H::Object,
    event: H::Event,
) -> Result<(), ErrorOf<H>> {
    if has::<H>(Bug::WakesEarly) {
        host.wake_daemon();
    }
    let pending = Pending {
        object,
        waiter: Some(event.clone()),
    };
    let id = enqueue(host, queue, op, pending)?;
    if !has::<H>(Bug::WakesEarly) {
        host.wake_daemon();
    }
    let ended = match cfg!(cachefiles_mutant = "kill-blocked-reader") {
        true => Ok(event.wait()),
        false => event.wait_killable(),
    };
    if let Ok(result) = ended {
        return result;
    }
    match host.table().with(|table| table.remove(id)) {
        Some(taken) => {
            drop(taken);
            Err(Failure::Killed.into())
        }
        None if has::<H>(Bug::LeavesWhenKilled) => Err(Failure::Killed.into()),
        None => event.wait(),
    }
}

fn enqueue<H: Host>(
    host: &H,
    queue: ObjectQueue,
    op: Op,
    mut pending: PendingOf<H>,
) -> Result<Id, ErrorOf<H>> {
    for _ in 0..TRIES {
        // There may be room enough although there was no memory for more.
        let made = host.make_room();
        let sent = host.table().with(|table| match may_send(table, queue, op) {
            Ok(()) => table
                .enqueue(op, queue, pending)
                .map_err(|(e, unsent)| (e == SendError::Full, Failure::Gone, unsent)),
            Err(failure) => Err((false, failure, pending)),
        });
        match sent {
            Ok(id) => return Ok(id),
            // Others were faster; there is room for more.
            Err((true, _, unsent)) => {
                made?;
                pending = unsent;
            }
            Err((false, failure, _)) => return Err(failure.into()),
        }
    }
    Err(Failure::NoRoom.into())
}

/// A request on its way to the daemon.
pub struct Delivery<O> {
    /// This delivery.
    pub ticket: Ticket,
    /// The daemon's name for the request.
    pub msg_id: u32,
    /// What it asks for.
    pub op: Op,
    /// Its object's name in the table.
    pub queue: ObjectQueue,
    /// Id of the object's fd at the moment; zero for an OPEN, which brings one.
    pub id: u32,
    /// Its object.
    pub object: O,
}

/// What there is to deliver.
pub enum Next<O> {
    /// Nothing.
    Nothing,
    /// A message for which there is not room enough; it stays where it is.
    TooShort,
    /// A message.
    Message(Delivery<O>),
}

/// What a look at the front of the FIFO brought.
enum Pick<O, E> {
    Next(Next<O>),
    /// A READ whose object has no fd was set aside; what could not be used is to be dropped.
    Parked(Option<Pending<O, E>>),
}

/// Takes the next message for a daemon that has room for so many bytes; `len` tells a message's
/// length. A READ of an object that has no fd is set aside for the OPEN that gets it one.
///
/// What comes of the delivery is to be told: [`hand_back`] when it fails, [`delivered_close`] when
/// it was a CLOSE.
pub fn next_message<H: Host>(
    host: &H,
    room: usize,
    len: impl Fn(Op, &H::Object) -> usize,
) -> Next<H::Object> {
    loop {
        if has::<H>(Bug::LooksThenDelivers) {
            match seen_then_delivered(host) {
                Some(next) => return next,
                None => continue,
            }
        }
        match host.table().with(|table| pick::<H>(table, room, &len)) {
            Pick::Next(next) => return next,
            Pick::Parked(unused) => drop(unused),
        }
    }
}

#[allow(unexpected_cfgs)]
fn pick<H: Host>(
    table: &mut Table<H::Slots>,
    room: usize,
    len: impl Fn(Op, &H::Object) -> usize,
) -> Pick<H::Object, H::Event> {
    let Some(view) = table.peek() else {
        return Pick::Next(Next::Nothing);
    };
    let (op, queue) = (view.op, view.object);
    let phase = table.object(queue).map(|state| state.phase);
    if op.kind() == Kind::Read && matches!(phase, Some(Phase::Closed | Phase::Reopening)) {
        // The daemon could not answer: it has no fd for the object. An OPEN gets it one.
        let object = view.payload.object.hold();
        table.park();
        let reopen = Pending {
            object,
            waiter: None,
        };
        let bugs = cfg!(any(
            cachefiles_mutant = "many-withheld",
            cachefiles_mutant = "many-withheld-probe"
        ));
        if phase == Some(Phase::Reopening) || bugs {
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
    if len(op, &view.payload.object) > room {
        if cfg!(cachefiles_mutant = "message-size") {
            table.deliver();
        }
        return Pick::Next(Next::TooShort);
    }
    let object = view.payload.object.hold();
    let id = table.object(queue).map_or(0, |state| state.id);
    match table.deliver() {
        Some(view) => Pick::Next(Next::Message(Delivery {
            ticket: view.ticket,
            msg_id: view.msg_id,
            op,
            queue,
            id,
            object,
        })),
        None => Pick::Parked(Some(Pending {
            object,
            waiter: None,
        })),
    }
}

/// [`Bug::LooksThenDelivers`].
fn seen_then_delivered<H: Host>(host: &H) -> Option<Next<H::Object>> {
    let seen = host.table().with(|table| {
        let view = table.peek()?;
        Some(Delivery {
            ticket: view.ticket,
            msg_id: view.msg_id,
            op: view.op,
            queue: view.object,
            id: table.object(view.object).map_or(0, |state| state.id),
            object: view.payload.object.hold(),
        })
    });
    let Some(mut seen) = seen else {
        return Some(Next::Nothing);
    };
    seen.ticket = host
        .table()
        .with(|table| table.deliver().map(|view| view.ticket))?;
    Some(Next::Message(seen))
}

/// A delivery has failed: its request can be read again, under a new message id. Says whether it
/// was still this delivery's.
pub fn hand_back<H: Host>(host: &H, delivery: &Delivery<H::Object>) -> bool {
    if has::<H>(Bug::ForgetsToHandBack) {
        return true;
    }
    let kind = delivery.op.kind();
    let handed_back = host.table().with(|table| {
        let latest = table
            .find(delivery.msg_id, kind)
            .map(|view| view.ticket)
            .filter(|_| has::<H>(Bug::HandsBackAnothers));
        let ticket = latest.unwrap_or(delivery.ticket);
        if kind == Kind::Open {
            // It may be for want of fds, which what comes behind it may bring.
            table.hand_back_last(ticket)
        } else {
            table.hand_back(ticket)
        }
    });
    host.wake_daemon();
    handed_back
}

/// A CLOSE was delivered. It has no answer: it is complete when it has been read.
#[allow(unexpected_cfgs)]
pub fn delivered_close<H: Host>(host: &H, delivery: &Delivery<H::Object>) {
    let taken = host
        .table()
        .with(|table| table.deliver_done(delivery.ticket));
    if let Some(taken) = taken.filter(|_| !cfg!(cachefiles_mutant = "volume-collision")) {
        taken.payload.end(Ok(()));
    }
}

/// An fd was made for the delivery of an OPEN: from here on it is the object's. An earlier one, of a
/// delivery before a restore, no longer is: its release will find that out.
///
/// Says whether the OPEN is still asked; when it is not, the fd is not wanted.
pub fn attach_fd<H: Host>(host: &H, delivery: &Delivery<H::Object>, id: u32) -> bool {
    host.table().with(|table| {
        let current = table.is_current(delivery.ticket);
        if let Some(state) = table.object_mut(delivery.queue).filter(|_| current) {
            state.id = id;
        }
        current
    })
}

/// The anonymous fd of that id was closed for the last time: what was delivered of its object
/// becomes new again, as nobody could answer it.
#[allow(unexpected_cfgs)]
pub fn fd_released<H: Host>(host: &H, queue: ObjectQueue, id: u32) {
    let told = host.table().with(|table| {
        let state = table.object_mut(queue).filter(|state| state.id == id)?;
        state.id = 0;
        if cfg!(cachefiles_mutant = "reopen-after-close") {
            state.phase = Phase::Dropping;
        }
        if state.phase != Phase::Dropping {
            state.phase = Phase::Closed;
        }
        if !has::<H>(Bug::ForgetsTheFd) && !cfg!(cachefiles_mutant = "close-before-cread") {
            table.renew_object(queue);
        }
        // Nobody needs to be told any more that the object goes; there is one CLOSE at most.
        Some(table.pop_object_waiting(queue, Kind::Close))
    });
    if let Some(close) = told {
        if let Some(taken) = close {
            taken.payload.end(Ok(()));
        }
        host.wake_daemon();
    }
}

/// There is no such request: its id is unknown or stale, or it was not delivered, or it is of
/// another kind or object, or is an OPEN whose fd has been closed since. `EINVAL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoSuchRequest;

/// The daemon answers an OPEN, with the object's size in bytes or with an error. `opened` notes the
/// size, under the lock, before anybody can see the object open; `ending` is called before the
/// sender goes on.
///
/// # Errors
/// [`NoSuchRequest`], without effect.
#[allow(unexpected_cfgs)]
pub fn answer_open<H: Host>(
    host: &H,
    msg_id: u32,
    answer: Result<u64, ErrorOf<H>>,
    opened: impl FnOnce(&H::Object, u64),
    ending: impl FnOnce(&H::Object),
) -> Result<(), NoSuchRequest> {
    let taken = host.table().with(|table| {
        let view = table.find(msg_id, Kind::Open)?;
        let queue = view.object;
        let object_id = table.object(queue).map_or(0, |state| state.id);
        let may_open = object_id != 0 || cfg!(cachefiles_mutant = "close-before-copen");
        if answer.is_ok() && !may_open {
            return None;
        }
        let taken = table.complete(msg_id, Kind::Open, None).ok()?;
        if let Ok(size) = answer {
            opened(&taken.payload.object, size);
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
        Some(taken)
    });
    let taken = taken.ok_or(NoSuchRequest)?;
    let queue = taken.object;
    ending(&taken.payload.object);
    match answer {
        Ok(_) => {
            taken.payload.end(Ok(()));
            host.wake_daemon();
        }
        Err(e) => {
            taken.payload.end(Err(e));
            // Those who waited for the object to be opened anew would ask for ever.
            if !cfg!(cachefiles_mutant = "close-against-copen") {
                end_all(host, Failure::Gone, |table| {
                    table.pop_object_waiting(queue, Kind::Read)
                });
            }
        }
    }
    Ok(())
}

/// The daemon has filled what a READ of that object asked for. `ending` is called before the sender
/// goes on.
///
/// # Errors
/// [`NoSuchRequest`], without effect.
pub fn answer_read<H: Host>(
    host: &H,
    queue: ObjectQueue,
    msg_id: u32,
    ending: impl FnOnce(),
) -> Result<(), NoSuchRequest> {
    if has::<H>(Bug::FindsThenTakes) {
        let found = host.table().with(|table| {
            let view = table.find(msg_id, Kind::Read)?;
            Some((view.payload.object.hold(), view.payload.waiter.clone()))
        });
        let (object, waiter) = found.ok_or(NoSuchRequest)?;
        let taken = host
            .table()
            .with(|table| table.complete(msg_id, Kind::Read, Some(queue)));
        drop(taken);
        Pending { object, waiter }.end(Ok(()));
        return Ok(());
    }
    let taken = host
        .table()
        .with(|table| table.complete(msg_id, Kind::Read, Some(queue)))
        .map_err(|_| NoSuchRequest)?;
    ending();
    taken.payload.end(Ok(()));
    Ok(())
}

/// A daemon takes over from one that died: what that had becomes new again.
#[allow(unexpected_cfgs)]
pub fn restore<H: Host>(host: &H) {
    if !cfg!(cachefiles_mutant = "daemon-restart") {
        host.table().with(|table| {
            table.restore();
            if cfg!(cachefiles_mutant = "restore-storm") {
                // Nothing opens its object anew.
                table.park();
            }
        });
    }
    if !has::<H>(Bug::RestoresSilently) {
        host.wake_daemon();
    }
}

/// Nothing is asked about the object any more, and what was is cancelled.
pub fn withdraw<H: Host>(host: &H, queue: ObjectQueue) {
    if has::<H>(Bug::WithdrawsLate) {
        end_all(host, Failure::Gone, |table| table.pop_object(queue));
    }
    host.table().with(|table| {
        if let Some(state) = table.object_mut(queue) {
            state.phase = Phase::Dropping;
        }
    });
    if !has::<H>(Bug::WithdrawsLate) {
        end_all(host, Failure::Gone, |table| table.pop_object(queue));
    }
}

/// Ends everything that is in the table, and lets nothing in any more.
#[allow(unexpected_cfgs)]
pub fn die<H: Host>(host: &H) {
    if has::<H>(Bug::DiesLate) {
        end_all(host, Failure::Gone, |table| table.pop_any());
    }
    host.table().with(|table| table.die());
    if !cfg!(cachefiles_mutant = "kill-pending") && !has::<H>(Bug::DiesLate) {
        end_all(host, Failure::Gone, |table| table.pop_any());
    }
}

/// Ends requests one by one, each after unlocking.
fn end_all<H: Host>(
    host: &H,
    failure: Failure,
    mut pop: impl FnMut(&mut Table<H::Slots>) -> Option<Taken<PendingOf<H>>>,
) {
    while let Some(taken) = host.table().with(&mut pop) {
        taken.payload.end(Err(failure.into()));
    }
}
