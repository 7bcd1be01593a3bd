// SPDX-License-Identifier: GPL-2.0-or-later
//! What the kernel module may cost in trust, counted: unsafe code, C, paths that panic. Prints its
//! figures, and fails when one is beyond its budget.

mod rust;

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use rust::Figures;
use rust::count;

/// The most unsafe blocks per 1,000 lines of Rust, core included.
const BLOCKS_PER_1000: usize = 35;

/// The same, of what is in sys/ alone.
const SYS_BLOCKS_PER_1000: usize = 90;

/// The least part of the files that has nothing unsafe in it, in percent.
const FREE_FILES: usize = 60;

/// The most lines of C for 100 lines of Rust.
const C_PER_100: usize = 20;

/// A Rust file with its figures.
struct File {
    path: PathBuf,
    figures: Figures,
}

/// Collects what was found to be wrong, and prints the rest.
#[derive(Default)]
struct Report {
    failures: Vec<String>,
}

impl Report {
    /// One figure, and whether it is within its budget.
    fn figure(&mut self, text: String, within: bool) {
        println!("budgets: {text}{}", if within { "" } else { ": TOO MUCH" });
        if !within {
            self.failures.push(text);
        }
    }

    fn fault(&mut self, text: String) {
        println!("budgets: {text}");
        self.failures.push(text);
    }
}

