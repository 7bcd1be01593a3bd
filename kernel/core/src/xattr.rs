// SPDX-License-Identifier: GPL-2.0-or-later
//! The records that tie cache files to what they are a cache of.
//!
//! Both kinds are kept in the extended attribute [`NAME`]:
//! - an object's: its size and its zero point (64 bits each, big-endian), the type, the content
//!   code, and the coherency data of the filesystem that it belongs to;
//! - a volume directory's: 32 bits of zero and the volume's coherency data.
//!
//! Layout and order of checks are those of `fs/cachefiles/xattr.c` in Linux 6.12.

/// The attribute's name.
pub const NAME: &core::ffi::CStr = c"user.CacheFiles.cache";

/// Bytes of an object's record before the coherency data.
pub const OBJECT_FIXED_LEN: usize = 18;

/// Bytes of a volume's record before the coherency data.
pub const VOLUME_FIXED_LEN: usize = 4;

/// The most coherency data that an object can have, in bytes: fscache counts it in one byte.
pub const AUX_MAX: usize = 255;

/// The longest record of an object, in bytes.
pub const OBJECT_MAX: usize = OBJECT_FIXED_LEN + AUX_MAX;

/// The only type of object that there is.
const TYPE_DATA: u8 = 1;

/// The seeded bug of the new-size mutant: a file of another size is still the object's.
#[allow(unexpected_cfgs)]
const ANY_SIZE: bool = cfg!(cachefiles_mutant = "new-size");

/// What a cache file holds. The numbers are those on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Content {
    /// Nothing yet.
    NoData = 0,
    /// One piece, all of it present.
    Single = 1,
    /// All present.
    All = 2,
    /// Some of it: the backing filesystem knows the holes.
    BackingMap = 3,
    /// Changes that the server may not have: what it holds cannot be trusted after a crash. On
    /// disk only.
    Dirty = 4,
}

/// How an object's record differs from what is expected; the checks are made in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectMismatch {
    /// It has another length.
    Length,
    /// It is of another type of object.
    Type,
    /// It has other coherency data.
    Aux,
    /// It is of another size.
    Size,
    /// All is right, but it was being written to.
    Dirty,
}

/// How a volume's record differs from what is expected; the checks are made in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeMismatch {
    /// It has another length.
    Length,
    /// The reserved word is in use.
    Reserved,
    /// It has other coherency data.
    Data,
}

/// The buffer is shorter than the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooShort;

/// Copies the parts one after the other to the front of `out`. `None` when they do not fit.
fn concatenate(out: &mut [u8], parts: &[&[u8]]) -> Option<usize> {
    let len = parts
        .iter()
        .try_fold(0usize, |len, part| len.checked_add(part.len()))?;
    let (mut out, _) = out.split_at_mut_checked(len)?;
    for part in parts {
        let (here, rest) = out.split_at_mut_checked(part.len())?;
        for (to, from) in here.iter_mut().zip(*part) {
            *to = *from;
        }
        out = rest;
    }
    Some(len)
}

/// Bytes of the record of an object with that much coherency data.
pub fn object_len(aux_len: usize) -> Option<usize> {
    OBJECT_FIXED_LEN.checked_add(aux_len)
}

/// Bytes of the record of a volume with that much coherency data.
pub fn volume_len(coherency_len: usize) -> Option<usize> {
    VOLUME_FIXED_LEN.checked_add(coherency_len)
}

/// Writes an object's record to the front of `out` and returns its length, [`object_len`].
///
/// `object_size` (bytes) need not be the file's size. In on-demand mode it is what the daemon
/// answered and all that tells one version from another: `aux`, the coherency data, is empty then.
/// The zero point is always 0.
pub fn encode_object(
    out: &mut [u8],
    object_size: u64,
    content: Content,
    aux: &[u8],
) -> Result<usize, TooShort> {
    let size = object_size.to_be_bytes();
    let zero_point = 0u64.to_be_bytes();
    let codes = [TYPE_DATA, content as u8];
    concatenate(out, &[&size, &zero_point, &codes, aux]).ok_or(TooShort)
}

/// Takes a record apart: size, type and content code, coherency data.
fn split_object(record: &[u8]) -> Option<(u64, u8, u8, &[u8])> {
    let (size, rest) = record.split_first_chunk::<8>()?;
    let (_zero_point, rest) = rest.split_first_chunk::<8>()?;
    let ([kind, content], aux) = rest.split_first_chunk::<2>()?;
    Some((u64::from_be_bytes(*size), *kind, *content, aux))
}

/// The content code of a record, for the trace events; `None` when it is cut off.
pub fn content_byte(record: &[u8]) -> Option<u8> {
    split_object(record).map(|(_, _, content, _)| content)
}

/// The coherency data of a record, for the trace events; empty when it is cut off.
pub fn aux(record: &[u8]) -> &[u8] {
    split_object(record).map_or(&[], |(_, _, _, aux)| aux)
}

/// Compares an object's record, as it was read from disk, with what is expected. Returns its
/// content code.
pub fn check_object(record: &[u8], object_size: u64, aux: &[u8]) -> Result<u8, ObjectMismatch> {
    let (size, kind, content, found) = split_object(record).ok_or(ObjectMismatch::Length)?;
    if found.len() != aux.len() {
        Err(ObjectMismatch::Length)
    } else if kind != TYPE_DATA {
        Err(ObjectMismatch::Type)
    } else if found != aux {
        Err(ObjectMismatch::Aux)
    } else if size != object_size && !ANY_SIZE {
        Err(ObjectMismatch::Size)
    } else if content == Content::Dirty as u8 {
        Err(ObjectMismatch::Dirty)
    } else {
        Ok(content)
    }
}

/// Writes a volume's record to the front of `out` and returns its length, [`volume_len`].
pub fn encode_volume(out: &mut [u8], coherency: &[u8]) -> Result<usize, TooShort> {
    concatenate(out, &[&0u32.to_be_bytes(), coherency]).ok_or(TooShort)
}

/// Compares a volume's record, as it was read from disk, with what is expected.
pub fn check_volume(record: &[u8], coherency: &[u8]) -> Result<(), VolumeMismatch> {
    let (reserved, found) = record
        .split_first_chunk::<VOLUME_FIXED_LEN>()
        .ok_or(VolumeMismatch::Length)?;
    if found.len() != coherency.len() {
        Err(VolumeMismatch::Length)
    } else if *reserved != [0; VOLUME_FIXED_LEN] {
        Err(VolumeMismatch::Reserved)
    } else if found != coherency {
        Err(VolumeMismatch::Data)
    } else {
        Ok(())
    }
}
