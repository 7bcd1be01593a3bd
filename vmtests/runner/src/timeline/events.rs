// SPDX-License-Identifier: GPL-2.0-or-later
//! The event logs of daemons and puppets, `NAME.events.jsonl` in a run's folder: joined into
//! `events.jsonl`, and sorted into the timeline.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::Entry;
use super::Level;
use super::Source;
use super::clean;
use super::clock::Clock;

/// What all event logs together have in their names.
const SUFFIX: &str = ".events.jsonl";
/// Of more events than this, the timeline has the first and the last.
const MAX_EVENTS: usize = 20_000;

/// A line of an event log.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The boot of the guest, 0 first.
    pub boot: usize,
    /// The guest's monotonic clock in nanoseconds.
    pub t_ns: u64,
    /// Whose log.
    pub owner: String,
    /// The line itself, a JSON object.
    pub line: String,
}

/// Reads all event logs of a run's folder, in the order of their times.
pub fn read(dir: &Path) -> anyhow::Result<Vec<Event>> {
    let mut events = Vec::new();
    let mut files: Vec<_> = fs::read_dir(dir)
        .with_context(|| format!("cannot read {}", dir.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    files.sort();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let Some(stem) = name.strip_suffix(SUFFIX) else {
            continue;
        };
        let (owner, boot) = owner_and_boot(stem);
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        for line in String::from_utf8_lossy(&bytes).lines() {
            // The last line of a daemon that was killed may be incomplete.
            let Ok(value) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            events.push(Event {
                boot,
                t_ns: value["t_ns"].as_u64().unwrap_or(0),
                owner: owner.clone(),
                line: line.to_owned(),
            });
        }
    }
    events.sort_by_key(|event| (event.boot, event.t_ns));
    Ok(events)
}

/// `daemon-boot1-2` is the second log of the second boot, of the owner `daemon`.
fn owner_and_boot(stem: &str) -> (String, usize) {
    let owner = stem.rsplit_once('-').map_or(stem, |(owner, _)| owner);
    let boot = owner.rsplit_once("-boot").and_then(|(owner, boot)| {
        let boot = boot.parse().ok()?;
        Some((owner.to_owned(), boot))
    });
    boot.unwrap_or((owner.to_owned(), 0))
}

/// The events as entries of the timeline; those of a boot whose clock is unknown are left out.
pub(super) fn entries(events: &[Event], clock: &Clock) -> Vec<Entry> {
    let skipped = events.len().saturating_sub(MAX_EVENTS);
    let mut entries = Vec::new();
    for (number, event) in events.iter().enumerate() {
        let Some(t_s) = clock.host(event.boot, event.t_ns as f64 / 1e9) else {
            continue;
        };
        let entry = |text: String| Entry {
            t_s: (t_s * 1e6).round() / 1e6,
            source: Source::Daemon,
            level: Level::Debug,
            step: None,
            mark: None,
            text,
        };
        match number.checked_sub(MAX_EVENTS / 2) {
            Some(0) if skipped > 0 => entries.push(entry(format!(
                "({skipped} events are left out here; all are in events.jsonl)"
            ))),
            Some(after) if after < skipped => {}
            _ => entries.push(entry(words(event))),
        }
    }
    entries
}

/// `daemon: deliver open msg_id=1 fsid=small`.
fn words(event: &Event) -> String {
    let Ok(Value::Object(map)) = serde_json::from_str(&event.line) else {
        return clean::line(&format!("{}: {}", event.owner, event.line));
    };
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut line = format!("{}:", event.owner);
    for key in ["ev", "op"] {
        if let Some(value) = map.get(key) {
            line += &format!(" {}", text(value));
        }
    }
    for (key, value) in &map {
        if !["t_ns", "ev", "op"].contains(&key.as_str()) {
            line += &format!(" {key}={}", text(value));
        }
    }
    clean::line(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_joined_in_the_order_of_boots_and_times() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("a-1.events.jsonl", "{\"t_ns\":2,\"ev\":\"x\"}\n{\"t_n");
        write("b-boot0-2.events.jsonl", "{\"t_ns\":1}\n");
        write("my-d-boot1-1.events.jsonl", "{\"t_ns\":0}\n");
        let events = read(dir.path()).unwrap();
        let seen: Vec<_> = events
            .iter()
            .map(|event| (event.owner.as_str(), event.boot, event.t_ns))
            .collect();
        assert_eq!(seen, [("b", 0, 1), ("a", 0, 2), ("my-d", 1, 0)]);
    }

    #[test]
    fn an_event_is_a_line_for_people_at_the_hosts_time() {
        let mut clock = Clock::default();
        clock.sample(1.0, 10.0);
        let event = |number: u64| Event {
            boot: 0,
            t_ns: 1_500_000_000 + number,
            owner: "daemon".to_owned(),
            line:
                "{\"t_ns\":1,\"ev\":\"deliver\",\"op\":\"open\",\"fsid\":\"a\\u0000\",\"msg_id\":3}"
                    .to_owned(),
        };
        let entries = entries(&[event(0)], &clock);
        assert_eq!(entries[0].t_s, 10.5);
        assert_eq!(entries[0].text, "daemon: deliver open fsid=a␀ msg_id=3");
        let many: Vec<Event> = (0..30_000).map(event).collect();
        let some = super::entries(&many, &clock);
        assert_eq!(some.len(), MAX_EVENTS + 1);
        assert!(
            some[MAX_EVENTS / 2]
                .text
                .contains("10000 events are left out")
        );
    }
}
