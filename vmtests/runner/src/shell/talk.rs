// SPDX-License-Identifier: GPL-2.0-or-later
//! A person at this end's terminal, a shell in the guest.

use std::io::Write;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::time::Duration;
use std::time::Instant;

use vmtest_protocol::FromAgent;
use vmtest_protocol::ToAgent;
use vmtest_protocol::message::Data;
use vmtest_protocol::message::Exit;

use super::Ended;
use super::terminal;
use crate::vm::Trouble;
use crate::vm::Vm;

/// The number of the shell: there is one.
pub(super) const SHELL: u64 = 1;
/// How long what comes from the guest is listened for before the keyboard is looked at again.
const TURN: Duration = Duration::from_millis(10);
/// How often the window's size is looked at.
const LOOK_AT_SIZE: Duration = Duration::from_millis(250);
/// How long the guest may take to begin a shell, or to end it.
pub(super) const LIMIT: Duration = Duration::from_secs(20);
/// The key that leaves, whatever the guest does: Ctrl-], as with telnet.
const LEAVE: u8 = 0x1d;
/// Bytes of one message.
const PIECE: usize = 4096;

/// What came from the guest.
pub(super) enum Heard {
    Output(Vec<u8>),
    Ended(Option<Exit>, Option<String>),
    Lost(String),
}

/// What of the agent's messages is about the shell.
pub(super) fn about_shell(message: &FromAgent) -> Option<Heard> {
    match message {
        FromAgent::ShellOutput { id: SHELL, data } => Some(Heard::Output(data.0.clone())),
        FromAgent::ShellEnded {
            id: SHELL,
            exit,
            error,
        } => Some(Heard::Ended(exit.clone(), error.clone())),
        FromAgent::Log { text, .. } if text.starts_with("shell 1 does not read") => {
            Some(Heard::Lost(text.clone()))
        }
        _ => None,
    }
}

/// Begins a shell, lets the person use it, and comes back when it has ended.
pub(super) fn person(vm: &mut Vm) -> Ended {
    let (rows, cols) = terminal::size();
    let begin = ToAgent::Shell {
        id: SHELL,
        rows,
        cols,
        argv: Vec::new(),
    };
    if let Err(trouble) = vm.send(&begin) {
        return Ended::Badly(no_guest(&trouble));
    }
    eprintln!("vmtest: a shell in the guest; `exit` ends it and the machine, Ctrl-] leaves always");
    let raw = match terminal::Raw::enter() {
        Ok(raw) => raw,
        Err(error) => return Ended::Badly(format!("cannot make the terminal raw: {error}")),
    };
    let ended = converse(vm, &keyboard(), (rows, cols));
    drop(raw);
    eprintln!();
    ended
}

/// Bytes as they are typed; ends when standard input does. The thread waits for a key for as long
/// as the program lives.
pub(super) fn keyboard() -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::sync_channel(64);
    std::thread::spawn(move || {
        let mut buffer = [0u8; PIECE];
        loop {
            match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
                Ok(0) => return,
                Ok(got) => {
                    if sender.send(buffer[..got].to_vec()).is_err() {
                        return;
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    });
    receiver
}

fn converse(vm: &mut Vm, keyboard: &Receiver<Vec<u8>>, mut size: (u16, u16)) -> Ended {
    let mut looked = Instant::now();
    let mut typing = true;
    loop {
        while typing {
            match keyboard.try_recv() {
                Ok(typed) if typed.contains(&LEAVE) => return Ended::Well,
                Ok(typed) => {
                    if let Err(trouble) = type_in(vm, typed) {
                        return Ended::Badly(no_guest(&trouble));
                    }
                }
                Err(mpsc::TryRecvError::Empty) => break,
                // The terminal has gone: nobody is there any more.
                Err(mpsc::TryRecvError::Disconnected) => {
                    typing = false;
                    let _ = vm.send(&ToAgent::ShellHangUp { id: SHELL });
                }
            }
        }
        if looked.elapsed() >= LOOK_AT_SIZE {
            looked = Instant::now();
            let now = terminal::size();
            if now != size {
                size = now;
                let (rows, cols) = now;
                let id = SHELL;
                // A size that does not arrive is a trouble that the next message shows.
                let _ = vm.send(&ToAgent::ShellResize { id, rows, cols });
            }
        }
        match vm.wait_for(Instant::now() + TURN, about_shell) {
            Ok(Heard::Output(data)) => print(&data),
            // What `exit` hands on is the status of the last command: nobody's failure.
            Ok(Heard::Ended(Some(Exit::Code(_)), None)) => return Ended::Well,
            Ok(Heard::Ended(exit, error)) => return how_ended(exit, error),
            Ok(Heard::Lost(_)) | Err(Trouble::Deadline) => {}
            Err(Trouble::Splat(splat)) => {
                let first = splat.lines.first().map(String::as_str).unwrap_or_default();
                eprint!("\r\nvmtest: splat ({}): {first}\r\n", splat.pattern);
            }
            Err(trouble) => return Ended::Badly(no_guest(&trouble)),
        }
    }
}

/// Sends what was typed.
pub(super) fn type_in(vm: &mut Vm, typed: Vec<u8>) -> Result<(), Trouble> {
    let data = Data(typed);
    vm.send(&ToAgent::ShellInput { id: SHELL, data })
}

/// Shows what the guest wrote.
pub(super) fn print(data: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    // Nobody looks any more when this fails.
    let _ = stdout.write_all(data);
    let _ = stdout.flush();
}

/// What the end of the shell's program says.
pub(super) fn how_ended(exit: Option<Exit>, error: Option<String>) -> Ended {
    match (exit, error) {
        (_, Some(error)) => Ended::Badly(error),
        (Some(Exit::Code(0)), None) => Ended::Well,
        (Some(exit), None) => Ended::Badly(format!("the shell ended with {exit}")),
        (None, None) => Ended::Badly("the shell did not begin".to_owned()),
    }
}

/// Why there is nobody to talk to.
pub(super) fn no_guest(trouble: &Trouble) -> String {
    match trouble {
        Trouble::QemuDied(how) | Trouble::AgentGone(how) => format!("the guest is gone: {how}"),
        Trouble::Host(what) => what.clone(),
        Trouble::Interrupted => "interrupted".to_owned(),
        Trouble::ConsoleFlood => "the guest does not stop printing on its console".to_owned(),
        Trouble::Deadline => format!("the guest did not answer within {} s", LIMIT.as_secs()),
        Trouble::Splat(splat) => format!("splat ({})", splat.pattern),
    }
}
