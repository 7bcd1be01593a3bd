// SPDX-License-Identifier: GPL-2.0-or-later
//! What comes from a machine, for those who only look on.

use std::rc::Rc;
use std::time::Instant;

use vmtest_protocol::FromAgent;

use crate::qmp::Event;

/// One thing that came, or that the host did.
#[derive(Debug)]
pub enum Seen<'a> {
    /// A line of the console.
    Console(&'a str),
    /// A message of the agent.
    Agent(&'a FromAgent),
    /// An event of QEMU.
    Qmp(&'a Event),
    /// The host did this to the machine.
    Host(&'a str),
}

/// Is told what comes, with the moment at which it arrived at this process, on the thread that runs
/// the machine. It must not wait.
pub type Observer = Rc<dyn Fn(Instant, &Seen<'_>)>;
