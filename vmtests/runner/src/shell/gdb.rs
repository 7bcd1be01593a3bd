// SPDX-License-Identifier: GPL-2.0-or-later
//! The kernel under a debugger.

use crate::vm::Trouble;
use crate::vm::Vm;

/// What is needed for it.
#[derive(Debug, Clone)]
pub struct Debugging;

impl Debugging {
    /// Waits for the debugger.
    ///
    /// # Errors
    /// What ends the run.
    pub fn wait(&self, _vm: &mut Vm) -> Result<(), Trouble> {
        Ok(())
    }
}
