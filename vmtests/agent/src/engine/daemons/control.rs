// SPDX-License-Identifier: GPL-2.0-or-later
//! What is done to a daemon that runs.

use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use vmtest_protocol::message::Exit;
use vmtest_protocol::step::CloseKeeper;
use vmtest_protocol::step::EndedBy;
use vmtest_protocol::step::KillDaemon;
use vmtest_protocol::step::ReconfigureDaemon;
use vmtest_protocol::step::RestartDaemon;
use vmtest_protocol::step::SignalName;
use vmtest_protocol::step::WaitDaemon;

use super::Daemon;
use super::config;
use crate::blocked;
use crate::engine::Context;
use crate::engine::Done;
use crate::engine::Stop;
use crate::engine::ending::ended_as;
use crate::engine::ending::ended_words;
use crate::engine::lock;
use crate::engine::wrong;

impl Context {
    fn daemon(&self, name: &str) -> Result<Daemon, Stop> {
        let daemons = lock(&self.agent.daemons);
        match daemons.running.get(name) {
            Some(daemon) => Ok(daemon.clone()),
            None => Err(Stop::Error(format!("no daemon is called `{name}`"))),
        }
    }

    pub(in crate::engine) fn signal_daemon(
        &self,
        name: &str,
        signal: SignalName,
    ) -> Result<Done, Stop> {
        let daemon = self.daemon(name)?;
        self.signal(&format!("the daemon `{name}`"), daemon.pid, signal)?;
        if matches!(
            signal,
            SignalName::Term | SignalName::Int | SignalName::Kill
        ) {
            if let Some(daemon) = lock(&self.agent.daemons).running.get_mut(name) {
                daemon.told = true;
            }
        }
        Ok(Done::default())
    }

    pub(in crate::engine) fn kill_daemon(&self, step: &KillDaemon) -> Result<Done, Stop> {
        let daemon = self.daemon(&step.name)?;
        self.signal_daemon(&step.name, SignalName::Kill)?;
        let within = step.within.get().map_err(wrong)?.0;
        self.daemons_end(&step.name, &daemon, within)?;
        Ok(Done::default())
    }

    /// Waits for a daemon's end; its event log is complete then.
    fn daemons_end(&self, name: &str, daemon: &Daemon, within: Duration) -> Result<Exit, Stop> {
        let exit = self.ending(&format!("the daemon `{name}`"), daemon.pid, within)?;
        self.agent.events.end(&daemon.events);
        Ok(exit)
    }

    pub(in crate::engine) fn wait_daemon(&self, step: &WaitDaemon) -> Result<Done, Stop> {
        let daemon = self.daemon(&step.name)?;
        let within = step.within.get().map_err(wrong)?.0;
        let exit = self.daemons_end(&step.name, &daemon, within)?;
        lock(&self.agent.daemons).running.remove(&step.name);
        self.judge_end(&step.name, exit, &step.ended_by)
    }

    fn judge_end(&self, name: &str, exit: Exit, expected: &EndedBy) -> Result<Done, Stop> {
        match ended_as(&exit, expected) {
            true => Ok(Done {
                exit: Some(exit),
                ..Done::default()
            }),
            false => Err(Stop::Failed(format!(
                "the daemon `{name}` ended with {exit}, {} was expected",
                ended_words(expected)
            ))),
        }
    }

    pub(in crate::engine) fn restart_daemon(&self, step: &RestartDaemon) -> Result<Done, Stop> {
        let signal = step.signal.get().map_err(wrong)?;
        let within = step.within.get().map_err(wrong)?.0;
        let daemon = self.daemon(&step.name)?;
        let ended = self.agent.children.wait(daemon.pid, Duration::ZERO);
        // After `kill_daemon` only the second half is left to do.
        if !(daemon.told && ended.is_some()) {
            self.signal_daemon(&step.name, signal)?;
            let expected = match signal {
                SignalName::Kill => EndedBy::Signal(SignalName::Kill.into()),
                _ => EndedBy::ExitCode(0),
            };
            let exit = self.daemons_end(&step.name, &daemon, within)?;
            self.judge_end(&step.name, exit, &expected)?;
        }
        self.start_daemon(&daemon.options)
    }

    pub(in crate::engine) fn reconfigure_daemon(
        &self,
        step: &ReconfigureDaemon,
    ) -> Result<Done, Stop> {
        let agent = &self.agent;
        let daemon = self.daemon(&step.name)?;
        let within = step.within.get().map_err(wrong)?.0;
        let next = config::changed(&daemon.options, step);
        let answers = || {
            let tally = agent.events.tally(&daemon.events);
            let count = |ev: &str| tally.lines.get(ev).copied().unwrap_or(0);
            (count("reconfigured"), count("reconfigure_failed"))
        };
        let before = answers();
        config::write(&next).map_err(wrong)?;
        self.signal_daemon(&step.name, SignalName::Hup)?;
        let taken = self.poll(Instant::now() + within, || {
            if let Some(exit) = agent.children.wait(daemon.pid, Duration::ZERO) {
                return Err(Stop::Failed(format!(
                    "the daemon `{}` ended with {exit} when it was to read its configuration again",
                    step.name
                )));
            }
            let now = answers();
            Ok(match (now.0 > before.0, now.1 > before.1) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            })
        })?;
        match (taken, step.refused) {
            (Some(true), false) => {
                if let Some(daemon) = lock(&agent.daemons).running.get_mut(&step.name) {
                    daemon.options = next;
                }
                Ok(Done::default())
            }
            (Some(false), true) => {
                // What it goes on with is also what it shall start with the next time.
                config::write(&daemon.options).map_err(wrong)?;
                Ok(Done::default())
            }
            (Some(true), true) => Err(Stop::Failed(format!(
                "the daemon `{}` took the new configuration, and was to refuse it",
                step.name
            ))),
            (Some(false), false) => Err(Stop::Failed(format!(
                "the daemon `{}` refuses the new configuration: {}",
                step.name,
                agent.events.last_reason(&daemon.events)
            ))),
            (None, _) => Err(Stop::Failed(format!(
                "the daemon `{}` has not read its configuration {} ms after SIGHUP",
                step.name,
                within.as_millis()
            ))),
        }
    }

    pub(in crate::engine) fn close_keeper(&self, step: &CloseKeeper) -> Result<Done, Stop> {
        let device = lock(&self.agent.daemons)
            .kept
            .remove(&step.name)
            .ok_or_else(|| wrong(format!("no device is kept for `{}`", step.name)))?;
        // Closing may wait in the kernel for ever: not on this thread.
        let (sender, closed) = mpsc::channel();
        std::thread::Builder::new()
            .name("close-keeper".to_owned())
            .spawn(move || {
                drop(device);
                // Nobody hears it when the step's time is up.
                let _ = sender.send(());
            })
            .map_err(|error| wrong(format!("cannot start a thread: {error}")))?;
        match self.poll(self.deadline, || Ok(closed.try_recv().ok()))? {
            Some(()) => Ok(Done::default()),
            None => Err(Stop::TimedOut {
                reason: "closing the kept device does not return".to_owned(),
                blocked: blocked::tasks(1)
                    .into_iter()
                    .filter(|task| task.comm == "close-keeper")
                    .collect(),
            }),
        }
    }
}
