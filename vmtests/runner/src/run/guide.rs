// SPDX-License-Identifier: GPL-2.0-or-later
//! Somebody who goes along with a run and may act in between, such as a person with a shell.

use vmtest_protocol::Step;

use super::Verdict;
use crate::vm::Trouble;
use crate::vm::Vm;

/// Is asked between the stages of a run. Without an answer of its own a run goes its way.
pub trait Guide {
    /// The guest is set up and its modules are loaded; nothing of the scenario has been done.
    ///
    /// # Errors
    /// What ends the run.
    fn ready(&mut self, _vm: &mut Vm) -> Result<(), Trouble> {
        Ok(())
    }

    /// Whether step `number`, counted from 1, is carried out, and those behind it.
    fn goes_on(&mut self, _number: usize, _step: &Step) -> bool {
        true
    }

    /// No further step is carried out: all passed (no verdict), one did not, or the guide did not
    /// go on. The guest is still there, if the verdict does not say otherwise.
    fn stopped(&mut self, _vm: &mut Vm, _verdict: Option<&Verdict>) {}
}

/// Nobody.
#[derive(Debug, Clone, Copy)]
pub struct Unguided;

impl Guide for Unguided {}