fn main() -> ExitCode {
    match check() {
        Ok(report) if report.failures.is_empty() => ExitCode::SUCCESS,
        Ok(report) => {
            println!("budgets: {} beyond what is allowed", report.failures.len());
            ExitCode::FAILURE
        }
        Err(e) => {
            println!("budgets: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn check() -> Result<Report> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .context("this crate is not two folders deep in the project")?;
    let mut report = Report::default();
    let module = files(&root.join("kernel/module"), &["rs"])?;
    let core = files(&root.join("kernel/core/src"), &["rs"])?;
    ensure!(
        !module.is_empty() && !core.is_empty(),
        "there is no Rust in {}/kernel: where has it gone?",
        root.display()
    );
    let mut sources = Vec::new();
    for path in module.iter().chain(&core) {
        let figures = count(&read(path)?).with_context(|| format!("parsing {}", path.display()))?;
        let path = path.strip_prefix(root).unwrap_or(path).to_path_buf();
        sources.push(File { path, figures });
    }
    unsafe_code(&sources, &mut report);
    let lines = sources.iter().map(|file| file.figures.lines).sum();
    shim(root, lines, &mut report)?;
    panics(root, &mut report)?;
    Ok(report)
}

/// Unsafe blocks per 1,000 lines of some files.
fn density(files: &[&File], what: &str, most: usize, report: &mut Report) {
    let lines: usize = files.iter().map(|file| file.figures.lines).sum();
    let blocks: usize = files.iter().map(|file| file.figures.blocks).sum();
    let tenths = (blocks * 10_000).checked_div(lines).unwrap_or(usize::MAX);
    report.figure(
        format!(
            "{blocks} unsafe blocks in {lines} lines of Rust of {what}: {}.{} per 1,000 (at most {most})",
            tenths / 10,
            tenths % 10,
        ),
        blocks * 1000 <= most * lines && lines > 0,
    );
}

fn unsafe_code(sources: &[File], report: &mut Report) {
    let all: Vec<&File> = sources.iter().collect();
    let sys: Vec<&File> = sources
        .iter()
        .filter(|file| file.path.starts_with("kernel/module/src/sys"))
        .collect();
    density(&all, "module and core", BLOCKS_PER_1000, report);
    density(&sys, "sys/", SYS_BLOCKS_PER_1000, report);
    let free = sources
        .iter()
        .filter(|file| file.figures.blocks + file.figures.items == 0)
        .count();
    report.figure(
        format!(
            "{free} of {} files have nothing unsafe: {} % (at least {FREE_FILES})",
            sources.len(),
            free * 100 / sources.len()
        ),
        free * 100 >= FREE_FILES * sources.len(),
    );
    let logic: Vec<&File> = sources
        .iter()
        .filter(|file| file.path.parent() == Some(Path::new("kernel/module/src")))
        .collect();
    let inside: usize = logic
        .iter()
        .map(|file| file.figures.blocks + file.figures.items)
        .sum();
    report.figure(
        format!(
            "{inside} unsafe blocks and items in {} files of logic (none)",
            logic.len()
        ),
        inside == 0 && !logic.is_empty(),
    );
    for file in logic.iter().filter(|file| !file.figures.forbids) {
        report.fault(format!(
            "{} does not begin with #![forbid(unsafe_code)]",
            file.path.display()
        ));
    }
    for file in sources {
        for (line, what) in &file.figures.unargued {
            report.fault(format!("{}:{line}: {what}", file.path.display()));
        }
    }
}

fn shim(root: &Path, rust: usize, report: &mut Report) -> Result<()> {
    let mut lines = 0;
    for path in files(&root.join("kernel/module/shim"), &["c", "h"])? {
        lines += lines_of_c(&read(&path)?);
    }
    report.figure(
        format!(
            "{lines} lines of C in shim/ against {rust} of Rust: {} to 100 (at most {C_PER_100})",
            lines * 100 / rust
        ),
        lines > 0 && lines * 100 <= C_PER_100 * rust,
    );
    Ok(())
}

/// Lines of C that are neither blank nor comment.
fn lines_of_c(text: &str) -> usize {
    let mut in_comment = false;
    let mut lines = 0;
    for mut line in text.lines() {
        let mut code = false;
        while !line.is_empty() {
            let mark = if in_comment { "*/" } else { "/*" };
            let (before, after) = line.split_once(mark).unwrap_or((line, ""));
            let before = before.split("//").next().unwrap_or_default();
            code |= !in_comment && !before.trim().is_empty();
            in_comment ^= line.contains(mark);
            line = after;
        }
        lines += usize::from(code);
    }
    lines
}

/// What the built modules still want of `core::panicking`. Without an index nothing was built.
fn panics(root: &Path, report: &mut Report) -> Result<()> {
    let mut indexes = match fs::read_dir(root.join("target/images")) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<PathBuf>>>()?,
        Err(_) => Vec::new(),
    };
    indexes.retain(|path| path.extension().is_some_and(|end| end == "json"));
    indexes.sort();
    let mut modules = Vec::new();
    for path in &indexes {
        let index: serde_json::Value = serde_json::from_str(&read(path)?)
            .with_context(|| format!("parsing {}", path.display()))?;
        let Some(module) = index["modules"]["rust"].as_str().map(PathBuf::from) else {
            continue;
        };
        let kernel = format!(
            "{} {}",
            index["release"].as_str().unwrap_or("?"),
            index["profile"].as_str().unwrap_or("")
        );
        if module.exists() && !modules.contains(&(kernel.clone(), module.clone())) {
            modules.push((kernel, module));
        }
    }
    if modules.is_empty() {
        println!(
            "budgets: no module has been built (cargo make images): panics were not looked for"
        );
    }
    for (kernel, module) in modules {
        let wanted = undefined(&module)?;
        let panics: Vec<&String> = wanted.iter().filter(|name| is_panic(name)).collect();
        report.figure(
            format!(
                "{} of {} undefined symbols of cachefiles_rs.ko for {kernel} are panics (none)",
                panics.len(),
                wanted.len()
            ),
            panics.is_empty(),
        );
        for name in panics {
            println!("budgets:   {name}");
        }
    }
    Ok(())
}

/// Whether a symbol, mangled in the old or the new way, is in `core::panicking`.
fn is_panic(symbol: &str) -> bool {
    symbol.contains("4core9panicking") || symbol.contains("4core6option13expect_failed")
}

/// Names of the symbols that a module wants of others.
fn undefined(module: &Path) -> Result<Vec<String>> {
    let output = Command::new("nm")
        .arg("--undefined-only")
        .arg("--format=posix")
        .arg(module)
        .output()
        .context("starting nm, which binutils has")?;
    if !output.status.success() {
        bail!(
            "nm {}: {}",
            module.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let names: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    ensure!(
        !names.is_empty(),
        "{} wants nothing of the kernel: is it a module?",
        module.display()
    );
    Ok(names)
}

/// The files with one of these ends in a folder and in those below it, sorted.
fn files(folder: &Path, ends: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in
            fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|end| ends.iter().any(|e| end == *e))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_is_counted_without_comments_and_blank_lines() {
        let text = "/* a\n b */\nint c; /* d */\n\n// e\nint f(void) /* g\n*/ {\n}\n";
        assert_eq!(lines_of_c(text), 4);
    }

    #[test]
    fn panics_are_known_by_their_mangled_names() {
        assert!(is_panic("_RNvNtCs1_4core9panicking5panic"));
        assert!(is_panic("_ZN4core9panicking5panic17h0E"));
        assert!(!is_panic("_printk"));
    }
}
