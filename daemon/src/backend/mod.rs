// SPDX-License-Identifier: GPL-2.0-or-later
//! Where the data of objects comes from.
//!
//! A backend knows blobs by the key of a cookie (for erofs: the fsid or the device's name). It is
//! asked from many threads at once, and may take its time: only the thread that asks waits.

pub mod directory;

use std::io;

/// Finds blobs.
pub trait Backend: Send + Sync {
    /// Opens the blob of this cookie key.
    ///
    /// # Errors
    /// An `io::Error` with an errno goes to the kernel as it is, anything else as `EIO`.
    fn open(&self, key: &[u8]) -> io::Result<Box<dyn Blob>>;
}

/// An immutable run of bytes.
pub trait Blob: Send + Sync {
    /// Its size in bytes. Does not change while it is open.
    fn size(&self) -> u64;

    /// Reads from `offset` on into `buffer`, as much as there is at once.
    ///
    /// Returns how many bytes: fewer than asked for is no error, 0 is the end.
    ///
    /// # Errors
    /// When the bytes cannot be had. `Interrupted` is tried again.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}
