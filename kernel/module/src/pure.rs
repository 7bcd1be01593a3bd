// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
#![allow(unused_imports)]
//! The crate `cachefiles-core`, compiled into the module: the very files that its host tests run.

#[path = "../../core/src/chunks.rs"]
pub(crate) mod chunks;
#[path = "../../core/src/command.rs"]
pub(crate) mod command;
#[path = "../../core/src/dio.rs"]
pub(crate) mod dio;
#[path = "../../core/src/host.rs"]
mod host;
#[path = "../../core/src/inject.rs"]
pub(crate) mod inject;
#[path = "../../core/src/key.rs"]
pub(crate) mod key;
#[path = "../../core/src/limits.rs"]
pub(crate) mod limits;
#[path = "../../core/src/number.rs"]
mod number;
#[path = "../../core/src/protocol.rs"]
pub(crate) mod protocol;
#[path = "../../core/src/requests.rs"]
pub(crate) mod requests;
#[path = "../../core/src/slots.rs"]
pub(crate) mod slots;
#[path = "../../core/src/status.rs"]
pub(crate) mod status;
#[path = "../../core/src/table.rs"]
mod table;
#[path = "../../core/src/wire.rs"]
pub(crate) mod wire;
#[path = "../../core/src/xattr.rs"]
pub(crate) mod xattr;
