// SPDX-License-Identifier: GPL-2.0-or-later
//! Which process made a result.

use std::fs;
use std::sync::OnceLock;
use std::time::SystemTime;

use chrono::DateTime;
use chrono::SecondsFormat;
use chrono::Utc;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

/// A call of vmtest. No two are equal, on whatever machines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invocation {
    /// When it began, as RFC 3339 in UTC.
    pub began: String,
    /// Its process id.
    pub pid: u32,
    /// When that process began, in the kernel's ticks since the machine's start: a process id is
    /// used again, both together are not.
    pub pid_began: u64,
    /// The machine, and its start, that both belong to.
    pub boot_id: String,
    /// Program and arguments.
    pub command_line: Vec<String>,
}

impl Invocation {
    /// This one.
    pub fn current() -> &'static Self {
        static CURRENT: OnceLock<Invocation> = OnceLock::new();
        CURRENT.get_or_init(|| {
            let pid = std::process::id();
            Invocation {
                began: now(),
                pid,
                pid_began: began(pid).unwrap_or_default(),
                boot_id: boot_id(),
                command_line: std::env::args_os()
                    .map(|argument| argument.to_string_lossy().into_owned())
                    .collect(),
            }
        })
    }

    /// Whether its process still runs, as far as can be seen from here.
    pub fn is_alive(&self) -> bool {
        self.boot_id == boot_id() && began(self.pid) == Some(self.pid_began)
    }
}

/// Now, as RFC 3339 in UTC.
pub fn now() -> String {
    DateTime::<Utc>::from(SystemTime::now()).to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// When a process began; `None` when there is none, or only what is left of one.
fn began(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the state is the first field after it.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_one_that_ended_is_not() {
        let mut other = Invocation::current().clone();
        assert!(other.is_alive());
        assert!(other.pid_began > 0);
        other.pid_began += 1;
        assert!(!other.is_alive(), "its number belongs to another one now");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        other.pid = child.id();
        other.pid_began = began(child.id()).unwrap_or(1);
        child.wait().unwrap();
        assert!(!other.is_alive());
    }

    #[test]
    fn times_are_rfc_3339() {
        let now = now();
        assert!(DateTime::parse_from_rfc3339(&now).is_ok(), "{now}");
        assert!(now.ends_with('Z'));
    }
}
