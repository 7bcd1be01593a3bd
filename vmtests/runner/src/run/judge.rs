// SPDX-License-Identifier: GPL-2.0-or-later
//! What trouble with a machine says about the run.

use super::Run;
use super::Verdict;
use crate::results::Outcome;
use crate::splat::Splat;
use crate::vm::Trouble;
use crate::vm::Vm;

impl Run<'_> {
    /// Once the guest has begun to work on the subject, what stops it is the subject's doing.
    pub(super) fn judge(&self, what: &str, trouble: &Trouble, vm: &mut Vm) -> Verdict {
        let outcome = match trouble {
            Trouble::Splat(splat) if splat.is_end_of_init() => Outcome::Error,
            Trouble::Splat(_) | Trouble::Deadline | Trouble::ConsoleFlood => Outcome::Failed,
            Trouble::QemuDied(_)
            | Trouble::AgentGone(_)
            | Trouble::Host(_)
            | Trouble::Interrupted => Outcome::Error,
        };
        let verdict = Verdict::new(outcome, self.describe(what, trouble, vm));
        match trouble {
            Trouble::Splat(splat) => verdict.because_of(splat),
            _ => verdict,
        }
    }

    /// The reason for people.
    pub(super) fn describe(&self, what: &str, trouble: &Trouble, vm: &mut Vm) -> String {
        let head = match trouble {
            Trouble::Deadline if what == "boot" => format!(
                "boot: the agent said nothing within {} s of QEMU's start; {}",
                self.scaled(self.common.boot_limit).as_secs(),
                vm.stderr_tail()
            ),
            Trouble::Deadline if what.contains(':') => what.to_owned(),
            Trouble::Deadline => format!("{what}: no answer within its limit"),
            Trouble::Splat(splat) => {
                return match splat.is_end_of_init() {
                    true => format!("{what}: the agent ended\n{}", splat_text(splat)),
                    false => format!("{what}: {}", splat_text(splat)),
                };
            }
            Trouble::QemuDied(how) => format!("{what}: {how}"),
            Trouble::Host(how) => format!("{what}: {how}"),
            Trouble::AgentGone(how) => format!("{what}: {how}"),
            Trouble::ConsoleFlood => format!(
                "{what}: the guest printed more than {} MiB on its console",
                crate::console::MAX_CONSOLE >> 20
            ),
            Trouble::Interrupted => return format!("{what}: interrupted"),
        };
        let console = match trouble {
            Trouble::Deadline => vm.show_blocked(),
            _ => vm.console_tail(),
        };
        format!("{head}\nconsole:\n{console}")
    }
}

/// A splat, for a reason.
pub(super) fn splat_text(splat: &Splat) -> String {
    let lines: Vec<String> = splat.lines.iter().map(|line| format!("  {line}")).collect();
    format!(
        "splat ({}) on the console:\n{}",
        splat.pattern,
        lines.join("\n")
    )
}
