// SPDX-License-Identifier: GPL-2.0-or-later
//! What a debug kernel has to say when a run's steps are done.

use std::time::Duration;
use std::time::Instant;

use vmtest_protocol::FromAgent;
use vmtest_protocol::ToAgent;
use vmtest_protocol::message::Inspected;

use super::Run;
use super::Verdict;
use crate::results::Outcome;
use crate::vm::Vm;

/// Longest wait for the answer: up to three scans of all memory, and the time between them.
const LIMIT: Duration = Duration::from_secs(90);
/// How long what the agent wrote to the console may take to arrive here.
const CONSOLE_LIMIT: Duration = Duration::from_secs(3);
/// Name of the pattern that a lost object matches.
const PATTERN: &str = "kmemleak";

impl Run<'_> {
    /// Asks a debug kernel for lost memory, and whether lockdep was at work to the end. What it
    /// finds is on the console, as any splat, and may be allowed as any splat.
    pub(super) fn inspect(&self, vm: &mut Vm) -> Option<Verdict> {
        if !self.planned.index.guest.leak_scan {
            return None;
        }
        self.stage("looking for lost memory");
        let what = "looking for lost memory";
        let until = Instant::now() + self.scaled(LIMIT);
        let asked = vm.send(&ToAgent::Inspect).and_then(|()| {
            vm.wait_for(until, |message| match message {
                FromAgent::Inspected(inspected) => Some(inspected.clone()),
                _ => None,
            })
        });
        let inspected = match asked {
            Ok(inspected) => inspected,
            Err(trouble) => return Some(self.judge(what, &trouble, vm)),
        };
        if inspected.lost > 0 {
            if let Err(trouble) = vm.listen(CONSOLE_LIMIT) {
                return Some(self.judge(what, &trouble, vm));
            }
        }
        let prefix = format!("{PATTERN}: ");
        let allowed = vm.allowed_splats().iter();
        verdict(
            &inspected,
            allowed.filter(|text| text.starts_with(&prefix)).count(),
        )
    }
}

/// What is wrong besides what the console shows; `allowed` lost objects were seen and allowed there.
fn verdict(inspected: &Inspected, allowed: usize) -> Option<Verdict> {
    if let Some(error) = &inspected.error {
        let reason = format!("the kernel could not be asked for lost memory: {error}");
        return Some(Verdict::new(Outcome::Error, reason));
    }
    if inspected.lost > 0 && allowed == 0 {
        let reason = format!(
            "kmemleak: nothing points to {} objects any more; kmemleak.txt has them",
            inspected.lost
        );
        return Some(Verdict::new(Outcome::Failed, reason));
    }
    if inspected.lockdep == Some(false) {
        let reason = "lockdep has switched itself off: nothing is known of the locks taken since";
        return Some(Verdict::new(Outcome::Error, reason));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_kernel_that_could_be_asked_and_lost_nothing_is_fine() {
        let of = |inspected: Inspected, allowed| {
            verdict(&inspected, allowed).map(|verdict| verdict.outcome)
        };
        let fine = Inspected {
            lockdep: Some(true),
            ..Inspected::default()
        };
        assert_eq!(of(fine.clone(), 0), None);
        assert_eq!(
            of(Inspected::default(), 0),
            None,
            "no lockdep in this kernel"
        );
        let lost = Inspected {
            lost: 2,
            ..fine.clone()
        };
        assert_eq!(of(lost.clone(), 0), Some(Outcome::Failed));
        assert_eq!(of(lost, 2), None);
        let off = Inspected {
            lockdep: Some(false),
            ..fine.clone()
        };
        assert_eq!(of(off, 0), Some(Outcome::Error));
        let unasked = Inspected {
            error: Some("off".to_owned()),
            ..fine
        };
        assert_eq!(of(unasked, 0), Some(Outcome::Error));
    }
}
