// SPDX-License-Identifier: GPL-2.0-or-later
//! Slots in a vector, as the tests' stand-in for the kernel's chunks.

use cachefiles_core::requests::Slots;
use cachefiles_core::slots::Slot;

/// What a test's request carries: a number that says which one it is. Not to be cloned, so that it
/// cannot be in two places.
#[derive(Debug, PartialEq, Eq)]
pub struct Tag(pub u32);

/// A table's storage.
pub struct Store(Vec<Slot<Tag, u32>>);

impl Store {
    /// That many slots.
    pub fn new(slots: usize) -> Store {
        let mut store = Store(Vec::new());
        store.extend(slots);
        store
    }

    /// That many slots more.
    pub fn extend(&mut self, slots: usize) {
        self.0.extend((0..slots).map(|_| Slot::new()));
    }
}

impl Slots for Store {
    type Payload = Tag;
    type Object = u32;

    fn get(&self, index: u32) -> Option<&Slot<Tag, u32>> {
        self.0.get(index as usize)
    }

    fn get_mut(&mut self, index: u32) -> Option<&mut Slot<Tag, u32>> {
        self.0.get_mut(index as usize)
    }

    fn capacity(&self) -> u32 {
        self.0.len() as u32
    }
}
