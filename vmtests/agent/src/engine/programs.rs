// SPDX-License-Identifier: GPL-2.0-or-later
//! Programs: those of one step, and those that go on beside the following ones.

use std::collections::BTreeMap;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use vmtest_protocol::message::Exit;
use vmtest_protocol::message::Stream;
use vmtest_protocol::step::Run;
use vmtest_protocol::step::SignalName;
use vmtest_protocol::step::SignalProgram;
use vmtest_protocol::step::StartProgram;
use vmtest_protocol::step::WaitProgram;

use super::Context;
use super::Done;
use super::Stop;
use super::ending::ended_as;
use super::ending::ended_words;
use super::lock;
use super::output::Source;
use super::output::forward;
use super::wrong;
use crate::blocked;

/// How much of a program's output is kept for `stdout` and `stderr`.
const KEPT: usize = 1 << 20;

/// Programs that were started and not waited for, by name.
#[derive(Default)]
pub struct Programs {
    running: Mutex<BTreeMap<String, Program>>,
}

impl Programs {
    /// Names and process ids.
    pub fn list(&self) -> Vec<(String, u32)> {
        lock(&self.running)
            .iter()
            .map(|(name, program)| (name.clone(), program.pid))
            .collect()
    }
}

/// What a step says about a program to start.
struct Launch<'a> {
    argv: &'a [String],
    env: &'a BTreeMap<String, String>,
    cwd: Option<&'a str>,
    stdin: Option<&'a str>,
}

/// A program that was started.
struct Program {
    pid: u32,
    /// For messages.
    what: String,
    stdout: Heard,
    stderr: Heard,
}

/// One of a program's output streams.
struct Heard {
    kept: Arc<Mutex<Vec<u8>>>,
    end: mpsc::Receiver<String>,
}

impl Context {
    fn launch(&self, launch: &Launch<'_>, source: Source<'_>) -> Result<Program, Stop> {
        let agent = &self.agent;
        let Some((program, arguments)) = launch.argv.split_first() else {
            return Err(wrong("a program without a name"));
        };
        let cwd = launch.cwd.unwrap_or("/");
        if !Path::new(cwd).is_dir() {
            return Err(wrong(format!(
                "cannot start {program} in {cwd}: that is no folder"
            )));
        }
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(launch.env)
            .current_dir(cwd)
            .stdin(match launch.stdin {
                Some(_) => Stdio::piped(),
                None => Stdio::null(),
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = agent
            .children
            .spawn(&mut command)
            .map_err(|error| wrong(format!("cannot start {program}: {error}")))?;
        if let Some(text) = launch.stdin {
            say_to(&mut child, text.to_owned())?;
        }
        let pipe = child.stdout.take();
        let stdout = self.hear(pipe, source, Stream::Stdout);
        let pipe = child.stderr.take();
        let stderr = self.hear(pipe, source, Stream::Stderr);
        Ok(Program {
            pid: child.id(),
            what: program.clone(),
            stdout,
            stderr,
        })
    }

    fn hear(
        &self,
        pipe: Option<impl Read + AsFd + Send + 'static>,
        source: Source<'_>,
        stream: Stream,
    ) -> Heard {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let tee = pipe.map(|pipe| Tee {
            pipe,
            kept: Arc::clone(&kept),
        });
        let end = forward(&self.agent, source, stream, tee);
        Heard { kept, end }
    }

    pub(super) fn run(&self, run: &Run) -> Result<Done, Stop> {
        let checks = Checks::new(&run.stdout, &run.stderr)?;
        let launch = Launch {
            argv: &run.argv,
            env: &run.env,
            cwd: run.cwd.as_deref(),
            stdin: run.stdin.as_deref(),
        };
        let kill_at = match &run.kill_after {
            Some(after) => Some(Instant::now() + after.get().map_err(wrong)?.0),
            None => None,
        };
        let name = run.argv.first().map_or("", String::as_str);
        let source = Source {
            name,
            id: self.id,
            log: None,
        };
        let program = self.launch(&launch, source)?;
        let _acting = self.acting(program.pid);
        let exit = self.run_until(&program, kill_at)?;
        checks.judge(&program, exit, &run.ended_by)
    }

    /// Waits for a program's end, and kills it when its time is up.
    fn run_until(&self, program: &Program, kill_at: Option<Instant>) -> Result<Exit, Stop> {
        let children = &self.agent.children;
        let pid = program.pid;
        let mut kill_at = kill_at;
        let waited = self.poll(self.deadline, || {
            if kill_at.is_some_and(|at| Instant::now() >= at) {
                kill_at = None;
                // Ended by itself just now: the exit says so.
                let _ = children.signal(pid, rustix::process::Signal::KILL);
            }
            Ok(children.wait(pid, Duration::ZERO))
        });
        match waited {
            Ok(Some(exit)) => Ok(exit),
            Ok(None) => {
                let blocked = blocked::tasks(pid);
                children.kill(pid);
                Err(Stop::TimedOut {
                    reason: format!("{}: {}", program.what, blocked::summary(&blocked)),
                    blocked,
                })
            }
            Err(stop) => {
                children.kill(pid);
                Err(stop)
            }
        }
    }

    pub(super) fn start_program(&self, start: &StartProgram) -> Result<Done, Stop> {
        let agent = &self.agent;
        if start.name == crate::logs::KERNEL {
            return Err(wrong("`kernel` is the name of the kernel's log"));
        }
        let mut running = lock(&agent.programs.running);
        if running.contains_key(&start.name) {
            return Err(wrong(format!(
                "a program `{}` was started already: wait for it first, or use another name",
                start.name
            )));
        }
        agent.logs.begin(&start.name);
        let launch = Launch {
            argv: &start.argv,
            env: &start.env,
            cwd: start.cwd.as_deref(),
            stdin: start.stdin.as_deref(),
        };
        let source = Source {
            name: &start.name,
            id: 0,
            log: Some(&start.name),
        };
        let program = self.launch(&launch, source)?;
        running.insert(start.name.clone(), program);
        Ok(Done::default())
    }

    pub(super) fn signal_program(&self, step: &SignalProgram) -> Result<Done, Stop> {
        let signal: SignalName = step.signal.get().map_err(wrong)?;
        let pid = lock(&self.agent.programs.running)
            .get(&step.name)
            .map(|program| program.pid)
            .ok_or_else(|| unknown(&step.name))?;
        self.signal(&format!("the program `{}`", step.name), pid, signal)?;
        Ok(Done::default())
    }

    pub(super) fn wait_program(&self, step: &WaitProgram) -> Result<Done, Stop> {
        let checks = Checks::new(&step.stdout, &step.stderr)?;
        let within = step.within.get().map_err(wrong)?.0;
        let pid = lock(&self.agent.programs.running)
            .get(&step.name)
            .map(|program| program.pid)
            .ok_or_else(|| unknown(&step.name))?;
        let exit = self.ending(&format!("the program `{}`", step.name), pid, within)?;
        let program = lock(&self.agent.programs.running).remove(&step.name);
        let program = program.ok_or_else(|| unknown(&step.name))?;
        checks.judge(&program, exit, &step.ended_by)
    }
}

fn unknown(name: &str) -> Stop {
    wrong(format!("no program is called `{name}`"))
}

/// Writes a program's input; on a thread, because it need not read.
fn say_to(child: &mut Child, text: String) -> Result<(), Stop> {
    let Some(mut pipe) = child.stdin.take() else {
        return Ok(());
    };
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            // It may end without having read all.
            let _ = pipe.write_all(text.as_bytes());
        })
        .map(drop)
        .map_err(|error| wrong(format!("cannot start a thread: {error}")))
}

