// SPDX-License-Identifier: GPL-2.0-or-later
//! What the `vmtest` runner on the host and its agent in the guest say to each other.
//!
//! - [`frame`]: how a message becomes bytes on the virtio-serial port, and back.
//! - [`message`]: the messages themselves.
//! - [`step`]: the steps of a scenario. They appear in scenario files exactly as they are carried
//!   here, so this module is the reference of the step language.
//! - [`value`], [`template`]: the scalars of that language (counts, sizes, spans of time, error
//!   names) and the `${...}` expressions that may stand in their place.
//! - The feature `schema` gives every type of the language its JSON Schema.
#![forbid(unsafe_code)]

pub mod frame;
pub mod message;
#[cfg(feature = "schema")]
mod schema;
pub mod step;
pub mod template;
pub mod value;

pub use message::FromAgent;
pub use message::ToAgent;
pub use step::Action;
pub use step::Step;

/// Changes whenever a message or a step changes its meaning; both sides must agree exactly.
pub const PROTOCOL_VERSION: u32 = 4;

/// Name of the virtio-serial port that carries the frames.
pub const PORT_NAME: &str = "vmtest.agent";
