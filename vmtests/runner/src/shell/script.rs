// SPDX-License-Identifier: GPL-2.0-or-later
//! Commands from standard input where that is no terminal: carried out one after the other as they
//! come, their output printed, so that a program can do what a person does.
//!
//! In the guest a shell reads them from a pipe: on a terminal it would print prompts and what it
//! reads. The way there is a terminal all the same, with its echo off, whose lines are limited.

use std::sync::mpsc::Receiver;
use std::sync::mpsc::TryRecvError;
use std::time::Duration;
use std::time::Instant;

use vmtest_protocol::ToAgent;

use super::Ended;
use super::talk;
use super::talk::Heard;
use super::talk::SHELL;
use crate::vm::Trouble;
use crate::vm::Vm;

/// How long the guest is listened to before standard input is looked at again.
const TURN: Duration = Duration::from_millis(10);
/// A terminal takes no longer line in one piece, in bytes, its end included.
const MAX_LINE: usize = 4095;
/// Ends the input of a terminal, at the beginning of a line.
const END: u8 = 0x04;
/// Says that the guest's side is ready. Nothing but our own program can print it there.
const READY: &[u8] = b"vmtest-shell-is-ready\n";

/// Terminal off, pipe on; the shell's end is the end of it all.
const IN_GUEST: &str = "\
stty -echo -isig -ixon -icrnl -onlcr
pipe=/tmp/.vmtest-shell
rm -f $pipe; mkfifo $pipe || exit 125
exec 3<&0
cat <&3 >$pipe &
echo vmtest-shell-is-ready
exec 3<&- sh <$pipe";

/// Carries standard input out.
pub(super) fn script(vm: &mut Vm) -> Ended {
    let begin = ToAgent::Shell {
        id: SHELL,
        rows: 24,
        cols: 80,
        argv: ["/bin/busybox", "sh", "-c", IN_GUEST]
            .map(str::to_owned)
            .to_vec(),
    };
    if let Err(trouble) = vm.send(&begin).and_then(|()| ready(vm)) {
        return Ended::Badly(talk::no_guest(&trouble));
    }
    let input = talk::keyboard();
    let mut lines = Lines::default();
    let mut open = true;
    loop {
        match pass_on(vm, &input, &mut lines, &mut open) {
            Ok(()) => {}
            Err(ended) => return ended,
        }
        match vm.wait_for(Instant::now() + TURN, talk::about_shell) {
            Ok(Heard::Output(data)) => talk::print(&data),
            Ok(Heard::Ended(exit, error)) => return talk::how_ended(exit, error),
            Ok(Heard::Lost(why)) => return Ended::Badly(why),
            Err(Trouble::Deadline) => {}
            Err(Trouble::Splat(splat)) => {
                let first = splat.lines.first().map(String::as_str).unwrap_or_default();
                eprintln!("vmtest: splat ({}): {first}", splat.pattern);
            }
            Err(trouble) => return Ended::Badly(talk::no_guest(&trouble)),
        }
    }
}

/// Waits until the terminal in the guest does not echo any more.
fn ready(vm: &mut Vm) -> Result<(), Trouble> {
    let deadline = Instant::now() + talk::LIMIT;
    let mut said = Vec::new();
    loop {
        match vm.wait_for(deadline, talk::about_shell)? {
            Heard::Output(data) => said.extend_from_slice(&data),
            Heard::Ended(_, error) => {
                let text = String::from_utf8_lossy(&said).into_owned();
                return Err(Trouble::AgentGone(error.unwrap_or(text)));
            }
            Heard::Lost(_) => {}
        }
        if said.ends_with(READY) {
            return Ok(());
        }
    }
}

/// Sends what has come on standard input so far.
fn pass_on(
    vm: &mut Vm,
    input: &Receiver<Vec<u8>>,
    lines: &mut Lines,
    open: &mut bool,
) -> Result<(), Ended> {
    while *open {
        let pieces = match input.try_recv() {
            Ok(bytes) => lines.take(&bytes).map_err(Ended::Badly)?,
            Err(TryRecvError::Empty) => return Ok(()),
            Err(TryRecvError::Disconnected) => {
                *open = false;
                lines.end()
            }
        };
        for piece in pieces {
            talk::type_in(vm, piece).map_err(|trouble| Ended::Badly(talk::no_guest(&trouble)))?;
        }
    }
    Ok(())
}

/// Cuts input into what a terminal takes.
#[derive(Debug, Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// Whole lines, in pieces of at most [`MAX_LINE`] bytes.
    fn take(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        for byte in bytes {
            self.begun.push(*byte);
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.begun);
                match pieces.last_mut() {
                    Some(last) if last.len() + line.len() <= MAX_LINE => last.extend(line),
                    _ => pieces.push(line),
                }
            } else if self.begun.len() >= MAX_LINE {
                return Err(format!(
                    "a line of more than {MAX_LINE} bytes on standard input: a terminal in the \
                     guest takes no longer one; write it in several"
                ));
            }
        }
        Ok(pieces)
    }

    /// The rest, and the end of the input.
    fn end(&mut self) -> Vec<Vec<u8>> {
        let mut rest = std::mem::take(&mut self.begun);
        if !rest.is_empty() {
            rest.push(b'\n');
        }
        rest.push(END);
        vec![rest]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_goes_on_in_whole_lines_and_its_end_is_at_a_lines_beginning() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(b"ec").unwrap(), Vec::<Vec<u8>>::new());
        assert_eq!(
            lines.take(b"ho a\necho b\nec").unwrap(),
            [b"echo a\necho b\n"]
        );
        assert_eq!(lines.end(), [b"ec\n\x04"]);
        assert_eq!(lines.end(), [b"\x04"]);
    }

    #[test]
    fn pieces_and_lines_are_limited() {
        let mut lines = Lines::default();
        let line = [vec![b'x'; 3000], vec![b'\n']].concat();
        let pieces = lines.take(&[line.clone(), line.clone()].concat()).unwrap();
        assert_eq!(pieces, [line.clone(), line]);
        assert!(lines.take(&vec![b'x'; MAX_LINE]).is_err());
    }
}
