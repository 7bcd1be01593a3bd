// SPDX-License-Identifier: GPL-2.0-or-later
//! Trace events of the kernel, recorded with the clock of the daemons' event logs.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use vmtest_protocol::step::StartTrace;

use crate::events::ARTIFACTS;

const TRACEFS: &str = "/sys/kernel/tracing";
/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// The one trace of a run.
#[derive(Default)]
pub struct Tracer {
    /// Folders of the events that are recorded now.
    enabled: Vec<String>,
    /// What is recorded now; each look reads on from where the last one stopped.
    reading: Option<(File, Lines)>,
    text: Option<String>,
}

/// Lines of a trace, as they were read so far.
#[derive(Debug, Default)]
struct Lines {
    text: String,
    /// Where the first line begins that has not been looked at.
    looked: usize,
    /// The events that are counted, and how often each came.
    counts: Vec<(String, u64)>,
    /// The kernel's words about the first events that were lost.
    lost: Option<String>,
}

impl Lines {
    fn of(events: impl Iterator<Item = String>) -> Self {
        Lines {
            counts: events.map(|event| (event, 0)).collect(),
            ..Lines::default()
        }
    }

    /// More of the trace, cut off anywhere.
    fn take(&mut self, more: &str) {
        self.text.push_str(more);
        while let Some(length) = self.text[self.looked..].find('\n') {
            let line = &self.text[self.looked..self.looked + length];
            if line.contains(" EVENTS]") && line.contains("[LOST") {
                self.lost.get_or_insert_with(|| line.trim().to_owned());
            }
            for (event, count) in &mut self.counts {
                // `TASK-PID [CPU] FLAGS TIME: EVENT: FIELDS`
                let mut parts = line.splitn(3, ": ");
                *count += u64::from(parts.nth(1) == Some(event.as_str()));
            }
            self.looked += length + 1;
        }
    }

    /// An error when events were lost: a gap proves nothing.
    fn complete(&self) -> Result<()> {
        match &self.lost {
            Some(lost) => {
                bail!("trace events were lost: {lost}: raise `buffer_kib`, or filter more")
            }
            None => Ok(()),
        }
    }
}

impl Tracer {
    /// Begins to record.
    pub fn start(&mut self, start: &StartTrace) -> Result<()> {
        if !self.enabled.is_empty() {
            bail!("a trace is being recorded already: `stop_trace` first");
        }
        write("tracing_on", "0")?;
        write("trace_clock", "mono")?;
        let kib = start.buffer_kib.get().map_err(anyhow::Error::msg)?;
        write("buffer_size_kb", &kib.to_string())?;
        // Truncating the file empties the buffers.
        write("trace", "")?;
        for event in &start.events {
            let folder = format!("events/{}", event.event);
            if !Path::new(TRACEFS).join(&folder).is_dir() {
                bail!(
                    "the kernel has no trace event {}: is its module loaded?",
                    event.event
                );
            }
            write(
                &format!("{folder}/filter"),
                event.filter.as_deref().unwrap_or("0"),
            )?;
            write(&format!("{folder}/enable"), "1")?;
            self.enabled.push(folder);
        }
        let names = self.enabled.iter().filter_map(|folder| {
            let (_, name) = folder.rsplit_once('/')?;
            Some(name.to_owned())
        });
        self.reading = Some((open()?, Lines::of(names)));
        self.text = None;
        write("tracing_on", "1")
    }

    /// Stops, and keeps what was recorded. Lost events are an error: a gap proves nothing.
    pub fn stop(&mut self) -> Result<()> {
        write("tracing_on", "0")?;
        for folder in self.enabled.drain(..) {
            write(&format!("{folder}/enable"), "0")?;
            write(&format!("{folder}/filter"), "0")?;
        }
        let Some((mut pipe, mut lines)) = self.reading.take() else {
            bail!("no trace is being recorded: `start_trace` first");
        };
        read_on(&mut pipe, &mut lines)?;
        if Path::new(ARTIFACTS).is_dir() {
            let file = Path::new(ARTIFACTS).join("trace.txt");
            fs::write(&file, &lines.text)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        lines.complete()?;
        self.text = Some(lines.text);
        Ok(())
    }

    /// How often each of the events that are being recorded came, by name; nothing without a trace.
    /// Lost events are an error, as in `stop`.
    pub fn counts(&mut self) -> Result<Vec<(String, u64)>> {
        let Some((pipe, lines)) = &mut self.reading else {
            return Ok(Vec::new());
        };
        read_on(pipe, lines)?;
        lines.complete()?;
        Ok(lines.counts.clone())
    }

    /// What the last trace recorded.
    pub fn recorded(&self) -> Result<String> {
        match &self.text {
            Some(text) => Ok(text.clone()),
            None => bail!("no trace has been recorded: `start_trace` and `stop_trace` first"),
        }
    }
}

fn write(file: &str, text: &str) -> Result<()> {
    let path = Path::new(TRACEFS).join(file);
    fs::write(&path, text).with_context(|| {
        format!(
            "cannot write `{text}` to {} (does the kernel have CONFIG_TRACEPOINTS and tracefs?)",
            path.display()
        )
    })
}

/// The file that hands out each event once.
fn open() -> Result<File> {
    let path = Path::new(TRACEFS).join("trace_pipe");
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(&path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

/// Reads what has been recorded since the last time.
fn read_on(pipe: &mut File, lines: &mut Lines) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match pipe.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => lines.take(&String::from_utf8_lossy(&chunk[..length])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot read the trace"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Lines {
        let names = ["cachefiles_read", "cachefiles_ondemand_open"];
        Lines::of(names.into_iter().map(str::to_owned))
    }

    #[test]
    fn events_are_counted_once_by_their_whole_name_however_the_text_is_cut() {
        let text = "cat-80 [000] ..... 2.1: cachefiles_read: o=00000001\n\
                    cat-80 [001] ..... 2.2: cachefiles_ondemand_read: o=00000001\n\
                    cat-80 [001] ..... 2.3: cachefiles_read: o=00000002: cachefiles_read: \n\
                    cat-80 [001] ..... 2.4: cachefiles_write: a: cachefiles_read: b\n";
        for cut in 0..text.len() {
            let mut lines = lines();
            lines.take(&text[..cut]);
            lines.take(&text[cut..]);
            lines.complete().unwrap();
            let counts: Vec<u64> = lines.counts.iter().map(|(_, count)| *count).collect();
            assert_eq!(counts, [2, 0], "{cut}");
            assert_eq!(lines.text, text);
        }
    }

    #[test]
    fn lost_events_are_noticed() {
        let mut lines = lines();
        lines.take("cat-80 [000] ..... 2.1: cachefiles_read: o=1\n");
        lines.complete().unwrap();
        lines.take("CPU:1 [LOST 28 EVENTS]\ncat-80 [001] ..... 2.9: cachefiles_read: o=2\n");
        let error = lines.complete().unwrap_err().to_string();
        assert!(error.contains("CPU:1 [LOST 28 EVENTS]"), "{error}");
    }
}
