// SPDX-License-Identifier: GPL-2.0-or-later
//! A results' folder of its own for each test, and the program run in it.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;
use serde_json::Value;

/// Names another artifact index than the built one.
const VARIABLE: &str = "VMTEST_ARTIFACTS";

/// No test waits longer for `vmtest`.
pub const LIMIT: Duration = Duration::from_secs(100);

/// The checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The artifact index. Without one there is nothing to test with, which is a failure and never a
/// pass.
pub fn artifacts() -> PathBuf {
    let file = match std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        Some(file) => PathBuf::from(file),
        None => root().join("target/images/6.12.json"),
    };
    assert!(
        file.is_file(),
        "{} is not there: build it with `cargo make images`, or name another index in {VARIABLE}",
        file.display()
    );
    file
}

/// The folder.
pub struct Ground {
    dir: tempfile::TempDir,
    index: PathBuf,
}

impl Ground {
    /// Nothing was run yet.
    pub fn new() -> Self {
        Ground {
            dir: tempfile::tempdir().unwrap(),
            index: artifacts(),
        }
    }

    /// With something of the artifact index replaced.
    pub fn with(key: &str, file: &str, content: &[u8]) -> Self {
        let mut ground = Ground::new();
        let text = fs::read_to_string(&ground.index).unwrap();
        let mut index: Value = serde_json::from_str(&text).unwrap();
        let path = ground.at(file);
        fs::write(&path, content).unwrap();
        index[key] = path.to_str().unwrap().into();
        ground.index = ground.at("index.json");
        fs::write(&ground.index, index.to_string()).unwrap();
        ground
    }

    /// A path in the folder.
    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The results' folder.
    pub fn out(&self) -> PathBuf {
        self.at("out")
    }

    /// `vmtest VERB` with what every verb that boots needs.
    pub fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmtest"));
        command
            .arg(verb)
            .arg("--artifacts")
            .arg(&self.index)
            .arg("--scenarios")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm/scenarios"))
            .arg("--splats")
            .arg(root().join("configs/splats"))
            .arg("--out")
            .arg(self.out())
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// `vmtest run` of one scenario on the C module.
    pub fn run_command(&self, scenario: &str) -> Command {
        let mut command = self.command("run");
        command.args(["--module", "c", "--filter", scenario]);
        command
    }

    /// Runs a scenario to its end.
    pub fn run(&self, scenario: &str) -> Ran {
        self.carry_out(self.run_command(scenario), scenario)
    }

    /// Runs a command to its end, which leaves a result of `scenario`.
    pub fn carry_out(&self, command: Command, scenario: &str) -> Ran {
        let output = to_its_end(command);
        let result = self.result(scenario).unwrap_or_default();
        Ran { output, result }
    }

    /// The result of a scenario in results.json.
    pub fn result(&self, scenario: &str) -> Option<Value> {
        let text = fs::read_to_string(self.out().join("results.json")).ok()?;
        let value: Value = serde_json::from_str(&text).unwrap();
        let mut runs = value["runs"].as_array().unwrap().iter();
        runs.find(|run| run["scenario"] == scenario).cloned()
    }

    /// A file of a run on the C module.
    pub fn file(&self, scenario: &str, name: &str) -> String {
        let file = self.run_folder(scenario).join(name);
        let bytes = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The folder of a run on the C module.
    pub fn run_folder(&self, scenario: &str) -> PathBuf {
        self.out().join(format!("runs/{scenario}-6.12-c"))
    }

    /// Starts a run, and comes back when its guest is in `step`.
    pub fn begin(&self, scenario: &str, step: &str) -> Running {
        let mut command = self.run_command(scenario);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let running = Running {
            child: Some(command.spawn().unwrap()),
        };
        let timeline = self.run_folder(scenario).join("timeline.jsonl");
        let deadline = Instant::now() + LIMIT;
        loop {
            let text = fs::read_to_string(&timeline).unwrap_or_default();
            let begun = |line: &str| line.contains("\"begins\"") && line.contains(step);
            if text.lines().any(begun) {
                // The guest has it a moment later.
                std::thread::sleep(Duration::from_millis(200));
                return running;
            }
            assert!(Instant::now() < deadline, "{scenario} did not reach {step}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Runs a program to its end, which must come within [`LIMIT`].
pub fn to_its_end(mut command: Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = Running {
        child: Some(command.spawn().unwrap()),
    };
    running.wait()
}

/// What came of a run.
pub struct Ran {
    /// What the program said, and its exit code.
    pub output: Output,
    /// Its entry in results.json.
    pub result: Value,
}

impl Ran {
    /// Checks exit code, outcome and the reason, which must contain each of `parts`.
    #[track_caller]
    pub fn is(&self, code: i32, outcome: &str, parts: &[&str]) {
        assert_eq!(self.output.status.code(), Some(code), "{}", self.said());
        assert_eq!(self.result["outcome"], outcome, "{}", self.said());
        for part in parts {
            assert!(
                self.reason().contains(part),
                "no `{part}` in: {}",
                self.said()
            );
        }
        // What is in the file is what was printed.
        let first = self.reason().lines().next().unwrap_or_default();
        assert!(self.said().contains(first), "{first}: {}", self.said());
    }

    /// The reason in results.json.
    pub fn reason(&self) -> &str {
        self.result["reason"].as_str().unwrap_or_default()
    }

    /// Everything that was printed.
    pub fn said(&self) -> String {
        said(&self.output)
    }

    /// The step that did not pass, and how it ended.
    pub fn failing(&self) -> (String, String) {
        let none = Vec::new();
        let steps = self.result["steps"].as_array().unwrap_or(&none);
        let failing = steps.iter().find(|step| step["outcome"] != "passed");
        let text = |key: &str| {
            let value = failing.map(|step| step[key].as_str().unwrap_or_default());
            value.unwrap_or_default().to_owned()
        };
        (text("step"), text("outcome"))
    }
}

/// Everything that a program printed.
pub fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A `vmtest` that is under way; killed when the test gives up.
pub struct Running {
    child: Option<Child>,
}

impl Running {
    fn child(&self) -> &Child {
        self.child.as_ref().unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(self.child());
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Its children whose command line contains each of `words`.
    pub fn children(&self, words: &[&str]) -> Vec<i32> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child().id())).unwrap();
        tasks
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok())
            .flat_map(|text| {
                let pids = text.split_whitespace().map(|pid| pid.parse().unwrap());
                pids.collect::<Vec<i32>>()
            })
            .filter(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                words.iter().all(|word| line.contains(word))
            })
            .collect()
    }

    /// Kills its only child with this command line.
    pub fn kill_child(&self, words: &[&str]) {
        let children = self.children(words);
        assert_eq!(children.len(), 1, "{words:?}: {children:?}");
        let pid = Pid::from_raw(children[0]).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Output {
        let child = self.child.take().unwrap();
        let pid = Pid::from_child(&child);
        let (done, ended) = std::sync::mpsc::channel();
        let watchdog = std::thread::spawn(move || {
            // A number that is not this child's any more cannot be met: it is waited for below.
            if ended.recv_timeout(LIMIT).is_err() {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
                return false;
            }
            true
        });
        let output = child.wait_with_output().unwrap();
        let _ = done.send(());
        let in_time = watchdog.join().unwrap();
        assert!(in_time, "no end within {LIMIT:?}: {}", said(&output));
        output
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
