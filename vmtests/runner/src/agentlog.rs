// SPDX-License-Identifier: GPL-2.0-or-later
//! `agent.log`: what the agent said, a line each, for people.

use std::fs::File;
use std::io::Write;

use vmtest_protocol::FromAgent;
use vmtest_protocol::message::Level;
use vmtest_protocol::message::Outcome;
use vmtest_protocol::message::Stream;

/// No more than this of the guest's output is kept, in bytes: the disk of the host is not ours.
const MAX_LOG: u64 = 64 << 20;

/// Appends a message.
pub fn write(log: &mut File, message: &FromAgent) {
    match message {
        FromAgent::Hello(hello) => note(
            log,
            &format!(
                "agent: ready after {} ms on {}, {} CPUs, {} MiB",
                hello.uptime_ms,
                hello.release,
                hello.cpus,
                hello.memory >> 20
            ),
        ),
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
            for line in text.lines() {
                note(log, &format!("{source} {stream} (step {id}): {line}"));
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
            for (name, value) in &collected.counters {
                note(log, &format!("  {name} = {value}"));
            }
        }
        FromAgent::Pong { seq } => note(log, &format!("agent: answers ping {seq}")),
        FromAgent::Notice { text } => note(log, &format!("notice: {text}")),
    }
}

/// Appends a line. Errors are left to whoever misses it: a full disk shows elsewhere.
pub fn note(log: &mut File, line: &str) {
    let full = log.metadata().is_ok_and(|meta| meta.len() > MAX_LOG);
    if !full {
        let _ = writeln!(log, "{line}");
    }
}

/// An outcome in words.
pub fn words(outcome: &Outcome) -> String {
    match outcome.reason() {
        None => "passed".to_owned(),
        Some(reason) => reason,
    }
}
