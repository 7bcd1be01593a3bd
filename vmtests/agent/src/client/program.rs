// SPDX-License-Identifier: GPL-2.0-or-later
//! The program `/init client`: what scenarios' shell scripts mount, read and unmount images with,
//! whoever the client is.

use std::io;
use std::io::Write;

use anyhow::Context;
use anyhow::Result;
use vmtest_protocol::step::Mount;

use crate::worker::child::describe;
use crate::worker::mounts;

/// How it is used.
const USAGE: &str = "usage: client mount IMAGE AT [fsid=ID] [domain_id=ID], client read FILE..., \
                     client umount AT";

/// Does what the arguments say; the exit code.
pub fn main() -> i32 {
    let words: Vec<String> = std::env::args().skip(2).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["mount", image, at, options @ ..] => mount(image, at, options),
        ["umount", at] => mounts::umount_now(at),
        ["read", files @ ..] if !files.is_empty() => return read(files),
        _ => {
            eprintln!("{USAGE}");
            return 2;
        }
    };
    match done {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            eprintln!("client: {}: {}", words.join(" "), describe(&error));
            1
        }
        Err(error) => {
            eprintln!("client: {}: {error:#}", words.join(" "));
            3
        }
    }
}

fn mount(image: &str, at: &str, options: &[&str]) -> Result<io::Result<()>> {
    let option = |name: &str| {
        let of = |word: &&str| {
            word.strip_prefix(name)?
                .strip_prefix('=')
                .map(str::to_owned)
        };
        options.iter().find_map(of)
    };
    mounts::mount_now(&Mount {
        image: image.to_owned(),
        at: at.to_owned(),
        fsid: option("fsid"),
        domain_id: option("domain_id"),
        devices: Vec::new(),
        options: None,
        expect_errno: None,
    })
}

/// Copies files to standard output; 1 if one of them could not be read.
fn read(files: &[&str]) -> i32 {
    let mut code = 0;
    for file in files {
        let mut out = io::stdout().lock();
        let copied = super::open(file, 0)
            .and_then(|mut from| io::copy(&mut from, &mut out))
            .and_then(|_| out.flush());
        if let Err(error) = copied.context("read error") {
            eprintln!("client: {file}: {error:#}");
            code = 1;
        }
    }
    code
}
