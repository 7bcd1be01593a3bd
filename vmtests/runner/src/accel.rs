// SPDX-License-Identifier: GPL-2.0-or-later
//! Which accelerator QEMU uses.
//!
//! That /dev/kvm exists, opens, and even makes a VM proves nothing: there are machines on which a
//! stock kernel then hangs for ever in its first instructions. So the very kernel of the run is
//! booted under KVM, and only its first line on the console is a proof. The verdict is kept in the
//! cache for this kernel, this QEMU, this processor and this boot of the host.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use images::cache::Cache;
use serde::Deserialize;
use serde::Serialize;
use sha2::Digest;
use sha2::Sha256;

use crate::qemu::Channels;
use crate::qemu::Machine;
use crate::qemu::devices;

/// How long the kernel has for its first line under KVM: a working KVM needs a tenth of it.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// How long QEMU's end may take to be noticed after its console has closed.
const END_NOTICE: Duration = Duration::from_millis(200);

/// What the first console line of any kernel contains.
const FIRST_LINE: &str = "Linux version";

/// Guest memory of the probe, in bytes.
const PROBE_MEMORY: u64 = 256 << 20;

/// How guest instructions are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// By translation: works everywhere.
    Tcg,
    /// By the processor.
    Kvm,
    /// By translation, one instruction a nanosecond of the guest's time: for measuring. What does
    /// not wait for the host takes the same time on a busy machine.
    Counted,
}

impl Accel {
    /// The word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Accel::Tcg => "tcg",
            Accel::Kvm => "kvm",
            Accel::Counted => "icount",
        }
    }
}

/// What the command line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Wanted {
    /// KVM where it is proved to work, else TCG.
    Auto,
    /// TCG.
    Tcg,
    /// KVM, without a proof.
    Kvm,
}

/// The choice, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What to use.
    pub accel: Accel,
    /// The reason, to be shown once.
    pub why: String,
}

