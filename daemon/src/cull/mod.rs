// SPDX-License-Identifier: GPL-2.0-or-later
//! The thread that makes room when the kernel asks for it.
//!
//! The kernel asks by EPOLLOUT, and goes on asking until it looks at the disk again, which in
//! on-demand mode it does only when something is written. So a pass begins when the kernel asks
//! and ends when the daemon itself sees enough room, or nothing that could go; then the thread
//! pauses before it looks again, longer each time that nothing could be done. A CLOSE ends the
//! pause: what it closed can be culled now.
//!
//! `cull` and `inuse` name files in the working directory, which all threads share. Only this
//! thread changes it, and nothing else in the daemon uses a relative path.

pub mod space;
pub mod tree;

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cachefiles_core::limits::Percents;
use rustix::io::Errno;

use self::space::Space;
use self::tree::Candidate;
use crate::device;
use crate::device::Device;
use crate::device::Interest;
use crate::device::Wake;
use crate::device::commands;
use crate::event_log::Event;
use crate::event_log::EventLog;
use crate::stats::Stats;
use crate::stop::Stop;

/// The shortest pause after a pass.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause after a pass.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// After a CLOSE the kernel still has to put the object away; and others may follow.
const SETTLE: Duration = Duration::from_millis(100);
/// How many candidates one look at the tree keeps.
const KEEP: usize = 4096;

/// How much is free now; behind a function so that tests can say.
pub type Gauge = Box<dyn Fn() -> io::Result<Space> + Send>;

/// Makes room in one cache.
pub struct Culler {
    device: Arc<dyn Device>,
    events: Arc<EventLog>,
    stats: Arc<Stats>,
    stop: Arc<Stop>,
    limits: Percents,
    store: PathBuf,
    graveyard: PathBuf,
    gauge: Gauge,
}

impl std::fmt::Debug for Culler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Culler")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// What a pass came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// There is enough room now.
    Enough,
    /// Something was culled; it is not enough, and nothing more can go.
    Some,
    /// Nothing could be culled.
    Nothing,
}

impl Culler {
    /// Of the cache in `dir`, which is bound.
    pub fn new(
        device: Arc<dyn Device>,
        events: Arc<EventLog>,
        stats: Arc<Stats>,
        stop: Arc<Stop>,
        dir: PathBuf,
        limits: Percents,
        gauge: Gauge,
    ) -> Culler {
        Culler {
            device,
            events,
            stats,
            stop,
            limits,
            store: dir.join("cache"),
            graveyard: dir.join("graveyard"),
            gauge,
        }
    }

    /// The gauge of a real disk.
    ///
    /// # Errors
    /// When the folder cannot be opened.
    pub fn gauge_of(dir: &std::path::Path) -> io::Result<Gauge> {
        let folder = tree::open_folder(dir)?;
        Ok(Box::new(move || Space::of(&folder)))
    }

    /// Culls whenever the kernel asks, until it is to stop. Returns why the cache is dead, if it is.
    pub fn run(&self) -> Option<String> {
        tree::empty_graveyard(&self.graveyard);
        let mut pause = PAUSE_MIN;
        loop {
            match self.device.wait(Interest::Culling, &self.stop, None) {
                Ok(Wake::Ready) => {}
                Ok(Wake::TimedOut) => continue,
                Ok(Wake::Stopped) => return None,
                Err(error) => tracing::error!(%error, "cannot wait for the device"),
            }
            match self.pass() {
                Ok(Pass::Nothing) if device::is_dead(&*self.device) => {
                    return Some("culling: every command is answered with EIO".to_owned());
                }
                Ok(Pass::Nothing) => pause = (pause * 2).min(PAUSE_MAX),
                Ok(Pass::Enough | Pass::Some) => pause = PAUSE_MIN,
                Err(error) => {
                    if device::is_dead(&*self.device) {
                        return Some(format!("culling: {error}"));
                    }
                    tracing::error!(%error, store = %self.store.display(), "culling failed");
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
            if self.stop.pause(pause) && !self.stop.is_requested() {
                pause = PAUSE_MIN;
                std::thread::sleep(SETTLE);
            }
        }
    }

    /// Culls until there is enough room or nothing that can go.
    ///
    /// # Errors
    /// When the tree or the disk cannot be read, or the cache is dead.
    pub fn pass(&self) -> io::Result<Pass> {
        let mut culled = 0;
        let mut enough = self.enough()?;
        while !enough && !self.stop.is_requested() {
            let survey = tree::survey(&self.store, KEEP, |folder, name| {
                self.ask(folder, "inuse", name).is_err()
            })?;
            let before = culled;
            for candidate in &survey.candidates {
                culled += u64::from(self.cull_object(candidate)?);
                // After each: an object may be gigabytes, and what need not go shall stay.
                enough = self.enough()?;
                if enough || self.stop.is_requested() {
                    break;
                }
            }
            if !enough && !survey.more {
                // The folders of a volume take room as well: 256 of them.
                for volume in &survey.empty_volumes {
                    culled += u64::from(self.cull_volume(volume)?);
                }
                tree::empty_graveyard(&self.graveyard);
                enough = self.enough()?;
            }
            if culled == before {
                break;
            }
        }
        // A working directory in the cache would keep its disk from being unmounted.
        rustix::process::chdir("/")?;
        if culled > 0 {
            tracing::info!(culled, enough, "culled");
        }
        Ok(match (enough, culled) {
            (true, _) => Pass::Enough,
            (false, 0) => Pass::Nothing,
            (false, _) => Pass::Some,
        })
    }

    fn enough(&self) -> io::Result<bool> {
        Ok((self.gauge)()?.is_enough(&self.limits))
    }

    fn ask(&self, folder: &File, command: &str, name: &OsStr) -> io::Result<()> {
        let command = commands::with_argument(command, name.as_bytes());
        self.device.command_in(folder, &command)
    }

    fn cull_object(&self, candidate: &Candidate) -> io::Result<bool> {
        let Candidate {
            volume, fan, name, ..
        } = candidate;
        let path = self.store.join(volume).join(fan);
        self.cull(&path, name, volume, Some(name))
    }

    fn cull_volume(&self, volume: &OsString) -> io::Result<bool> {
        let store = tree::open_folder(&self.store)?;
        if self.ask(&store, "inuse", volume).is_err() {
            return Ok(false);
        }
        self.cull(&self.store, volume, volume, None)
    }

    /// Whether it is gone now by our doing. It may have come into use, or have gone, meanwhile.
    fn cull(
        &self,
        folder: &std::path::Path,
        name: &OsStr,
        volume: &OsStr,
        object: Option<&OsString>,
    ) -> io::Result<bool> {
        let folder = match tree::open_folder(folder) {
            Ok(folder) => folder,
            Err(error) if tree::is_gone(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        if let Err(error) = self.ask(&folder, "cull", name) {
            return match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::BUSY | Errno::NOENT | Errno::STALE) => Ok(false),
                Some(Errno::IO) if device::is_dead(&*self.device) => Err(error),
                _ => {
                    tracing::warn!(name = %name.to_string_lossy(), %error, "cannot cull");
                    Ok(false)
                }
            };
        }
        self.stats.culled.increment();
        self.events.write(&Event::Cull {
            volume: &volume.to_string_lossy(),
            name: object.map(|object| object.to_string_lossy()).as_deref(),
        });
        Ok(true)
    }
}
