// SPDX-License-Identifier: GPL-2.0-or-later
//! A puppet's descriptors: each has one owner, whom any thread may tell to close it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Mutex;

use crate::engine::lock;
use crate::sys;

/// One descriptor, under all the names that it has here.
#[derive(Debug, Default)]
pub struct Descriptor {
    fd: Mutex<Option<Arc<OwnedFd>>>,
}

impl Descriptor {
    /// An open one.
    pub fn new(fd: OwnedFd) -> Descriptor {
        Descriptor {
            fd: Mutex::new(Some(Arc::new(fd))),
        }
    }

    /// It, unless it has been closed. It stays open as long as the result lives: what is closed
    /// during a system call is closed at its end, as the kernel does it too.
    pub fn get(&self) -> Option<Arc<OwnedFd>> {
        lock(&self.fd).clone()
    }

    /// Puts another one in its place, which closes the former.
    pub fn set(&self, fd: OwnedFd) {
        let old = lock(&self.fd).replace(Arc::new(fd));
        drop(old);
    }

    /// Closes it under all its names; false when it was closed already.
    pub fn close(&self) -> bool {
        // Closed outside of the lock: closing may wait in the kernel.
        let fd = lock(&self.fd).take();
        fd.is_some()
    }
}

/// The process's table of descriptors.
///
/// `close_next` closes a number that the kernel has just given to another thread. So that the
/// others' descriptors stay theirs, a number that a message brings has no owner until it is
/// claimed, only such a number is closed, and whoever then comes to claim it learns that it is
/// gone. All other descriptors are made by [`Table::make`], during which nothing is closed by its
/// number.
pub struct Table {
    state: Mutex<State>,
}

struct State {
    /// Numbers that were closed before they were claimed, and how often.
    lost: BTreeMap<i32, usize>,
    /// How many threads are making descriptors in other ways than by reading messages.
    making: usize,
}

/// The one of this process.
pub static TABLE: Table = Table::new();

/// How often `close_next` tries: about as long as it takes to read a message.
const TRIES: usize = 64;

impl Table {
    const fn new() -> Table {
        Table {
            state: Mutex::new(State {
                lost: BTreeMap::new(),
                making: 0,
            }),
        }
    }

    /// Takes over the number that a message has just brought; `None` when `close_next` was there
    /// first.
    pub fn claim(&self, number: i32) -> io::Result<Option<OwnedFd>> {
        let mut state = lock(&self.state);
        match state.lost.get_mut(&number) {
            // Twice lost and twice brought are the same number: who gets which does not matter.
            Some(times) => {
                *times -= 1;
                if *times == 0 {
                    state.lost.remove(&number);
                }
                Ok(None)
            }
            None => sys::adopt(number).map(Some),
        }
    }

    /// Does something that makes descriptors, or that lists them.
    pub fn make<T>(&self, make: impl FnOnce() -> T) -> T {
        struct Making<'a>(&'a Table);
        impl Drop for Making<'_> {
            fn drop(&mut self) {
                lock(&self.0.state).making -= 1;
            }
        }
        lock(&self.state).making += 1;
        let _making = Making(self);
        make()
    }

    /// Closes the number that the next descriptor gets, if it gets one while this tries.
    pub fn close_next(&self) -> io::Result<bool> {
        let mut state = lock(&self.state);
        if state.making > 0 {
            return Ok(false);
        }
        let probe = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 0)?;
        let number = probe.as_raw_fd();
        drop(probe);
        for _ in 0..TRIES {
            // The number was free, and nobody can claim one or make one in another way before
            // the lock is released: if it is open now, a message has brought it.
            if sys::close_unclaimed(number) {
                *state.lost.entry(number).or_default() += 1;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::IntoRawFd;

    use super::*;

    #[test]
    fn closing_waits_for_the_system_calls_under_way_and_happens_once() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let descriptor = Descriptor::new(writer);
        let in_use = descriptor.get().unwrap();
        assert!(descriptor.close());
        assert!(!descriptor.close(), "it was closed already");
        assert!(descriptor.get().is_none());
        rustix::io::write(&in_use, b"x").unwrap();
        drop(in_use);
        let mut rest = [0; 2];
        assert_eq!(rustix::io::read(&reader, &mut rest[..]).unwrap(), 1);
        assert_eq!(
            rustix::io::read(&reader, &mut rest[..]).unwrap(),
            0,
            "no writer is left"
        );
    }

    #[test]
    fn another_descriptor_in_its_place_closes_the_former() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let descriptor = Descriptor::new(writer);
        let (_other_reader, other) = rustix::pipe::pipe().unwrap();
        descriptor.set(other);
        let mut byte = [0; 1];
        assert_eq!(rustix::io::read(&reader, &mut byte[..]).unwrap(), 0);
        assert!(descriptor.get().is_some());
    }

    #[test]
    fn a_lost_number_is_not_claimed_and_the_next_of_the_same_number_is() {
        let table = Table::new();
        let (_reader, writer) = rustix::pipe::pipe().unwrap();
        let number = writer.into_raw_fd();
        lock(&table.state).lost.insert(number, 2);
        assert!(table.claim(number).unwrap().is_none());
        assert!(table.claim(number).unwrap().is_none());
        let claimed = table.claim(number).unwrap().unwrap();
        std::fs::File::from(claimed).write_all(b"mine").unwrap();
    }

    #[test]
    fn nothing_is_closed_while_somebody_makes_a_descriptor() {
        let table = Table::new();
        table.make(|| assert!(!table.close_next().unwrap()));
        assert_eq!(lock(&table.state).making, 0);
    }
}
