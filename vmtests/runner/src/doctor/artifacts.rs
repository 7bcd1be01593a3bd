// SPDX-License-Identifier: GPL-2.0-or-later
//! Whether what runs boot has been built and is still there.

use std::path::Path;

use serde_json::Value;

use super::Point;
use crate::artifacts::Index;
use crate::matrix::Module;

/// The index, if it can be used, and the point about it.
pub(super) fn examine(file: &Path) -> (Option<Index>, Point) {
    let name = "artifacts";
    let build = "cargo make images";
    let index = match Index::load(file) {
        Ok(index) => index,
        // Its own advice is a longer way to the same.
        Err(error) => {
            let error = error.to_string();
            let seen = error.split("; make it with").next().unwrap_or(&error);
            return (None, Point::bad(name, seen, build));
        }
    };
    let missing = match missing_files(file) {
        Ok(missing) => missing,
        Err(error) => return (None, Point::bad(name, error, build)),
    };
    if let Some(first) = missing.first() {
        let seen = format!(
            "{} names {} files that are not there, the first is {first}",
            file.display(),
            missing.len()
        );
        return (Some(index), Point::bad(name, seen, build));
    }
    let absent: Vec<&str> = Module::ALL
        .iter()
        .map(|module| module.word())
        .filter(|word| !index.modules.contains_key(*word))
        .collect();
    let seen = format!(
        "{}: Linux {} ({}), modules {}, {} images",
        file.display(),
        index.release,
        index.profile,
        index
            .modules
            .keys()
            .cloned()
            .collect::<Vec<_>>()
            .join(" and "),
        index.images.len()
    );
    let point = match absent.is_empty() {
        true => Point::ok(name, seen),
        false => Point::warn(
            name,
            format!("{seen}; no module `{}`", absent.join("` nor `")),
            build,
        ),
    };
    (Some(index), point)
}

/// Every absolute path of the index that leads nowhere. The index is looked at as plain JSON: what
/// a newer builder adds is looked at as well.
fn missing_files(file: &Path) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let value: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let mut missing = Vec::new();
    collect(&value, &mut missing);
    missing.sort();
    missing.dedup();
    Ok(missing)
}

fn collect(value: &Value, missing: &mut Vec<String>) {
    match value {
        Value::String(text) if text.starts_with('/') && !Path::new(text).exists() => {
            missing.push(text.clone());
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, missing)),
        Value::Object(map) => map.values().for_each(|value| collect(value, missing)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_at_any_depth_are_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("index.json");
        let value = serde_json::json!({
            "bzimage": file, "release": "6.12",
            "images": {"a": {"blobs": [{"path": "/no/such/blob"}]}},
        });
        std::fs::write(&file, value.to_string()).unwrap();
        assert_eq!(missing_files(&file).unwrap(), ["/no/such/blob"]);
    }
}