impl Choice {
    fn new(accel: Accel, why: impl Into<String>) -> Self {
        Choice {
            accel,
            why: why.into(),
        }
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let name = match self.accel {
            Accel::Tcg => "TCG",
            Accel::Kvm => "KVM",
            Accel::Counted => "TCG with a clock that counts instructions",
        };
        format!("accelerator: {name} ({})", self.why)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Verdict {
    works: bool,
    why: String,
}

/// Chooses. The first call for a kernel on a machine with /dev/kvm may take [`PROBE_LIMIT`].
pub fn choose(wanted: Wanted, own: &Path, qemu: &Path, kernel: &Path) -> Choice {
    match wanted {
        Wanted::Tcg => return Choice::new(Accel::Tcg, "as asked by --accel"),
        Wanted::Kvm => return Choice::new(Accel::Kvm, "as asked by --accel, not probed"),
        Wanted::Auto => {}
    }
    let device = "/dev/kvm";
    if let Err(error) = fs::File::options().read(true).write(true).open(device) {
        return Choice::new(Accel::Tcg, format!("{device} cannot be used: {error}"));
    }
    let file = verdict_file(qemu, kernel);
    if let Some(verdict) = file.as_deref().and_then(remembered) {
        let why = format!("{}, found earlier", verdict.why);
        return from_verdict(&Verdict { why, ..verdict });
    }
    let verdict = match probe(own, qemu, kernel) {
        Ok(verdict) => verdict,
        Err(error) => return Choice::new(Accel::Tcg, format!("KVM cannot be probed: {error:#}")),
    };
    if let Some(file) = file {
        // Without a remembered verdict the next run probes again: slower, not wrong.
        let _ = remember(&file, &verdict);
    }
    from_verdict(&verdict)
}

fn from_verdict(verdict: &Verdict) -> Choice {
    let accel = match verdict.works {
        true => Accel::Kvm,
        false => Accel::Tcg,
    };
    Choice::new(accel, verdict.why.clone())
}

/// Boots the kernel under KVM, without a root, until its first line or the limit.
fn probe(own: &Path, qemu: &Path, kernel: &Path) -> anyhow::Result<Verdict> {
    let dir = tempfile::Builder::new().prefix("vmtest-kvm-").tempdir()?;
    let (console, console_end) = UnixStream::pair().context("cannot make a socket pair")?;
    // QEMU's other channels lead nowhere, but must stay open as long as it runs.
    let (_qmp, qmp_end) = UnixStream::pair()?;
    let (_agent, agent_end) = UnixStream::pair()?;
    let machine = Machine {
        program: qemu,
        name: "kvm-probe",
        accel: Accel::Kvm,
        cpus: 1,
        memory: PROBE_MEMORY,
        kernel,
        initramfs: None,
        ports: 0,
        append: String::new(),
        equipment: devices::NOTHING,
        folders: &[],
        incoming: false,
        gdb: None,
        console_log: &dir.path().join("console.log"),
    };
    let stderr = dir.path().join("stderr");
    let channels = Channels {
        console: OwnedFd::from(console_end),
        qmp: qmp_end.into(),
        agent: agent_end.into(),
        shares: Vec::new(),
    };
    let started = Instant::now();
    let mut child = machine
        .spawn(own, channels, &dir.path().join("cmdline"), &stderr)?
        .process;
    let seen = console_says(console, FIRST_LINE, PROBE_LIMIT);
    let seconds = started.elapsed().as_secs_f32();
    // A console that closes is the first sign of an end.
    let ended = child.wait(END_NOTICE);
    child.kill();
    let message = fs::read_to_string(&stderr).unwrap_or_default();
    let message = message.lines().next().unwrap_or_default().trim();
    let detail = match message.is_empty() {
        true => String::new(),
        false => format!(": {message}"),
    };
    Ok(match (seen, ended) {
        (true, _) => Verdict {
            works: true,
            why: format!("this kernel's first line came after {seconds:.1} s under KVM"),
        },
        (false, Some(status)) => Verdict {
            works: false,
            why: format!("QEMU ends under KVM with {status}{detail}"),
        },
        (false, None) => Verdict {
            works: false,
            why: format!(
                "/dev/kvm is there, but this kernel says nothing under KVM within {} s{detail}",
                PROBE_LIMIT.as_secs()
            ),
        },
    })
}

fn console_says(mut console: UnixStream, word: &str, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    let mut text = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || console.set_read_timeout(Some(left)).is_err() {
            return false;
        }
        match console.read(&mut buffer) {
            Ok(0) | Err(_) => return false,
            Ok(count) => text.extend_from_slice(&buffer[..count]),
        }
        if String::from_utf8_lossy(&text).contains(word) {
            return true;
        }
    }
}

fn remembered(file: &Path) -> Option<Verdict> {
    serde_json::from_str(&fs::read_to_string(file).ok()?).ok()
}

fn remember(file: &Path, verdict: &Verdict) -> anyhow::Result<()> {
    let dir = file.parent().context("a file is in a folder")?;
    fs::create_dir_all(dir)?;
    let mut temporary = tempfile::NamedTempFile::new_in(dir)?;
    serde_json::to_writer(&mut temporary, verdict)?;
    temporary.persist(file)?;
    Ok(())
}

/// Where the verdict for this kernel on this machine is kept; `None` when there is no cache.
fn verdict_file(qemu: &Path, kernel: &Path) -> Option<PathBuf> {
    let mut digest = Sha256::new();
    digest.update(fs::read(kernel).ok()?);
    let program = fs::metadata(qemu).ok()?;
    let changed = program.modified().ok()?;
    digest.update(format!("{} {changed:?}", program.len()));
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find(|line| line.starts_with("model name"));
    digest.update(model.unwrap_or_default());
    digest.update(fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default());
    let key = hex::encode(digest.finalize());
    Some(
        cache_root()?
            .join("kvm")
            .join(format!("{}.json", &key[..32])),
    )
}

/// The project's cache folder, where the builder keeps it; `None` when nothing says where that is.
pub(crate) fn cache_root() -> Option<PathBuf> {
    Cache::default_root().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_console_that_stays_silent_or_closes_is_no_proof() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let limit = Duration::from_millis(50);
        assert!(!console_says(ours, FIRST_LINE, limit));
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert!(!console_says(ours, FIRST_LINE, limit));
    }

    #[test]
    fn a_first_line_in_two_portions_is_a_proof() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"[    0.000000] Linux ver").unwrap();
        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            theirs.write_all(b"sion 6.12.117").unwrap();
        });
        assert!(console_says(ours, FIRST_LINE, Duration::from_secs(5)));
        writer.join().unwrap();
    }

    #[test]
    fn a_verdict_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kvm/key.json");
        assert!(remembered(&file).is_none());
        let verdict = Verdict {
            works: false,
            why: "hangs".to_owned(),
        };
        remember(&file, &verdict).unwrap();
        assert_eq!(remembered(&file).unwrap().why, "hangs");
        assert_eq!(from_verdict(&verdict).accel, Accel::Tcg);
    }
}
