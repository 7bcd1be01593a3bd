// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! Numbered elements in chunks of memory that never move (`core/src/chunks.rs` says which lies where).

use crate::prelude::*;
use crate::pure::chunks;
use crate::sys::list::List;

/// One chunk.
pub(crate) type Chunk<T> = List<T>;

/// Elements, numbered from 0.
pub(crate) struct Chunked<T> {
    chunks: List<Chunk<T>>,
}

impl<T> Chunked<T> {
    /// No elements, but the memory of a full list of chunks, so that adding one need not allocate.
    ///
    /// # Errors
    /// ENOMEM.
    pub(crate) fn new() -> Result<Chunked<T>> {
        Ok(Chunked {
            chunks: List::with_capacity(chunks::CHUNKS)?,
        })
    }

    /// The element of that number.
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        let (chunk, at) = chunks::locate(index);
        self.chunks.get(chunk)?.get(at)
    }

    /// The element of that number, to change it.
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let (chunk, at) = chunks::locate(index);
        self.chunks.get_mut(chunk)?.get_mut(at)
    }

    /// How many elements there are.
    pub(crate) fn capacity(&self) -> u32 {
        chunks::capacity(self.chunks())
    }

    /// How many chunks there are: the number of the next one.
    pub(crate) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Every element, in order.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flat_map(|chunk| chunk.iter_mut())
    }

    /// Memory for chunk `number`, filled with what `element` makes. An empty one beyond the last.
    ///
    /// # Errors
    /// ENOMEM.
    pub(crate) fn make(number: usize, element: impl Fn() -> T) -> Result<Chunk<T>> {
        let len = chunks::len(number);
        let mut chunk = Chunk::with_capacity(len)?;
        for _ in 0..len {
            chunk.push(element())?;
        }
        Ok(chunk)
    }

    /// Adds chunk `number`, without allocating or sleeping; gives it back when it is not the next.
    pub(crate) fn add(&mut self, number: usize, chunk: Chunk<T>) -> Option<Chunk<T>> {
        if number != self.chunks.len() || number >= chunks::CHUNKS {
            return Some(chunk);
        }
        self.chunks.push_within(chunk).err()
    }
}
