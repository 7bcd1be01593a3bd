// SPDX-License-Identifier: GPL-2.0-or-later
//! Slots and anchors in vectors, as the tests' stand-in for the kernel's chunks.

use cachefiles_core::requests::Slots;
use cachefiles_core::slots::Anchor;
use cachefiles_core::slots::Slot;

/// What a test's request carries: a number that says which one it is. Not to be cloned, so that it
/// cannot be in two places.
#[derive(Debug, PartialEq, Eq)]
pub struct Tag(pub u32);

/// A table's storage.
pub struct Store {
    slots: Vec<Slot<Tag>>,
    anchors: Vec<Anchor<u32>>,
}

impl Store {
    /// That many of both.
    pub fn new(slots: usize, anchors: usize) -> Store {
        let mut store = Store {
            slots: Vec::new(),
            anchors: Vec::new(),
        };
        store.extend(slots);
        store.extend_anchors(anchors);
        store
    }

    /// That many slots more.
    pub fn extend(&mut self, slots: usize) {
        self.slots.extend((0..slots).map(|_| Slot::new()));
    }

    /// That many anchors more.
    pub fn extend_anchors(&mut self, anchors: usize) {
        self.anchors.extend((0..anchors).map(|_| Anchor::new()));
    }
}

impl Slots for Store {
    type Payload = Tag;
    type Object = u32;

    fn get(&self, index: u32) -> Option<&Slot<Tag>> {
        self.slots.get(index as usize)
    }

    fn get_mut(&mut self, index: u32) -> Option<&mut Slot<Tag>> {
        self.slots.get_mut(index as usize)
    }

    fn capacity(&self) -> u32 {
        self.slots.len() as u32
    }

    fn anchor(&self, index: u32) -> Option<&Anchor<u32>> {
        self.anchors.get(index as usize)
    }

    fn anchor_mut(&mut self, index: u32) -> Option<&mut Anchor<u32>> {
        self.anchors.get_mut(index as usize)
    }

    fn anchors(&self) -> u32 {
        self.anchors.len() as u32
    }
}
