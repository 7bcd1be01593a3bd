// SPDX-License-Identifier: GPL-2.0-or-later
//! Showing a folder in a second place.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Result;
use rustix::fs::CWD;
use rustix::mount::MoveMountFlags;
use rustix::mount::OpenTreeFlags;
use vmtest_protocol::step::BindMount;

use super::child::Verdict;
use super::child::judge;
use super::mounts::make_mount_point;
use super::users::Users;
use crate::sys;

/// Carries out a `bind_mount` step.
///
/// The new mount is made aside, changed, and only then attached: nobody sees it half done.
pub fn bind_mount(step: &BindMount) -> Result<Verdict> {
    make_mount_point(&step.at)?;
    let users = match step.idmapped {
        true => Some(Users::shifted()?),
        false => None,
    };
    let ways = [(step.read_only, "read-only"), (step.idmapped, "idmapped")];
    let ways = ways.iter().filter(|(wanted, _)| *wanted);
    let words: Vec<&str> = ways.map(|(_, word)| *word).collect();
    let what = match words.is_empty() {
        true => format!("mount --bind {} {}", step.from, step.at),
        false => format!(
            "mount --bind ({}) {} {}",
            words.join(", "),
            step.from,
            step.at
        ),
    };
    let (doing, result) = attach(step, users.as_ref());
    Ok(judge(
        &format!("{what}: {doing}"),
        result,
        &step.expect_errno,
    ))
}

/// How it ended, and in which system call.
fn attach(step: &BindMount, users: Option<&Users>) -> (&'static str, io::Result<()>) {
    let tree = match clone_tree(&step.from) {
        Ok(tree) => tree,
        Err(error) => return ("open_tree", Err(error)),
    };
    if step.read_only || users.is_some() {
        let users = users.map(|users| users.namespace.as_fd());
        if let Err(error) = sys::change_mount(&tree, step.read_only, users) {
            return ("mount_setattr", Err(error));
        }
    }
    let result = rustix::mount::move_mount(
        &tree,
        "",
        CWD,
        Path::new(&step.at),
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    );
    ("move_mount", result.map_err(Into::into))
}

fn clone_tree(from: &str) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(rustix::mount::open_tree(CWD, Path::new(from), flags)?)
}
