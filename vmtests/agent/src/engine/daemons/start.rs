// SPDX-License-Identifier: GPL-2.0-or-later
//! Starting a daemon, and waiting until it serves.

use std::fs::File;
use std::fs::OpenOptions;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use vmtest_protocol::message::Stream;
use vmtest_protocol::step::StartDaemon;

use super::Daemon;
use super::config;
use crate::blocked;
use crate::engine::Context;
use crate::engine::Done;
use crate::engine::Stop;
use crate::engine::lock;
use crate::engine::output::Source;
use crate::engine::output::forward;
use crate::engine::wrong;

/// The daemon in the guest's image.
const PROGRAM: &str = "/bin/cachefilesd";
/// The device.
const DEVICE: &str = "/dev/cachefiles";

impl Context {
    pub(in crate::engine) fn start_daemon(&self, start: &StartDaemon) -> Result<Done, Stop> {
        let agent = &self.agent;
        std::fs::create_dir_all(&start.dir)
            .map_err(|error| wrong(format!("cannot make {}: {error}", start.dir)))?;
        let mut command = Command::new(PROGRAM);
        command
            .arg("--config")
            .arg(config::write(start).map_err(wrong)?)
            .stdin(Stdio::null());
        self.device_for(start, &mut command)?;
        let events = agent.events.begin(&start.name);
        agent.logs.begin(&start.name);
        command.arg("--event-log").arg(&events).args(&start.args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = agent.children.spawn(&mut command).map_err(|error| {
            wrong(format!(
                "cannot start {PROGRAM}: {error} (the initramfs must contain it)"
            ))
        })?;
        let pid = child.id();
        let source = Source {
            name: &start.name,
            id: 0,
            log: Some(&start.name),
        };
        forward(agent, source, Stream::Stdout, child.stdout.take());
        let last_words = forward(agent, source, Stream::Stderr, child.stderr.take());
        lock(&agent.daemons).running.insert(
            start.name.clone(),
            Daemon {
                pid,
                events: events.clone(),
                options: start.clone(),
                told: false,
            },
        );
        let within = start.ready_within.get().map_err(wrong)?.0;
        let ready = self.poll(Instant::now() + within, || {
            if agent.events.tally(&events).ready {
                return Ok(Some(()));
            }
            match agent.children.wait(pid, Duration::ZERO) {
                Some(exit) => Err(Stop::Failed(format!(
                    "the daemon `{}` ended with {exit} before it served; it said: {}",
                    start.name,
                    last_words
                        .recv_timeout(Duration::from_secs(1))
                        .unwrap_or_default()
                ))),
                None => Ok(None),
            }
        })?;
        match ready {
            Some(()) => Ok(Done::default()),
            None => {
                let blocked = blocked::tasks(pid);
                Err(Stop::TimedOut {
                    reason: format!(
                        "the daemon `{}` does not serve after {} ms: {}",
                        start.name,
                        within.as_millis(),
                        blocked::summary(&blocked)
                    ),
                    blocked,
                })
            }
        }
    }

    /// Sees to it that no daemon of that name runs, and hands on the device that is kept for it.
    fn device_for(&self, start: &StartDaemon, command: &mut Command) -> Result<(), Stop> {
        let agent = &self.agent;
        let mut daemons = lock(&agent.daemons);
        if let Some(old) = daemons.running.get(&start.name) {
            if agent.children.wait(old.pid, Duration::ZERO).is_none() {
                return Err(Stop::Error(format!(
                    "the daemon `{}` still runs (pid {}): end it first",
                    start.name, old.pid
                )));
            }
            agent.events.end(&old.events);
        }
        if start.keeper && !daemons.kept.contains_key(&start.name) {
            let device = open_device()?;
            daemons.kept.insert(start.name.clone(), device);
        }
        if let Some(device) = daemons.kept.get(&start.name) {
            // Standard input is the one descriptor that is handed on without ado.
            let copy = device
                .try_clone()
                .map_err(|error| wrong(format!("cannot duplicate the device: {error}")))?;
            command.stdin(Stdio::from(copy)).arg("--device-fd").arg("0");
        }
        Ok(())
    }
}

fn open_device() -> Result<File, Stop> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(DEVICE)
        .map_err(|error| {
            Stop::Failed(format!(
                "opening {DEVICE} to keep it: {}",
                crate::worker::child::describe(&error)
            ))
        })
}