/// What a program's output must match.
struct Checks {
    stdout: Option<regex_lite::Regex>,
    stderr: Option<regex_lite::Regex>,
}

impl Checks {
    fn new(stdout: &Option<String>, stderr: &Option<String>) -> Result<Checks, Stop> {
        let compile = |text: &Option<String>| match text {
            Some(text) => super::pattern(text).map(Some),
            None => Ok(None),
        };
        Ok(Checks {
            stdout: compile(stdout)?,
            stderr: compile(stderr)?,
        })
    }

    fn judge(
        &self,
        program: &Program,
        exit: Exit,
        expected: &vmtest_protocol::step::EndedBy,
    ) -> Result<Done, Stop> {
        let heard = [&program.stdout, &program.stderr];
        let words: Vec<String> = heard
            .iter()
            .map(|heard| {
                // What a child of it still holds open is not waited for.
                let last = heard.end.recv_timeout(Duration::from_secs(1));
                last.unwrap_or_default()
            })
            .filter(|words| !words.is_empty())
            .collect();
        let words = words.join(" | ");
        let what = &program.what;
        if !ended_as(&exit, expected) {
            return Err(Stop::Failed(format!(
                "{what} ended with {exit}, {} was expected; it said: {words}",
                ended_words(expected)
            )));
        }
        let streams = [
            ("output", &self.stdout, &program.stdout),
            ("standard error", &self.stderr, &program.stderr),
        ];
        for (name, pattern, heard) in streams {
            let Some(pattern) = pattern else { continue };
            let kept = lock(&heard.kept);
            if !pattern.is_match(&String::from_utf8_lossy(&kept)) {
                let more = match kept.len() {
                    KEPT => " (of which the first MiB is looked at)",
                    _ => "",
                };
                return Err(Stop::Failed(format!(
                    "{what}: its {name}{more} does not match `{pattern}`; it said: {words}"
                )));
            }
        }
        Ok(Done {
            exit: Some(exit),
            ..Done::default()
        })
    }
}

/// A pipe of which the beginning is kept.
struct Tee<R> {
    pipe: R,
    kept: Arc<Mutex<Vec<u8>>>,
}

impl<R: AsFd> AsFd for Tee<R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let got = self.pipe.read(buffer)?;
        let mut kept = lock(&self.kept);
        let room = KEPT.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..got.min(room)]);
        Ok(got)
    }
}
