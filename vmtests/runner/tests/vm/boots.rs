// SPDX-License-Identifier: GPL-2.0-or-later
//! Kernels that do not get as far as the agent.

use std::fs;
use std::time::Duration;
use std::time::Instant;

use crate::ground::Ground;
use crate::ground::artifacts;
use images::cpio::Archive;

/// An initramfs with this as the first process, and nothing else.
fn bare(init: &[u8]) -> Archive {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc"] {
        archive.folder(folder, 0o755).unwrap();
    }
    archive.file("init", 0o755, init.to_vec()).unwrap();
    archive
}

/// An initramfs with this script as the first process.
fn script(init: &str) -> Vec<u8> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .find_map(|file| fs::read(file).ok())
        .expect("the package busybox-static");
    let mut archive = bare(init.as_bytes());
    archive.file("bin/busybox", 0o755, busybox).unwrap();
    archive.link("bin/sh", "busybox").unwrap();
    archive.finish()
}

#[test]
fn a_kernel_that_panics_at_once_is_an_error_that_shows_the_panic() {
    let bad = bare(b"this is no program\n").finish();
    let ground = Ground::with("initramfs", "bad.cpio", &bad);
    let began = Instant::now();
    let ran = ground.run("passes");
    ran.is(
        1,
        "error",
        &["boot: ", "splat (panic)", "Kernel panic - not syncing"],
    );
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "waited for the limit"
    );
    assert!(ran.result["seconds_to_first_step"].is_null());
}

#[test]
fn a_kernel_that_never_prints_is_an_error_at_its_limit() {
    // The code behind the set-up sectors is where QEMU jumps to: a jump to itself.
    let text = fs::read_to_string(artifacts()).unwrap();
    let index: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut kernel = fs::read(index["bzimage"].as_str().unwrap()).unwrap();
    let sectors = usize::from(kernel[0x1f1]);
    let entry = (sectors + 1) * 512;
    kernel[entry..entry + 2].copy_from_slice(&[0xeb, 0xfe]);
    let ground = Ground::with("bzimage", "silent", &kernel);
    let mut command = ground.run_command("passes");
    command.args(["--boot-limit", "2", "--accel", "tcg"]);
    let ran = ground.carry_out(command, "passes");
    ran.is(
        1,
        "error",
        &[
            "the agent said nothing within 2 s",
            "(the console is empty)",
        ],
    );
}

#[test]
fn a_kernel_that_prints_for_ever_is_an_error_with_its_last_lines() {
    let noisy = script(
        "#!/bin/sh\n/bin/busybox mount -t devtmpfs none /dev\n\
         while :; do echo nothing but noise >/dev/console; done\n",
    );
    let ground = Ground::with("initramfs", "noisy.cpio", &noisy);
    let mut command = ground.run_command("passes");
    command.args(["--boot-limit", "5"]);
    let ran = ground.carry_out(command, "passes");
    ran.is(1, "error", &["boot: ", "noise"]);
    let kept = fs::metadata(ground.run_folder("passes").join("console.log"));
    assert!(kept.unwrap().len() < 80 << 20);
}

#[test]
fn an_agent_of_another_protocol_or_none_is_an_error_that_says_what_to_do() {
    let other = script("#!/bin/sh\n/bin/busybox sleep 100\n");
    let ground = Ground::with("initramfs", "other.cpio", &other);
    let mut command = ground.run_command("passes");
    command.args(["--boot-limit", "4"]);
    let ran = ground.carry_out(command, "passes");
    ran.is(1, "error", &["the agent said nothing within 4 s"]);
    // The kernel can still be asked.
    assert!(ran.reason().contains("console:"), "{}", ran.said());
}
