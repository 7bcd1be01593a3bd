// SPDX-License-Identifier: GPL-2.0-or-later
//! The probe in erofs's place, on kernels whose erofs asks for nothing on demand.
//!
//! `mount` then acquires the volume and the objects that erofs would, under the same keys, uses them
//! and reads the first page; reading a file of the image reads, on demand, that part of the image
//! which [`ranges`] makes the file's; `umount` relinquishes. The fscache calls and their errors are
//! those of a filesystem. What erofs itself makes of the bytes, and the page cache, are left out:
//! every read asks the cache.
//!
//! An image that is mounted so is a session of the probe's device, which a process of its own holds
//! open (that of a domain is shared by its images), and a record in [`FOLDER`] by which others find that process.

use std::fs;
use std::io;
use std::io::BufReader;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use vmtest_protocol::message::Client;
use vmtest_protocol::step::Mount;

mod domain;
mod holder;
mod image;
pub mod program;
pub mod ranges;
mod session;

pub use image::Image;

/// Where it is kept what is mounted, in memory.
const FOLDER: &str = "/run/vmtest-client";
/// There when the probe is the client.
const PROBE: &str = "/run/vmtest-client/probe";
/// How much is read at once: the window of a filesystem that reads ahead.
const PIECE: usize = 128 << 10;

/// Remembers which client this guest has.
pub fn choose(client: Client) -> Result<()> {
    if client == Client::Probe {
        fs::create_dir_all(FOLDER)
            .and_then(|()| fs::write(PROBE, ""))
            .with_context(|| format!("cannot make {PROBE}"))?;
    }
    Ok(())
}

/// Whether images are opened by the probe.
pub fn is_probe() -> bool {
    Path::new(PROBE).exists()
}

/// Mounts an image by the probe.
///
/// # Errors
/// When it could not be tried. That it failed is the inner error, with the number that the cache
/// gave, or erofs would have given.
pub fn mount(step: &Mount) -> Result<io::Result<()>> {
    image::mount(step)
}

/// Unmounts what the probe has mounted there; `None` when it has nothing there.
///
/// # Errors
/// When it could not be tried.
pub fn umount(at: &str) -> Result<Option<io::Result<()>>> {
    match Image::at(at)? {
        Some(image) => image.umount().map(Some),
        None => Ok(None),
    }
}

/// Opens a file to be read from `offset` on: of an image, if one is mounted above it, or any other.
///
/// # Errors
/// As opening a file has them.
pub fn open(path: &str, offset: u64) -> io::Result<Box<dyn Read>> {
    if let Some((image, inside)) = Image::above(Path::new(path)).map_err(io::Error::other)? {
        let file = image.file(&inside, offset)?;
        return Ok(Box::new(BufReader::with_capacity(PIECE, file)));
    }
    let mut file = fs::File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(Box::new(file))
}
