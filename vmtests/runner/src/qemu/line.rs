// SPDX-License-Identifier: GPL-2.0-or-later
//! A command line under construction, with the descriptors that go with it.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;

use command_fds::FdMapping;

/// Number of the first inherited descriptor in QEMU: the console's; QMP and the agent's port follow.
pub(super) const FIRST_FD: i32 = 3;

#[derive(Default)]
pub(super) struct Line {
    /// The words after the program.
    pub(super) arguments: Vec<OsString>,
    /// What is inherited.
    pub(super) mappings: Vec<FdMapping>,
}

impl Line {
    /// A word that stands alone.
    pub(super) fn flag(&mut self, flag: &str) {
        self.arguments.push(flag.into());
    }

    /// An option and its value.
    pub(super) fn pair(&mut self, flag: &str, value: impl Into<OsString>) {
        self.arguments.push(flag.into());
        self.arguments.push(value.into());
    }

    /// Hands a descriptor on; its number in QEMU.
    pub(super) fn inherit(&mut self, parent_fd: OwnedFd) -> i32 {
        let child_fd = FIRST_FD + self.mappings.len() as i32;
        self.mappings.push(FdMapping {
            parent_fd,
            child_fd,
        });
        child_fd
    }
}

/// QEMU splits options at commas; a doubled comma is one of the text.
pub(super) fn comma_safe(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

/// The command line as one would type it.
pub(super) fn shell_line<'a>(words: impl Iterator<Item = &'a OsString>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.,:+@%".contains(c);
    words
        .map(|word| {
            let word = word.to_string_lossy();
            match !word.is_empty() && word.chars().all(plain) {
                true => word.into_owned(),
                false => format!("'{}'", word.replace('\'', r"'\''")),
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}
