// SPDX-License-Identifier: GPL-2.0-or-later
//! Proof that a run reached its subject, and the files that it leaves.

use std::fs;
use std::path::Path;

use anyhow::Context;
use vmtest_protocol::message::BlockedTask;
use vmtest_protocol::message::Collected;
use vmtest_protocol::message::Requests;

use crate::matrix::Module;
use crate::results::RunResult;
use crate::scenario::RequiredRequests;
use crate::timeline::events;
use crate::timeline::events::Event;

/// Folder of the daemon's blobs in a run's folder, while it runs.
pub const BLOBS: &str = ".blobs";
/// Folder of the images' manifests in a run's folder, while it runs.
pub const FIXTURES: &str = ".fixtures";
/// The artifact share in a run's folder, while it runs.
pub const GUEST: &str = "guest";

/// Blocked tasks that a reason shows.
const SHOWN_TASKS: usize = 4;

/// Enters what the agent saw into the result.
pub fn record(result: &mut RunResult, collected: &Collected) {
    result.requests = collected.requests;
    if !collected.leftovers.is_empty() {
        let left = collected.leftovers.join(", ");
        result.notes.push(format!("still there at the end: {left}"));
    }
}

/// The requests that the event logs in `guest` tell of: of all boots of the run so far, as far as
/// their guests got to copy the logs out.
pub fn requests_in(guest: &Path) -> Requests {
    let mut requests = Requests::default();
    for file in files_in(guest) {
        if !file.to_string_lossy().ends_with(".events.jsonl") {
            continue;
        }
        // What cannot be read was not copied out.
        let text = fs::read(&file).unwrap_or_default();
        for line in String::from_utf8_lossy(&text).lines() {
            let event: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            match (event["ev"].as_str(), event["op"].as_str()) {
                (Some("deliver"), Some("open")) => requests.open += 1,
                (Some("deliver"), Some("read")) => requests.read += 1,
                (Some("deliver"), Some("close")) => requests.close += 1,
                _ => {}
            }
        }
    }
    requests
}

/// Why the run would say nothing about its subject, if another module than this is loaded; with
/// `load` false none may be.
pub fn wrong_module(module: Module, load: bool, collected: &Collected) -> Option<String> {
    let loaded = |name: &str| collected.modules.iter().any(|module| module == name);
    let right = loaded(module.sys_name()) == load && !loaded(module.other().sys_name());
    (!right).then(|| {
        let wanted = match load {
            true => format!("the module `{}` alone should be loaded", module.sys_name()),
            false => "the scenario wants no module loaded before its steps".to_owned(),
        };
        format!(
            "the subject was not reached: {wanted}, /sys/module has: {}",
            collected.modules.join(", ")
        )
    })
}

/// Why the run says nothing about its subject, if it caused too few requests.
pub fn too_few(collected: &Collected, required: RequiredRequests) -> Option<String> {
    let seen = collected.requests;
    let few: Vec<String> = [
        ("OPEN", seen.open, required.open),
        ("READ", seen.read, required.read),
        ("CLOSE", seen.close, required.close),
    ]
    .into_iter()
    .filter(|(_, seen, required)| seen < required)
    .map(|(name, seen, required)| {
        format!("{seen} {name} requests, at least {required} are required")
    })
    .collect();
    (!few.is_empty()).then(|| format!("the subject was not reached: {}", few.join("; ")))
}

/// The first of a step's blocked tasks, for a reason.
pub fn blocked_text(blocked: &[BlockedTask]) -> String {
    let mut text = String::new();
    for task in blocked.iter().take(SHOWN_TASKS) {
        text += &format!(
            "\n  task {} ({}) in state {} waits in {}",
            task.tid, task.comm, task.state, task.wchan
        );
        for line in task.stack.lines() {
            text += &format!("\n    {line}");
        }
    }
    if blocked.len() > SHOWN_TASKS {
        text += &format!("\n  and {} tasks more", blocked.len() - SHOWN_TASKS);
    }
    text
}

