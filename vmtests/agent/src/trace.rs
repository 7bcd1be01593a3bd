// SPDX-License-Identifier: GPL-2.0-or-later
//! Trace events of the kernel, recorded with the clock of the daemons' event logs.

use std::fs;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use vmtest_protocol::step::StartTrace;

use crate::events::ARTIFACTS;

const TRACEFS: &str = "/sys/kernel/tracing";

/// The one trace of a run.
#[derive(Default)]
pub struct Tracer {
    /// Folders of the events that are recorded now.
    enabled: Vec<String>,
    text: Option<String>,
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
        let text = read()?;
        if Path::new(ARTIFACTS).is_dir() {
            let file = Path::new(ARTIFACTS).join("trace.txt");
            fs::write(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        complete(&text)?;
        self.text = Some(text);
        Ok(())
    }

    /// How often each of the events that are being recorded came, by name; nothing without a trace.
    /// Lost events are an error, as in `stop`.
    pub fn counts(&self) -> Result<Vec<(&str, u64)>> {
        if self.enabled.is_empty() {
            return Ok(Vec::new());
        }
        let text = read()?;
        complete(&text)?;
        let names = self.enabled.iter().filter_map(|folder| {
            let (_, name) = folder.rsplit_once('/')?;
            Some((name, count(&text, name)))
        });
        Ok(names.collect())
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

/// What has been recorded so far.
fn read() -> Result<String> {
    fs::read_to_string(Path::new(TRACEFS).join("trace")).context("cannot read the trace")
}

/// An error when events were lost.
fn complete(text: &str) -> Result<()> {
    match lost(text) {
        Some(lost) => bail!("{lost} trace events were lost: raise `buffer_kib`, or filter more"),
        None => Ok(()),
    }
}

/// How many events did not fit, from the head of the trace.
fn lost(text: &str) -> Option<u64> {
    let counts = text
        .lines()
        .find_map(|line| line.strip_prefix("# entries-in-buffer/entries-written:"))?;
    let (kept, written) = counts.split_whitespace().next()?.split_once('/')?;
    let (kept, written): (u64, u64) = (kept.parse().ok()?, written.parse().ok()?);
    (written > kept).then(|| written - kept)
}

/// How many lines of a trace are about an event.
fn count(text: &str, event: &str) -> u64 {
    let mark = format!(": {event}: ");
    let events = text.lines().filter(|line| !line.starts_with('#'));
    events.filter(|line| line.contains(&mark)).count() as u64
}

#[cfg(test)]
mod tests {
    use super::count;
    use super::lost;

    #[test]
    fn events_are_counted_by_their_whole_name() {
        let text = "# a comment: cachefiles_read: x\n\
                    cat-80 [000] ..... 2.1: cachefiles_read: o=00000001\n\
                    cat-80 [001] ..... 2.2: cachefiles_ondemand_read: o=00000001\n\
                    cat-80 [001] ..... 2.3: cachefiles_read: o=00000002\n";
        assert_eq!(count(text, "cachefiles_read"), 2);
        assert_eq!(count(text, "cachefiles_ondemand_read"), 1);
        assert_eq!(count(text, "cachefiles_ondemand_open"), 0);
    }

    #[test]
    fn lost_events_are_noticed() {
        let head = |counts| {
            format!("# tracer: nop\n#\n# entries-in-buffer/entries-written: {counts}   #P:2\n")
        };
        assert_eq!(lost(&head("12/12")), None);
        assert_eq!(lost(&head("12/40")), Some(28));
    }
}
