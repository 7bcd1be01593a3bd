// SPDX-License-Identifier: GPL-2.0-or-later
//! A worker process's side: takes tasks from standard input, answers on standard output.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use rustix::mount::MountFlags;
use rustix::mount::UnmountFlags;
use vmtest_protocol::Action;
use vmtest_protocol::frame;
use vmtest_protocol::frame::FrameError;
use vmtest_protocol::message::Measurement;
use vmtest_protocol::step::Mount;
use vmtest_protocol::step::Umount;
use vmtest_protocol::step::UnloadModule;
use vmtest_protocol::value::Errno;
use vmtest_protocol::value::ErrnoName;

use super::Answer;
use super::Task;
use super::disk;
use super::files;
use super::look;
use super::verify;
use crate::counters;

/// How a step that could be carried out ended.
pub enum Verdict {
    /// As expected.
    Passed(Vec<Measurement>),
    /// Otherwise; the reason says what was expected and what was seen.
    Failed(String),
}

impl Verdict {
    /// As expected, and nothing was measured.
    pub fn passed() -> Self {
        Verdict::Passed(Vec::new())
    }
}

/// The files that `hold_open` keeps open in this process.
type Held = HashMap<String, File>;

/// Serves tasks until standard input ends.
pub fn main() {
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    let mut held = Held::new();
    loop {
        let task: Task = match frame::read(&mut input) {
            Ok(task) => task,
            Err(FrameError::Closed) => return,
            Err(error) => {
                eprintln!("worker: cannot read a task: {error}");
                std::process::exit(3);
            }
        };
        let answer = match task {
            Task::Counters(paths) => Answer::Counters(counters::read_all(&paths)),
            Task::Paths(checks) => match look::look(&checks) {
                Ok(wrongs) => Answer::Paths(wrongs),
                Err(error) => Answer::Error(format!("{error:#}")),
            },
            Task::Step(step) => match carry_out(&step.action, &mut held) {
                Ok(Verdict::Passed(measurements)) => Answer::Done(measurements),
                Ok(Verdict::Failed(reason)) => Answer::Failed(reason),
                Err(error) => Answer::Error(format!("{error:#}")),
            },
        };
        if let Err(error) = frame::write(&mut output, &answer) {
            eprintln!("worker: cannot answer: {error}");
            std::process::exit(3);
        }
    }
}

fn carry_out(action: &Action, held: &mut Held) -> Result<Verdict> {
    match action {
        Action::Mount(step) => mount(step),
        Action::Umount(step) => umount(step),
        Action::Verify(step) => verify::verify(step),
        Action::Read(step) => files::read(step),
        Action::HoldOpen(step) => {
            let file = File::open(&step.path)
                .with_context(|| format!("cannot open {} to hold it", step.path))?;
            held.insert(step.name.clone(), file);
            Ok(Verdict::passed())
        }
        Action::CloseHeld(step) => {
            held.remove(&step.name)
                .with_context(|| format!("no file is held under the name `{}`", step.name))?;
            Ok(Verdict::passed())
        }
        Action::FillFile(step) => disk::fill(step),
        Action::RemoveFile(step) => {
            std::fs::remove_file(&step.path)
                .with_context(|| format!("cannot remove {}", step.path))?;
            Ok(Verdict::passed())
        }
        Action::DropCaches(_) => {
            rustix::fs::sync();
            std::fs::write("/proc/sys/vm/drop_caches", "3")
                .context("cannot write to /proc/sys/vm/drop_caches")?;
            Ok(Verdict::passed())
        }
        Action::UnloadModule(step) => unload(step),
        other => anyhow::bail!("`{}` is not a step for a worker", other.key()),
    }
}

