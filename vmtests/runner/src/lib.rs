// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest`: boots kernels under QEMU and runs scenarios in them.
//!
//! The way of a run: [`scenario`] reads what to do, [`matrix`] says on which modules, [`schedule`]
//! spreads the runs over threads, and [`run`] carries one out: it lets [`prepare`] make disks
//! ([`disk`]) and folders ([`store`]) and start a machine ([`vm`]: [`qemu`]'s command line, [`share`]s, [`qmp`], the
//! [`console`] with its [`splat`]s), sends the steps to the agent, takes the [`evidence`], and gives
//! a result to [`results`]. Nothing outlives a run: see [`exec`].
#![forbid(unsafe_code)]

pub mod accel;
pub mod agentlog;
pub mod artifacts;
pub mod ask;
pub mod bench;
pub mod blocklog;
pub mod cli;
pub mod console;
pub mod disk;
pub mod doctor;
pub mod evidence;
pub mod exec;
pub mod explain;
pub mod faults;
pub mod github;
pub mod interrupt;
pub mod lint;
pub mod matrix;
pub mod mutants;
pub mod prepare;
pub mod progress;
pub mod qemu;
pub mod qmp;
pub mod reference;
pub mod replay;
pub mod report;
pub mod results;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod schema;
pub mod seed;
pub mod share;
pub mod shell;
pub mod snapshot;
pub mod splat;
pub mod store;
pub mod timeline;
pub mod vm;
pub mod xfail;
