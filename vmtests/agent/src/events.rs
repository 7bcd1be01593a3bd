// SPDX-License-Identifier: GPL-2.0-or-later
//! Event logs of daemons and puppets: what was read from the device, and what was answered.
//!
//! They are written to memory, because a line must not cost a round trip to the host, and copied
//! to the artifact share a few times a second, so that most of them survive a crash of the guest.

use std::collections::BTreeMap;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use serde::Deserialize;
use serde::Serialize;
use vmtest_protocol::message::Requests;

/// Where event logs are written in the guest.
pub const FOLDER: &str = "/run/vmtest";
/// The artifact share.
pub const ARTIFACTS: &str = "/artifacts";

/// One line of an event log. Only what is judged here; a daemon may write more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// CLOCK_MONOTONIC in nanoseconds.
    #[serde(default)]
    pub t_ns: u64,
    /// `deliver`, `reply`, `fill`, `cull`, `ready`, ...
    pub ev: String,
    /// `open`, `read` or `close`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<String>,
    /// The request's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msg_id: Option<u64>,
    /// The object's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_id: Option<u64>,
    /// The blob's name, at an OPEN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fsid: Option<String>,
    /// Start of a range in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off: Option<u64>,
    /// Length of a range in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub len: Option<u64>,
    /// Which thread, by whatever name or number the daemon has for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<serde_json::Value>,
    /// Why something failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What the lines of one log add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that were read.
    pub requests: Requests,
    /// OPENs and READs that were answered.
    pub replied: u64,
    /// Whether the log says that its writer serves.
    pub ready: bool,
    /// Lines by their `ev`.
    pub lines: BTreeMap<String, u64>,
    /// Lines that are no events.
    pub garbled: u64,
    /// The last reason that a line gave for a failure.
    pub reason: Option<String>,
}

impl Tally {
    fn add(&mut self, line: &str) {
        let Ok(event) = serde_json::from_str::<Event>(line) else {
            self.garbled += 1;
            return;
        };
        match (event.ev.as_str(), event.op.as_deref()) {
            ("deliver", Some("open")) => self.requests.open += 1,
            ("deliver", Some("read")) => self.requests.read += 1,
            ("deliver", Some("close")) => self.requests.close += 1,
            ("reply", _) => self.replied += 1,
            ("ready", _) => self.ready = true,
            _ => {}
        }
        if event.reason.is_some() {
            self.reason = event.reason;
        }
        *self.lines.entry(event.ev).or_default() += 1;
    }

    /// OPENs and READs that were read and not answered.
    pub fn outstanding(&self) -> u64 {
        (self.requests.open + self.requests.read).saturating_sub(self.replied)
    }
}

struct Log {
    owner: String,
    path: PathBuf,
    offset: u64,
    partial: Vec<u8>,
    tally: Tally,
    /// Its writer has ended: nothing it took will be answered by it.
    ended: bool,
    copy: Option<File>,
}

/// All event logs of this run.
#[derive(Default)]
pub struct EventLogs {
    logs: Mutex<Vec<Log>>,
    boot: AtomicU32,
}

impl EventLogs {
    /// Which boot of the run this is: the artifact share holds the logs of all of them.
    pub fn set_boot(&self, boot: u32) {
        self.boot.store(boot, Ordering::Relaxed);
    }

    /// A new log of `owner`; its path is handed to the writer.
    pub fn begin(&self, owner: &str) -> PathBuf {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let boot = self.boot.load(Ordering::Relaxed);
        let file = format!("{owner}-boot{boot}-{}.events.jsonl", logs.len() + 1);
        let path = Path::new(FOLDER).join(&file);
        let copy = match Path::new(ARTIFACTS).is_dir() {
            true => OpenOptions::new()
                .create(true)
                .append(true)
                .open(Path::new(ARTIFACTS).join(&file))
                .ok(),
            false => None,
        };
        logs.push(Log {
            owner: owner.to_owned(),
            path: path.clone(),
            offset: 0,
            partial: Vec::new(),
            tally: Tally::default(),
            ended: false,
            copy,
        });
        path
    }

