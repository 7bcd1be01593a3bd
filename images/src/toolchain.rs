// SPDX-License-Identifier: GPL-2.0-or-later
//! The tools that a kernel with Rust is built with: which ones there are, and their versions,
//! which are part of every kernel's and module's key.

use std::env;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;
use anyhow::bail;

use crate::command;
use crate::digest::Key;

/// Overrides the kernel's rustc.
pub const RUSTC_VARIABLE: &str = "CACHEFILES_RS_RUSTC";
/// Overrides what is appended to `clang`, `ld.lld` and so on: `-19`, or empty.
pub const LLVM_VARIABLE: &str = "CACHEFILES_RS_LLVM";

/// The LLVM versions looked for, best first: 19 is what the kernels here were tried with.
const LLVM_SUFFIXES: [&str; 6] = ["-19", "-20", "-21", "-18", "-17", ""];

/// A set of tools that fits together.
#[derive(Clone, Debug)]
pub struct Toolchain {
    rustc: PathBuf,
    llvm: String,
    versions: Vec<(&'static str, String)>,
}

impl Toolchain {
    /// Finds the tools and asks each its version.
    ///
    /// # Errors
    /// When one is missing; the message names its Debian package.
    pub fn find() -> Result<Self> {
        let llvm = find_llvm()?;
        let rustc = find_rustc()?;
        let mut versions = Vec::new();
        let mut ask = |name: &'static str, program: &Path, arguments: &[&str], package: &str| {
            let mut tool = command::clean(program);
            // A rustup proxy answers for the folder it runs in; builds run elsewhere.
            tool.args(arguments).current_dir("/");
            match command::output("asking for a tool's version", tool) {
                Ok(text) => {
                    versions.push((name, text.trim().to_owned()));
                    Ok(())
                }
                Err(error) => Err(error.context(format!("{name} does not work; {package}"))),
            }
        };
        ask("rustc", &rustc, &["-vV"], "install rustc-web or rustc")?;
        ask(
            "clang",
            Path::new(&format!("clang{llvm}")),
            &["--version"],
            "install clang-19, lld-19 and llvm-19",
        )?;
        ask(
            "ld.lld",
            Path::new(&format!("ld.lld{llvm}")),
            &["--version"],
            "install lld-19",
        )?;
        ask(
            "bindgen",
            Path::new("bindgen"),
            &["--version"],
            "install it: cargo install --locked bindgen-cli",
        )?;
        Ok(Self {
            rustc,
            llvm,
            versions,
        })
    }

    /// Each tool's name and what it says of itself.
    pub fn versions(&self) -> &[(&'static str, String)] {
        &self.versions
    }

    /// Adds every tool's version to a key.
    pub fn add_to(&self, key: &mut Key) {
        for (name, version) in &self.versions {
            key.add(name, version);
        }
    }

    /// What make is told so that it uses these tools.
    pub fn make_arguments(&self) -> Vec<String> {
        let rustc = self.rustc.display();
        let mut arguments = vec![
            // An empty suffix is spelt LLVM=1.
            format!(
                "LLVM={}",
                if self.llvm.is_empty() {
                    "1"
                } else {
                    &self.llvm
                }
            ),
            format!("RUSTC={rustc}"),
            format!("HOSTRUSTC={rustc}"),
        ];
        let rustdoc = self.rustc.with_file_name("rustdoc");
        if rustdoc.exists() {
            arguments.push(format!("RUSTDOC={}", rustdoc.display()));
        }
        arguments
    }
}

/// Whether a program of that name is on the search path.
pub(crate) fn on_path(name: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

fn find_llvm() -> Result<String> {
    if let Ok(suffix) = env::var(LLVM_VARIABLE) {
        return Ok(suffix);
    }
    for suffix in LLVM_SUFFIXES {
        if on_path(&format!("clang{suffix}")) && on_path(&format!("ld.lld{suffix}")) {
            return Ok(suffix.to_owned());
        }
    }
    bail!(
        "no clang with an ld.lld beside it; install clang-19, lld-19 and llvm-19, or set \
         {LLVM_VARIABLE} to the suffix of another version"
    );
}

/// The distribution's rustc, which comes with the library's sources, before rustup's, which
/// often does not.
fn find_rustc() -> Result<PathBuf> {
    if let Some(path) = env::var_os(RUSTC_VARIABLE) {
        return Ok(path.into());
    }
    let mut tried = Vec::new();
    for candidate in ["/usr/bin/rustc", "rustc"] {
        let mut ask = command::clean(candidate);
        ask.args(["--print", "sysroot"]).current_dir("/");
        let Ok(sysroot) = command::output("asking rustc for its folder", ask) else {
            tried.push(format!("{candidate} does not run"));
            continue;
        };
        let sysroot = Path::new(sysroot.trim());
        if sysroot
            .join("lib/rustlib/src/rust/library/core/src/lib.rs")
            .exists()
        {
            // The proxy's name would mean another compiler in another folder.
            return Ok(sysroot.join("bin/rustc"));
        }
        tried.push(format!(
            "{candidate} has no library sources in {}",
            sysroot.display()
        ));
    }
    bail!(
        "no rustc that can build a kernel ({}); install rustc-web and rust-web-src (Debian 12), or \
         rustc and rust-src (Debian 13), or `rustup component add rust-src`, or set \
         {RUSTC_VARIABLE}",
        tried.join("; ")
    );
}
