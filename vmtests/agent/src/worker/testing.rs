// SPDX-License-Identifier: GPL-2.0-or-later
//! For the unit tests of steps.

use anyhow::Result;
use serde::de::DeserializeOwned;

use super::child::Verdict;

/// A step's action from its JSON.
pub fn step<T: DeserializeOwned>(json: impl AsRef<str>) -> T {
    serde_json::from_str(json.as_ref()).unwrap()
}

/// Wants a step to have passed.
#[track_caller]
pub fn passed(result: Result<Verdict>) {
    match result.unwrap() {
        Verdict::Passed(_) => {}
        Verdict::Failed(reason) => panic!("failed: {reason}"),
    }
}

/// Wants a step to have failed; why it did.
#[track_caller]
pub fn failed(result: Result<Verdict>) -> String {
    match result.unwrap() {
        Verdict::Passed(_) => panic!("passed, and was to fail"),
        Verdict::Failed(reason) => reason,
    }
}
