// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! Many transfers: in the calling task, or each on a thread of its own, so that thousands of them can
//! wait for a daemon at once without a task in userspace for each.

use crate::abi::call::flag;
use crate::abi::call::op;
use crate::abi::call::Call;
use crate::io;
use crate::io::Buffer;
use crate::io::Moved;
use crate::io::Range;
use crate::objects::Object;
use crate::prelude::*;
use crate::session::find;
use crate::session::note;
use crate::session::range;
use crate::session::Session;
use crate::sys::device;
use crate::sys::thread;
use crate::vectors::push;
use crate::vectors::KVec;
use kernel::new_mutex;
use kernel::sync::Arc;
use kernel::sync::Mutex;

/// Transfers on threads, and how those that have ended did so.
#[pin_data]
pub(crate) struct Batch {
    /// Its figures, in a record's fields.
    #[pin]
    figures: Mutex<Call>,
}

/// One transfer of a batch.
pub(crate) struct Transfer {
    object: Arc<Object>,
    batch: Arc<Batch>,
    writes: bool,
    range: Range,
}

impl Transfer {
    /// Makes it, and notes in its batch how it went.
    pub(crate) fn run(self) {
        let mut buffer = Buffer::new();
        let result = match self.writes {
            true => io::write(&self.object, &self.range, &mut buffer),
            false => io::read(&self.object, &self.range, &mut buffer, |_| Ok(())),
        };
        // The object goes first: who sees that nothing is pending may count on its cookie.
        drop(self.object);
        let mut figures = self.batch.figures.lock();
        figures.pending = figures.pending.saturating_sub(1);
        add(&mut figures, result);
    }
}

fn add(call: &mut Call, result: Result<Moved>) {
    if let Ok(moved) = &result {
        call.bytes = call.bytes.saturating_add(moved.bytes);
        call.digest ^= moved.digest;
        if moved.wrong > 0 {
            if call.wrong == 0 {
                call.place = moved.place;
            }
            call.wrong = call.wrong.saturating_add(moved.wrong);
        }
    }
    note(call, result.map(|_| ()));
}

/// Carries out `READ` and `WRITE`.
pub(crate) fn transfer(session: &Session, call: &mut Call) -> Result {
    let numbers = range(call.first, call.count)?;
    let (times, stride) = (call.times.max(1), call.stride);
    let whole = Range {
        offset: call.offset,
        length: call.length,
        size: call.size,
        generation: call.generation,
        flags: call.flags,
    };
    let writes = call.op == op::WRITE;
    let inline = call.flags & flag::INLINE != 0;
    let single = call.count == 1 && times == 1;
    let batch = match inline {
        true => None,
        false => Some(batch(session, call.batch)?),
    };
    let mut buffer = Buffer::new();
    for number in numbers {
        let object = match find(&session.objects, number) {
            Ok(object) => object,
            Err(e) => {
                note(call, Err(e));
                continue;
            }
        };
        let mut range = whole;
        for _ in 0..times {
            match &batch {
                Some(batch) => {
                    let started = start(&object, batch, writes, range);
                    note(call, started);
                }
                None if writes => add(call, io::write(&object, &range, &mut buffer)),
                None => {
                    let (mut address, mut room) = (call.output, call.output_len);
                    let give = |bytes: &[u8]| {
                        if !single || room == 0 {
                            return Ok(());
                        }
                        let len = bytes.len() as u64;
                        room = room.checked_sub(len).ok_or(EMSGSIZE)?;
                        device::output(address, bytes.len()).write(bytes)?;
                        address = address.saturating_add(len);
                        Ok(())
                    };
                    let result = io::read(&object, &range, &mut buffer, give);
                    add(call, result);
                }
            }
            range.offset = range.offset.saturating_add(stride);
        }
    }
    Ok(())
}

/// Starts one transfer of a batch.
fn start(object: &Arc<Object>, batch: &Arc<Batch>, writes: bool, range: Range) -> Result {
    let pending = |more: bool| {
        let mut figures = batch.figures.lock();
        figures.pending = match more {
            true => figures.pending.saturating_add(1),
            false => figures.pending.saturating_sub(1),
        };
    };
    // Before it starts: it may have ended before this goes on.
    pending(true);
    let started = thread::start(Transfer {
        object: object.clone(),
        batch: batch.clone(),
        writes,
        range,
    });
    if started.is_err() {
        pending(false);
    }
    started
}

/// The batch of that number, which is made if there is none.
fn batch(session: &Session, number: u64) -> Result<Arc<Batch>> {
    let mut batches = session.batches.lock();
    if let Some((_, batch)) = batches.iter().find(|(known, _)| *known == number) {
        return Ok(batch.clone());
    }
    let batch = Arc::pin_init(
        try_pin_init!(Batch {
            figures <- new_mutex!(Call::default(), "cachefiles_probe::figures"),
        }? KernelError),
        GFP_KERNEL,
    )?;
    push(&mut batches, (number, batch.clone()), GFP_KERNEL)?;
    Ok(batch)
}

/// Carries out `BATCH`.
pub(crate) fn answer(session: &Session, call: &mut Call) -> Result {
    let number = call.batch;
    let mut batches = session.batches.lock();
    let known = batches.iter().position(|(known, _)| *known == number);
    let index = known.ok_or(ENOENT)?;
    let (_, batch) = batches.get(index).ok_or(ENOENT)?;
    let figures = *batch.figures.lock();
    (call.done, call.failed, call.pending) = (figures.done, figures.failed, figures.pending);
    (call.error, call.bytes, call.wrong) = (figures.error, figures.bytes, figures.wrong);
    (call.place, call.digest) = (figures.place, figures.digest);
    if call.flags & flag::FORGET != 0 && figures.pending == 0 {
        let mut kept = KVec::with_capacity(batches.len(), GFP_KERNEL)?;
        for (other, batch) in batches.iter().filter(|(other, _)| *other != number) {
            push(&mut kept, (*other, batch.clone()), GFP_KERNEL)?;
        }
        *batches = kept;
    }
    Ok(())
}
