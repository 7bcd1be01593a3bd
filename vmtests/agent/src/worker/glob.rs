// SPDX-License-Identifier: GPL-2.0-or-later
//! Paths with `*` in them: it stands for any part of one name, and never for a slash.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

/// All files that a pattern matches, sorted; a path without a star matches itself if it is there.
pub fn expand(pattern: &str) -> Result<Vec<PathBuf>> {
    if !pattern.starts_with('/') {
        bail!("`{pattern}`: a path begins with a slash");
    }
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for folder in found {
            match part.contains('*') {
                true => list(&folder, part, &mut next)?,
                false => next.push(folder.join(part)),
            }
        }
        found = next;
    }
    found.retain(|path| fs::symlink_metadata(path).is_ok());
    found.sort();
    Ok(found)
}

fn list(folder: &Path, part: &str, into: &mut Vec<PathBuf>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // Nothing there, nothing matches.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(());
        }
        Err(error) => return Err(error).with_context(|| format!("listing {}", folder.display())),
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("listing {}", folder.display()))?;
        if matches(part, &entry.file_name().to_string_lossy()) {
            into.push(entry.path());
        }
    }
    Ok(())
}

/// The one file that a pattern matches. A path without a star is itself, there or not: what is
/// done to it says so.
pub fn one(pattern: &str) -> Result<PathBuf> {
    if !pattern.contains('*') {
        return Ok(PathBuf::from(pattern));
    }
    let mut found = expand(pattern)?;
    match (found.pop(), found.len()) {
        (Some(path), 0) => Ok(path),
        (None, _) => bail!("`{pattern}` matches nothing"),
        (Some(_), more) => bail!("`{pattern}` matches {} files, and must match one", more + 1),
    }
}

/// Whether a name is what a pattern with stars stands for.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut rest = rest;
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        // The last part is the name's end; those between are found as early as possible.
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_part_of_a_name() {
        for (pattern, name, expected) in [
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "ac", true),
            ("*", "", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("a", "ab", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_finds_files_below_folders_and_one_means_one() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        for dir in ["@01", "@02"] {
            fs::create_dir(folder.path().join(dir)).unwrap();
            fs::write(folder.path().join(dir).join("Dx"), "").unwrap();
        }
        fs::write(folder.path().join("@02/Dy"), "").unwrap();
        let all = expand(&format!("{root}/@*/D*")).unwrap();
        assert_eq!(all.len(), 3);
        let y = one(&format!("{root}/@*/Dy")).unwrap();
        assert!(y.ends_with("@02/Dy"));
        let error = one(&format!("{root}/@*/Dx")).unwrap_err().to_string();
        assert!(error.contains("matches 2 files"), "{error}");
        let error = one(&format!("{root}/*/z")).unwrap_err().to_string();
        assert!(error.contains("nothing"), "{error}");
        assert!(expand("relative/*").is_err());
    }
}
