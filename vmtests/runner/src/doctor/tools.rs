// SPDX-License-Identifier: GPL-2.0-or-later
//! Programs that make disks, images and kernels.

use std::path::Path;

use images::toolchain::Toolchain;

use super::Point;
use super::State;
use super::answer;
use super::find;

/// What makes disks: program, package, what is missing without it, and whether runs need it.
const DISK_TOOLS: [(&str, &str, &str, bool); 2] = [
    (
        "mkfs.ext4",
        "e2fsprogs",
        "the disks of most scenarios",
        true,
    ),
    ("mkfs.ext2", "e2fsprogs", "disks with ext2", false),
];

/// Programs of a kernel's build beside the compilers, and their packages.
const BUILD_TOOLS: [(&str, &str); 15] = [
    ("make", "make"),
    ("gcc", "gcc"),
    ("cmake", "cmake"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
    ("cpio", "cpio"),
    ("depmod", "kmod"),
    ("rsync", "rsync"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("pkg-config", "pkg-config"),
    ("mkfs.erofs", "erofs-utils"),
    ("cargo", "cargo, or rustup's"),
    ("cargo-make", "cargo install cargo-make"),
];

/// Headers of the host that a kernel's build needs, and their packages.
const HEADERS: [(&str, &str); 2] = [("gelf.h", "libelf-dev"), ("openssl/ssl.h", "libssl-dev")];

/// Where the builder looks for a shell for the guest.
const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];

/// All of it. When everything is `built`, what only builds need is no obstacle to a run.
pub(super) fn examine(own: &Path, built: bool) -> Vec<Point> {
    let mut points: Vec<Point> = DISK_TOOLS.iter().map(|tool| disk_tool(own, tool)).collect();
    for point in [busybox(), toolchain(), build_tools(), headers(own)] {
        points.push(match (built, point.state) {
            (true, State::Bad) => Point {
                state: State::Warn,
                seen: format!("{} (all is built, so runs do not need it)", point.seen),
                ..point
            },
            _ => point,
        });
    }
    points
}

fn disk_tool(own: &Path, tool: &(&'static str, &str, &str, bool)) -> Point {
    let (program, package, purpose, needed) = *tool;
    let wrong = |seen: String| {
        let remedy = format!("install the package {package} (`./setup` does)");
        match needed {
            true => Point::bad(program, seen, remedy),
            false => Point::warn(program, seen, remedy),
        }
    };
    let Some(file) = find(program) else {
        return wrong(format!("not found: it makes {purpose}"));
    };
    match answer(own, &file, &["-V"]) {
        Ok(text) => {
            let version = text.lines().next().unwrap_or_default();
            Point::ok(program, version)
        }
        Err(error) => wrong(error),
    }
}

fn busybox() -> Point {
    let name = "busybox";
    let install = "install the package busybox-static (`./setup` does)";
    let Some(file) = BUSYBOX.iter().map(Path::new).find(|file| file.exists()) else {
        return Point::bad(name, format!("{} is not there", BUSYBOX[0]), install);
    };
    match std::fs::read(file) {
        Err(error) => Point::bad(name, format!("{}: {error}", file.display()), install),
        Ok(bytes) if is_static(&bytes) => Point::ok(name, format!("{}, static", file.display())),
        Ok(_) => Point::bad(
            name,
            format!(
                "{} needs shared libraries, of which the guest has none",
                file.display()
            ),
            install,
        ),
    }
}

/// Whether an ELF file names no program interpreter.
fn is_static(elf: &[u8]) -> bool {
    let number = |at: usize, size: usize| {
        let bytes = elf.get(at..at + size)?;
        let value = bytes.iter().rev();
        Some(value.fold(0u64, |all, byte| all << 8 | u64::from(*byte)))
    };
    let headers = || -> Option<Vec<u64>> {
        let (start, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        let at = |index: u64| start.checked_add(size.checked_mul(index)?);
        (0..count)
            .map(|index| number(usize::try_from(at(index)?).ok()?, 4))
            .collect()
    };
    /// A program header that names the interpreter.
    const PT_INTERP: u64 = 3;
    let is_elf64 = elf.starts_with(b"\x7fELF\x02");
    is_elf64 && headers().is_some_and(|types| !types.contains(&PT_INTERP))
}

fn toolchain() -> Point {
    let name = "toolchain";
    match Toolchain::find() {
        Ok(tools) => {
            let versions: Vec<String> = tools
                .versions()
                .iter()
                .filter_map(|(_, text)| text.lines().next())
                .map(str::to_owned)
                .collect();
            Point::ok(name, versions.join("; "))
        }
        Err(error) => {
            let text = format!("{error:#}");
            // The builder says what to do behind a semicolon.
            let (seen, remedy) = text
                .split_once("; ")
                .unwrap_or((&text, "run `./setup --check`"));
            Point::bad(name, seen, remedy)
        }
    }
}

fn build_tools() -> Point {
    let name = "build tools";
    let missing: Vec<(&str, &str)> = BUILD_TOOLS
        .into_iter()
        .filter(|(program, _)| find(program).is_none())
        .collect();
    match missing.is_empty() {
        true => Point::ok(
            name,
            "make, flex, bison, mkfs.erofs and the others are there",
        ),
        false => {
            let (programs, packages): (Vec<_>, Vec<_>) = missing.into_iter().unzip();
            Point::bad(
                name,
                format!("not found: {}", programs.join(", ")),
                format!("install {} (`./setup` does)", packages.join(", ")),
            )
        }
    }
}

fn headers(own: &Path) -> Point {
    let name = "headers";
    let Some(cc) = find("gcc") else {
        return Point::bad(name, "gcc is not found", "install the package gcc");
    };
    let missing: Vec<(&str, &str)> = HEADERS
        .into_iter()
        .filter(|(header, _)| {
            let arguments = ["-fsyntax-only", "-include", header, "-x", "c", "/dev/null"];
            answer(own, &cc, &arguments).is_err()
        })
        .collect();
    match missing.is_empty() {
        true => Point::ok(name, "gelf.h, openssl/ssl.h"),
        false => {
            let (headers, packages): (Vec<_>, Vec<_>) = missing.into_iter().unzip();
            Point::bad(
                name,
                format!("not found: {}", headers.join(", ")),
                format!("install {} (`./setup` does)", packages.join(", ")),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_an_interpreter_or_none_of_elf_is_not_static() {
        // This very test is linked dynamically.
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(!is_static(&own));
        assert!(!is_static(b"#!/bin/sh"));
        assert!(!is_static(b""));
        let mut elf = own[..64].to_vec();
        // The same header with no program headers at all.
        elf[56] = 0;
        elf[57] = 0;
        assert!(is_static(&elf));
    }
}
