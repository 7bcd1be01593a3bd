// SPDX-License-Identifier: GPL-2.0-or-later
//! Builds the fuzz targets in ../fuzz with coverage marks and runs each for FUZZ_SECONDS (300), two
//! at a time. Prints a line for each, and fails when one found something.
//!
//! Needs a C++ compiler (for libFuzzer) and a stable Rust. With names as arguments only those targets
//! run. What reaches new code is kept in target/fuzz/corpus; `--minimise` instead puts into
//! ../fuzz/corpus the fewest inputs of both that pass all the edges that they pass together.

use std::env;
use std::error::Error;
use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const TARGETS: [&str; 4] = ["command", "key", "message", "xattr"];

/// The compiler's options that libFuzzer lives on: which edges were passed, and what was compared.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Clink-dead-code --cfg fuzzing";

/// The longest input in bytes: some more than the longest command.
const MAX_LEN: &str = "4200";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("fuzz: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fuzz");
    let mut names: Vec<String> = env::args().skip(1).collect();
    let minimise = names.iter().any(|name| name == "--minimise");
    // cargo-make passes on the -- with which it was told where our arguments begin.
    names.retain(|name| name != "--minimise" && name != "--");
    if let Some(name) = names.iter().find(|name| !TARGETS.contains(&name.as_str())) {
        return Err(format!("there is no target {name}, only {}", TARGETS.join(", ")).into());
    }
    if names.is_empty() {
        names = TARGETS.map(str::to_owned).to_vec();
    }
    let seconds: u64 = match env::var("FUZZ_SECONDS") {
        Ok(text) => text
            .parse()
            .map_err(|e| format!("FUZZ_SECONDS={text} is no number of seconds: {e}"))?,
        Err(_) => 300,
    };
    let host = host()?;
    build(&fuzz, &out, &host)?;
    let mut clean = true;
    for pair in names.chunks(2) {
        let mut running = Vec::new();
        for name in pair {
            let target = Target {
                name: name.clone(),
                program: out.join(&host).join("release").join(name),
                corpus: out.join("corpus").join(name),
                kept: fuzz.join("corpus").join(name),
                dictionary: fuzz.join("dictionaries").join(name),
                found: out.join("found").join(name),
                log: out.join(format!("{name}.log")),
            };
            let child = if minimise {
                target.minimise()?
            } else {
                target.start(seconds)?
            };
            running.push((target, child));
        }
        for (target, mut child) in running {
            let passed = child.wait()?.success();
            clean &= passed;
            if passed && minimise {
                target.replace_corpus()?;
            }
            target.tell(passed, minimise)?;
        }
    }
    Ok(clean)
}

/// The compiler's name for this machine.
fn host() -> Result<String> {
    let output = Command::new("rustc")
        .arg("-vV")
        .output()
        .map_err(|e| format!("starting rustc: {e}"))?;
    String::from_utf8(output.stdout)?
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| "rustc -vV does not say which host it is for".into())
}

/// A target is named so that build scripts, which run without the fuzzer, get no marks.
fn build(fuzz: &Path, out: &Path, host: &str) -> Result<()> {
    let status = Command::new(env!("CARGO"))
        .current_dir(fuzz)
        .args([
            "build",
            "--release",
            "--locked",
            "--quiet",
            "--target",
            host,
        ])
        .arg("--target-dir")
        .arg(out)
        .env("RUSTFLAGS", COVERAGE)
        .status()
        .map_err(|e| format!("starting cargo: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("building {} with coverage marks: {status}", fuzz.display()).into())
    }
}

/// One target and its folders.
struct Target {
    name: String,
    program: PathBuf,
    corpus: PathBuf,
    /// The corpus that is kept.
    kept: PathBuf,
    /// Words to try, for some.
    dictionary: PathBuf,
    /// Where inputs go that break something.
    found: PathBuf,
    log: PathBuf,
}

impl Target {
    fn command(&self) -> Result<Command> {
        for folder in [&self.corpus, &self.kept, &self.found] {
            fs::create_dir_all(folder)
                .map_err(|e| format!("making the folder {}: {e}", folder.display()))?;
        }
        let log =
            File::create(&self.log).map_err(|e| format!("creating {}: {e}", self.log.display()))?;
        let mut command = Command::new(&self.program);
        command
            .arg(format!("-max_len={MAX_LEN}"))
            .arg(format!("-artifact_prefix={}/", self.found.display()))
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(command)
    }

    fn spawn(&self, command: &mut Command) -> Result<Child> {
        command
            .spawn()
            .map_err(|e| format!("starting {}: {e}", self.program.display()).into())
    }

    fn start(&self, seconds: u64) -> Result<Child> {
        let mut command = self.command()?;
        command
            .arg(format!("-max_total_time={seconds}"))
            .args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"])
            .arg(&self.corpus)
            .arg(&self.kept);
        if self.dictionary.exists() {
            command.arg(format!("-dict={}", self.dictionary.display()));
        }
        self.spawn(&mut command)
    }

    fn minimise(&self) -> Result<Child> {
        let small = self.small();
        match fs::remove_dir_all(&small) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
            _ => fs::create_dir_all(&small)?,
        }
        let mut command = self.command()?;
        // How often an edge is passed and what was compared there makes many inputs of few.
        command
            .args(["-set_cover_merge=1", "-use_counters=0", "-use_cmp=0"])
            .args([&small, &self.corpus, &self.kept]);
        self.spawn(&mut command)
    }

    fn small(&self) -> PathBuf {
        self.corpus.with_file_name(format!("{}.small", self.name))
    }

    fn replace_corpus(&self) -> Result<()> {
        fs::remove_dir_all(&self.kept)?;
        fs::create_dir_all(&self.kept)?;
        for input in fs::read_dir(self.small())? {
            let input = input?;
            fs::copy(input.path(), self.kept.join(input.file_name()))?;
        }
        Ok(())
    }

    /// The closing line.
    fn tell(&self, passed: bool, minimise: bool) -> Result<()> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let stat = |name: &str| {
            log.lines()
                .find_map(|line| line.strip_prefix(name)?.split_whitespace().next_back())
                .unwrap_or("?")
                .to_owned()
        };
        let runs = stat("stat::number_of_executed_units:");
        let kept = fs::read_dir(&self.kept)?.count();
        let found = fs::read_dir(&self.corpus)?.count();
        if passed && minimise {
            println!("fuzz: {}: {kept} inputs are kept", self.name);
        } else if passed {
            println!(
                "fuzz: {}: clean, {runs} runs; {found} inputs in target, {kept} in the corpus that is kept",
                self.name
            );
        } else {
            println!(
                "fuzz: {}: FAILED; see {}, and {} for the input",
                self.name,
                self.log.display(),
                self.found.display()
            );
        }
        Ok(())
    }
}
