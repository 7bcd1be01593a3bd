// SPDX-License-Identifier: GPL-2.0-or-later
//! More time for what a step waits for, on a slow machine or a slow kernel.
//!
//! A step's own limit is the runner's business. Inside it there are others, which travel to the guest
//! with the step: how long a daemon may take to end, until when a counter must be right, and the
//! limits of the steps within. All of them are made longer alike.

use anyhow::Context;
use serde_json::Value;
use vmtest_protocol::Step;
use vmtest_protocol::step::DEFAULT_TIMEOUT;
use vmtest_protocol::value::Span;

/// The fields that say how long something may take, as opposed to how long it is to go on.
const LIMITS: [&str; 3] = [TIMEOUT, "within", "ready_within"];
/// A step's own limit.
const TIMEOUT: &str = "timeout";
/// The steps inside a step.
const STEPS: &str = "steps";

/// The step with all limits in it `factor` times as long. One that is a template stays as it is.
///
/// # Errors
/// When the step cannot be taken apart and put together again, which is a mistake in this program.
pub(super) fn stretched(step: &Step, factor: f64) -> anyhow::Result<Step> {
    if factor <= 1.0 {
        return Ok(step.clone());
    }
    let what = || format!("cannot stretch the limits in `{}`", step.title());
    let mut value = serde_json::to_value(step).with_context(what)?;
    stretch_step(&mut value, factor);
    serde_json::from_value(value).with_context(what)
}

/// A step has a limit also where none is written.
fn stretch_step(step: &mut Value, factor: f64) {
    if let Value::Object(fields) = step {
        let limit = fields.entry(TIMEOUT).or_insert(Value::Null);
        if limit.is_null() {
            *limit = Value::String(format!("{}ms", DEFAULT_TIMEOUT.as_millis()));
        }
    }
    stretch(step, factor);
}

fn stretch(value: &mut Value, factor: f64) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let limit = longer(value, factor).filter(|_| LIMITS.contains(&name.as_str()));
                match (limit, value) {
                    (Some(text), value) => *value = Value::String(text),
                    (None, Value::Array(steps)) if name == STEPS => {
                        steps.iter_mut().for_each(|step| stretch_step(step, factor));
                    }
                    (None, value) => stretch(value, factor),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| stretch(item, factor)),
        _ => {}
    }
}

/// The text of a span so many times as long, if it is one.
fn longer(value: &Value, factor: f64) -> Option<String> {
    let span: Span = serde_json::from_value(value.clone()).ok()?;
    let time = span.get().ok()?.0;
    Some(format!("{}ms", time.mul_f64(factor).as_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(yaml: &str, factor: f64) -> String {
        let step: Step = serde_yaml::from_str(yaml).unwrap();
        serde_json::to_string(&stretched(&step, factor).unwrap()).unwrap()
    }

    #[test]
    fn limits_at_any_depth_grow_and_what_goes_on_for_a_time_does_not() {
        let yaml = "{repeat: {var: i, to: 2, steps: [\
                    {kill_daemon: {within: 3s}, timeout: 7s}, {sleep: {for: 11s}}]}, timeout: 1m}";
        let text = texts(yaml, 5.0);
        for part in ["\"15s\"", "\"35s\"", "\"11s\"", "\"5m\""] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(texts(yaml, 1.0), texts(yaml, 0.5));
    }

    #[test]
    fn a_limit_that_nobody_wrote_grows_too_and_a_template_is_left_alone() {
        let text = texts("{kill_daemon: {}}", 2.0);
        assert!(text.contains("\"40s\""), "{text}");
        let text = texts("{spawn: {name: a, steps: [{drop_caches: {}}]}}", 3.0);
        assert_eq!(text.matches("\"3m\"").count(), 2, "{text}");
        let text = texts("{kill_daemon: {within: \"${n}s\"}}", 2.0);
        assert!(text.contains("\"${n}s\""), "{text}");
    }
}
