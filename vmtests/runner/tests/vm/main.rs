// SPDX-License-Identifier: GPL-2.0-or-later
//! Real virtual machines with tiny scenarios: what must pass passes, and what must not is told as
//! what it is. `cargo make images` builds what they boot; `cargo test -p vmtest --test vm` runs
//! them.

mod boots;
mod deaths;
mod ends;
mod faults;
mod ground;
mod marks;
mod places;
#[path = "../support/processes.rs"]
mod processes;
mod snapshots;
mod verbs;
