// SPDX-License-Identifier: GPL-2.0-or-later
//! What a scenario's steps ask of the kernel without its `needs` saying so.
//!
//! On-demand mode left mainline in pieces: its client in 7.2, for which the probe stands in, and the C
//! module's side in 7.3. Which scenarios are about it can be seen from their steps, so that none has to
//! list kernels.

use vmtest_protocol::Action;
use vmtest_protocol::Step;
use vmtest_protocol::step::PuppetAction;
use vmtest_protocol::template::Vars;

use super::Scenario;
use super::text_of;

/// The kernel option behind erofs images that are mounted over fscache.
pub const EROFS: &str = "EROFS_FS_ONDEMAND";
/// The kernel option behind the C module's on-demand mode.
pub const ONDEMAND: &str = "CACHEFILES_ONDEMAND";

/// What steps ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asks {
    /// They put the module under test into on-demand mode.
    pub ondemand: bool,
}

impl Asks {
    /// What the steps of a scenario ask for, at any depth.
    pub fn of(scenario: &Scenario) -> Self {
        let mut asks = Asks::default();
        for step in &scenario.steps {
            step.walk(&mut |step| asks.add(step, &scenario.params));
        }
        asks
    }

    fn add(&mut self, step: &Step, params: &Vars) {
        match &step.action {
            Action::StartDaemon(_) => self.ondemand = true,
            Action::Puppet(puppet) => {
                self.ondemand |= puppet
                    .actions
                    .iter()
                    .any(|action| binds_on_demand(action, params));
            }
            _ => {}
        }
    }
}

/// Whether an action is a `bind ondemand` that is to succeed.
fn binds_on_demand(action: &PuppetAction, params: &Vars) -> bool {
    let PuppetAction::Command(command) = action else {
        return false;
    };
    let mut text = command.text.clone();
    for (name, value) in params {
        text = text.replace(&format!("${{{name}}}"), &text_of(value));
    }
    let binds = |line: &str| {
        let mut words = line.split_whitespace();
        words.next() == Some("bind") && words.next() == Some("ondemand")
    };
    command.expect_errno.is_none() && text.lines().any(binds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(steps: &str) -> Asks {
        let text = format!("name: a\nabout: x\nparams: {{mode: ondemand}}\nsteps: {steps}\n");
        let scenario: Scenario = serde_yaml::from_str(&text).unwrap();
        Asks::of(&scenario)
    }

    #[test]
    fn a_daemon_and_a_bind_that_is_to_succeed_ask_for_on_demand_mode() {
        let by_hand = |command: &str| asks(&format!("[{{puppet: {{actions: [{command}]}}}}]"));
        assert!(asks("[{group: {steps: [{start_daemon: {}}]}}]").ondemand);
        assert!(!asks("[{mount: {image: i, at: /m}}]").ondemand);
        assert!(by_hand("{command: {text: bind ondemand}}").ondemand);
        assert!(by_hand("{command: {text: \"bind ${mode}\"}}").ondemand);
        for other in [
            "{command: {text: bind}}",
            "{command: {text: bind ondemand x, expect_errno: EINVAL}}",
            "{command: {text: tag ondemand}}",
        ] {
            assert!(!by_hand(other).ondemand, "{other}");
        }
    }
}