    /// Reads what has been written since the last time, and copies it to the artifact share.
    pub fn poll(&self) {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        for log in logs.iter_mut() {
            log.poll();
        }
    }

    /// The writer of this log has ended.
    pub fn end(&self, path: &Path) {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        for log in logs.iter_mut().filter(|log| log.path == path) {
            log.poll();
            log.ended = true;
        }
    }

    /// The tally of one log.
    pub fn tally(&self, path: &Path) -> Tally {
        self.poll();
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.iter()
            .find(|log| log.path == path)
            .map(|log| log.tally.clone())
            .unwrap_or_default()
    }

    /// The last reason for a failure in one log.
    pub fn last_reason(&self, path: &Path) -> String {
        let reason = self.tally(path).reason;
        reason.unwrap_or_else(|| "its event log does not say why".to_owned())
    }

    /// The tallies of all logs as one, with the outstanding requests of living writers only.
    pub fn total(&self) -> (Tally, u64) {
        self.poll();
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut total = Tally::default();
        let mut outstanding = 0;
        for log in logs.iter() {
            let tally = &log.tally;
            total.requests.open += tally.requests.open;
            total.requests.read += tally.requests.read;
            total.requests.close += tally.requests.close;
            total.replied += tally.replied;
            total.garbled += tally.garbled;
            for (ev, count) in &tally.lines {
                *total.lines.entry(ev.clone()).or_default() += count;
            }
            if !log.ended {
                outstanding += tally.outstanding();
            }
        }
        (total, outstanding)
    }

    /// The paths of all logs of `owner`, oldest first.
    pub fn of(&self, owner: &str) -> Vec<PathBuf> {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.iter()
            .filter(|log| log.owner == owner)
            .map(|log| log.path.clone())
            .collect()
    }
}

impl Log {
    fn poll(&mut self) {
        let Ok(mut file) = File::open(&self.path) else {
            return;
        };
        let mut fresh = Vec::new();
        if file.seek(SeekFrom::Start(self.offset)).is_err()
            || file.read_to_end(&mut fresh).is_err()
            || fresh.is_empty()
        {
            return;
        }
        self.offset += fresh.len() as u64;
        if let Some(copy) = &mut self.copy {
            // The copy is for people; the counts do not depend on it.
            let _ = copy.write_all(&fresh);
        }
        self.partial.extend_from_slice(&fresh);
        let whole = match self.partial.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => last + 1,
            None => return,
        };
        for line in self.partial[..whole].split(|byte| *byte == b'\n') {
            if !line.is_empty() {
                self.tally.add(&String::from_utf8_lossy(line));
            }
        }
        self.partial.drain(..whole);
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn a_tally_counts_requests_replies_and_what_is_garbled() {
        let mut tally = Tally::default();
        tally.add(r#"{"t_ns":1,"ev":"ready"}"#);
        tally.add(r#"{"t_ns":2,"ev":"deliver","op":"open","msg_id":1,"object_id":1,"fsid":"a"}"#);
        tally.add(r#"{"t_ns":3,"ev":"deliver","op":"read","msg_id":2,"off":0,"len":4096}"#);
        tally.add(r#"{"t_ns":4,"ev":"reply","op":"open","msg_id":1,"result":4096}"#);
        tally.add(r#"{"t_ns":5,"ev":"deliver","op":"close","msg_id":3,"object_id":1}"#);
        tally.add("half a li");
        assert!(tally.ready);
        assert_eq!(
            (
                tally.requests.open,
                tally.requests.read,
                tally.requests.close
            ),
            (1, 1, 1)
        );
        assert_eq!(tally.outstanding(), 1, "the READ is not answered");
        assert_eq!(tally.garbled, 1);
    }
}
