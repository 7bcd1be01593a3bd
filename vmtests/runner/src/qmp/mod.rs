// SPDX-License-Identifier: GPL-2.0-or-later
//! QEMU's control channel, by the crate `qapi`.
//!
//! Its blocking client is used, with three properties added from outside: a thread sorts the lines
//! that arrive, so that an event which the crate's schema does not know cannot end the session; the
//! lines for the client pass through a channel whose reader has a time limit; and the end of the
//! stream is looked for before the handshake, which would panic there.

use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::IoSlice;
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use qapi::Qmp;
use qapi::qmp;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;
use serde_json::Value;
use serde_json::json;

pub mod commands;

/// How long QEMU may take to answer. It answers from its main loop, in milliseconds, unless the
/// machine is overloaded or the process is stopped.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What QEMU reports unasked.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name, such as `GUEST_PANICKED`.
    pub name: String,
    /// Its data as JSON text.
    pub data: String,
    /// Whether the crate's schema has it.
    pub known: bool,
}

/// Why QEMU did not do what it was told.
#[derive(Debug)]
pub enum QmpError {
    /// The stream ended: QEMU has died, its standard error says why.
    Closed,
    /// No answer in time.
    Silent(Duration),
    /// QEMU refused.
    Refused(String),
    /// Anything else.
    Other(String),
}

impl std::fmt::Display for QmpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            QmpError::Closed => f.write_str("QEMU closed its control channel"),
            QmpError::Silent(limit) => write!(
                f,
                "QEMU did not answer on its control channel within {} s",
                limit.as_secs_f32()
            ),
            QmpError::Refused(text) | QmpError::Other(text) => write!(f, "QMP: {text}"),
        }
    }
}

impl std::error::Error for QmpError {}

/// A session with QEMU.
pub struct Control {
    qmp: Qmp<qapi::Stream<Answers, UnixStream>>,
    version: String,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

impl Control {
    /// Begins a session on `stream`, in which each answer may take `limit`; `on_event` is called for
    /// each event, on a thread of its own.
    pub fn connect(
        stream: UnixStream,
        limit: Duration,
        on_event: impl FnMut(Event) + Send + 'static,
    ) -> Result<Control, QmpError> {
        let writing = stream
            .try_clone()
            .and_then(|clone| clone.set_write_timeout(Some(limit)).map(|()| clone))
            .map_err(|error| QmpError::Other(error.to_string()))?;
        let (sender, receiver) = mpsc::channel();
        std::thread::Builder::new()
            .name("qmp".to_owned())
            .spawn(move || sort_lines(stream, &sender, on_event))
            .map_err(|error| QmpError::Other(format!("cannot start a thread: {error}")))?;
        let answers = Answers {
            lines: receiver,
            limit,
            line: Vec::new(),
            at: 0,
        };
        let mut qmp = Qmp::new(qapi::Stream::new(answers, writing));
        let answers = qmp.inner_mut().get_mut_read();
        match answers.fill_buf() {
            Ok([]) => return Err(QmpError::Closed),
            Ok(_) => {}
            Err(error) => return Err(wrong(limit, qapi::ExecuteError::Io(error))),
        }
        let greeting = qmp.handshake().map_err(|error| wrong(limit, error))?;
        let qemu = &greeting.version;
        let version = format!(
            "{}.{}.{} {}",
            qemu.qemu.major, qemu.qemu.minor, qemu.qemu.micro, qemu.package
        );
        Ok(Control {
            qmp,
            version: version.trim_end().to_owned(),
        })
    }

    /// QEMU's version, as it says itself.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Sends a command and waits for its answer.
    pub fn execute<C: qmp::QmpCommand>(&mut self, command: &C) -> Result<C::Ok, QmpError> {
        let limit = self.qmp.inner().get_ref_read().limit;
        self.qmp
            .execute(command)
            .map_err(|error| wrong(limit, error))
    }

    /// Hands QEMU a descriptor, which it then knows by `name`.
    pub fn pass_fd(&mut self, name: &str, fd: impl AsFd) -> Result<(), QmpError> {
        let limit = self.qmp.inner().get_ref_read().limit;
        let fds = [fd.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(QmpError::Other("no room for a descriptor".to_owned()));
        }
        // A descriptor travels with a byte, and is kept for the command that follows: a blank means
        // nothing between two commands.
        let socket = self.qmp.inner().get_ref_write();
        rustix::net::sendmsg(
            socket,
            &[IoSlice::new(b" ")],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )
        .map_err(|error| wrong(limit, qapi::ExecuteError::Io(error.into())))?;
        self.execute(&commands::GetFd(json!({"fdname": name})))
            .map(drop)
    }

    /// Sends a break on the serial line `id`: the next character is a sysrq command there.
    pub fn send_break(&mut self, id: &str) -> Result<(), QmpError> {
        let command = qmp::chardev_send_break { id: id.to_owned() };
        self.execute(&command).map(drop)
    }
}

fn wrong(limit: Duration, error: qapi::ExecuteError) -> QmpError {
    match error {
        qapi::ExecuteError::Qapi(error) => QmpError::Refused(error.to_string()),
        qapi::ExecuteError::Io(error) => match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => QmpError::Silent(limit),
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => QmpError::Closed,
            _ => QmpError::Other(error.to_string()),
        },
    }
}

fn sort_lines(
    stream: UnixStream,
    answers: &mpsc::Sender<Vec<u8>>,
    mut on_event: impl FnMut(Event),
) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        match event_in(&line) {
            Some(event) => on_event(event),
            // An error means that the session is over; the events are still of use.
            None => drop(answers.send(line)),
        }
    }
}

