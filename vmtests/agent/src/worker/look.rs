// SPDX-License-Identifier: GPL-2.0-or-later
//! Looking at files and folders: are they as `expect` and `wait_until` want them?

use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;
use vmtest_protocol::step::Comparison;
use vmtest_protocol::step::FileKind;
use vmtest_protocol::step::PathIs;
use vmtest_protocol::step::XattrIs;

use super::child::describe;
use super::files;
use super::glob;

/// The longest value of an extended attribute that the kernel knows, in bytes.
const XATTR_MAX: usize = 64 << 10;

/// All that is not as wanted, in words.
pub fn look(checks: &[PathIs]) -> Result<Vec<String>> {
    let mut wrongs = Vec::new();
    for check in checks {
        one(check, &mut wrongs)?;
    }
    Ok(wrongs)
}

fn one(check: &PathIs, wrongs: &mut Vec<String>) -> Result<()> {
    let found = glob::expand(&check.path)?;
    if !check.exists {
        let names: Vec<String> = found.iter().map(|p| p.display().to_string()).collect();
        if !names.is_empty() {
            wrongs.push(format!(
                "{} exists, and must not: {}",
                check.path,
                names.join(", ")
            ));
        }
        return Ok(());
    }
    let (is, than) = match &check.count {
        Some(count) => (count.is, count.than.get().map_err(anyhow::Error::msg)?),
        None => (Comparison::Equal, 1),
    };
    if !is.holds(found.len() as i64, than as i64) {
        let names: Vec<String> = found
            .iter()
            .take(8)
            .map(|p| p.display().to_string())
            .collect();
        wrongs.push(match (found.is_empty(), check.count.is_some()) {
            (true, false) => format!("{} is not there", check.path),
            _ => format!(
                "{} are {} ({}), {} {than} were expected",
                check.path,
                found.len(),
                names.join(", "),
                is.words()
            ),
        });
    }
    for path in found {
        file(check, &path, wrongs)?;
    }
    Ok(())
}

fn file(check: &PathIs, path: &Path, wrongs: &mut Vec<String>) -> Result<()> {
    let shown = path.display();
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        // Between finding it and looking at it, somebody has removed it.
        Err(error) => {
            wrongs.push(format!("{shown}: {}", describe(&error)));
            return Ok(());
        }
    };
    if let Some(kind) = check.kind {
        let seen = kind_of(&meta);
        if seen != kind {
            wrongs.push(format!("{shown} is {seen:?}, {kind:?} was expected"));
        }
    }
    if let Some(size) = &check.size {
        let size = size.get().map_err(anyhow::Error::msg)?.0;
        if meta.len() != size {
            wrongs.push(format!(
                "{shown} has {} bytes, {size} were expected",
                meta.len()
            ));
        }
    }
    if let Some(mode) = &check.mode {
        let seen = format!("{:o}", meta.mode() & 0o7777);
        if seen != mode.trim_start_matches('0') && seen != *mode {
            wrongs.push(format!(
                "{shown} has the permissions {seen}, {mode} was expected"
            ));
        }
    }
    if let Some(wanted) = &check.allocated {
        // stat counts blocks of 512 bytes, whatever the filesystem's own are.
        let room = meta.blocks() * 512;
        let than = wanted.than.get().map_err(anyhow::Error::msg)?.0;
        if !wanted.is.holds(room as i64, than as i64) {
            wrongs.push(format!(
                "{shown} takes {room} bytes of the disk, {} {than} was expected",
                wanted.is.words()
            ));
        }
    }
    if let Some(expected) = &check.sha256 {
        match File::open(path).and_then(files::digest) {
            Ok((digest, _)) if hex::encode(digest) == *expected => {}
            Ok((digest, _)) => wrongs.push(format!(
                "{shown} has the SHA-256 {}, {expected} was expected",
                hex::encode(digest)
            )),
            Err(error) => wrongs.push(format!("{shown}: reading: {}", describe(&error))),
        }
    }
    for wanted in &check.xattrs {
        wrongs.extend(xattr(wanted, path)?.map(|why| format!("{shown}: {why}")));
    }
    Ok(())
}

fn kind_of(meta: &fs::Metadata) -> FileKind {
    if meta.is_file() {
        FileKind::File
    } else if meta.is_dir() {
        FileKind::Dir
    } else if meta.is_symlink() {
        FileKind::Symlink
    } else {
        FileKind::Other
    }
}

/// What is not as wanted about an attribute.
fn xattr(wanted: &XattrIs, path: &Path) -> Result<Option<String>> {
    let name = &wanted.name;
    let mut value = vec![0u8; XATTR_MAX];
    let seen = match rustix::fs::lgetxattr(path, name.as_str(), &mut value[..]) {
        Ok(length) => Some(&value[..length]),
        Err(rustix::io::Errno::NODATA) => None,
        Err(error) => {
            let error = io::Error::from(error);
            return Ok(Some(format!("reading {name}: {}", describe(&error))));
        }
    };
    let expected = match (&wanted.text, &wanted.hex) {
        (Some(text), _) => Some(text.as_bytes().to_vec()),
        (None, Some(digits)) => Some(hex::decode(digits)?),
        (None, None) => None,
    };
    Ok(match (seen, expected, wanted.absent) {
        (None, _, true) => None,
        (Some(_), _, true) => Some(format!("{name} is set, and must not be")),
        (None, _, false) => Some(format!("{name} is not set")),
        (Some(seen), Some(expected), false) if seen != expected.as_slice() => Some(format!(
            "{name} is {}, {} was expected (in hexadecimal digits)",
            hex::encode(seen),
            hex::encode(expected)
        )),
        (Some(_), _, false) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrongs(root: &Path, json: &str) -> Vec<String> {
        let json = json.replace("ROOT", root.to_str().unwrap());
        let check: PathIs = serde_json::from_str(&json).unwrap();
        look(&[check]).unwrap()
    }

    #[test]
    fn what_is_as_wanted_passes_and_each_difference_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::write(root.join("a1"), vec![1u8; 5000]).unwrap();
        fs::write(root.join("a2"), vec![1u8; 5000]).unwrap();
        fs::create_dir(root.join("d")).unwrap();
        for right in [
            r#"{"path":"ROOT/a1","kind":"file","size":5000}"#,
            r#"{"path":"ROOT/a*","count":{"is":"equal","than":2},"size":5000}"#,
            r#"{"path":"ROOT/d","kind":"dir"}"#,
            r#"{"path":"ROOT/x*","exists":false}"#,
            r#"{"path":"ROOT/a1","allocated":{"is":"at_least","than":512}}"#,
        ] {
            assert_eq!(wrongs(root, right), Vec::<String>::new(), "{right}");
        }
        for (wrong, expected) in [
            (r#"{"path":"ROOT/a1","kind":"dir"}"#, "Dir was expected"),
            (r#"{"path":"ROOT/a1","size":1}"#, "5000 bytes"),
            (r#"{"path":"ROOT/a*"}"#, "are 2"),
            (r#"{"path":"ROOT/b"}"#, "is not there"),
            (r#"{"path":"ROOT/a1","exists":false}"#, "must not"),
            (r#"{"path":"ROOT/a1","mode":"1777"}"#, "permissions"),
            (
                r#"{"path":"ROOT/a1","allocated":{"is":"less","than":512}}"#,
                "bytes of the disk",
            ),
            (r#"{"path":"ROOT/a1","sha256":"00"}"#, "SHA-256"),
        ] {
            let found = wrongs(root, wrong).join("; ");
            assert!(found.contains(expected), "{wrong}: {found}");
        }
    }
}