/// Brings a run's folder into its final form: what the guest wrote moves up, event logs are joined
/// into `events.jsonl`, and what was only there for the guest goes. Returns the events.
pub fn arrange(dir: &Path, keep_disks: bool) -> anyhow::Result<Vec<Event>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    for name in [BLOBS, FIXTURES] {
        let folder = dir.join(name);
        if folder.is_dir() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
    }
    let guest = dir.join(GUEST);
    for file in files_in(&guest) {
        let Some(name) = file.file_name() else {
            continue;
        };
        let to = dir.join(name);
        if !to.exists() {
            fs::rename(&file, &to).with_context(|| format!("cannot move {} up", file.display()))?;
        }
    }
    // Stays when something is left in it.
    let _ = fs::remove_dir(&guest);
    let events = events::read(dir)?;
    join_events(dir, &events)?;
    if !keep_disks {
        for file in files_in(dir) {
            if file.extension().is_some_and(|extension| extension == "img") {
                fs::remove_file(&file)
                    .with_context(|| format!("cannot remove {}", file.display()))?;
            }
        }
    }
    Ok(events)
}

fn files_in(dir: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

/// All lines of `*.events.jsonl`, in the order of their times.
fn join_events(dir: &Path, events: &[Event]) -> anyhow::Result<()> {
    let mut text = String::new();
    for event in events {
        text.push_str(&event.line);
        text.push('\n');
    }
    let file = dir.join("events.jsonl");
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(modules: &[&str], open: u64) -> Collected {
        Collected {
            modules: modules.iter().map(|name| (*name).to_owned()).collect(),
            requests: Requests {
                open,
                read: 1,
                close: 1,
            },
            ..Collected::default()
        }
    }

    const ONE: RequiredRequests = RequiredRequests {
        open: 1,
        read: 1,
        close: 1,
    };

    #[test]
    fn a_run_on_the_wrong_module_proves_nothing() {
        let wrong = |modules: &[&str]| wrong_module(Module::Rust, true, &collected(modules, 1));
        assert_eq!(wrong(&["cachefiles_rs", "erofs"]), None);
        assert!(wrong(&["cachefiles", "erofs"]).is_some());
        assert!(wrong(&["cachefiles", "cachefiles_rs"]).is_some());
        assert!(wrong(&[]).is_some());
    }

    #[test]
    fn a_run_with_too_few_requests_proves_nothing() {
        assert_eq!(too_few(&collected(&[], 1), ONE), None);
        assert!(too_few(&collected(&[], 0), ONE).unwrap().contains("0 OPEN"));
    }

    #[test]
    fn requests_of_a_boot_whose_power_was_cut_are_counted_from_its_logs() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let line = |op: &str| format!("{{\"ev\":\"deliver\",\"op\":\"{op}\"}}\n");
        let text = line("open") + &line("read") + &line("read") + "{\"ev\":\"deliver\",\"op\":\"re";
        fs::write(at("a-boot0-1.events.jsonl"), text).unwrap();
        fs::write(
            at("a-boot1-1.events.jsonl"),
            line("close") + "{\"ev\":\"reply\"}\n",
        )
        .unwrap();
        fs::write(at("other.jsonl"), line("open")).unwrap();
        let requests = requests_in(dir.path());
        assert_eq!((requests.open, requests.read, requests.close), (1, 2, 1));
    }

    #[test]
    fn a_runs_folder_ends_with_the_guests_files_joined_events_and_no_disks() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("guest")).unwrap();
        fs::create_dir_all(at(BLOBS)).unwrap();
        fs::write(at(BLOBS).join("small"), "x").unwrap();
        fs::write(at("cache.img"), "x").unwrap();
        fs::write(at("guest/a-1.events.jsonl"), "{\"t_ns\":2}\n{\"t_n").unwrap();
        fs::write(at("guest/b-2.events.jsonl"), "{\"t_ns\":1}\n").unwrap();
        arrange(dir.path(), false).unwrap();
        let events = fs::read_to_string(at("events.jsonl")).unwrap();
        assert_eq!(events, "{\"t_ns\":1}\n{\"t_ns\":2}\n");
        assert!(at("a-1.events.jsonl").exists());
        for gone in ["guest", BLOBS, "cache.img"] {
            assert!(!at(gone).exists(), "{gone}");
        }
    }
}
