// SPDX-License-Identifier: GPL-2.0-or-later
//! The kernel under a debugger: what to type, with the addresses at which things are in this very
//! guest, and a wait until the debugger has come.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use vmtest_protocol::FromAgent;
use vmtest_protocol::Step;
use vmtest_protocol::ToAgent;
use vmtest_protocol::message::Outcome;
use vmtest_protocol::template::Vars;

use crate::artifacts::Index;
use crate::matrix::Module;
use crate::vm::Seen;
use crate::vm::Trouble;
use crate::vm::Vm;

/// How much longer every limit is: a debugger holds the guest for as long as a person thinks.
pub const PATIENCE: f64 = 1000.0;

/// The number of our own step; those of scenarios are small.
const STEP: u64 = 1 << 40;
/// How long the guest may take to say where its modules are.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// How often it is looked whether the debugger is there, or somebody has pressed Enter.
const TURN: Duration = Duration::from_millis(100);
/// Where a kernel is that was not moved at its start.
const KERNEL_TEXT: u64 = 0xffff_ffff_8100_0000;
/// The sections of a module that a debugger asks about. What only its start needed is not among
/// them: its memory is another module's by now.
const SECTIONS: &str = ".text .rodata .data .bss";

/// What is needed for it.
#[derive(Debug, Clone)]
pub struct Debugging {
    vmlinux: Option<PathBuf>,
    /// Module files by the modules' names in /sys/module.
    modules: BTreeMap<String, PathBuf>,
    /// How long the debugger is waited for where nobody can press Enter.
    wait: Duration,
}

/// Where things are in a guest.
#[derive(Debug, Default, PartialEq, Eq)]
struct Places {
    /// Address of each section, by module and section.
    sections: BTreeMap<String, Vec<(String, u64)>>,
    /// Where the kernel begins.
    kernel: Option<u64>,
}

impl Debugging {
    /// For the kernel and the modules of an index.
    pub fn new(index: &Index, module: Module, wait: Duration) -> Self {
        let mut modules = BTreeMap::new();
        if let Some(file) = index.modules.get(module.word()) {
            modules.insert(module.sys_name().to_owned(), file.clone());
        }
        // The kernel's own modules lie together.
        let folder = index.modules.get(Module::C.word()).and_then(|f| f.parent());
        for name in ["netfs", "erofs"] {
            let file = folder.map(|folder| folder.join(format!("{name}.ko")));
            if let Some(file) = file.filter(|file| file.is_file()) {
                modules.insert(name.to_owned(), file);
            }
        }
        Debugging {
            vmlinux: index.vmlinux.clone(),
            modules,
            wait,
        }
    }

    /// Says what to type, and waits until the debugger has come and lets the guest go on, or until
    /// somebody presses Enter.
    ///
    /// # Errors
    /// What ends the run.
    pub fn wait(&self, vm: &mut Vm) -> Result<(), Trouble> {
        let Some(port) = vm.gdb() else {
            return Err(Trouble::Host("QEMU does not listen for gdb".to_owned()));
        };
        let names: Vec<&str> = self.modules.keys().map(String::as_str).collect();
        let places = Places::read(&said(vm, &question(&names))?);
        eprintln!("vmtest: QEMU waits for a debugger; in another terminal:");
        eprintln!("  {}", self.line(port, &places));
        let terminal = std::io::stdin().is_terminal();
        match terminal {
            true => {
                eprintln!("vmtest: `continue` there goes on with the steps, and so does Enter here")
            }
            false => eprintln!(
                "vmtest: `continue` there goes on with the steps; without a debugger they begin \
                 after {} s",
                self.wait.as_secs()
            ),
        }
        let state = watch(vm);
        let deadline = Instant::now() + self.wait;
        loop {
            match state.get() {
                Debugger::Gone => {
                    eprintln!("vmtest: the debugger lets the guest go on");
                    return Ok(());
                }
                Debugger::Awaited if terminal && enter_pressed() => return Ok(()),
                Debugger::Awaited if !terminal && Instant::now() >= deadline => return Ok(()),
                _ => vm.listen(TURN)?,
            }
        }
    }

    /// The command line.
    fn line(&self, port: u16, places: &Places) -> String {
        let moved = places
            .kernel
            .unwrap_or(KERNEL_TEXT)
            .wrapping_sub(KERNEL_TEXT);
        let mut words = match (&self.vmlinux, moved) {
            (None, _) => vec!["gdb".to_owned()],
            (Some(file), 0) => vec![format!("gdb {}", quoted(file))],
            (Some(file), moved) => {
                vec![format!(
                    "gdb -ex 'symbol-file {} -o {moved:#x}'",
                    file.display()
                )]
            }
        };
        words.push(format!("-ex 'target remote 127.0.0.1:{port}'"));
        for (name, sections) in &places.sections {
            let (Some(file), Some((_, text))) = (
                self.modules.get(name),
                sections.iter().find(|(section, _)| section == ".text"),
            ) else {
                continue;
            };
            let mut command = format!("add-symbol-file {} {text:#x}", file.display());
            for (section, address) in sections.iter().filter(|(section, _)| section != ".text") {
                command += &format!(" -s {section} {address:#x}");
            }
            words.push(format!("-ex '{command}'"));
        }
        words.join(" ")
    }
}

