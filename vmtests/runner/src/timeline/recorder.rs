// SPDX-License-Identifier: GPL-2.0-or-later
//! Writes a run's timeline while the run goes on, and remembers the steps for its result.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Instant;

use anyhow::Context;
use vmtest_protocol::FromAgent;
use vmtest_protocol::Step;
use vmtest_protocol::message;
use vmtest_protocol::message::Stream;

use super::Entry;
use super::FILE;
use super::Level;
use super::Mark;
use super::Source;
use super::clean;
use super::clock::Clock;
use super::events;
use super::events::Event;
use super::inner;
use super::inner::Inner;
use crate::agentlog;
use crate::results;
use crate::results::StepOutcome;
use crate::results::StepResult;
use crate::vm::Observer;
use crate::vm::Seen;

/// No timeline gets longer than this, in bytes: the disk of the host is not ours.
const MAX_FILE: u64 = 64 << 20;

/// The recorder of a run. Clones write into the same timeline.
#[derive(Clone)]
pub struct Recorder {
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

struct State {
    file: File,
    written: u64,
    full: bool,
    began: Instant,
    /// When what is being written arrived, where that was earlier than now.
    arrived: Option<Instant>,
    /// The time of the last entry: the order of the entries is that of their times.
    last: f64,
    clock: Clock,
    /// The number of the step that is under way, and when it began.
    step: Option<(u64, f64)>,
    inner: Inner,
    /// The unfinished last lines of programs.
    pending: BTreeMap<(u64, String, bool), String>,
}

impl Recorder {
    /// Begins the timeline of a run in its folder; times count from `began`.
    pub fn create(dir: &Path, began: Instant) -> anyhow::Result<Self> {
        let path = dir.join(FILE);
        let file =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Recorder {
            state: Arc::new(Mutex::new(State {
                file,
                written: 0,
                full: false,
                began,
                arrived: None,
                last: 0.0,
                clock: Clock::default(),
                step: None,
                inner: Inner::default(),
                pending: BTreeMap::new(),
            })),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line of a console, for tests.
    #[cfg(test)]
    pub(crate) fn line(&self, line: &str) {
        self.see(Instant::now(), &Seen::Console(line));
    }

    /// What writes everything that comes from a machine into the timeline.
    pub fn observer(&self) -> Observer {
        let recorder = self.clone();
        Rc::new(move |at, seen| recorder.see(at, seen))
    }

    /// Something came from a machine at this moment.
    pub fn see(&self, at: Instant, seen: &Seen<'_>) {
        let mut state = self.lock();
        state.arrived = Some(at);
        match seen {
            Seen::Console(line) => state.say(Source::Console, Level::Info, line),
            Seen::Agent(message) => state.message(message),
            Seen::Qmp(event) => {
                let text = format!("event {} {}", event.name, event.data);
                state.say(Source::Qemu, Level::Info, &text);
            }
            Seen::Host(text) => state.say(Source::Host, Level::Info, text),
        }
        state.arrived = None;
    }

    /// What the runner does, such as `booting`.
    pub fn host(&self, level: Level, text: &str) {
        self.lock().say(Source::Host, level, text);
    }

    /// The step `number` of `of` (from 1) begins.
    pub fn step_begins(&self, number: u64, of: usize, step: &Step) {
        let mut state = self.lock();
        let now = state.now();
        state.step = Some((number, now));
        let text = format!("{number}/{of} {}", step.title());
        state.put(Entry {
            mark: Some(Mark::Begins),
            ..entry(now, Source::Step, Level::Info, &text)
        });
    }

    /// The step that is under way has ended; what is known about it.
    pub fn step_ended(
        &self,
        step: &Step,
        outcome: StepOutcome,
        reason: &str,
        seconds: f64,
    ) -> StepResult {
        let mut state = self.lock();
        let (number, start_s) = state.step.unwrap_or_default();
        state.flush(number);
        let (steps, unlisted) = state.inner.take();
        let (seen, expected) = inner::split(reason);
        let (level, text) = match reason.is_empty() {
            true => (
                Level::Info,
                format!("{}: {}", step.title(), outcome.words()),
            ),
            false => (
                Level::Error,
                format!(
                    "{}: {}: {}",
                    step.title(),
                    outcome.words(),
                    reason.lines().next().unwrap_or_default()
                ),
            ),
        };
        let now = state.now();
        state.put(Entry {
            mark: Some(Mark::Ended),
            ..entry(now, Source::Step, level, &text)
        });
        state.step = None;
        StepResult {
            outcome,
            reason: reason.to_owned(),
            start_s,
            seconds,
            expected,
            seen,
            steps,
            unlisted,
            ..StepResult::of(step)
        }
    }

    /// The run has ended: sorts the guest's event logs in. The file is replaced as a whole.
    pub fn finish(&self, dir: &Path, guest: &[Event]) -> anyhow::Result<()> {
        let mut state = self.lock();
        state.flush_all();
        let more = events::entries(guest, &state.clock);
        if more.is_empty() {
            return Ok(());
        }
        let path = dir.join(FILE);
        let mut all = Vec::new();
        super::read(&path, |entry| all.push(entry))?;
        all.extend(more);
        all.sort_by(|a, b| a.t_s.total_cmp(&b.t_s));
        let mut text = Vec::new();
        let mut step = None;
        for entry in &mut all {
            // What was sorted in happened during the step that was under way then.
            match entry.mark {
                Some(Mark::Begins) => step = entry.step,
                Some(Mark::Ended) => step = None,
                _ => entry.step = entry.step.or(step),
            }
            serde_json::to_writer(&mut text, entry).context("the timeline as JSON")?;
            text.push(b'\n');
        }
        results::replace(&path, &text)
    }
}

fn entry(t_s: f64, source: Source, level: Level, text: &str) -> Entry {
    Entry {
        // Microseconds are enough.
        t_s: (t_s * 1e6).round() / 1e6,
        source,
        level,
        step: None,
        mark: None,
        text: clean::line(text),
    }
}

impl State {
    fn now(&mut self) -> f64 {
        let now = self.arrived.unwrap_or_else(Instant::now);
        let since = now.saturating_duration_since(self.began).as_secs_f64();
        self.last = self.last.max(since);
        self.last
    }

    fn say(&mut self, source: Source, level: Level, text: &str) {
        let now = self.now();
        self.put(entry(now, source, level, text));
    }

    /// Writes an entry. Errors are left to whoever misses the line: a full disk shows elsewhere.
    fn put(&mut self, mut entry: Entry) {
        entry.step = entry.step.or(self.step.map(|(number, _)| number));
        if self.full {
            return;
        }
        if self.written > MAX_FILE {
            self.full = true;
            entry.source = Source::Host;
            entry.level = Level::Warn;
            entry.mark = None;
            entry.text = format!(
                "the timeline ends here, at {} MiB; console.log and agent.log go on",
                MAX_FILE >> 20
            );
        }
        let Ok(mut line) = serde_json::to_vec(&entry) else {
            return;
        };
        line.push(b'\n');
        self.written += line.len() as u64;
        let _ = self.file.write_all(&line);
    }

    fn message(&mut self, message: &FromAgent) {
        match message {
            FromAgent::Hello(hello) => {
                self.say(Source::Agent, Level::Info, &agentlog::greeting(hello));
                self.uptime(hello.uptime_ms);
            }
            FromAgent::SetupDone { error: None } => {
                self.say(Source::Agent, Level::Info, "set up");
            }
            FromAgent::SetupDone { error: Some(error) } => {
                self.say(Source::Agent, Level::Error, error);
            }
            FromAgent::Log {
                level,
                uptime_ms,
                text,
            } => {
                let level = match level {
                    message::Level::Debug => Level::Debug,
                    message::Level::Info => Level::Info,
                    message::Level::Warn => Level::Warn,
                    message::Level::Error => Level::Error,
                };
                for line in text.lines() {
                    self.say(Source::Agent, level, line);
                }
                self.uptime(*uptime_ms);
            }
            FromAgent::Output {
                id,
                source,
                stream,
                text,
            } => self.output(*id, source, *stream, text),
            FromAgent::Inner { path, outcome, .. } => {
                let now = self.now();
                self.inner.say(path, outcome.as_ref(), now);
                let (mark, level, text) = match outcome {
                    None => (Mark::InnerBegins, Level::Debug, path.clone()),
                    Some(message::Outcome::Passed) => {
                        (Mark::InnerEnded, Level::Debug, format!("{path}: passed"))
                    }
                    Some(outcome) => {
                        let reason = outcome.reason().unwrap_or_default();
                        let reason = reason.lines().next().unwrap_or_default();
                        (Mark::InnerEnded, Level::Warn, format!("{path}: {reason}"))
                    }
                };
                self.put(Entry {
                    mark: Some(mark),
                    ..entry(now, Source::Step, level, &text)
                });
            }
            FromAgent::StepEnded { measurements, .. } => {
                for found in measurements {
                    let text = format!("{} = {} {}", found.name, found.value, found.unit);
                    self.say(Source::Agent, Level::Info, &text);
                }
            }
            FromAgent::Notice { text } => {
                for line in text.lines() {
                    self.say(Source::Agent, Level::Info, line);
                }
            }
            // Answers that the runner asked for to make up its mind.
            _ => {}
        }
    }

    fn uptime(&mut self, uptime_ms: u64) {
        let now = self.now();
        self.clock.sample(uptime_ms as f64 / 1e3, now);
    }

    /// What programs write comes in portions that need not end with a line.
    fn output(&mut self, id: u64, source: &str, stream: Stream, text: &str) {
        let key = (id, source.to_owned(), stream == Stream::Stderr);
        let mut pending = self.pending.remove(&key).unwrap_or_default();
        for part in text.split_inclusive('\n') {
            pending.push_str(part);
            if part.ends_with('\n') || pending.len() > clean::MAX_TEXT {
                self.program_says(&key, &pending);
                pending.clear();
            }
        }
        if !pending.is_empty() {
            self.pending.insert(key, pending);
        }
    }

    fn program_says(&mut self, key: &(u64, String, bool), line: &str) {
        // Programs that outlive their step have no number.
        let from = match key.0 {
            0 => Source::Daemon,
            _ => Source::Program,
        };
        let stream = match key.2 {
            true => " (stderr)",
            false => "",
        };
        let text = format!("{}{stream}: {line}", key.1);
        self.say(from, Level::Info, &text);
    }

    /// Lines without an end, of programs of one step.
    fn flush(&mut self, step: u64) {
        let (of_step, others) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|(key, _)| key.0 == step);
        self.pending = others;
        let of_step: BTreeMap<_, _> = of_step;
        for (key, line) in of_step {
            self.program_says(&key, &line);
        }
    }

    fn flush_all(&mut self) {
        for (key, line) in std::mem::take(&mut self.pending) {
            self.program_says(&key, &line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmtest_protocol::step::Action;
    use vmtest_protocol::step::DropCaches;

    fn entries(dir: &Path) -> Vec<Entry> {
        let mut all = Vec::new();
        super::super::read(&dir.join(FILE), |entry| all.push(entry)).unwrap();
        all
    }

    fn agent(recorder: &Recorder, message: &FromAgent) {
        recorder.see(Instant::now(), &Seen::Agent(message));
    }

    fn output(text: &str) -> FromAgent {
        FromAgent::Output {
            id: 0,
            source: "daemon".to_owned(),
            stream: Stream::Stdout,
            text: text.to_owned(),
        }
    }

    fn hello(uptime_ms: u64) -> FromAgent {
        FromAgent::Hello(message::Hello {
            protocol: 1,
            release: "6.12".to_owned(),
            uptime_ms,
            cpus: 2,
            memory: 512 << 20,
        })
    }

    #[test]
    fn all_sources_are_in_one_order_and_know_their_step() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::create(dir.path(), Instant::now()).unwrap();
        let step = Step::new(Action::DropCaches(DropCaches {}));
        recorder.host(Level::Info, "booting");
        agent(&recorder, &hello(0));
        recorder.step_begins(1, 2, &step);
        recorder.line("a line\u{1b}[0m");
        agent(&recorder, &output("one\ntw"));
        agent(&recorder, &output("o\n"));
        let result = recorder.step_ended(&step, StepOutcome::Failed, "a is 1, 2 was expected", 0.5);
        let event = Event {
            boot: 0,
            t_ns: 0,
            owner: "daemon".to_owned(),
            line: "{\"ev\":\"ready\"}".to_owned(),
        };
        recorder.finish(dir.path(), &[event]).unwrap();
        let seen: Vec<_> = entries(dir.path())
            .into_iter()
            .map(|entry| (entry.source.word(), entry.step, entry.text))
            .collect();
        let expected = [
            ("host", None, "booting"),
            ("agent", None, "ready after 0 ms on 6.12, 2 CPUs, 512 MiB"),
            ("daemon", None, "daemon: ready"),
            ("step", Some(1), "1/2 drop_caches"),
            ("console", Some(1), "a line"),
            ("daemon", Some(1), "daemon: one"),
            ("daemon", Some(1), "daemon: two"),
            (
                "step",
                Some(1),
                "drop_caches: failed: a is 1, 2 was expected",
            ),
        ];
        let expected = expected.map(|(source, step, text)| (source, step, text.to_owned()));
        assert_eq!(seen, expected);
        assert_eq!(result.expected.as_deref(), Some("2"));
        assert_eq!(result.seen.as_deref(), Some("a is 1"));
    }

    #[test]
    fn what_was_recorded_is_in_the_file_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::create(dir.path(), Instant::now()).unwrap();
        recorder.line("a");
        assert_eq!(entries(dir.path()).len(), 1);
    }

    #[test]
    fn a_timeline_has_an_end_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::create(dir.path(), Instant::now()).unwrap();
        let line = "x".repeat(clean::MAX_TEXT);
        for _ in 0..(MAX_FILE >> 12) + 100 {
            recorder.line(&line);
        }
        let size = std::fs::metadata(dir.path().join(FILE)).unwrap().len();
        assert!(size < MAX_FILE + 10_000, "{size}");
        let last = entries(dir.path()).pop().unwrap();
        assert!(last.text.contains("ends here"), "{}", last.text);
    }
}