fn event_in(line: &[u8]) -> Option<Event> {
    let value: Value = serde_json::from_slice(line).ok()?;
    let name = value.get("event")?.as_str()?.to_owned();
    let data = value.get("data").map(Value::to_string).unwrap_or_default();
    let known = serde_json::from_value::<qmp::Event>(value).is_ok();
    Some(Event { name, data, known })
}

/// The lines that are answers, as the client reads them; waiting for one has a limit.
#[derive(Debug)]
struct Answers {
    lines: Receiver<Vec<u8>>,
    limit: Duration,
    line: Vec<u8>,
    at: usize,
}

impl Read for Answers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let have = self.fill_buf()?;
        let count = have.len().min(buffer.len());
        buffer[..count].copy_from_slice(&have[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Answers {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.line.len() {
            self.at = 0;
            self.line = match self.lines.recv_timeout(self.limit) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => Vec::new(),
                Err(RecvTimeoutError::Timeout) => return Err(io::ErrorKind::TimedOut.into()),
            };
        }
        Ok(&self.line[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const GREETING: &str = r#"{"QMP":{"version":{"qemu":{"micro":22,"minor":2,"major":7},"package":""},"capabilities":["oob"]}}"#;
    const SHORT: Duration = Duration::from_millis(200);

    /// Plays QEMU: for each line that the client sends, the next of `replies` (several lines are
    /// allowed) is written; then the stream is closed.
    fn fake(first: &'static str, replies: &'static [&'static str]) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            let mut writer = theirs.try_clone().unwrap();
            let mut reader = BufReader::new(theirs);
            let _ = writeln!(writer, "{first}");
            for reply in replies {
                let mut line = String::new();
                let _ = reader.read_line(&mut line);
                let _ = writeln!(writer, "{reply}");
            }
        });
        ours
    }

    #[test]
    fn an_event_that_the_schema_does_not_know_is_reported_and_the_session_goes_on() {
        let replies = &[
            "{\"event\":\"FROM_THE_FUTURE\",\"data\":{\"a\":1},\"timestamp\":{\"seconds\":1,\"microseconds\":2}}\n{\"return\":{}}",
            "{\"event\":\"STOP\",\"timestamp\":{\"seconds\":1,\"microseconds\":2}}\n{\"return\":{}}",
        ];
        let (sender, events) = mpsc::channel();
        let mut control = Control::connect(fake(GREETING, replies), SHORT, move |event| {
            sender.send(event).unwrap();
        })
        .unwrap();
        control.execute(&qmp::stop {}).unwrap();
        let first = events.recv_timeout(SHORT).unwrap();
        assert_eq!(
            (first.name.as_str(), first.known),
            ("FROM_THE_FUTURE", false)
        );
        assert_eq!(first.data, "{\"a\":1}");
        let second = events.recv_timeout(SHORT).unwrap();
        assert_eq!((second.name.as_str(), second.known), ("STOP", true));
    }

    #[test]
    fn a_qemu_that_dies_before_its_greeting_is_an_error_and_no_panic() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let error = Control::connect(ours, SHORT, drop).unwrap_err();
        assert!(matches!(error, QmpError::Closed), "{error}");
    }

    #[test]
    fn a_qemu_that_dies_between_greeting_and_answer_is_an_error_and_no_panic() {
        let error = Control::connect(fake(GREETING, &[]), SHORT, drop).unwrap_err();
        assert!(matches!(error, QmpError::Closed), "{error}");
    }

    #[test]
    fn a_qemu_that_says_nothing_is_an_error_within_the_limit() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let error = Control::connect(ours, SHORT, drop).unwrap_err();
        assert!(matches!(error, QmpError::Silent(_)), "{error}");
    }

    #[test]
    fn a_descriptor_reaches_qemu_before_the_command_that_names_it() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let qemu = std::thread::spawn(move || {
            let mut stream = theirs.try_clone().unwrap();
            writeln!(stream, "{GREETING}").unwrap();
            let mut lines = BufReader::new(theirs.try_clone().unwrap());
            let mut line = String::new();
            // The greeting's answer, byte by byte, so that nothing of the rest is read ahead.
            let mut byte = [0];
            while byte != *b"\n" {
                stream.read_exact(&mut byte).unwrap();
            }
            writeln!(stream, "{{\"return\":{{}}}}").unwrap();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = rustix::net::RecvAncillaryBuffer::new(&mut space);
            let mut blank = [0];
            rustix::net::recvmsg(
                &theirs,
                &mut [std::io::IoSliceMut::new(&mut blank)],
                &mut ancillary,
                rustix::net::RecvFlags::empty(),
            )
            .unwrap();
            let fds = ancillary
                .drain()
                .filter(|message| {
                    matches!(message, rustix::net::RecvAncillaryMessage::ScmRights(_))
                })
                .count();
            lines.read_line(&mut line).unwrap();
            writeln!(stream, "{{\"return\":{{}}}}").unwrap();
            (fds, blank, line)
        });
        let mut control = Control::connect(ours, SHORT, drop).unwrap();
        assert_eq!(control.version(), "7.2.22");
        control.pass_fd("state", std::io::stdin()).unwrap();
        let (fds, blank, line) = qemu.join().unwrap();
        assert_eq!((fds, &blank), (1, b" "));
        assert!(line.contains("getfd") && line.contains("state"), "{line}");
    }

    #[test]
    fn a_refusal_shows_qemus_own_words() {
        let replies = &[
            "{\"return\":{}}",
            "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no such line\"}}",
        ];
        let mut control = Control::connect(fake(GREETING, replies), SHORT, drop).unwrap();
        let error = control.send_break("console").unwrap_err();
        assert!(error.to_string().contains("no such line"), "{error}");
    }
}
