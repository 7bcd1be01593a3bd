// SPDX-License-Identifier: GPL-2.0-or-later
//! A running virtual machine: its processes, and everything that comes from it as one stream of
//! happenings that can be waited for with a limit.

use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::Sender;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use serde_json::Value;
use vmtest_protocol::FromAgent;
use vmtest_protocol::ToAgent;
use vmtest_protocol::frame;
use vmtest_protocol::frame::FrameError;

use crate::agentlog::Logs;
use crate::console;
use crate::console::Part;
use crate::console::Tail;
use crate::exec::Guarded;
use crate::interrupt::Interrupt;
use crate::qemu;
use crate::qemu::Channels;
use crate::qemu::Machine;
use crate::qmp::ANSWER_LIMIT;
use crate::qmp::Control;
use crate::qmp::Event;
use crate::qmp::QmpError;
use crate::qmp::commands::QueryReplay;
use crate::share::Share;
use crate::share::ShareSpec;
use crate::splat::Scanner;
use crate::splat::Splat;
use crate::splat::Splats;

mod memory;
mod plug;
mod seen;

pub use memory::Saved;
pub use seen::Observer;
pub use seen::Seen;

/// How often the processes are looked at while nothing happens.
const TICK: Duration = Duration::from_millis(50);
/// How long the rest of a splat is waited for after its last line.
const SPLAT_REST: Duration = Duration::from_millis(500);
/// How long the last words are waited for when QEMU or a channel has ended.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// How long a write to the agent may block before the guest counts as stuck.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// How long the answer to a sysrq command is listened for.
const SYSRQ_ANSWER: Duration = Duration::from_millis(600);
/// How long the list of blocked tasks may take, which is printed over a slow line.
const BLOCKED_ANSWER: Duration = Duration::from_secs(5);
/// The file with the kernel's answer, in the run's folder.
const BLOCKED_FILE: &str = "blocked.txt";
/// Console lines in a reason.
const TAIL_LINES: usize = 30;
/// Lines of the kernel's list of blocked tasks in a reason.
const BLOCKED_LINES: usize = 80;

/// What comes from the machine.
enum Happening {
    Agent(Box<FromAgent>),
    AgentEnd(FrameError),
    Console(Part),
    Qmp(Event),
}

/// Why waiting ended without what was waited for.
#[derive(Debug)]
pub enum Trouble {
    /// Nothing came within the limit.
    Deadline,
    /// The console shows a splat.
    Splat(Splat),
    /// QEMU ended; how, and what it said.
    QemuDied(String),
    /// The agent's channel ended or carried nonsense.
    AgentGone(String),
    /// The host could not do its part: what, and why.
    Host(String),
    /// The console does not stop.
    ConsoleFlood,
    /// Somebody pressed Ctrl-C.
    Interrupted,
}

/// Where a machine leaves its traces.
#[derive(Debug, Clone)]
pub struct Traces {
    /// The run's folder.
    pub dir: PathBuf,
}

impl Traces {
    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// A running machine. Dropping it kills everything.
pub struct Vm {
    qemu: Guarded,
    shares: Vec<Share>,
    control: Option<Control>,
    agent: UnixStream,
    console: UnixStream,
    happenings: Receiver<(Instant, Happening)>,
    sender: Sender<(Instant, Happening)>,
    qmp: Option<UnixStream>,
    tail: Tail,
    scanner: Scanner,
    splat_since: Option<Instant>,
    logs: Logs,
    agent_end: Option<(Instant, String)>,
    console_ended: bool,
    traces: Traces,
    observers: Vec<Observer>,
    memory: File,
    gdb: Option<u16>,
    /// Devices that the guest has let go.
    gone: Vec<String>,
    interrupt: Interrupt,
}

/// What a machine needs besides its own description.
pub struct Surroundings<'a> {
    /// This program's file.
    pub own: &'a Path,
    /// Folders for the guest.
    pub shares: &'a [ShareSpec],
    /// What counts as a splat.
    pub splats: &'a Splats,
    /// Where traces go.
    pub traces: Traces,
    /// Who is told what comes from the machine, from the beginning.
    pub observers: Vec<Observer>,
    /// Ctrl-C.
    pub interrupt: Interrupt,
}

