// SPDX-License-Identifier: GPL-2.0-or-later
//! PID 1 of a test guest: carries out the runner's steps.
//!
//! One program in three roles:
//! - `init` (started by the kernel): sets the guest up, talks to the runner, controls everything
//!   else. It never touches the filesystem under test itself, so nothing there can hang it.
//! - `worker`: mounts, reads and compares for it, and is killed when a step's time is up.
//! - `puppet`: plays a daemon by hand, and is killed to see what the kernel does then.
//!
//! `client` is a program for scenarios' scripts; `holder` keeps a descriptor open.
#![deny(unsafe_code)]

mod blocked;
mod channel;
mod children;
mod client;
mod counters;
mod engine;
mod events;
mod fairness;
mod init;
mod inspect;
mod logs;
mod probe_device;
mod puppet;
mod setup;
mod shell;
mod sys;
mod trace;
mod worker;

/// The first argument that makes this program a worker.
const WORKER: &str = "worker";
/// The first argument that makes this program hold what its standard input is, until it is killed.
const HOLDER: &str = "holder";
/// The first argument with which scenarios' scripts mount and read images.
const CLIENT: &str = "client";
/// The first argument that makes this program a puppet.
const PUPPET: &str = "puppet";

fn main() {
    let role = std::env::args().nth(1);
    match role.as_deref() {
        Some(WORKER) => worker::child::main(),
        Some(PUPPET) => puppet::child::main(),
        Some(CLIENT) => std::process::exit(client::program::main()),
        Some(HOLDER) => loop {
            std::thread::park();
        },
        _ if std::process::id() == 1 => init::main(),
        _ => {
            eprintln!(
                "vmtest-agent is the init process of a test guest and does nothing elsewhere; \
                 `vmtest run` boots a guest that contains it"
            );
            std::process::exit(2);
        }
    }
}
