// SPDX-License-Identifier: GPL-2.0-or-later
//! What programs write: to the runner as it comes, into the logs, and the last of it for reasons.

use std::io::Read;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc;

use vmtest_protocol::FromAgent;
use vmtest_protocol::message::Stream;

use super::Agent;
use crate::logs::Lines;

/// How much of a program's output is sent to the runner, in bytes.
const MAX_OUTPUT: usize = 8 << 20;
/// Room of the pipe through which it comes, in bytes.
const PIPE: usize = 1 << 20;
/// How much of its end is kept for reasons, in bytes.
const LAST_WORDS: usize = 2 << 10;

/// Whose output something is.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// What the runner calls it.
    pub name: &'a str,
    /// The step, or 0 for what outlives its step.
    pub id: u64,
    /// The log that its lines go into, if any.
    pub log: Option<&'a str>,
}

/// Sends a program's output to the runner as it comes. The receiver gets the last lines at its end.
pub fn forward(
    agent: &Arc<Agent>,
    source: Source<'_>,
    stream: Stream,
    pipe: Option<impl Read + AsFd + Send + 'static>,
) -> mpsc::Receiver<String> {
    let (sender, last_words) = mpsc::channel();
    let Some(pipe) = pipe else {
        return last_words;
    };
    let agent = Arc::clone(agent);
    let id = source.id;
    let log = source.log.map(str::to_owned);
    let source = source.name.to_owned();
    let mut pipe = pipe;
    let mut lines = Lines::default();
    let body = move || {
        // Fewer turns for a program that writes much; one that writes little does not notice. Here
        // and not on the step's thread: a program that splices from a file under test into the pipe
        // (busybox cat does) holds the pipe's lock for as long as that file makes it wait.
        let _ = rustix::pipe::fcntl_setpipe_size(&pipe, PIPE);
        let mut buffer = vec![0u8; 128 << 10];
        let mut rest: Vec<u8> = Vec::new();
        let mut last = String::new();
        let mut total = 0;
        let mut unheard: Vec<u8> = Vec::new();
        while let Ok(got) = pipe.read(&mut buffer) {
            if got == 0 {
                break;
            }
            total += got;
            if log.is_none() && total - got > MAX_OUTPUT {
                // Gigabytes pass by here: nothing is done with them but to keep the very last.
                unheard.extend_from_slice(&buffer[..got]);
                unheard.drain(..unheard.len().saturating_sub(LAST_WORDS));
                continue;
            }
            rest.extend_from_slice(&buffer[..got]);
            let text = take_text(&mut rest);
            if let Some(log) = &log {
                lines.add(&text, |line| agent.logs.push(log, line));
            }
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
        if let (Some(log), Some(line)) = (&log, lines.end()) {
            agent.logs.push(log, &line);
        }
        if !unheard.is_empty() {
            last = String::from_utf8_lossy(&unheard).into_owned();
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