/// The mount options of an erofs image over fscache.
fn mount_options(step: &Mount) -> String {
    let mut options = vec![format!(
        "fsid={}",
        step.fsid.as_deref().unwrap_or(&step.image)
    )];
    options.extend(step.domain_id.iter().map(|id| format!("domain_id={id}")));
    options.extend(step.devices.iter().map(|name| format!("device={name}")));
    options.extend(step.options.clone());
    options.join(",")
}

fn mount(step: &Mount) -> Result<Verdict> {
    let options = mount_options(step);
    std::fs::create_dir_all(&step.at)
        .with_context(|| format!("cannot make the mount point {}", step.at))?;
    let data = CString::new(options.as_str()).context("mount options contain NUL")?;
    let result = rustix::mount::mount(
        "none",
        Path::new(&step.at),
        "erofs",
        MountFlags::RDONLY,
        data.as_c_str(),
    );
    let what = format!("mount -t erofs -o {options} none {}", step.at);
    Ok(judge(&what, result.map_err(Into::into), &step.expect_errno))
}

fn umount(step: &Umount) -> Result<Verdict> {
    let result = rustix::mount::unmount(Path::new(&step.at), UnmountFlags::empty());
    let what = format!("umount {}", step.at);
    Ok(judge(&what, result.map_err(Into::into), &step.expect_errno))
}

fn unload(step: &UnloadModule) -> Result<Verdict> {
    let name = match step.name.as_str() {
        "cachefiles" if Path::new("/sys/module/cachefiles_rs").exists() => "cachefiles_rs",
        name => name,
    };
    let c_name = CString::new(name).context("a module's name contains NUL")?;
    // O_NONBLOCK: refuse at once when it is in use.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let result = rustix::system::delete_module(&c_name, flags);
    let what = format!("rmmod {name}");
    Ok(judge(&what, result.map_err(Into::into), &step.expect_errno))
}

/// Compares how something ended with how it was to end.
pub fn judge(what: &str, result: io::Result<()>, expected: &Option<ErrnoName>) -> Verdict {
    let expected = match expected.as_ref().map(ErrnoName::get).transpose() {
        Ok(expected) => expected,
        Err(why) => return Verdict::Failed(format!("{what}: {why}")),
    };
    match (result, expected) {
        (Ok(()), None) => Verdict::passed(),
        (Err(error), Some(errno)) if error.raw_os_error() == Some(errno.0) => Verdict::passed(),
        (Ok(()), Some(errno)) => {
            Verdict::Failed(format!("{what}: succeeded, {errno} was expected"))
        }
        (Err(error), None) => Verdict::Failed(format!("{what}: {}", describe(&error))),
        (Err(error), Some(errno)) => Verdict::Failed(format!(
            "{what}: {}, {errno} was expected",
            describe(&error)
        )),
    }
}

/// An error with the name of its number.
pub fn describe(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{} ({error})", Errno(number)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expected_error_passes_and_anything_else_fails() {
        let eio = || Err(io::Error::from_raw_os_error(5));
        let judge = |what, result, expected: Option<Errno>| {
            super::judge(what, result, &expected.map(ErrnoName::from))
        };
        assert!(matches!(
            judge("x", eio(), Some(Errno(5))),
            Verdict::Passed(_)
        ));
        assert!(matches!(judge("x", Ok(()), None), Verdict::Passed(_)));
        assert!(matches!(judge("x", eio(), None), Verdict::Failed(_)));
        assert!(matches!(
            judge("x", Ok(()), Some(Errno(5))),
            Verdict::Failed(_)
        ));
        assert!(matches!(
            judge("x", eio(), Some(Errno(2))),
            Verdict::Failed(_)
        ));
    }

    #[test]
    fn mount_options_name_the_image_unless_told_otherwise() {
        let step: Mount = serde_json::from_str(
            r#"{"image":"multi","at":"/m","devices":["multi-blob"],"domain_id":"d1"}"#,
        )
        .unwrap();
        assert_eq!(
            mount_options(&step),
            "fsid=multi,domain_id=d1,device=multi-blob"
        );
    }
}
