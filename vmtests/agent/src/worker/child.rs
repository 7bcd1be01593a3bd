// SPDX-License-Identifier: GPL-2.0-or-later
//! A worker process's side: takes tasks from standard input, answers on standard output.

use std::io;

use anyhow::Result;
use vmtest_protocol::Action;
use vmtest_protocol::frame;
use vmtest_protocol::frame::FrameError;
use vmtest_protocol::message::Measurement;
use vmtest_protocol::value::Errno;
use vmtest_protocol::value::ErrnoName;
use vmtest_protocol::value::Size;

use super::Answer;
use super::Task;
use super::attributes;
use super::bind;
use super::disk;
use super::files;
use super::grow;
use super::held::Held;
use super::modules;
use super::mounts;
use super::names;
use super::paths;
use super::probe::Probe;
use super::remount;
use super::system;
use super::users;
use super::verify;
use super::write;
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

/// Serves tasks until standard input ends.
pub fn main() {
    if std::env::args().nth(2).as_deref() == Some(users::ROLE) {
        return users::main();
    }
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    let mut held = Held::default();
    let mut probe = Probe::default();
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
            Task::Paths(checks) => match paths::check(&checks) {
                Ok(seen) => Answer::Paths(seen),
                Err(error) => Answer::Error(format!("{error:#}")),
            },
            Task::LoadModule { step, known } => answer(modules::load_module(&step, &known)),
            Task::Probe(action) => answer(probe.act(&action)),
            Task::Step(step) => answer(carry_out(&step.action, &mut held)),
        };
        if let Err(error) = frame::write(&mut output, &answer) {
            eprintln!("worker: cannot answer: {error}");
            std::process::exit(3);
        }
    }
}

fn answer(result: Result<Verdict>) -> Answer {
    match result {
        Ok(Verdict::Passed(measurements)) => Answer::Done(measurements),
        Ok(Verdict::Failed(reason)) => Answer::Failed(reason),
        Err(error) => Answer::Error(format!("{error:#}")),
    }
}

fn carry_out(action: &Action, held: &mut Held) -> Result<Verdict> {
    match action {
        Action::Mount(step) => mounts::mount(step),
        Action::Umount(step) => mounts::umount(step),
        Action::MountFs(step) => mounts::mount_fs(step),
        Action::Remount(step) => remount::remount(step),
        Action::BindMount(step) => bind::bind_mount(step),
        Action::GrowFs(step) => grow::grow_fs(step),
        Action::Verify(step) => verify::verify(step),
        Action::Read(step) => files::read(step),
        Action::HoldOpen(step) => held.open(step),
        Action::CloseHeld(step) => held.close(step),
        Action::FillFile(step) => disk::fill(step),
        Action::Write(step) => write::write(step),
        Action::Truncate(step) => write::truncate(step),
        Action::MakeDir(step) => names::make_dir(step),
        Action::Rename(step) => names::rename(step),
        Action::RemoveFile(step) => names::remove(step),
        Action::SetXattr(step) => attributes::set_xattr(step),
        Action::RemoveXattr(step) => attributes::remove_xattr(step),
        Action::SetFlags(step) => attributes::set_flags(step),
        Action::DropCaches(_) => system::drop_caches(),
        Action::UnloadModule(step) => modules::unload_module(step),
        Action::Sysctl(step) => system::sysctl(step),
        other => anyhow::bail!("`{}` is not a step for a worker", other.key()),
    }
}

/// The bytes that a step says; a template that nobody filled in is an error.
pub fn bytes(size: &Option<Size>) -> Result<Option<u64>> {
    match size {
        Some(size) => Ok(Some(size.get().map_err(anyhow::Error::msg)?.0)),
        None => Ok(None),
    }
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
}