impl Vm {
    /// Starts the shares' helpers and QEMU. The calling thread must live until the machine is gone.
    pub fn start(machine: &Machine<'_>, around: Surroundings<'_>) -> anyhow::Result<Vm> {
        let traces = around.traces;
        let helper_log = traces.file("shares.log");
        let mut shares = Vec::new();
        let mut sockets = Vec::new();
        for spec in around.shares {
            let share = Share::start(around.own, spec, &helper_log)?;
            sockets.push(share.socket.try_clone().context("cannot copy a socket")?);
            shares.push(share);
        }
        let pair = || UnixStream::pair().context("cannot make a socket pair");
        let (console, console_end) = pair()?;
        let (qmp, qmp_end) = pair()?;
        let (agent, agent_end) = pair()?;
        agent.set_write_timeout(Some(WRITE_LIMIT))?;
        let channels = Channels {
            console: console_end.into(),
            qmp: qmp_end.into(),
            agent: agent_end.into(),
            shares: sockets,
        };
        let logs = Logs::create(&traces.dir)?;
        let started = machine.spawn(
            around.own,
            channels,
            &traces.file("qemu.cmdline"),
            &traces.file("qemu.stderr"),
        )?;
        let (sender, happenings) = mpsc::channel();
        read_console(console.try_clone()?, sender.clone())?;
        read_agent(agent.try_clone()?, sender.clone())?;
        Ok(Vm {
            qemu: started.process,
            shares,
            control: None,
            agent,
            console,
            happenings,
            sender,
            qmp: Some(qmp),
            tail: Tail::default(),
            scanner: around.splats.scanner(),
            splat_since: None,
            logs,
            agent_end: None,
            console_ended: false,
            traces,
            observers: around.observers,
            memory: started.memory,
            gdb: started.gdb,
            gone: Vec::new(),
            interrupt: around.interrupt,
        })
    }

    /// Opens QEMU's control channel, within the limit.
    pub fn connect_control(&mut self, limit: Duration) -> Result<(), Trouble> {
        let Some(stream) = self.qmp.take() else {
            return Ok(());
        };
        let sender = self.sender.clone();
        let forward = move |event| drop(sender.send((Instant::now(), Happening::Qmp(event))));
        match Control::connect(stream, limit.min(ANSWER_LIMIT), forward) {
            Ok(control) => {
                self.control = Some(control);
                Ok(())
            }
            Err(error) => {
                let ended = self.qemu.wait(LAST_WORDS).is_some();
                Err(Trouble::QemuDied(match ended {
                    true => self.how_qemu_ended(),
                    false => format!("{error}; {}", self.stderr_tail()),
                }))
            }
        }
    }

    /// Does something by QMP; `what` says what it is about when it fails.
    pub fn execute<C: qapi::qmp::QmpCommand>(
        &mut self,
        what: &str,
        command: &C,
    ) -> Result<C::Ok, Trouble> {
        self.with_control(what, |control| control.execute(command))
    }

    fn with_control<T>(
        &mut self,
        what: &str,
        act: impl FnOnce(&mut Control) -> Result<T, QmpError>,
    ) -> Result<T, Trouble> {
        let Some(control) = &mut self.control else {
            return Err(Trouble::Host(format!("{what}: QEMU is not connected")));
        };
        match act(control) {
            Ok(done) => Ok(done),
            Err(QmpError::Closed) => {
                self.qemu.wait(LAST_WORDS);
                self.drain();
                Err(Trouble::QemuDied(format!(
                    "{what}: {}",
                    self.how_qemu_ended()
                )))
            }
            Err(error) => Err(Trouble::Host(format!("{what}: {error}"))),
        }
    }

    /// QEMU's version, once its control channel is open.
    pub fn qemu_version(&self) -> Option<&str> {
        self.control.as_ref().map(Control::version)
    }

    /// The port of 127.0.0.1 on which QEMU listens for a debugger.
    pub fn gdb(&self) -> Option<u16> {
        self.gdb
    }

    /// From now on `observer` is told everything that comes from the machine, as it comes.
    pub fn observe(&mut self, observer: Observer) {
        self.observers.push(observer);
    }

    /// Ends QEMU and the shares' helpers at once, as a power cut does. What they have said is taken
    /// in; nothing else can be done with the machine afterwards.
    pub fn kill(&mut self) {
        self.qemu.kill();
        for share in &mut self.shares {
            share.helper.kill();
        }
        self.drain();
    }

    /// Sends a message to the agent.
    pub fn send(&mut self, message: &ToAgent) -> Result<(), Trouble> {
        frame::write(&mut self.agent, message)
            .map_err(|error| Trouble::AgentGone(format!("cannot send to the agent: {error}")))
    }

    /// Waits until `wanted` finds what it wants among the agent's messages.
    pub fn wait_for<T>(
        &mut self,
        deadline: Instant,
        mut wanted: impl FnMut(&FromAgent) -> Option<T>,
    ) -> Result<T, Trouble> {
        loop {
            if self.interrupt.asked() {
                return Err(Trouble::Interrupted);
            }
            let now = Instant::now();
            let left = deadline.saturating_duration_since(now).min(TICK);
            match self.happenings.recv_timeout(left) {
                Ok((at, Happening::Agent(message))) => {
                    self.agent_said(at, &message);
                    if let Some(found) = wanted(&message) {
                        return Ok(found);
                    }
                }
                Ok((at, other)) => self.take(at, other)?,
                Err(_) => self.look_around()?,
            }
            if Instant::now() >= deadline {
                // A splat that has begun explains more than the time that is up.
                return Err(match self.scanner.finish() {
                    Some(splat) => Trouble::Splat(splat),
                    None => Trouble::Deadline,
                });
            }
        }
    }

