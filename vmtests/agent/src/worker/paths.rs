// SPDX-License-Identifier: GPL-2.0-or-later
//! What files and folders are like, compared with what they should be.

use std::fmt::Display;
use std::fs::File;
use std::fs::FileType;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use vmtest_protocol::step::FileKind;
use vmtest_protocol::step::PathIs;
use vmtest_protocol::step::XattrIs;

use super::PathSeen;
use super::attributes::xattr;
use super::child::bytes;
use super::child::describe;
use super::files;
use super::glob;
use super::names::mode_bits;

/// Matches whose differences are told; of more only the number is told.
const TOLD: usize = 5;
/// How much of an attribute's value is told, in bytes.
const VALUE_TOLD: usize = 64;

/// Looks at each of `checks`. An error is one of the checks themselves, such as a template that
/// nobody filled in; what cannot be looked at does not hold.
pub fn check(checks: &[PathIs]) -> Result<Vec<PathSeen>> {
    checks
        .iter()
        .map(|check| {
            Wanted::of(check)
                .map(|wanted| look(check, &wanted))
                .with_context(|| format!("the check of `{}`", check.path))
        })
        .collect()
}

/// A check's values.
struct Wanted {
    count: Option<i64>,
    size: Option<u64>,
    mode: Option<u32>,
    allocated: Option<i64>,
}

impl Wanted {
    fn of(check: &PathIs) -> Result<Wanted> {
        let count = check.count.as_ref().map(|count| count.than.get());
        let allocated = check.allocated.as_ref().map(|room| room.than.get());
        Ok(Wanted {
            count: match count.transpose().map_err(anyhow::Error::msg)? {
                Some(count) => Some(count.try_into().context("such a count is out of reach")?),
                None => None,
            },
            size: bytes(&check.size)?,
            mode: check.mode.as_deref().map(mode_bits).transpose()?,
            allocated: match allocated.transpose().map_err(anyhow::Error::msg)? {
                Some(room) => Some(room.0.try_into().context("such a room is out of reach")?),
                None => None,
            },
        })
    }
}

fn look(check: &PathIs, wanted: &Wanted) -> PathSeen {
    let found = glob::matches(&check.path)?;
    let seen = || match (glob::has_star(&check.path), found.is_empty()) {
        (false, true) => format!("{} is not there", check.path),
        (false, false) => format!("{} is there", check.path),
        (true, _) => format!("`{}` matches {}", check.path, glob::listed(&found)),
    };
    if !check.exists {
        return match found.is_empty() {
            true => Ok(()),
            false => Err(format!("{}, nothing was expected", seen())),
        };
    }
    let count = found.len() as i64;
    match (&check.count, wanted.count) {
        (Some(rule), Some(than)) if !rule.is.holds(count, than) => {
            return Err(format!(
                "{}, {} {than} was expected",
                seen(),
                rule.is.words()
            ));
        }
        (None, _) if count != 1 && glob::has_star(&check.path) => {
            return Err(format!("{}, exactly one was expected", seen()));
        }
        (None, _) if count != 1 => return Err(seen()),
        _ => {}
    }
    let mut told: Vec<String> = found
        .iter()
        .filter_map(|path| {
            let differences = differences(path, check, wanted);
            let what = || format!("{}: {}", path.display(), differences.join(", "));
            (!differences.is_empty()).then(what)
        })
        .collect();
    if told.is_empty() {
        return Ok(());
    }
    let total = told.len();
    told.truncate(TOLD);
    let mut reason = told.join("; ");
    if total > TOLD {
        reason.push_str(&format!("; {} more differ", total - TOLD));
    }
    Err(reason)
}

