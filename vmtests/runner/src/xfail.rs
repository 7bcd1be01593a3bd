// SPDX-License-Identifier: GPL-2.0-or-later
//! Known failures of the C module, judged in this one place.
//!
//! A scenario may say that the C module fails it on a kernel, with a reason and a link. Then that
//! failure is `xfailed`; and a pass is `xpassed`, which is bad: the entry is out of date, unless it
//! says that the module fails `sometimes`. What fails otherwise than expected, and what could not be judged at all, stays what it is.

use vmtest_protocol::template::Vars;

use crate::matrix::Module;
use crate::results::Outcome;
use crate::results::RunResult;
use crate::results::Xfail;
use crate::scenario::ExpectedFailure;
use crate::scenario::Scenario;

/// What to do about an entry that does not hold.
pub const OUT_OF_DATE: &str = "remove the xfail entry or narrow it (`kernel`, `step`, `when`)";

/// The entry that holds for a module on a kernel; the first of several.
pub fn expected<'a>(
    scenario: &'a Scenario,
    module: Module,
    kernel: &str,
) -> Option<&'a ExpectedFailure> {
    let mut entries = scenario.xfail.iter();
    entries.find(|entry| module == Module::C && holds(entry, kernel, &scenario.params))
}

fn holds(entry: &ExpectedFailure, kernel: &str, params: &Vars) -> bool {
    let mut when = entry.when.iter();
    (entry.kernel == "*" || entry.kernel == kernel)
        && when.all(|(name, value)| params.get(name) == Some(value))
}

/// Judges a run that has ended, and changes its outcome and reason accordingly. Of the kernel's
/// complaints only one that an entry names is expected.
pub fn judge(scenario: &Scenario, module: Module, result: &mut RunResult) {
    let entries = scenario
        .xfail
        .iter()
        .filter(|entry| module == Module::C && holds(entry, &result.kernel, &scenario.params));
    let entries: Vec<&ExpectedFailure> = entries.collect();
    let Some(first) = entries.first() else {
        return;
    };
    match result.outcome {
        Outcome::Passed if entries.iter().any(|entry| entry.sometimes) => {}
        Outcome::Passed => {
            result.outcome = Outcome::Xpassed;
            result.reason = format!(
                "passed, although it is expected to fail: {} ({})\n{OUT_OF_DATE}",
                first.reason.trim(),
                first.link
            );
            result.xfail = Some(of(first));
        }
        Outcome::Failed => {
            let failing = result.failing();
            let names: Vec<&str> = failing.iter().map(|step| step.step.as_str()).collect();
            let at_step = |entry: &&&ExpectedFailure| match &entry.step {
                // A step inside others has their names before its own.
                Some(step) => names.iter().any(|name| {
                    let before = name.strip_suffix(step.as_str());
                    before.is_some_and(|before| before.is_empty() || before.ends_with(" / "))
                }),
                None => true,
            };
            let by_splat = |entry: &&&ExpectedFailure| entry.splat == result.splat;
            match entries.iter().filter(at_step).find(by_splat) {
                Some(entry) => {
                    let known = of(entry);
                    result.outcome = Outcome::Xfailed;
                    result.reason = format!(
                        "expected: {} ({})\n{}",
                        known.reason.trim(),
                        known.link,
                        result.reason
                    );
                    result.xfail = Some(known);
                }
                None => {
                    let ways: Vec<String> = entries.iter().map(|entry| way(entry)).collect();
                    result.reason += &format!(
                        "\nit was expected to fail, but in another way: {}",
                        ways.join(", or ")
                    );
                    result.xfail = Some(of(first));
                }
            }
        }
        Outcome::Skipped => {}
        // Nothing can be said about the subject: that is never what was expected.
        _ => result.xfail = Some(of(first)),
    }
}

/// How a run fails that this entry expects.
fn way(entry: &ExpectedFailure) -> String {
    let step = match &entry.step {
        Some(step) => format!("at the step `{step}`"),
        None => "at any step".to_owned(),
    };
    match &entry.splat {
        Some(splat) => format!("{step}, with a splat ({splat})"),
        None => format!("{step}, without a splat"),
    }
}

fn of(entry: &ExpectedFailure) -> Xfail {
    Xfail {
        reason: entry.reason.clone(),
        link: entry.link.clone(),
        step: entry.step.clone(),
    }
}

#[cfg(test)]
mod tests {
    use vmtest_protocol::Step;

    use super::*;
    use crate::results;
    use crate::results::StepOutcome;
    use crate::results::StepResult;

    const ENTRY: &str = "kernel: \"6.12\", reason: wraps, link: \"https://example.org/1\"";