/// A file's name as a shell takes it.
fn quoted(file: &Path) -> String {
    let text = file.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.,:+@%".contains(c);
    match text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// The guest's shell says `MODULE SECTION ADDRESS` for each, and the line of the kernel's symbols
/// with its beginning.
fn question(modules: &[&str]) -> String {
    format!(
        "for m in {}; do for s in {SECTIONS}; do f=/sys/module/$m/sections/$s; [ -r $f ] && \
         echo $m $s $(cat $f); done; done; grep ' _text$' /proc/kallsyms; true",
        modules.join(" ")
    )
}

/// What a shell in the guest says to `script`, as a step of our own.
fn said(vm: &mut Vm, script: &str) -> Result<String, Trouble> {
    let step = serde_json::json!({"run": {"argv": ["/bin/sh", "-c", script]}});
    let step: Step = serde_json::from_value(step)
        .map_err(|error| Trouble::Host(format!("the step that looks at modules: {error}")))?;
    vm.send(&ToAgent::Run {
        id: STEP,
        step: Box::new(step),
        vars: Vars::new(),
        timeout_ms: ANSWER_LIMIT.as_millis() as u64,
    })?;
    let mut output = String::new();
    let outcome = vm.wait_for(Instant::now() + ANSWER_LIMIT, |message| match message {
        FromAgent::Output { id: STEP, text, .. } => {
            output.push_str(text);
            None
        }
        FromAgent::StepEnded {
            id: STEP, outcome, ..
        } => Some(outcome.clone()),
        _ => None,
    })?;
    match outcome {
        Outcome::Passed => Ok(output),
        other => Err(Trouble::Host(format!(
            "the guest did not say where its modules are: {}",
            other.reason().unwrap_or_default()
        ))),
    }
}

impl Places {
    /// Reads the answer to [`question`].
    fn read(text: &str) -> Self {
        let mut places = Places::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
            match words[..] {
                [address, _, "_text"] => places.kernel = number(address).filter(|at| *at != 0),
                // Whoever may not see addresses sees zeros.
                [module, section, address] => {
                    if let Some(address) = number(address).filter(|at| *at != 0) {
                        let sections = places.sections.entry(module.to_owned()).or_default();
                        sections.push((section.to_owned(), address));
                    }
                }
                _ => {}
            }
        }
        places
    }
}

/// What is known of the debugger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Debugger {
    Awaited,
    /// It has stopped the guest.
    Holds,
    /// The guest goes on.
    Gone,
}

/// QEMU stops the guest when a debugger connects.
fn watch(vm: &mut Vm) -> Rc<Cell<Debugger>> {
    let state = Rc::new(Cell::new(Debugger::Awaited));
    let own = Rc::clone(&state);
    vm.observe(Rc::new(move |_, seen| {
        if let Seen::Qmp(event) = seen {
            match (event.name.as_str(), own.get()) {
                ("STOP", Debugger::Awaited) => own.set(Debugger::Holds),
                ("RESUME", Debugger::Holds) => own.set(Debugger::Gone),
                _ => {}
            }
        }
    }));
    state
}

/// Whether a line was entered on the terminal; takes it.
fn enter_pressed() -> bool {
    let stdin = rustix::stdio::stdin();
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    let there = rustix::event::poll(&mut fds, Some(&at_once)).unwrap_or(0) > 0;
    there && rustix::io::read(stdin, &mut [0u8; 1024]).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "cachefiles .text 0xffffffffa0082000\ncachefiles .data \
                          0xffffffffa008b000\ncachefiles .bss 0xffffffffa008c000\nerofs .text \
                          0x0000000000000000\nffffffff81000000 T _text\n";

    fn debugging() -> Debugging {
        let file = |name: &str| (name.to_owned(), PathBuf::from(format!("/k/{name}.ko")));
        Debugging {
            vmlinux: Some("/k/vmlinux".into()),
            modules: [file("cachefiles"), file("erofs")].into(),
            wait: Duration::from_secs(1),
        }
    }

    #[test]
    fn the_line_has_every_section_whose_address_is_known() {
        let places = Places::read(ANSWER);
        assert_eq!(
            debugging().line(1234, &places),
            "gdb /k/vmlinux -ex 'target remote 127.0.0.1:1234' -ex 'add-symbol-file \
             /k/cachefiles.ko 0xffffffffa0082000 -s .data 0xffffffffa008b000 -s .bss \
             0xffffffffa008c000'"
        );
    }

    #[test]
    fn a_kernel_that_was_moved_is_found_where_it_is() {
        let places = Places::read(&ANSWER.replace("ffffffff81000000", "ffffffff9a000000"));
        let line = debugging().line(1, &places);
        assert!(
            line.starts_with("gdb -ex 'symbol-file /k/vmlinux -o 0x19000000' "),
            "{line}"
        );
    }

    #[test]
    fn a_file_whose_name_a_shell_would_split_is_quoted() {
        assert_eq!(quoted(Path::new("/a b")), "'/a b'");
        assert_eq!(quoted(Path::new("/a/b.ko")), "/a/b.ko");
    }
}