/// In words, what about `path` is not as it should be.
fn differences(path: &Path, check: &PathIs, wanted: &Wanted) -> Vec<String> {
    let meta = match path.symlink_metadata() {
        Ok(meta) => meta,
        Err(error) => return vec![format!("cannot be looked at: {}", describe(&error))],
    };
    let mut wrong = Vec::new();
    if let Some(kind) = check.kind {
        let seen = kind_of(meta.file_type());
        wrong.extend((seen != kind).then(|| expected(words(seen), words(kind))));
    }
    if let Some(size) = wanted.size {
        let seen = meta.len();
        wrong.extend((seen != size).then(|| expected(format!("size {seen}"), size)));
    }
    if let Some(mode) = wanted.mode {
        let seen = meta.mode() & 0o7777;
        let differs = || expected(format!("mode {seen:o}"), format!("{mode:o}"));
        wrong.extend((seen != mode).then(differs));
    }
    if let (Some(rule), Some(than)) = (&check.allocated, wanted.allocated) {
        let seen = allocated(&meta);
        let differs = || {
            expected(
                format!("takes {seen} bytes of the disk"),
                format!("{} {than}", rule.is.words()),
            )
        };
        wrong.extend((!rule.is.holds(seen, than)).then(differs));
    }
    if let Some(digest) = &check.sha256 {
        wrong.extend(sha256(path, digest).err());
    }
    wrong.extend(
        check
            .xattrs
            .iter()
            .filter_map(|is| attribute(path, is).err()),
    );
    wrong
}

fn expected(seen: impl Display, wanted: impl Display) -> String {
    format!("{seen}, {wanted} was expected")
}

fn kind_of(kind: FileType) -> FileKind {
    if kind.is_file() {
        FileKind::File
    } else if kind.is_dir() {
        FileKind::Dir
    } else if kind.is_symlink() {
        FileKind::Symlink
    } else {
        FileKind::Other
    }
}

fn words(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "a regular file",
        FileKind::Dir => "a folder",
        FileKind::Symlink => "a symbolic link",
        FileKind::Other => "a device, pipe or socket",
    }
}

/// The kernel counts the room in units of 512 bytes, whatever the filesystem's blocks are.
fn allocated(meta: &Metadata) -> i64 {
    i64::try_from(meta.blocks().saturating_mul(512)).unwrap_or(i64::MAX)
}

fn sha256(path: &Path, wanted: &str) -> PathSeen {
    let (digest, _) = File::open(path)
        .and_then(files::digest)
        .map_err(|error| format!("cannot be read: {}", describe(&error)))?;
    let seen = hex::encode(digest);
    match seen.eq_ignore_ascii_case(wanted) {
        true => Ok(()),
        false => Err(expected(format!("SHA-256 {seen}"), wanted)),
    }
}

fn attribute(path: &Path, is: &XattrIs) -> PathSeen {
    let name = &is.name;
    let seen = xattr(path, name)
        .map_err(|error| format!("the attribute {name} cannot be read: {}", describe(&error)))?;
    let wanted = match (&is.text, &is.hex) {
        (Some(text), _) => Some(text.clone().into_bytes()),
        (None, Some(digits)) => Some(hex::decode(digits).map_err(|error| error.to_string())?),
        (None, None) => None,
    };
    match (seen, wanted, is.absent) {
        (None, _, true) | (Some(_), None, false) => Ok(()),
        (Some(seen), _, true) => Err(format!(
            "has the attribute {name} = {}, which was not expected",
            value(&seen)
        )),
        (None, _, false) => Err(format!("has no attribute {name}")),
        (Some(seen), Some(wanted), false) if seen == wanted => Ok(()),
        (Some(seen), Some(wanted), false) => Err(expected(
            format!("the attribute {name} = {}", value(&seen)),
            value(&wanted),
        )),
    }
}

