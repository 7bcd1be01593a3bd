// SPDX-License-Identifier: GPL-2.0-or-later
//! One client of fscache: the probe's device, open, with what was acquired through it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use cachefiles_probe_abi::call::Call;
use cachefiles_probe_abi::call::flag;
use cachefiles_probe_abi::call::op;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::PidfdGetfdFlags;

use crate::probe_device;
use crate::probe_device::Input;
use crate::worker::modules;
use crate::worker::probe::WANT_CACHE_SIZE;

/// The open device.
pub struct Session(OwnedFd);

impl Session {
    /// A client that has nothing yet; the module is loaded if it is not.
    pub fn open() -> Result<Session> {
        let path = probe_device::path();
        if !Path::new(&path).exists() {
            modules::load_plain("cachefiles_probe")?;
        }
        let device = probe_device::open().with_context(|| format!("cannot open {path}"))?;
        Ok(Session(device.into()))
    }

    /// The one that the process `pid` has as its standard input.
    pub fn of(pid: i32) -> io::Result<Session> {
        let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("a process number of 0"))?;
        let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        let device = rustix::process::pidfd_getfd(&process, 0, PidfdGetfdFlags::empty())?;
        Ok(Session(device))
    }

    /// For a process that is to hold it.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    fn call(&self, ask: Call, name: &[u8], output: &mut [u8]) -> io::Result<Call> {
        let input = Input {
            name,
            ..Input::default()
        };
        let record = probe_device::call(&self.0, &ask, &input, output)?;
        match i32::try_from(record.error) {
            Ok(0) => Ok(record),
            Ok(errno) => Err(io::Error::from_raw_os_error(errno)),
            Err(_) => Err(io::Error::other("the probe answered with no error number")),
        }
    }

    /// Acquires the volume that cookies will belong to.
    pub fn acquire_volume(&self, key: &str) -> io::Result<()> {
        let ask = Call {
            op: op::ACQUIRE_VOLUMES,
            volumes: 1,
            ..Call::default()
        };
        self.call(ask, key.as_bytes(), &mut []).map(drop)
    }

    /// Acquires cookie `number`, whose size the daemon says, and uses it.
    pub fn acquire(&self, number: u64, key: &str) -> io::Result<()> {
        let ask = Call {
            op: op::ACQUIRE,
            first: number,
            count: 1,
            volumes: 1,
            extra: WANT_CACHE_SIZE,
            ..Call::default()
        };
        self.call(ask, key.as_bytes(), &mut [])?;
        let ask = Call {
            op: op::USE,
            first: number,
            count: 1,
            ..Call::default()
        };
        self.call(ask, &[], &mut []).map(drop)
    }

    /// Relinquishes `count` cookies.
    pub fn relinquish(&self, first: u64, count: u64) -> io::Result<()> {
        let ask = Call {
            op: op::RELINQUISH,
            first,
            count,
            ..Call::default()
        };
        self.call(ask, &[], &mut []).map(drop)
    }

    /// Relinquishes the volume.
    pub fn relinquish_volume(&self) -> io::Result<()> {
        let ask = Call {
            op: op::RELINQUISH_VOLUMES,
            volumes: 1,
            ..Call::default()
        };
        self.call(ask, &[], &mut []).map(drop)
    }

    /// Reads on demand, in the calling task; how many bytes came.
    pub fn read(&self, number: u64, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let ask = Call {
            op: op::READ,
            flags: flag::INLINE | flag::ONDEMAND | flag::HOLES_FAIL,
            first: number,
            count: 1,
            times: 1,
            offset,
            length: buffer.len() as u64,
            ..Call::default()
        };
        let got = self.call(ask, &[], buffer)?.bytes;
        usize::try_from(got).map_err(io::Error::other)
    }
}
