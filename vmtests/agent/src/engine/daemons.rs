// SPDX-License-Identifier: GPL-2.0-or-later
//! Daemons under the scenario's control, and the devices that are kept for them.

use std::collections::BTreeMap;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::Read;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use vmtest_protocol::FromAgent;
use vmtest_protocol::message::Stream;
use vmtest_protocol::step::CloseKeeper;
use vmtest_protocol::step::SignalDaemon;
use vmtest_protocol::step::SignalName;
use vmtest_protocol::step::StartDaemon;
use vmtest_protocol::step::WaitDaemon;

use super::Agent;
use super::Context;
use super::Done;
use super::Stop;
use super::ending::ended_as;
use super::ending::ended_words;
use super::ending::signal_of;
use super::lock;
use super::wrong;
use crate::blocked;

/// The daemon in the guest's image.
const PROGRAM: &str = "/bin/cachefilesd";
/// The device.
const DEVICE: &str = "/dev/cachefiles";

/// How much of a program's output is sent to the runner, in bytes.
const MAX_OUTPUT: usize = 8 << 20;
/// How much of its end is kept for reasons, in bytes.
const LAST_WORDS: usize = 2 << 10;

/// Daemons that were started, and devices that are kept.
#[derive(Default)]
pub struct Daemons {
    running: BTreeMap<String, Daemon>,
    kept: BTreeMap<String, File>,
}

struct Daemon {
    pid: u32,
    events: PathBuf,
}

impl Daemons {
    /// Process ids and names.
    pub fn list(&self) -> Vec<(String, u32)> {
        self.running
            .iter()
            .map(|(name, daemon)| (name.clone(), daemon.pid))
            .collect()
    }

    /// The device kept for `name`.
    pub fn kept(&self, name: &str) -> Option<&File> {
        self.kept.get(name)
    }
}