/// A value for people: as text where it is one, else its hexadecimal digits.
fn value(bytes: &[u8]) -> String {
    let told = &bytes[..bytes.len().min(VALUE_TOLD)];
    let shown = match std::str::from_utf8(told) {
        Ok(text) if !text.chars().any(char::is_control) => format!("\"{text}\""),
        _ => hex::encode(told),
    };
    match bytes.len() > VALUE_TOLD {
        true => format!("{shown}... ({} bytes)", bytes.len()),
        false => shown,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::fs::symlink;

    use rustix::fs::XattrFlags;

    use super::super::testing::step;
    use super::*;

    /// A folder with two files that have the same content and attribute, a hole, and a link.
    fn sample() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["D1", "D2"] {
            let path = folder.path().join(name);
            fs::write(&path, "hello\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            rustix::fs::setxattr(&path, "user.a", b"text", XattrFlags::empty()).unwrap();
        }
        let hole = File::create(folder.path().join("hole")).unwrap();
        hole.set_len(1 << 20).unwrap();
        symlink("D1", folder.path().join("link")).unwrap();
        folder
    }

    /// The check of `path` with further keys.
    fn seen(folder: &Path, path: &str, more: &str) -> PathSeen {
        let path = folder.join(path);
        let json = format!(r#"[{{"path":"{}"{more}}}]"#, path.display());
        let checks: Vec<PathIs> = step(json);
        check(&checks).unwrap().remove(0)
    }

    #[test]
    fn what_is_as_it_should_be_holds() {
        let folder = sample();
        let digest = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        for (path, more) in [
            ("D1", String::new()),
            ("D1", r#","kind":"file","size":6,"mode":"640""#.to_owned()),
            ("D1", format!(r#","sha256":"{digest}""#)),
            (
                "D*",
                r#","count":{"is":"equal","than":2},"size":6"#.to_owned(),
            ),
            (
                "D*1",
                r#","xattrs":[{"name":"user.a","text":"text"}]"#.to_owned(),
            ),
            (
                "D1",
                r#","xattrs":[{"name":"user.a","hex":"74657874"}]"#.to_owned(),
            ),
            ("D1", r#","xattrs":[{"name":"user.a"}]"#.to_owned()),
            (
                "D1",
                r#","xattrs":[{"name":"user.b","absent":true}]"#.to_owned(),
            ),
            (
                "hole",
                r#","size":"1MiB","allocated":{"is":"equal","than":0}"#.to_owned(),
            ),
            (
                "D1",
                r#","allocated":{"is":"at_least","than":6}"#.to_owned(),
            ),
            ("link", r#","kind":"symlink""#.to_owned()),
            ("", r#","kind":"dir""#.to_owned()),
            ("absent", r#","exists":false"#.to_owned()),
            ("x*", r#","exists":false"#.to_owned()),
            ("x*", r#","count":{"is":"less","than":1}"#.to_owned()),
        ] {
            assert_eq!(seen(folder.path(), path, &more), Ok(()), "{path} {more}");
        }
    }

    #[test]
    fn what_is_otherwise_is_told_with_what_was_expected() {
        let folder = sample();
        for (path, more, told) in [
            ("absent", "", "absent is not there"),
            ("D1/x", "", "D1/x is not there"),
            ("x*", "", "matches nothing, exactly one was expected"),
            ("D*", "", "matches 2: "),
            (
                "D1",
                r#","exists":false"#,
                "D1 is there, nothing was expected",
            ),
            ("D*", r#","exists":false"#, "matches 2: "),
            (
                "D*",
                r#","count":{"is":"more","than":2}"#,
                "more than 2 was expected",
            ),
            (
                "D1",
                r#","kind":"dir""#,
                "a regular file, a folder was expected",
            ),
            ("D1", r#","size":7"#, "size 6, 7 was expected"),
            ("D1", r#","mode":"644""#, "mode 640, 644 was expected"),
            ("D1", r#","sha256":"00""#, "SHA-256 5891b5b5"),
            (
                "hole",
                r#","allocated":{"is":"more","than":0}"#,
                "takes 0 bytes of the disk, more than 0 was expected",
            ),
            (
                "D1",
                r#","xattrs":[{"name":"user.a","text":"no"}]"#,
                r#"user.a = "text", "no" was expected"#,
            ),
            (
                "D1",
                r#","xattrs":[{"name":"user.a","absent":true}]"#,
                r#"user.a = "text", which was not"#,
            ),
            (
                "D1",
                r#","xattrs":[{"name":"user.b"}]"#,
                "has no attribute user.b",
            ),
        ] {
            let said = seen(folder.path(), path, more).unwrap_err();
            assert!(said.contains(told), "{path} {more}: {said}");
        }
    }

    #[test]
    fn each_match_must_be_as_the_check_says() {
        let folder = sample();
        fs::write(folder.path().join("D2"), "longer than it was").unwrap();
        let said = seen(
            folder.path(),
            "D*",
            r#","count":{"is":"equal","than":2},"size":6"#,
        )
        .unwrap_err();
        assert!(said.contains("D2: size 18"), "{said}");
        assert!(!said.contains("D1"), "{said}");
    }

    #[test]
    fn values_are_shown_as_text_or_digits_and_not_without_end() {
        assert_eq!(value(b"a b"), "\"a b\"");
        assert_eq!(value(&[0, 255]), "00ff");
        assert!(value(&[b'x'; 100]).ends_with("x\"... (100 bytes)"));
    }
}
