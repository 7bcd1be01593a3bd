// SPDX-License-Identifier: GPL-2.0-or-later
//! The command line, with a shell script in QEMU's place.

mod doctor;
mod input;
mod kernels;
mod language;
mod machine;
mod place;
#[path = "../support/processes.rs"]
mod processes;
mod replay;
mod results;
mod terminal;
