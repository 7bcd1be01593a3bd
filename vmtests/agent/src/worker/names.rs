// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that make, move and remove names.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use vmtest_protocol::step::MakeDir;
use vmtest_protocol::step::RemoveFile;
use vmtest_protocol::step::Rename;

use super::child::Verdict;
use super::child::judge;
use super::glob;

/// Permission bits from a step's octal digits.
pub fn mode_bits(digits: &str) -> Result<u32> {
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|bits| *bits <= 0o7777)
        .with_context(|| format!("`{digits}` are no permissions in octal digits"))
}

/// Carries out a `make_dir` step.
pub fn make_dir(step: &MakeDir) -> Result<Verdict> {
    let path = Path::new(&step.path);
    let mode = step.mode.as_deref().map(mode_bits).transpose()?;
    let made = match step.parents {
        true => fs::create_dir_all(path),
        false => fs::create_dir(path),
    };
    let set = |()| match mode {
        // Set afterwards: the umask takes bits away from what mkdir is asked for.
        Some(mode) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        None => Ok(()),
    };
    let what = format!("making the folder {}", step.path);
    Ok(judge(&what, made.and_then(set), &step.expect_errno))
}

/// Carries out a `rename` step.
pub fn rename(step: &Rename) -> Result<Verdict> {
    let from = match glob::one(&step.from) {
        Ok(from) => from,
        Err(why) => return Ok(Verdict::Failed(format!("renaming: {why}"))),
    };
    let result = fs::rename(&from, &step.to);
    let what = format!("renaming {} to {}", from.display(), step.to);
    Ok(judge(&what, result, &step.expect_errno))
}

/// Carries out a `remove_file` step.
pub fn remove(step: &RemoveFile) -> Result<Verdict> {
    let path = match glob::one(&step.path) {
        Ok(path) => path,
        Err(why) => return Ok(Verdict::Failed(format!("removing: {why}"))),
    };
    let what = format!("removing {}", path.display());
    Ok(judge(
        &what,
        remove_at(&path, step.recursive),
        &step.expect_errno,
    ))
}

fn remove_at(path: &Path, recursive: bool) -> io::Result<()> {
    if !path.symlink_metadata()?.is_dir() {
        return fs::remove_file(path);
    }
    match recursive {
        false => fs::remove_dir(path),
        true => fs::remove_dir_all(path),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::testing::failed;
    use super::super::testing::passed;
    use super::super::testing::step;
    use super::*;

    #[test]
    fn folders_are_made_with_their_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        let at = deep.display();
        let said = failed(make_dir(&step(format!(r#"{{"path":"{at}"}}"#))));
        assert!(said.contains("ENOENT"), "{said}");
        passed(make_dir(&step(format!(
            r#"{{"path":"{at}","expect_errno":"ENOENT"}}"#
        ))));
        let with_parents = format!(r#"{{"path":"{at}","parents":true,"mode":"1777"}}"#);
        passed(make_dir(&step(&with_parents)));
        passed(make_dir(&step(&with_parents)));
        let mode = deep.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o1777);
        let said = failed(make_dir(&step(format!(r#"{{"path":"{at}"}}"#))));
        assert!(said.contains("EEXIST"), "{said}");
    }

    #[test]
    fn a_starred_name_is_renamed_when_it_is_the_only_one() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display();
        fs::write(folder.path().join("Dabc"), "x").unwrap();
        let rename_d = format!(r#"{{"from":"{root}/D*","to":"{root}/new"}}"#);
        passed(rename(&step(&rename_d)));
        assert_eq!(fs::read(folder.path().join("new")).unwrap(), b"x");
        let said = failed(rename(&step(&rename_d)));
        assert!(said.contains("matches nothing"), "{said}");
        let said = failed(rename(&step(format!(
            r#"{{"from":"{root}/new","to":"{root}/newer","expect_errno":"EPERM"}}"#
        ))));
        assert!(said.contains("succeeded, EPERM was expected"), "{said}");
    }

    #[test]
    fn only_a_recursive_removal_takes_a_full_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display();
        let full = folder.path().join("full");
        fs::create_dir(&full).unwrap();
        fs::write(full.join("file"), "").unwrap();
        symlink(&full, folder.path().join("link")).unwrap();
        let said = failed(remove(&step(format!(r#"{{"path":"{root}/full"}}"#))));
        assert!(said.contains("ENOTEMPTY"), "{said}");
        // A link to a folder is no folder: only the link goes.
        passed(remove(&step(format!(
            r#"{{"path":"{root}/link","recursive":true}}"#
        ))));
        assert!(full.join("file").exists());
        passed(remove(&step(format!(
            r#"{{"path":"{root}/f*","recursive":true}}"#
        ))));
        assert!(!full.exists());
        let said = failed(remove(&step(format!(r#"{{"path":"{root}/full"}}"#))));
        assert!(said.contains("ENOENT"), "{said}");
    }
}
