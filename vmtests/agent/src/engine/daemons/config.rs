// SPDX-License-Identifier: GPL-2.0-or-later
//! The configuration files of daemons: what can be changed later stands there, because the command
//! line would win.

use std::path::Path;
use std::path::PathBuf;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use vmtest_protocol::step::ReconfigureDaemon;
use vmtest_protocol::step::StartDaemon;

/// Where a daemon's file is.
pub fn path(name: &str) -> PathBuf {
    Path::new(crate::events::FOLDER).join(format!("{name}.config.yaml"))
}

/// Writes a daemon's file anew. A daemon that reads it meanwhile sees the old one or the new one.
pub fn write(options: &StartDaemon) -> Result<PathBuf, String> {
    let path = path(&options.name);
    let next = path.with_extension("next");
    let text = text(options)?;
    std::fs::write(&next, text)
        .and_then(|()| std::fs::rename(&next, &path))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(path)
}

/// The file's text: JSON, which every reader of YAML reads.
fn text(options: &StartDaemon) -> Result<String, String> {
    let mut cache = Map::from_iter([("dir".to_owned(), json!(options.dir))]);
    if let Some(tag) = &options.tag {
        cache.insert("tag".to_owned(), json!(tag));
    }
    for (name, value) in options.limits.given() {
        cache.insert(name.to_owned(), json!(value.get()?));
    }
    let mut directory = Map::from_iter([("path".to_owned(), json!(options.blobs))]);
    if let Some(delay) = &options.delay_ms {
        directory.insert("delay_ms".to_owned(), json!(delay.get()?));
    }
    let mut serve = Map::from_iter([("threads".to_owned(), json!(options.threads.get()?))]);
    if let Some(fill) = &options.fill {
        serve.insert("fill".to_owned(), json!(fill.get()?.0));
    }
    let file = json!({
        "cache": Value::Object(cache),
        "backend": {"directory": Value::Object(directory)},
        "serve": Value::Object(serve),
    });
    serde_json::to_string_pretty(&file).map_err(|error| error.to_string())
}

/// The options with what a step changes in them.
pub fn changed(options: &StartDaemon, step: &ReconfigureDaemon) -> StartDaemon {
    let mut next = options.clone();
    let limits = [
        (&mut next.limits.brun, &step.limits.brun),
        (&mut next.limits.bcull, &step.limits.bcull),
        (&mut next.limits.bstop, &step.limits.bstop),
        (&mut next.limits.frun, &step.limits.frun),
        (&mut next.limits.fcull, &step.limits.fcull),
        (&mut next.limits.fstop, &step.limits.fstop),
        (&mut next.delay_ms, &step.delay_ms),
    ];
    for (old, new) in limits {
        if new.is_some() {
            old.clone_from(new);
        }
    }
    if step.fill.is_some() {
        next.fill.clone_from(&step.fill);
    }
    if let Some(threads) = &step.threads {
        next.threads = threads.clone();
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed<T: serde::de::DeserializeOwned>(json: &str) -> T {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_file_says_what_the_step_says_and_a_change_changes_only_that() {
        let start: StartDaemon =
            parsed(r#"{"limits":{"brun":40},"delay_ms":3,"fill":"64KiB","threads":2}"#);
        let file: Value = parsed(&text(&start).unwrap());
        assert_eq!(file["cache"]["brun"], 40);
        assert!(file["cache"].get("bcull").is_none());
        assert_eq!(file["backend"]["directory"]["delay_ms"], 3);
        assert_eq!(file["serve"], json!({"threads": 2, "fill": 65536}));
        let next = changed(&start, &parsed(r#"{"delay_ms":9}"#));
        let file: Value = parsed(&text(&next).unwrap());
        assert_eq!(file["backend"]["directory"]["delay_ms"], 9);
        assert_eq!(file["serve"], json!({"threads": 2, "fill": 65536}));
        assert_eq!(file["cache"]["brun"], 40);
    }
}
