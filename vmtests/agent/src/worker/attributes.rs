// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that change extended attributes and flags.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use rustix::fs::IFlags;
use rustix::fs::OFlags;
use rustix::fs::XattrFlags;
use vmtest_protocol::step::RemoveXattr;
use vmtest_protocol::step::SetFlags;
use vmtest_protocol::step::SetXattr;

use super::child::Verdict;
use super::child::judge;
use super::glob;

/// The largest value that the kernel lets an attribute have.
const MAX_VALUE: usize = 64 << 10;

/// The value of an attribute; `None` when there is no such attribute. A symbolic link is looked
/// at itself.
pub fn xattr(path: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; MAX_VALUE];
    match rustix::fs::lgetxattr(path, name, &mut value[..]) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(rustix::io::Errno::NODATA) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Carries out a `set_xattr` step.
pub fn set_xattr(step: &SetXattr) -> Result<Verdict> {
    let value = match (&step.text, &step.hex) {
        (Some(text), None) => text.clone().into_bytes(),
        (None, Some(digits)) => hex::decode(digits)
            .with_context(|| format!("`{digits}` are no bytes in hexadecimal digits"))?,
        _ => bail!("`set_xattr` wants one of `text` and `hex`"),
    };
    let path = match glob::one(&step.path) {
        Ok(path) => path,
        Err(why) => return Ok(Verdict::Failed(format!("setting an attribute: {why}"))),
    };
    let result = rustix::fs::lsetxattr(&path, step.name.as_str(), &value, XattrFlags::empty());
    let what = format!(
        "setting the attribute {} of {} to {} bytes",
        step.name,
        path.display(),
        value.len()
    );
    Ok(judge(&what, result.map_err(Into::into), &step.expect_errno))
}

/// Carries out a `remove_xattr` step.
pub fn remove_xattr(step: &RemoveXattr) -> Result<Verdict> {
    let path = match glob::one(&step.path) {
        Ok(path) => path,
        Err(why) => return Ok(Verdict::Failed(format!("removing an attribute: {why}"))),
    };
    let result = rustix::fs::lremovexattr(&path, step.name.as_str());
    let what = format!("removing the attribute {} of {}", step.name, path.display());
    Ok(judge(&what, result.map_err(Into::into), &step.expect_errno))
}

/// Carries out a `set_flags` step.
pub fn set_flags(step: &SetFlags) -> Result<Verdict> {
    let wanted = [
        (IFlags::IMMUTABLE, "immutable", step.immutable),
        (IFlags::APPEND, "append_only", step.append_only),
    ];
    let path = match glob::one(&step.path) {
        Ok(path) => path,
        Err(why) => return Ok(Verdict::Failed(format!("changing flags: {why}"))),
    };
    let changes: Vec<String> = wanted
        .iter()
        .filter_map(|(_, name, value)| value.map(|value| format!("{name}: {value}")))
        .collect();
    let what = format!(
        "giving {} the flags {}",
        path.display(),
        changes.join(" and ")
    );
    let result = change_flags(&path, |flags| {
        for (flag, _, value) in wanted {
            if let Some(value) = value {
                flags.set(flag, value);
            }
        }
    });
    Ok(judge(&what, result, &step.expect_errno))
}

fn change_flags(path: &Path, change: impl FnOnce(&mut IFlags)) -> io::Result<()> {
    // Flags are those of what is opened: opening a link or waiting for a pipe would be another
    // file's business.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(path)?;
    let mut flags = rustix::fs::ioctl_getflags(&file)?;
    change(&mut flags);
    rustix::fs::ioctl_setflags(&file, flags)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::failed;
    use super::super::testing::passed;
    use super::super::testing::step;
    use super::*;

    #[test]
    fn attributes_are_set_seen_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "").unwrap();
        let at = folder.path().join("f*");
        let at = at.display();
        let remove = format!(r#"{{"path":"{at}","name":"user.a"}}"#);
        let said = failed(remove_xattr(&step(&remove)));
        assert!(said.contains("ENODATA"), "{said}");
        passed(set_xattr(&step(format!(
            r#"{{"path":"{at}","name":"user.a","hex":"00ff"}}"#
        ))));
        assert_eq!(xattr(&path, "user.a").unwrap(), Some(vec![0, 255]));
        passed(set_xattr(&step(format!(
            r#"{{"path":"{at}","name":"user.a","text":"t"}}"#
        ))));
        assert_eq!(xattr(&path, "user.a").unwrap(), Some(b"t".to_vec()));
        passed(remove_xattr(&step(&remove)));
        assert_eq!(xattr(&path, "user.a").unwrap(), None);
        let said = failed(set_xattr(&step(format!(
            r#"{{"path":"{at}","name":"nonsense","text":"t"}}"#
        ))));
        assert!(said.contains("EOPNOTSUPP"), "{said}");
    }

    #[test]
    fn flags_of_what_is_not_there_cannot_be_changed() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("absent");
        let json = format!(r#"{{"path":"{}","immutable":true}}"#, at.display());
        let said = failed(set_flags(&step(json)));
        assert!(said.contains("the flags immutable: true: ENOENT"), "{said}");
    }
}
