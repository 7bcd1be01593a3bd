// SPDX-License-Identifier: GPL-2.0-or-later
//! Handling one request: OPEN, READ, CLOSE.

use std::collections::VecDeque;
use std::sync::Arc;

use cachefiles_core::wire;
use rustix::io::Errno;

use super::Context;
use super::buffer::AlignedBuffer;
use super::fill;
use super::object::Ask;
use super::object::Freed;
use super::object::Object;
use super::object::Plan;
use super::ticket::OpenTicket;
use super::ticket::ReadTicket;
use crate::event_log::Event;
use crate::event_log::Op;
use crate::range::PAGE;
use crate::range::Range;

/// Handles one message as it was read from the device.
pub fn handle(context: &Arc<Context>, message: &[u8], buffer: &mut AlignedBuffer) {
    match wire::parse(message) {
        Ok(wire::Message::Open(request)) => open(context, &request),
        Ok(wire::Message::Read(request)) => read(context, &request, buffer),
        Ok(wire::Message::Close { msg_id, object_id }) => close(context, msg_id, object_id),
        Err(error) => tracing::error!(
            ?error,
            length = message.len(),
            "the kernel sent a message that this daemon does not understand; is it too old?"
        ),
    }
}

fn open(context: &Context, request: &wire::Open<'_>) {
    let name = String::from_utf8_lossy(request.cookie_key);
    let name = name.trim_end_matches('\0');
    context.events.write(&Event::Deliver {
        op: Op::Open,
        msg_id: request.msg_id,
        object_id: request.object_id,
        fsid: Some(name),
        volume: Some(&String::from_utf8_lossy(request.volume_key)),
        off: None,
        len: None,
    });
    context.stats.opens.increment();
    let ticket = OpenTicket::new(context, request.msg_id, request.object_id);
    // First of all, so that it is closed on every path.
    let file = match context.device.adopt(request.fd) {
        Ok(file) => file,
        Err(error) => {
            tracing::error!(fd = request.fd, %error, "an OPEN came with a descriptor that is none");
            ticket.answer(Err(fill::errno(&error)));
            return;
        }
    };
    let blob = match context.backend.open(request.cookie_key) {
        Ok(blob) => blob,
        Err(error) => {
            tracing::warn!(blob = name, %error, "cannot open the blob: its mount fails");
            ticket.answer(Err(fill::errno(&error)));
            return;
        }
    };
    let size = blob.size();
    let object = Object::new(request.object_id, name.to_owned(), file, blob);
    // Before the answer: the first READ may reach another thread before this one goes on.
    context.objects.insert(Arc::new(object));
    if ticket.answer(Ok(size)) {
        tracing::debug!(object_id = request.object_id, blob = name, size, "opened");
    } else {
        context.objects.remove(request.object_id);
    }
}

fn close(context: &Context, msg_id: u32, object_id: u32) {
    let object = context.objects.remove(object_id);
    context.events.write(&Event::Deliver {
        op: Op::Close,
        msg_id,
        object_id,
        fsid: object.as_ref().map(|object| object.name.as_str()),
        volume: None,
        off: None,
        len: None,
    });
    context.stats.closes.increment();
    // Closes the descriptors, unless a fetch still goes on: then that closes them.
    drop(object);
    // What was in use may be culled now.
    context.stop.rouse();
}

fn read(context: &Arc<Context>, request: &wire::Read, buffer: &mut AlignedBuffer) {
    let object = context.objects.get(request.object_id);
    context.events.write(&Event::Deliver {
        op: Op::Read,
        msg_id: request.msg_id,
        object_id: request.object_id,
        fsid: object.as_ref().map(|object| object.name.as_str()),
        volume: None,
        off: Some(request.off),
        len: Some(request.len),
    });
    context.stats.reads.increment();
    let Some(object) = object else {
        // Its descriptor is closed, and with it went the way to answer. The kernel sends a CLOSE
        // while a READ is out only when the reader was killed.
        tracing::warn!(
            msg_id = request.msg_id,
            object_id = request.object_id,
            "a READ came for an object that is not open"
        );
        return;
    };
    let ticket = ReadTicket::new(Arc::clone(context), Arc::clone(&object), request.msg_id);
    let range = Range::new(request.off, request.off.saturating_add(request.len))
        .and_then(|range| range.widened(PAGE, object.size));
    let Some(range) = range else {
        tracing::warn!(
            object_id = object.id,
            off = request.off,
            len = request.len,
            "a READ came for nothing that the object has"
        );
        ticket.complete(Err(Errno::INVAL.raw_os_error()));
        return;
    };
    let mut asks = VecDeque::from([Ask::new(ticket, range)]);
    // Others may become this thread's duty while it fetches.
    while let Some(ask) = asks.pop_front() {
        // When space is short the kernel wants less, not more.
        let short = context.device.wants_culling().unwrap_or(false);
        let fill = if short { PAGE } else { context.tuning.fill() };
        match object.plan(ask, fill) {
            Plan::Parked => context.stats.reads_joined.increment(),
            Plan::Present(ask) => ask.ticket.complete(Ok(())),
            Plan::Fetch(ask, pieces) => fetch(context, &object, ask, pieces, buffer, &mut asks),
        }
    }
}

/// Fetches the pieces, those first that are asked for, and completes the READ as soon as it can be.
fn fetch(
    context: &Context,
    object: &Object,
    ask: Ask,
    pieces: Vec<Range>,
    buffer: &mut AlignedBuffer,
    asks: &mut VecDeque<Ask>,
) {
    let Ask { ticket, range, .. } = ask;
    let mut ticket = Some(ticket);
    let mut failed = None;
    for piece in pieces {
        let core = piece.intersect(range);
        if core.is_none() {
            if let Some(ticket) = ticket.take() {
                ticket.complete(failed.map_or(Ok(()), Err));
            }
        }
        // What nobody asked for is not fetched once something is wrong, or the daemon is to end.
        let skip = failed.is_some() || (core.is_none() && context.stop.is_requested());
        let mut lost = None;
        if !skip {
            if let Err(error) = fill::fill(context, object, piece, core, buffer) {
                let errno = fill::errno(&error);
                failed = Some(errno);
                lost = core.map(|core| (core, errno));
            }
        }
        for freed in object.release(piece, lost) {
            match freed {
                Freed::Again(ask) => asks.push_back(ask),
                Freed::Failed(ask, errno) => ask.ticket.complete(Err(errno)),
            }
        }
    }
    if let Some(ticket) = ticket {
        ticket.complete(failed.map_or(Ok(()), Err));
    }
}
