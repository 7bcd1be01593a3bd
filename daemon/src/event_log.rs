// SPDX-License-Identifier: GPL-2.0-or-later
//! The event log: one JSON object a line for every request, answer, fill and cull.
//!
//! It is evidence, not diagnostics: complete and in order. A request is logged before it is
//! handled, an answer after it was given; each line is one write, so that a killed daemon leaves
//! whole lines only.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use rustix::time::ClockId;
use rustix::time::clock_gettime;
use serde::Serialize;

/// The request that a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// OPEN.
    Open,
    /// CLOSE.
    Close,
    /// READ.
    Read,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "ev", rename_all = "lowercase")]
pub enum Event<'a> {
    /// The cache is bound, or taken over, and is served from now on.
    Ready {
        /// The process.
        pid: u32,
        /// Whether it was taken over, and its requests restored.
        restored: bool,
    },
    /// A request was read from the device.
    Deliver {
        /// Which kind.
        op: Op,
        /// Its number.
        msg_id: u32,
        /// The object's number.
        object_id: u32,
        /// The object's name: its cookie key.
        #[serde(skip_serializing_if = "Option::is_none")]
        fsid: Option<&'a str>,
        /// The volume's key (OPEN).
        #[serde(skip_serializing_if = "Option::is_none")]
        volume: Option<&'a str>,
        /// First byte that is asked for (READ).
        #[serde(skip_serializing_if = "Option::is_none")]
        off: Option<u64>,
        /// Bytes that are asked for (READ).
        #[serde(skip_serializing_if = "Option::is_none")]
        len: Option<u64>,
    },
    /// A request was answered.
    Reply {
        /// Which kind.
        op: Op,
        /// Its number.
        msg_id: u32,
        /// The object's number.
        object_id: u32,
        /// OPEN: the size in bytes or a negative errno. READ: 0, or a negative errno when the
        /// data could not be had.
        result: i64,
        /// The errno with which the kernel refused the answer: nobody waits for it any more.
        #[serde(skip_serializing_if = "Option::is_none")]
        refused: Option<i32>,
    },
    /// Data was fetched and written to the cache, or could not be.
    Fill {
        /// The object's number.
        object_id: u32,
        /// Its name.
        fsid: &'a str,
        /// First byte.
        off: u64,
        /// Bytes.
        len: u64,
        /// 0 or a negative errno.
        result: i64,
    },
    /// Something was culled.
    Cull {
        /// The volume's folder.
        volume: &'a str,
        /// The object's file; none when it was the volume itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
    },
    /// The configuration was read again, and holds from now on.
    Reconfigured {
        /// Bytes that are filled around a hole.
        fill: u64,
        /// How long every request to the backend takes at least.
        delay_ms: u64,
    },
    /// The configuration was read again, and nothing was changed.
    #[serde(rename = "reconfigure_failed")]
    ReconfigureFailed {
        /// Why.
        reason: &'a str,
    },
    /// The daemon ends.
    End {
        /// 0, or the exit code of a failure.
        code: u8,
    },
}

#[derive(Serialize)]
struct Line<'a> {
    t_ns: u64,
    #[serde(flatten)]
    event: &'a Event<'a>,
    thread: &'a str,
}

/// Where the lines go, if anywhere.
#[derive(Debug, Default)]
pub struct EventLog {
    file: Option<Mutex<File>>,
    broken: AtomicBool,
}

impl EventLog {
    /// Logs nothing.
    pub fn none() -> EventLog {
        EventLog::default()
    }

    /// Appends to a file, which is made if it is not there.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn append_to(path: &Path) -> io::Result<EventLog> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(EventLog {
            file: Some(Mutex::new(file)),
            broken: AtomicBool::new(false),
        })
    }

    /// Writes one line. A log that cannot be written is reported once and does not stop the
    /// service.
    pub fn write(&self, event: &Event<'_>) {
        let Some(file) = &self.file else {
            return;
        };
        let current = std::thread::current();
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        // The time is taken under the lock: the lines are in the order of their times.
        let now = clock_gettime(ClockId::Monotonic);
        let line = Line {
            t_ns: now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs(),
            event,
            thread: current.name().unwrap_or("?"),
        };
        let written = serde_json::to_vec(&line)
            .map_err(io::Error::from)
            .and_then(|mut bytes| {
                bytes.push(b'\n');
                file.write_all(&bytes)
            });
        if let Err(error) = written {
            if !self.broken.swap(true, Ordering::Relaxed) {
                tracing::error!(%error, "the event log cannot be written; it has gaps from here on");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_time_event_and_thread_and_only_the_fields_that_apply() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = EventLog::append_to(&path).unwrap();
        log.write(&Event::Deliver {
            op: Op::Read,
            msg_id: 3,
            object_id: 2,
            fsid: Some("a\"b"),
            volume: None,
            off: Some(4096),
            len: Some(u64::MAX),
        });
        log.write(&Event::Ready {
            pid: 1,
            restored: true,
        });
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0]["ev"], "deliver");
        assert_eq!(lines[0]["op"], "read");
        assert_eq!(lines[0]["fsid"], "a\"b");
        assert_eq!(lines[0]["len"], u64::MAX);
        assert!(lines[0].get("volume").is_none());
        assert_eq!(lines[1]["ev"], "ready");
        assert!(lines[1]["t_ns"].as_u64() >= lines[0]["t_ns"].as_u64());
        assert!(lines[1]["thread"].is_string());
    }
}