    fn scenario(xfail: &str) -> Scenario {
        let text =
            format!("name: a\nabout: x\nparams: {{fs: ext2}}\nxfail: [{{{xfail}}}]\nsteps: []\n");
        serde_yaml::from_str(&text).unwrap()
    }

    /// A run that ended so; of two nested steps the inner one, `inner`, did not pass.
    fn run(outcome: Outcome) -> RunResult {
        let mut run = results::example("a", outcome, "it did not");
        let step: Step = serde_yaml::from_str("drop_caches: {}").unwrap();
        let mut outer = StepResult::of(&step);
        outer.step = "outer".to_owned();
        if outcome == Outcome::Failed {
            let mut inner = outer.clone();
            inner.step = "inner".to_owned();
            inner.outcome = StepOutcome::Failed;
            outer.outcome = StepOutcome::Failed;
            outer.steps = vec![inner];
        }
        run.steps = vec![outer];
        run
    }

    fn judged(xfail: &str, module: Module, outcome: Outcome) -> RunResult {
        let mut result = run(outcome);
        judge(&scenario(xfail), module, &mut result);
        result
    }

    #[test]
    fn a_known_failure_of_the_c_module_is_expected() {
        let result = judged(ENTRY, Module::C, Outcome::Failed);
        assert_eq!(result.outcome, Outcome::Xfailed);
        for part in ["wraps", "https://example.org/1", "it did not"] {
            assert!(result.reason.contains(part), "{}", result.reason);
        }
        assert_eq!(result.xfail.unwrap().link, "https://example.org/1");
    }

    #[test]
    fn the_rust_module_has_no_known_failures() {
        for outcome in [Outcome::Failed, Outcome::Passed] {
            let result = judged(ENTRY, Module::Rust, outcome);
            assert_eq!(result.outcome, outcome);
            assert_eq!(result.xfail, None);
        }
    }

    #[test]
    fn a_pass_that_was_not_expected_is_bad_and_says_what_to_do() {
        let result = judged(ENTRY, Module::C, Outcome::Passed);
        assert_eq!(result.outcome, Outcome::Xpassed);
        assert!(result.outcome.is_bad());
        assert!(
            result
                .reason
                .contains("remove the xfail entry or narrow it")
        );
    }

    #[test]
    fn a_failure_that_depends_on_the_moment_may_stay_away() {
        for (outcome, judged_as) in [
            (Outcome::Passed, Outcome::Passed),
            (Outcome::Failed, Outcome::Xfailed),
        ] {
            let result = judged(&format!("{ENTRY}, sometimes: true"), Module::C, outcome);
            assert_eq!(result.outcome, judged_as);
        }
    }

    #[test]
    fn an_error_is_never_what_was_expected() {
        for outcome in [Outcome::Error, Outcome::Skipped, Outcome::Killed] {
            assert_eq!(judged(ENTRY, Module::C, outcome).outcome, outcome);
        }
    }

    #[test]
    fn only_the_splat_that_is_named_is_expected() {
        for (narrow, splat, expected) in [
            ("splat: kasan", Some("kasan"), Outcome::Xfailed),
            ("splat: kasan", Some("warn"), Outcome::Failed),
            ("splat: kasan", None, Outcome::Failed),
            ("step: inner", Some("kasan"), Outcome::Failed),
            ("splat: kasan, step: other", Some("kasan"), Outcome::Failed),
        ] {
            let mut result = run(Outcome::Failed);
            result.splat = splat.map(str::to_owned);
            let scenario = scenario(&format!("{ENTRY}, {narrow}"));
            judge(&scenario, Module::C, &mut result);
            assert_eq!(result.outcome, expected, "{narrow}, {splat:?}");
        }
    }

    #[test]
    fn kernel_step_and_case_narrow_an_entry() {
        for (narrow, expected) in [
            ("step: inner", Outcome::Xfailed),
            ("step: outer", Outcome::Xfailed),
            ("step: other", Outcome::Failed),
            ("when: {fs: ext2}", Outcome::Xfailed),
            ("when: {fs: ext4}", Outcome::Failed),
        ] {
            let result = judged(&format!("{ENTRY}, {narrow}"), Module::C, Outcome::Failed);
            assert_eq!(result.outcome, expected, "{narrow}");
        }
        let other = judged(&ENTRY.replace("6.12", "7.2"), Module::C, Outcome::Failed);
        assert_eq!(other.outcome, Outcome::Failed);
        let any = judged(&ENTRY.replace("6.12", "*"), Module::C, Outcome::Failed);
        assert_eq!(any.outcome, Outcome::Xfailed);
        let elsewhere = judged(&format!("{ENTRY}, step: other"), Module::C, Outcome::Failed);
        assert!(
            elsewhere
                .reason
                .contains("in another way: at the step `other`")
        );
    }
}
