// SPDX-License-Identifier: GPL-2.0-or-later
//! QEMU, what it was built with, and KVM.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::path::PathBuf;

use super::Patient;
use super::Point;
use super::answer;
use crate::accel;
use crate::accel::Accel;
use crate::artifacts::Index;
use crate::qemu;

/// The oldest QEMU that the runner was tried with.
const TRIED: (u32, u32) = (7, 2);

/// What a run needs of QEMU: how to ask for it, the word in the answer, and what it is for.
const NEEDED: [(&[&str], &str, &str); 4] = [
    (&["-machine", "help"], "q35", "the machine of every run"),
    (&["-device", "help"], "\"vhost-user-fs-pci\"", "shares"),
    (
        &["-device", "help"],
        "\"pvpanic-pci\"",
        "panics of the guest",
    ),
    (&["-object", "help"], "memory-backend-memfd", "shares"),
];

/// Block drivers behind the steps that hurt a disk.
const FAULT_DRIVERS: [&str; 2] = ["blkdebug", "blklogwrites"];

/// QEMU's path, and the points about it.
pub(super) fn examine(own: &Path) -> (Option<PathBuf>, Vec<Point>) {
    let program = match qemu::find() {
        Ok(program) => program,
        Err(_) => {
            let point = Point::bad(
                "qemu",
                format!("{} is not in PATH", qemu::PROGRAM),
                "install the package qemu-system-x86 (`./setup` does)",
            );
            return (None, vec![point]);
        }
    };
    let again = "install the package qemu-system-x86 of your distribution again";
    let version = match answer(own, &program, &["--version"]) {
        Ok(text) => text,
        Err(error) => return (None, vec![Point::bad("qemu", error, again)]),
    };
    let first = version.lines().next().unwrap_or_default();
    let found = format!("{first} ({})", program.display());
    let mut points = vec![match parse_version(first) {
        Some(version) if version >= TRIED => Point::ok("qemu", found),
        Some(_) => Point::warn(
            "qemu",
            found,
            format!(
                "take {}.{} or newer, which is what runs were tried with",
                TRIED.0, TRIED.1
            ),
        ),
        None => Point::bad("qemu", format!("{found} says no version"), again),
    }];
    points.push(devices(own, &program));
    points.push(fault_drivers(own, &program));
    (Some(program), points)
}

fn devices(own: &Path, program: &Path) -> Point {
    let mut missing = Vec::new();
    for (question, word, purpose) in NEEDED {
        match answer(own, program, question) {
            Ok(text) if text.contains(word) => {}
            Ok(_) => missing.push(format!("{} ({purpose})", word.trim_matches('"'))),
            Err(error) => missing.push(error),
        }
    }
    match missing.is_empty() {
        true => Point::ok(
            "qemu devices",
            "q35, vhost-user-fs-pci, pvpanic-pci, memory-backend-memfd",
        ),
        false => Point::bad(
            "qemu devices",
            format!("this QEMU lacks {}", missing.join(", ")),
            "take a QEMU for Linux hosts that is built with vhost-user, as distributions build it",
        ),
    }
}

fn fault_drivers(own: &Path, program: &Path) -> Point {
    let name = "qemu drivers";
    let text = match answer(own, program, &["-drive", "format=help"]) {
        Ok(text) => text,
        Err(error) => return Point::warn(name, error, "see above"),
    };
    let has = |driver: &&str| text.split_whitespace().any(|word| word == *driver);
    let missing: Vec<&str> = FAULT_DRIVERS.into_iter().filter(|d| !has(d)).collect();
    match missing.is_empty() {
        true => Point::ok(name, FAULT_DRIVERS.join(", ")),
        false => Point::warn(
            name,
            format!(
                "this QEMU lacks {}: scenarios that cut the power or break disks cannot run",
                missing.join(", ")
            ),
            "take a QEMU that is built without a list of allowed block drivers",
        ),
    }
}

/// Major and minor of `QEMU emulator version 7.2.22 (Debian ...)`.
fn parse_version(line: &str) -> Option<(u32, u32)> {
    let text = line.split("version ").nth(1)?;
    let mut parts = text.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Whether guests run by KVM.
pub(super) fn kvm(patient: &Patient<'_>, qemu: Option<&Path>, index: Option<&Index>) -> Point {
    let name = "kvm";
    let slower = "guest instructions are translated (TCG), several times slower";
    let device = "/dev/kvm";
    if let Err(error) = File::options().read(true).write(true).open(device) {
        let remedy = match error.kind() {
            ErrorKind::PermissionDenied => {
                "add your user to the group kvm: sudo usermod -aG kvm USER, then log in again"
            }
            _ => {
                "load the module kvm_intel or kvm_amd; inside a VM, have nested virtualization \
                 switched on"
            }
        };
        return Point::warn(name, format!("{device}: {error}: {slower}"), remedy);
    }
    let (Some(qemu), Some(index)) = (qemu, index) else {
        return Point::warn(
            name,
            format!("{device} opens, which proves nothing yet"),
            "ask again when QEMU and the artifact index are there: a kernel is booted under KVM \
             to prove it",
        );
    };
    let choice = accel::choose(patient.accel, patient.own, qemu, &index.bzimage);
    match choice.accel {
        Accel::Kvm => Point::ok(name, choice.why),
        Accel::Tcg | Accel::Counted => Point::warn(
            name,
            format!("{}: {slower}", choice.why),
            "nothing has to be done; for speed, a machine whose KVM boots this kernel",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let version = |line| parse_version(line).unwrap();
        let debian = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)";
        assert_eq!(version(debian), (7, 2));
        assert!(version("QEMU emulator version 10.0.2") >= TRIED);
        assert!(version("QEMU emulator version 6.9.1") < TRIED);
        assert_eq!(parse_version("something else"), None);
    }
}