    /// Lets `span` pass, taking in what comes.
    pub fn listen(&mut self, span: Duration) -> Result<(), Trouble> {
        match self.wait_for::<()>(Instant::now() + span, |_| None) {
            Err(Trouble::Deadline) => Ok(()),
            Err(trouble) => Err(trouble),
            Ok(()) => Ok(()),
        }
    }

    /// Waits until QEMU has ended by itself; false when the limit passes first.
    pub fn wait_for_end(&mut self, limit: Duration) -> Result<bool, Trouble> {
        let deadline = Instant::now() + limit;
        loop {
            match self.listen(TICK) {
                Ok(()) => {}
                // The end is what is waited for.
                Err(Trouble::QemuDied(_) | Trouble::AgentGone(_)) => {}
                Err(trouble) => return Err(trouble),
            }
            if self.qemu.ended().is_some() {
                self.drain();
                return match self.scanner.finish() {
                    Some(splat) => Err(Trouble::Splat(splat)),
                    None => Ok(true),
                };
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
        }
    }

    /// Asks the kernel, over the serial line and so without the agent, to print its blocked tasks
    /// and what the CPUs do. The answer is what a reason shows: the console's last lines from
    /// before, and the blocked tasks. All of it goes to `blocked.txt` in the run's folder.
    pub fn show_blocked(&mut self) -> String {
        let before = self.console_tail();
        let seen = self.tail.count();
        // All messages are to be printed; then the blocked tasks.
        for key in ["9", "w"] {
            if !self.sysrq(key) {
                return before;
            }
        }
        self.wait_for_quiet(seen);
        let blocked = self.tail.since(seen, BLOCKED_LINES);
        self.sysrq("l");
        self.keep_blocked(seen);
        match blocked.is_empty() {
            true => format!("{before}\n(the kernel did not answer sysrq on its serial line)"),
            false => format!("{before}\nblocked tasks, asked for by sysrq:\n{blocked}"),
        }
    }

    /// A long list takes its time on the serial line.
    fn wait_for_quiet(&mut self, seen: usize) {
        let deadline = Instant::now() + BLOCKED_ANSWER;
        let mut count = self.tail.count();
        while count > seen && Instant::now() < deadline {
            let _ = self.listen(SYSRQ_ANSWER);
            if self.tail.count() == count {
                return;
            }
            count = self.tail.count();
        }
    }

    fn keep_blocked(&mut self, seen: usize) {
        let all = self.tail.since(seen, usize::MAX);
        let text = match all.is_empty() {
            true => "the kernel did not answer sysrq on its serial line\n".to_owned(),
            false => all + "\n",
        };
        // The reason has the most important part already.
        let _ = std::fs::write(self.traces.file(BLOCKED_FILE), text);
    }

    /// Sends one sysrq command over the serial line and lets the answer come.
    fn sysrq(&mut self, key: &str) -> bool {
        let Some(control) = &mut self.control else {
            return false;
        };
        if control.send_break(qemu::CONSOLE_ID).is_err()
            || self.console.write_all(key.as_bytes()).is_err()
        {
            return false;
        }
        // The key must arrive as the character after its break, and not after the next one.
        let _ = self.listen(SYSRQ_ANSWER);
        true
    }

    /// The last lines of the console.
    pub fn console_tail(&self) -> String {
        self.tail.last(TAIL_LINES)
    }

    /// Reasons of allowed splats that were seen.
    pub fn allowed_splats(&self) -> &[String] {
        self.scanner.allowed()
    }

    /// The last lines that QEMU and the shares' helpers wrote.
    pub fn stderr_tail(&self) -> String {
        let mut all = String::new();
        for name in ["qemu.stderr", "shares.log"] {
            let text = std::fs::read(self.traces.file(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
            let skip = lines.len().saturating_sub(10);
            if !lines.is_empty() {
                all += &format!("{name} says: {}", lines[skip..].join(" / "));
                all.push(' ');
            }
        }
        match all.is_empty() {
            true => "QEMU wrote nothing to its standard error".to_owned(),
            false => all.trim_end().to_owned(),
        }
    }

    fn agent_said(&mut self, at: Instant, message: &FromAgent) {
        if let FromAgent::CountInstructions { seq } = message {
            self.answer_count(*seq);
        }
        self.logs.message(message);
        self.tell(at, &Seen::Agent(message));
    }

    /// Tells the agent how many instructions QEMU has executed. Whoever asked waits idly, so that the
    /// count stands still.
    fn answer_count(&mut self, seq: u64) {
        let none = Value::Object(Default::default());
        let asked = self.execute("counting instructions", &QueryReplay(none));
        let executed = asked.map(|answer| answer["icount"].as_u64());
        let executed = executed.unwrap_or_else(|trouble| {
            self.logs.note(&format!("host: {trouble:?}"));
            None
        });
        if let Err(trouble) = self.send(&ToAgent::Instructions { seq, executed }) {
            self.logs.note(&format!("host: {trouble:?}"));
        }
    }

    fn tell(&self, at: Instant, seen: &Seen<'_>) {
        for observer in &self.observers {
            observer(at, seen);
        }
    }

    fn take(&mut self, at: Instant, happening: Happening) -> Result<(), Trouble> {
        match happening {
            Happening::Agent(message) => self.agent_said(at, &message),
            Happening::AgentEnd(error) => {
                self.agent_end = Some((Instant::now(), error.to_string()));
            }
            Happening::Console(Part::Line(line)) => {
                self.tail.push(&line);
                self.tell(at, &Seen::Console(&line));
                if let Some(splat) = self.scanner.line(&line) {
                    return Err(Trouble::Splat(splat));
                }
                self.splat_since = self.scanner.is_open().then(Instant::now);
            }
            Happening::Console(Part::Flood) => return Err(Trouble::ConsoleFlood),
            Happening::Console(Part::End) => self.console_ended = true,
            Happening::Qmp(event) => {
                let line = format!("qemu: event {} {}", event.name, event.data);
                self.logs.note(&line);
                self.tell(at, &Seen::Qmp(&event));
                self.plug_event(&event);
            }
        }
        self.splat_in_time()
    }

    fn splat_in_time(&mut self) -> Result<(), Trouble> {
        let complete = self
            .splat_since
            .is_some_and(|since| since.elapsed() > SPLAT_REST || self.console_ended);
        if complete {
            self.splat_since = None;
            if let Some(splat) = self.scanner.finish() {
                return Err(Trouble::Splat(splat));
            }
        }
        Ok(())
    }

    fn look_around(&mut self) -> Result<(), Trouble> {
        self.splat_in_time()?;
        if self.qemu.ended().is_some() {
            self.drain();
            return Err(match self.scanner.finish() {
                Some(splat) => Trouble::Splat(splat),
                None => Trouble::QemuDied(self.how_qemu_ended()),
            });
        }
        for share in &mut self.shares {
            if let Some(status) = share.helper.ended() {
                let tag = share.tag.clone();
                let says = self.stderr_tail();
                return Err(Trouble::QemuDied(format!(
                    "the helper of the share `{tag}` ended ({status}): {says}"
                )));
            }
        }
        match &self.agent_end {
            Some((when, why)) if when.elapsed() > LAST_WORDS => Err(Trouble::AgentGone(format!(
                "the agent's channel ended: {why}"
            ))),
            _ => Ok(()),
        }
    }

    /// Takes in what is still under way after QEMU's end.
    fn drain(&mut self) {
        let deadline = Instant::now() + LAST_WORDS;
        while !self.console_ended && Instant::now() < deadline {
            match self.happenings.recv_timeout(TICK) {
                Ok((at, happening)) => drop(self.take(at, happening)),
                Err(_) => return,
            }
        }
    }

    fn how_qemu_ended(&mut self) -> String {
        match self.qemu.ended() {
            Some(status) => format!("QEMU ended ({status}); {}", self.stderr_tail()),
            None => self.stderr_tail(),
        }
    }
}

fn read_console(stream: UnixStream, sender: Sender<(Instant, Happening)>) -> anyhow::Result<()> {
    std::thread::Builder::new()
        .name("console".to_owned())
        .spawn(move || {
            console::read_lines(stream, |part| {
                drop(sender.send((Instant::now(), Happening::Console(part))));
            });
        })
        .context("cannot start a thread")?;
    Ok(())
}

fn read_agent(mut stream: UnixStream, sender: Sender<(Instant, Happening)>) -> anyhow::Result<()> {
    std::thread::Builder::new()
        .name("agent".to_owned())
        .spawn(move || {
            loop {
                let happening = match frame::read(&mut stream) {
                    Ok(message) => Happening::Agent(Box::new(message)),
                    Err(error) => Happening::AgentEnd(error),
                };
                let last = matches!(happening, Happening::AgentEnd(_));
                if sender.send((Instant::now(), happening)).is_err() || last {
                    return;
                }
            }
        })
        .context("cannot start a thread")?;
    Ok(())
}
