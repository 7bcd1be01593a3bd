// SPDX-License-Identifier: GPL-2.0-or-later
//! What is in an image, written down when it is made, so that what a mount shows can be checked
//! against something that never went through a mount.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

/// The manifest's version; it changes when a reader of the old one would misread the new one.
pub const SCHEMA: u32 = 1;

/// All that is in an image below its root.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What there is, sorted by path.
    pub files: Vec<Node>,
}

/// One thing in an image.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Node {
    /// A file.
    File {
        /// Where, from the image's root.
        path: String,
        /// Its permissions.
        mode: u32,
        /// Its size in bytes.
        size: u64,
        /// The digest of its content, in hex.
        sha256: String,
        /// Its user attributes: name to value, in hex.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        xattrs: BTreeMap<String, String>,
    },
    /// A folder.
    Dir {
        /// Where, from the image's root.
        path: String,
        /// Its permissions.
        mode: u32,
        /// Its user attributes: name to value, in hex.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        xattrs: BTreeMap<String, String>,
    },
    /// A symbolic link.
    Symlink {
        /// Where, from the image's root.
        path: String,
        /// What it says.
        target: String,
    },
}

impl Node {
    /// Where it is, from the image's root.
    pub fn path(&self) -> &str {
        match self {
            Self::File { path, .. } | Self::Dir { path, .. } | Self::Symlink { path, .. } => path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_form_is_the_one_that_the_runner_reads() {
        let text = r#"{"schema":1,"files":[
            {"path":"a","type":"file","mode":420,"size":123,"sha256":"00","xattrs":{"user.x":"ff"}},
            {"path":"d","type":"dir","mode":493},
            {"path":"l","type":"symlink","target":"a"}]}"#;
        let manifest: Manifest = serde_json::from_str(text).unwrap();
        assert_eq!(
            manifest.files.iter().map(Node::path).collect::<Vec<_>>(),
            ["a", "d", "l"]
        );
        let written: serde_json::Value = serde_json::to_value(&manifest).unwrap();
        assert_eq!(
            written,
            serde_json::from_str::<serde_json::Value>(text).unwrap()
        );
    }
}
