// SPDX-License-Identifier: GPL-2.0-or-later
//! The probe's device, as all who speak with it open it and call it.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;

use cachefiles_probe_abi::call;
use cachefiles_probe_abi::call::Call;

use crate::sys;

/// What an action brings beside the record.
#[derive(Debug, Default)]
pub struct Input<'a> {
    /// A key.
    pub name: &'a [u8],
    /// A cache's name.
    pub cache: &'a [u8],
    /// Coherency data.
    pub aux: &'a [u8],
}

/// Where it is when its module is loaded.
pub fn path() -> String {
    format!("/dev/{}", call::DEVICE)
}

/// Opens it: a client that has nothing yet.
pub fn open() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path())
}

/// Makes one call; the record as it comes back, with an error of the call's own in it, if any.
pub fn call(
    device: impl AsFd,
    ask: &Call,
    input: &Input<'_>,
    output: &mut [u8],
) -> io::Result<Call> {
    let bytes = [input.name, input.cache, input.aux].concat();
    let mut record = Call {
        name_len: input.name.len() as u64,
        cache_len: input.cache.len() as u64,
        aux_len: input.aux.len() as u64,
        ..*ask
    };
    sys::probe_call(device, &mut record, &bytes, output)?;
    Ok(record)
}
