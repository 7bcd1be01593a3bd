// SPDX-License-Identifier: GPL-2.0-or-later
//! Asking a program something: it gets no input, a time limit, and ends with this program.

use std::io::Read;
use std::io::Seek;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use anyhow::bail;

use crate::exec;
use crate::exec::Guarded;

/// No answer is longer than this, in bytes: the rest is not read.
const MAX_ANSWER: u64 = 1 << 20;

/// What `program ARGUMENTS` writes, standard output before standard error. An exit code other than
/// 0 is an error that shows what it wrote.
pub fn program(
    own: &Path,
    program: &Path,
    arguments: &[&str],
    limit: Duration,
) -> anyhow::Result<String> {
    let file = || tempfile::tempfile().context("cannot make a temporary file");
    let (mut out, mut err) = (file()?, file()?);
    let mut command = exec::command(own, program);
    command
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(err.try_clone()?);
    let mut child = Guarded::spawn(&mut command).context("cannot be started")?;
    let Some(status) = child.wait(limit) else {
        bail!("no answer within {} s", limit.as_secs_f32());
    };
    let mut text = String::new();
    for file in [&mut out, &mut err] {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.take(MAX_ANSWER).read_to_end(&mut bytes)?;
        text += &String::from_utf8_lossy(&bytes);
    }
    if !status.success() {
        bail!("{status}: {}", text.trim());
    }
    Ok(text)
}
