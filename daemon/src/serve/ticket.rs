// SPDX-License-Identifier: GPL-2.0-or-later
//! The duty to answer. Whoever takes a request holds a ticket; a ticket that is dropped unanswered
//! answers with an error. So no path, not even one that nobody thought of, leaves somebody hanging.

use std::sync::Arc;

use rustix::io::Errno;

use super::Context;
use super::object::Object;
use crate::device::commands;
use crate::event_log::Event;
use crate::event_log::Op;

/// An OPEN that must be answered.
#[derive(Debug)]
pub struct OpenTicket<'a> {
    context: &'a Context,
    msg_id: u32,
    object_id: u32,
    answered: bool,
}

impl<'a> OpenTicket<'a> {
    /// For an OPEN that was just read.
    pub fn new(context: &'a Context, msg_id: u32, object_id: u32) -> Self {
        OpenTicket {
            context,
            msg_id,
            object_id,
            answered: false,
        }
    }

    /// Answers with the object's size or an errno. Returns whether the object lives from here on.
    pub fn answer(mut self, size: Result<u64, i32>) -> bool {
        self.send(size)
    }

    fn send(&mut self, size: Result<u64, i32>) -> bool {
        self.answered = true;
        let (command, result) = commands::copen(self.msg_id, size);
        if result < 0 {
            self.context.stats.opens_failed.increment();
        }
        let sent = self.context.device.command(&command);
        let refused = sent
            .as_ref()
            .err()
            .map(|error| error.raw_os_error().unwrap_or(0));
        self.context.events.write(&Event::Reply {
            op: Op::Open,
            msg_id: self.msg_id,
            object_id: self.object_id,
            result,
            refused,
        });
        if let Err(error) = sent {
            tracing::warn!(
                msg_id = self.msg_id,
                object_id = self.object_id,
                %error,
                "the answer to an OPEN was refused: nobody waits for it any more"
            );
            return false;
        }
        result >= 0
    }
}

impl Drop for OpenTicket<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.send(Err(Errno::IO.raw_os_error()));
        }
    }
}

/// A READ that must be completed.
#[derive(Debug)]
pub struct ReadTicket {
    context: Arc<Context>,
    object: Arc<Object>,
    msg_id: u32,
    answered: bool,
}

impl ReadTicket {
    /// For a READ that was just read.
    pub fn new(context: Arc<Context>, object: Arc<Object>, msg_id: u32) -> Self {
        ReadTicket {
            context,
            object,
            msg_id,
            answered: false,
        }
    }

    /// Completes it. Without its data in the cache the reader gets EIO, whatever the errno is:
    /// that is for the logs.
    pub fn complete(mut self, result: Result<(), i32>) {
        self.send(result);
    }

    fn send(&mut self, result: Result<(), i32>) {
        self.answered = true;
        let errno = result.err().map_or(0, commands::sane_errno);
        if errno != 0 {
            self.context.stats.reads_failed.increment();
        }
        let sent = self.object.file.complete(self.msg_id);
        let refused = sent
            .as_ref()
            .err()
            .map(|error| error.raw_os_error().unwrap_or(0));
        self.context.events.write(&Event::Reply {
            op: Op::Read,
            msg_id: self.msg_id,
            object_id: self.object.id,
            result: -i64::from(errno),
            refused,
        });
        if let Err(error) = sent {
            // As when the reader was killed.
            tracing::debug!(
                msg_id = self.msg_id,
                object_id = self.object.id,
                %error,
                "the completion of a READ was refused: nobody waits for it any more"
            );
        }
    }
}

impl Drop for ReadTicket {
    fn drop(&mut self) {
        if !self.answered {
            self.send(Err(Errno::IO.raw_os_error()));
        }
    }
}
