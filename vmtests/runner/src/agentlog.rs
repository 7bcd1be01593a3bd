// SPDX-License-Identifier: GPL-2.0-or-later
//! `agent.log`: what the agent said, a line each, for people; and `daemon.log`, the part of it that
//! the guest's long-lived programs wrote.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use vmtest_protocol::FromAgent;
use vmtest_protocol::message::Hello;
use vmtest_protocol::message::Level;
use vmtest_protocol::message::Outcome;
use vmtest_protocol::message::Stream;

/// No more than this of the guest's output is kept, in bytes: the disk of the host is not ours.
const MAX_LOG: u64 = 64 << 20;

/// Both logs.
#[derive(Debug)]
pub struct Logs {
    agent: File,
    daemon: File,
}

impl Logs {
    /// Goes on with both in the run's folder: a run may have several boots.
    pub fn create(dir: &Path) -> anyhow::Result<Self> {
        let create = |name: &str| {
            let file = dir.join(name);
            let mut options = File::options();
            let opened = options.create(true).append(true).open(&file);
            opened.with_context(|| format!("cannot write {}", file.display()))
        };
        Ok(Logs {
            agent: create("agent.log")?,
            daemon: create("daemon.log")?,
        })
    }

    /// Appends a message.
    pub fn message(&mut self, message: &FromAgent) {
        write(&mut self.agent, message);
        if let FromAgent::Output { id: 0, .. } = message {
            write(&mut self.daemon, message);
        }
    }

    /// Appends a line to `agent.log`.
    pub fn note(&mut self, line: &str) {
        note(&mut self.agent, line);
    }
}

fn write(log: &mut File, message: &FromAgent) {
    match message {
        FromAgent::Hello(hello) => note(log, &format!("agent: {}", greeting(hello))),
        FromAgent::SetupDone { error: None } => note(log, "agent: set up"),
        FromAgent::SetupDone { error: Some(error) } => note(log, &format!("agent: {error}")),
        FromAgent::Log {
            level,
            uptime_ms,
            text,
        } => {
            let level = match level {
                Level::Debug => "debug",
                Level::Info => "info",
                Level::Warn => "warning",
                Level::Error => "error",
            };
            let seconds = *uptime_ms as f64 / 1000.0;
            note(log, &format!("[{seconds:10.3}] {level}: {text}"));
        }
        FromAgent::Output {
            id,
            source,
            stream,
            text,
        } => {
            let stream = match stream {
                Stream::Stdout => "out",
                Stream::Stderr => "err",
            };
            // Programs that outlive their step have no number.
            let step = match id {
                0 => String::new(),
                id => format!(" (step {id})"),
            };
            for line in text.lines() {
                note(log, &format!("{source} {stream}{step}: {line}"));
            }
        }
        FromAgent::Inner { id, path, outcome } => match outcome {
            None => note(log, &format!("step {id}: {path}")),
            Some(outcome) => note(log, &format!("step {id}: {path}: {}", words(outcome))),
        },
        FromAgent::StepEnded {
            id,
            outcome,
            seconds,
            measurements,
            ..
        } => {
            note(
                log,
                &format!("step {id}: {} after {seconds:.3} s", words(outcome)),
            );
            for measured in measurements {
                let line = format!("  {} = {} {}", measured.name, measured.value, measured.unit);
                note(log, &line);
            }
        }
        FromAgent::Inspected(inspected) => note(log, &format!("inspected: {inspected:?}")),
        FromAgent::Collected(collected) => {
            let requests = collected.requests;
            let line = format!(
                "agent: modules {}; {} OPEN, {} READ, {} CLOSE",
                collected.modules.join(", "),
                requests.open,
                requests.read,
                requests.close
            );
            note(log, &line);
            let counted = collected.counters.iter().filter(|(_, value)| **value != 0);
            let counted: Vec<String> = counted.map(|(name, n)| format!("{name}={n}")).collect();
            note(log, &format!("agent: counters {}", counted.join(" ")));
        }
        // What is typed and seen in a shell belongs to whoever sits in front of it.
        FromAgent::ShellOutput { .. } => {}
        FromAgent::ShellEnded { id, exit, error } => {
            let how = match (exit, error) {
                (_, Some(error)) => error.clone(),
                (Some(exit), None) => exit.to_string(),
                (None, None) => "it was not started".to_owned(),
            };
            note(log, &format!("shell {id}: ended: {how}"));
        }
        FromAgent::CountInstructions { seq } => {
            note(
                log,
                &format!("agent: asks for the count of instructions ({seq})"),
            );
        }
        FromAgent::Pong { seq } => note(log, &format!("agent: answers ping {seq}")),
        FromAgent::Notice { text } => note(log, &format!("notice: {text}")),
    }
}

/// Errors are left to whoever misses the line: a full disk shows elsewhere.
fn note(log: &mut File, line: &str) {
    let full = log.metadata().is_ok_and(|meta| meta.len() > MAX_LOG);
    if !full {
        let _ = writeln!(log, "{line}");
    }
}

/// What an agent's first message says, in words.
pub fn greeting(hello: &Hello) -> String {
    format!(
        "ready after {} ms on {}, {} CPUs, {} MiB",
        hello.uptime_ms,
        hello.release,
        hello.cpus,
        hello.memory >> 20
    )
}

/// An outcome in words.
pub fn words(outcome: &Outcome) -> String {
    match outcome.reason() {
        None => "passed".to_owned(),
        Some(reason) => reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_daemons_write_is_in_both_logs_and_a_steps_program_in_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut logs = Logs::create(dir.path()).unwrap();
        for (id, source) in [(0, "daemon"), (3, "/bin/ls")] {
            logs.message(&FromAgent::Output {
                id,
                source: source.to_owned(),
                stream: Stream::Stderr,
                text: "one\ntwo\n".to_owned(),
            });
        }
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("daemon.log"), "daemon err: one\ndaemon err: two\n");
        assert!(read("agent.log").starts_with("daemon err: one\n"));
        assert!(read("agent.log").contains("/bin/ls err (step 3): two\n"));
    }
}
