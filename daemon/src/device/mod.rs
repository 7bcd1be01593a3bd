// SPDX-License-Identifier: GPL-2.0-or-later
//! The device, as the daemon sees it: requests come out of it, answers and commands go in.
//!
//! The daemon knows only these traits. [`kernel`] is the real thing; the tests have one that hands
//! out messages of their own and checks the answers.

pub mod bind;
pub mod commands;
pub mod kernel;

use std::fs::File;
use std::io;
use std::time::Duration;

use crate::stop::Stop;

/// What a thread waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// A request that nobody has read yet.
    Request,
    /// That the kernel asks for room.
    Culling,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// What was waited for is there, or seems to be.
    Ready,
    /// The daemon is to end.
    Stopped,
    /// The time is up.
    TimedOut,
}

/// `/dev/cachefiles`, open. Every error is the kernel's own, as an `io::Error` with an errno.
pub trait Device: Send + Sync {
    /// Waits for `interest`, for the end, or until `limit` has passed.
    ///
    /// # Errors
    /// When waiting is impossible. Interrupted waits go on.
    fn wait(&self, interest: Interest, stop: &Stop, limit: Option<Duration>) -> io::Result<Wake>;

    /// Whether the kernel asks for room now.
    ///
    /// # Errors
    /// When the kernel cannot say.
    fn wants_culling(&self) -> io::Result<bool>;

    /// Reads one message into `buffer`. Never blocks: 0 when there is none.
    ///
    /// # Errors
    /// What `read(2)` says.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Takes over the descriptor that an OPEN brought.
    ///
    /// # Errors
    /// When it is none.
    fn adopt(&self, number: i32) -> io::Result<Box<dyn ObjectFile>>;

    /// Gives a command.
    ///
    /// # Errors
    /// With what the kernel refused it.
    fn command(&self, command: &[u8]) -> io::Result<()>;

    /// Gives a command that names a file in `folder`: the kernel looks the name up in the working
    /// directory of the thread that writes. For one thread only, which then has that directory.
    ///
    /// # Errors
    /// With what the kernel refused it, or that the folder cannot be entered.
    fn command_in(&self, folder: &File, command: &[u8]) -> io::Result<()>;
}

/// The anonymous descriptor of one object. Closed when dropped.
pub trait ObjectFile: Send + Sync {
    /// Writes to the object's file. `offset` and the length of `data` are multiples of
    /// [`crate::range::PAGE`], and so is the address of `data`. May write less.
    ///
    /// # Errors
    /// `ENOBUFS` below the stop limits, or what the backing file says.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize>;

    /// The first byte at or behind `offset` that is there; `None` when there is none.
    ///
    /// # Errors
    /// `ENOBUFS` when the object has no file yet.
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>>;

    /// The first byte at or behind `offset` that is not there. The file's end counts as one;
    /// `None` when `offset` is behind even that.
    ///
    /// # Errors
    /// `ENOBUFS` when the object has no file yet.
    fn next_hole(&self, offset: u64) -> io::Result<Option<u64>>;

    /// Completes a READ: its reader looks again.
    ///
    /// # Errors
    /// `EINVAL` when nobody waits for it any more.
    fn complete(&self, msg_id: u32) -> io::Result<()>;
}

/// Whether the cache behind `device` has been given up by the kernel.
///
/// A command that does not exist tells them apart without doing anything: a dead cache answers
/// EIO before it looks at the command.
pub fn is_dead(device: &dyn Device) -> bool {
    let answer = device.command(commands::NONE);
    answer.is_err_and(|error| error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()))
}