impl Context {
    pub(super) fn start_daemon(&self, start: &StartDaemon) -> Result<Done, Stop> {
        let agent = &self.agent;
        let mut command = Command::new(PROGRAM);
        command
            .arg("--dir")
            .arg(&start.dir)
            .arg("--blobs")
            .arg(&start.blobs)
            .arg("--threads")
            .arg(start.threads.get().map_err(wrong)?.to_string());
        if let Some(tag) = &start.tag {
            command.arg("--tag").arg(tag);
        }
        for (name, value) in start.limits.given() {
            command
                .arg(format!("--{name}"))
                .arg(value.get().map_err(wrong)?.to_string());
        }
        if let Some(delay) = &start.delay_ms {
            command
                .arg("--delay-ms")
                .arg(delay.get().map_err(wrong)?.to_string());
        }
        if let Some(fill) = &start.fill {
            command
                .arg("--fill")
                .arg(fill.get().map_err(wrong)?.0.to_string());
        }
        std::fs::create_dir_all(&start.dir)
            .map_err(|error| wrong(format!("cannot make {}: {error}", start.dir)))?;
        command.stdin(Stdio::null());
        {
            let mut daemons = lock(&agent.daemons);
            if let Some(old) = daemons.running.get(&start.name) {
                if agent.children.wait(old.pid, Duration::ZERO).is_none() {
                    return Err(Stop::Error(format!(
                        "the daemon `{}` still runs (pid {}): end it first",
                        start.name, old.pid
                    )));
                }
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
        }
        let events = agent.events.begin(&start.name);
        command.arg("--event-log").arg(&events).args(&start.args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = agent.children.spawn(&mut command).map_err(|error| {
            wrong(format!(
                "cannot start {PROGRAM}: {error} (the initramfs must contain it)"
            ))
        })?;
        let pid = child.id();
        forward(agent, &start.name, 0, Stream::Stdout, child.stdout.take());
        let last_words = forward(agent, &start.name, 0, Stream::Stderr, child.stderr.take());
        lock(&agent.daemons).running.insert(
            start.name.clone(),
            Daemon {
                pid,
                events: events.clone(),
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

    fn daemon(&self, name: &str) -> Result<(u32, PathBuf), Stop> {
        let daemons = lock(&self.agent.daemons);
        match daemons.running.get(name) {
            Some(daemon) => Ok((daemon.pid, daemon.events.clone())),
            None => Err(Stop::Error(format!("no daemon is called `{name}`"))),
        }
    }

    pub(super) fn signal_daemon(&self, step: &SignalDaemon) -> Result<Done, Stop> {
        let (pid, _) = self.daemon(&step.name)?;
        let signal = step.signal.get().map_err(wrong)?;
        let sent = self
            .agent
            .children
            .signal(pid, signal_of(signal))
            .map_err(|error| wrong(format!("cannot signal `{}`: {error}", step.name)))?;
        if !sent {
            return Err(Stop::Failed(format!(
                "the daemon `{}` had ended before the signal",
                step.name
            )));
        }
        if signal == SignalName::Stop {
            let stopped = self.poll(Instant::now() + Duration::from_secs(5), || {
                let tasks = blocked::tasks(pid);
                // A thread in an uninterruptible wait stops when it comes back.
                let all = tasks.iter().all(|task| matches!(task.state, 'T' | 'D'));
                Ok((all && !tasks.is_empty()).then_some(()))
            })?;
            if stopped.is_none() {
                return Err(Stop::Failed(format!(
                    "the daemon `{}` has not stopped 5 s after SIGSTOP",
                    step.name
                )));
            }
        }
        Ok(Done::default())
    }

    pub(super) fn wait_daemon(&self, step: &WaitDaemon) -> Result<Done, Stop> {
        let (pid, events) = self.daemon(&step.name)?;
        let within = step.within.get().map_err(wrong)?.0;
        let exit = self.poll(Instant::now() + within, || {
            Ok(self.agent.children.wait(pid, Duration::ZERO))
        })?;
        let Some(exit) = exit else {
            let blocked = blocked::tasks(pid);
            return Err(Stop::TimedOut {
                reason: format!(
                    "the daemon `{}` has not ended within {} ms: {}",
                    step.name,
                    within.as_millis(),
                    blocked::summary(&blocked)
                ),
                blocked,
            });
        };
        self.agent.events.end(&events);
        lock(&self.agent.daemons).running.remove(&step.name);
        if !ended_as(&exit, &step.ended_by) {
            return Err(Stop::Failed(format!(
                "the daemon `{}` ended with {exit}, {} was expected",
                step.name,
                ended_words(&step.ended_by)
            )));
        }
        Ok(Done {
            exit: Some(exit),
            ..Done::default()
        })
    }

    pub(super) fn close_keeper(&self, step: &CloseKeeper) -> Result<Done, Stop> {
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

/// Sends a program's output to the runner as it comes. The receiver gets the last lines at its end.
pub fn forward(
    agent: &Arc<Agent>,
    source: &str,
    id: u64,
    stream: Stream,
    pipe: Option<impl Read + Send + 'static>,
) -> mpsc::Receiver<String> {
    let (sender, last_words) = mpsc::channel();
    let Some(pipe) = pipe else {
        return last_words;
    };
    let agent = Arc::clone(agent);
    let source = source.to_owned();
    let mut pipe = pipe;
    let body = move || {
        let mut buffer = vec![0u8; 32 << 10];
        let mut rest: Vec<u8> = Vec::new();
        let mut last = String::new();
        let mut total = 0;
        while let Ok(got) = pipe.read(&mut buffer) {
            if got == 0 {
                break;
            }
            total += got;
            rest.extend_from_slice(&buffer[..got]);
            let text = take_text(&mut rest);
            last.push_str(&text);
            let cut = last.len().saturating_sub(LAST_WORDS);
            let cut = (cut..=last.len()).find(|at| last.is_char_boundary(*at));
            last.drain(..cut.unwrap_or(0));
            // A program that writes without end fills no log: it is heard, and the last words kept.
            let sent = match total {
                ..=MAX_OUTPUT => Some(text),
                _ if total - got <= MAX_OUTPUT => Some(format!(
                    "{text}\n[vmtest-agent: what follows the first {MAX_OUTPUT} bytes is left out]\n"
                )),
                _ => None,
            };
            if let Some(text) = sent {
                agent.sender.send(&FromAgent::Output {
                    id,
                    source: source.clone(),
                    stream,
                    text,
                });
            }
        }
        let last: Vec<&str> = last.lines().rev().take(10).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        // Nobody may be left to hear it.
        let _ = sender.send(last.join(" | "));
    };
    // Without the thread the program's output is lost, and the step says what it can.
    let _ = std::thread::Builder::new()
        .name("forward".to_owned())
        .spawn(body);
    last_words
}

/// Takes the text out of `bytes`, except for the beginning of a character that is not yet whole.
fn take_text(bytes: &mut Vec<u8>) -> String {
    let whole = match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    };
    let text = String::from_utf8_lossy(&bytes[..whole]).into_owned();
    bytes.drain(..whole);
    text
}

#[cfg(test)]
mod tests {
    use super::take_text;

    #[test]
    fn characters_are_not_torn_between_two_pieces() {
        let mut bytes = "aé".as_bytes()[..2].to_vec();
        assert_eq!(take_text(&mut bytes), "a");
        bytes.push("é".as_bytes()[1]);
        assert_eq!(take_text(&mut bytes), "é");
        assert!(bytes.is_empty());
        let mut garbage = vec![b'x', 0xff, b'y'];
        assert_eq!(take_text(&mut garbage), "x\u{fffd}y");
    }
}
