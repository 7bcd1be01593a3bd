// SPDX-License-Identifier: GPL-2.0-or-later
//! Changing a mounted filesystem's options.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Result;
use rustix::fs::CWD;
use rustix::mount::FsPickFlags;
use vmtest_protocol::step::Remount;

use super::child::Verdict;
use super::child::judge;

/// Carries out a `remount` step.
///
/// What the step does not name stays as it is. `mount(2)` could not do that: it takes the whole
/// set of flags anew, and whoever calls it must find out first which there are.
pub fn remount(step: &Remount) -> Result<Verdict> {
    let options = options(step);
    let what = format!("mount -o remount,{} {}", options.join(","), step.at);
    let flags = FsPickFlags::FSPICK_CLOEXEC;
    let result = match rustix::mount::fspick(CWD, Path::new(&step.at), flags) {
        Ok(fs) => change(&fs, &options).map_err(|error| explained(&fs, error)),
        Err(error) => Err((error.into(), String::new())),
    };
    Ok(match result {
        Ok(()) => judge(&what, Ok(()), &step.expect_errno),
        Err((error, why)) => judge(&format!("{what}{why}"), Err(error), &step.expect_errno),
    })
}

fn options(step: &Remount) -> Vec<String> {
    let access = step.read_only.map(|read_only| match read_only {
        true => "ro",
        false => "rw",
    });
    let words = step.options.iter().flat_map(|options| options.split(','));
    access
        .into_iter()
        .chain(words.filter(|word| !word.is_empty()))
        .map(str::to_owned)
        .collect()
}

fn change(fs: &OwnedFd, options: &[String]) -> io::Result<()> {
    for option in options {
        match option.split_once('=') {
            Some((key, value)) => rustix::mount::fsconfig_set_string(fs, key, value)?,
            None => rustix::mount::fsconfig_set_flag(fs, option.as_str())?,
        }
    }
    rustix::mount::fsconfig_reconfigure(fs)?;
    Ok(())
}

/// An error, and what the filesystem says about it: each read of its context is one message.
fn explained(fs: &OwnedFd, error: io::Error) -> (io::Error, String) {
    let mut said = Vec::new();
    // A filesystem keeps the last eight messages at most.
    for _ in 0..8 {
        let mut message = [0; 1024];
        match rustix::io::read(fs, &mut message) {
            Ok(length) if length > 0 => {
                let text = String::from_utf8_lossy(&message[..length]);
                said.push(text.trim().to_owned());
            }
            _ => break,
        }
    }
    match said.is_empty() {
        true => (error, String::new()),
        false => (error, format!(" (the kernel says: {})", said.join("; "))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::failed;
    use super::super::testing::passed;
    use super::super::testing::step;
    use super::*;

    #[test]
    fn only_what_is_named_is_changed() {
        let words = |json: &str| options(&step(json)).join(" ");
        assert_eq!(words(r#"{"at":"/m","read_only":true}"#), "ro");
        assert_eq!(
            words(r#"{"at":"/m","read_only":false,"options":"a,b=c"}"#),
            "rw a b=c"
        );
        assert_eq!(words(r#"{"at":"/m","options":"a"}"#), "a");
    }

    #[test]
    fn what_is_not_mounted_cannot_be_remounted() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("absent");
        let json = format!(r#"{{"at":"{}","read_only":true}}"#, at.display());
        let said = failed(remount(&step(&json)));
        assert!(said.starts_with("mount -o remount,ro "), "{said}");
        let json = json.replace('}', r#","expect_errno":"ENOENT"}"#);
        match said.contains("ENOENT") {
            true => passed(remount(&step(&json))),
            // Whoever may not mount is told so before anything else.
            false => assert!(said.contains("EPERM"), "{said}"),
        }
    }
}
