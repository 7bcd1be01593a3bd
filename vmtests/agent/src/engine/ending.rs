// SPDX-License-Identifier: GPL-2.0-or-later
//! Signals, and how programs end.

use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;
use vmtest_protocol::message::Exit;
use vmtest_protocol::step::EndedBy;
use vmtest_protocol::step::SignalName;
use vmtest_protocol::value::Late;
use vmtest_protocol::value::Scalar;

use super::Context;
use super::Stop;
use super::wrong;
use crate::blocked;

/// How long a process may need to stand still.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The kernel's number of a signal.
pub fn signal_of(name: SignalName) -> Signal {
    match name {
        SignalName::Term => Signal::TERM,
        SignalName::Int => Signal::INT,
        SignalName::Kill => Signal::KILL,
        SignalName::Hup => Signal::HUP,
        SignalName::Stop => Signal::STOP,
        SignalName::Cont => Signal::CONT,
        SignalName::Usr1 => Signal::USR1,
        SignalName::Usr2 => Signal::USR2,
        SignalName::Pipe => Signal::PIPE,
        SignalName::Abrt => Signal::ABORT,
        SignalName::Segv => Signal::SEGV,
        SignalName::Bus => Signal::BUS,
    }
}

/// Whether a program ended as it was to.
pub fn ended_as(exit: &Exit, expected: &EndedBy) -> bool {
    match (exit, expected) {
        (Exit::Code(code), EndedBy::ExitCode(expected)) => code == expected,
        (Exit::Signal(signal), EndedBy::Signal(Late::Now(expected))) => {
            *signal == signal_of(*expected).as_raw()
        }
        _ => false,
    }
}

/// For messages.
pub fn ended_words(expected: &EndedBy) -> String {
    match expected {
        EndedBy::ExitCode(code) => format!("exit code {code}"),
        EndedBy::Signal(Late::Now(name)) => {
            let number = signal_of(*name).as_raw();
            format!("signal {number} (SIG{})", name.to_text().to_uppercase())
        }
        EndedBy::Signal(Late::Template(text)) => format!("the signal `{text}`"),
    }
}

impl Context {
    /// Sends a signal to a process that must live; SIGSTOP waits until all of its threads stand.
    pub fn signal(&self, what: &str, pid: u32, signal: SignalName) -> Result<(), Stop> {
        let sent = self
            .agent
            .children
            .signal(pid, signal_of(signal))
            .map_err(|error| wrong(format!("cannot signal {what}: {error}")))?;
        if !sent {
            let how = match self.agent.children.wait(pid, Duration::ZERO) {
                Some(exit) => format!(" with {exit}"),
                None => String::new(),
            };
            return Err(Stop::Failed(format!(
                "{what} had ended{how} before the signal"
            )));
        }
        if signal == SignalName::Stop {
            let stopped = self.poll(Instant::now() + STOP_LIMIT, || {
                let tasks = blocked::tasks(pid);
                // A thread in an uninterruptible wait stops when it comes back.
                let all = tasks.iter().all(|task| matches!(task.state, 'T' | 'D'));
                Ok((all && !tasks.is_empty()).then_some(()))
            })?;
            if stopped.is_none() {
                return Err(Stop::Failed(format!(
                    "{what} has not stopped {} s after SIGSTOP",
                    STOP_LIMIT.as_secs()
                )));
            }
        }
        Ok(())
    }

    /// Waits for a process's end.
    pub fn ending(&self, what: &str, pid: u32, within: Duration) -> Result<Exit, Stop> {
        let exit = self.poll(Instant::now() + within, || {
            Ok(self.agent.children.wait(pid, Duration::ZERO))
        })?;
        exit.ok_or_else(|| {
            let blocked = blocked::tasks(pid);
            Stop::TimedOut {
                reason: format!(
                    "{what} has not ended within {} ms: {}",
                    within.as_millis(),
                    blocked::summary(&blocked)
                ),
                blocked,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_by_a_signal_is_never_an_end_by_an_exit_code() {
        let killed = Exit::Signal(9);
        assert!(ended_as(&killed, &EndedBy::Signal(SignalName::Kill.into())));
        assert!(!ended_as(
            &killed,
            &EndedBy::Signal(SignalName::Term.into())
        ));
        assert!(!ended_as(&killed, &EndedBy::ExitCode(0)));
        assert!(!ended_as(&killed, &EndedBy::ExitCode(9)));
        assert!(!ended_as(
            &Exit::Code(0),
            &EndedBy::Signal(SignalName::Kill.into())
        ));
        assert!(ended_as(&Exit::Code(3), &EndedBy::ExitCode(3)));
    }
}
