// SPDX-License-Identifier: GPL-2.0-or-later
//! `cachefilesd`: serves the objects of an on-demand cachefiles cache, and culls it.
//!
//! - [`cli`], [`config`]: what the operator asks for.
//! - [`run`]: puts the parts together, from the limits of the process to its exit code.
//! - [`reload`]: what SIGHUP may change while the cache is served.
//! - [`device`]: `/dev/cachefiles` and the objects' descriptors, behind traits, so that everything
//!   below is tested without a kernel.
//! - [`backend`]: where the data comes from.
//! - [`serve`]: the threads that answer OPEN, READ and CLOSE.
//! - [`cull`]: the thread that makes room.
//! - [`event_log`], [`stats`], [`log`]: what happened.
#![deny(unsafe_code)]

pub mod backend;
pub mod cli;
pub mod config;
pub mod cull;
pub mod device;
pub mod event_log;
pub mod failure;
pub mod log;
pub mod range;
pub mod reload;
pub mod run;
pub mod serve;
pub mod stats;
pub mod stop;
