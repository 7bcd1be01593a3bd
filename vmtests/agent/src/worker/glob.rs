// SPDX-License-Identifier: GPL-2.0-or-later
//! Paths in which a `*` stands for any part of one name. Behind a `*`, `..` is the folder in which
//! that name was found, whatever it is a name of.

use std::fs;
use std::io;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use super::child::describe;

/// Matches that are named in a message; of more only the number is told.
const TOLD: usize = 5;

/// Whether a path has a `*` in it.
pub fn has_star(path: &str) -> bool {
    path.contains('*')
}

/// Everything that `pattern` matches, in order. The error says what could not be looked at.
pub fn matches(pattern: &str) -> Result<Vec<PathBuf>, String> {
    let mut found = vec![PathBuf::new()];
    for part in Path::new(pattern).components() {
        let name = part.as_os_str().as_bytes();
        let starred = matches!(part, Component::Normal(_)) && name.contains(&b'*');
        if part == Component::ParentDir && has_star(pattern) {
            found.retain(|path| path.symlink_metadata().is_ok());
            found.iter_mut().for_each(|path| _ = path.pop());
            found.dedup();
            continue;
        }
        if !starred {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let mut next = Vec::new();
        for folder in &found {
            match names_in(folder) {
                Ok(names) => next.extend(
                    names
                        .into_iter()
                        .filter(|found| fits(name, found.as_os_str().as_bytes()))
                        .map(|found| folder.join(found)),
                ),
                Err(error) if is_absent(&error) => {}
                Err(error) => {
                    let folder = folder.display();
                    return Err(format!("cannot list {folder}: {}", describe(&error)));
                }
            }
        }
        found = next;
    }
    let mut there = Vec::new();
    for path in found {
        match path.symlink_metadata() {
            Ok(_) => there.push(path),
            Err(error) if is_absent(&error) => {}
            Err(error) => {
                return Err(format!(
                    "cannot look at {}: {}",
                    path.display(),
                    describe(&error)
                ));
            }
        }
    }
    there.sort();
    Ok(there)
}

/// The one file that `path` names. Without a `*` that is the path itself, there or not; with one,
/// anything but exactly one match is an error, which says what was found.
pub fn one(path: &str) -> Result<PathBuf, String> {
    if !has_star(path) {
        return Ok(PathBuf::from(path));
    }
    let mut found = matches(path)?;
    match (found.pop(), found.len()) {
        (Some(only), 0) => Ok(only),
        (last, _) => {
            found.extend(last);
            Err(format!(
                "`{path}` matches {}, exactly one was expected",
                listed(&found)
            ))
        }
    }
}

/// For messages: how many there are, and the first of them by name.
pub fn listed(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths
        .iter()
        .take(TOLD)
        .map(|path| path.display().to_string())
        .collect();
    let more = match paths.len() > TOLD {
        true => ", ...",
        false => "",
    };
    match paths.len() {
        0 => "nothing".to_owned(),
        count => format!("{count}: {}{more}", names.join(", ")),
    }
}

/// Whether an error says that there is no such thing, rather than that it cannot be looked at.
pub fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn names_in(folder: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    // A pattern that begins with a star has no folder in front.
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect()
}

/// Whether `name` fits `pattern`. After a star that did not lead on, only the last one is tried
/// further to the right: time is bounded by the product of both lengths.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut last_star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                last_star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match last_star {
                Some((star, taken)) => {
                    p = star + 1;
                    n = taken + 1;
                    last_star = Some((star, n));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_part_of_a_name() {
        for (pattern, name) in [
            ("*", "x"),
            ("*", ".hidden"),
            ("a*", "a"),
            ("*z", "abcz"),
            ("a*c*e", "abcde"),
            ("a*c*e", "aceace"),
            ("**", "ab"),
        ] {
            assert!(
                fits(pattern.as_bytes(), name.as_bytes()),
                "{pattern} {name}"
            );
        }
        for (pattern, name) in [("a", "ab"), ("a*c", "abcd"), ("*b", "a"), ("a?", "ab")] {
            assert!(
                !fits(pattern.as_bytes(), name.as_bytes()),
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn stars_in_folders_and_names_find_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for file in ["a/Done", "a/Dtwo", "b/Dthree", "b/other"] {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = |pattern: &str| {
            let all = matches(&root.join(pattern).to_string_lossy()).unwrap();
            let inside = all.iter().map(|path| path.strip_prefix(root).unwrap());
            inside
                .map(|path| path.to_string_lossy().into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(found("*/D*"), ["a/Done", "a/Dtwo", "b/Dthree"]);
        assert_eq!(found("*/other"), ["b/other"]);
        assert_eq!(found("a/D*e"), ["a/Done"]);
        assert_eq!(found("a/Done"), ["a/Done"]);
        // The folders that hold a name.
        assert_eq!(found("*/Dthree/.."), ["b"]);
        assert_eq!(found("*/D*/.."), ["a", "b"]);
        assert_eq!(found("*/Dthree/../other"), ["b/other"]);
        assert_eq!(found("*/absent/.."), Vec::<String>::new());
        // A star is no folder separator, and a file has nothing in it.
        assert_eq!(found("*one"), Vec::<String>::new());
        assert_eq!(found("b/other/*"), Vec::<String>::new());
        assert_eq!(found("no/*"), Vec::<String>::new());
    }

    #[test]
    fn one_wants_exactly_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        assert_eq!(one(&at("absent")).unwrap(), folder.path().join("absent"));
        assert!(one(&at("x*")).unwrap_err().contains("matches nothing"));
        fs::write(at("x1"), "").unwrap();
        assert_eq!(one(&at("x*")).unwrap(), folder.path().join("x1"));
        fs::write(at("x2"), "").unwrap();
        let said = one(&at("x*")).unwrap_err();
        assert!(
            said.contains("matches 2: ") && said.contains("x1, "),
            "{said}"
        );
    }
}
