// SPDX-License-Identifier: GPL-2.0-or-later
//! Exit codes.

use crate::interrupt::EXIT_INTERRUPTED;
use crate::results::Results;

/// All is well.
pub(super) const WELL: i32 = 0;
/// A scenario failed: its run is `failed`, `xpassed`, `error` or `killed`.
pub(super) const FAILED: i32 = 1;
/// The command line or a scenario file is wrong.
pub(super) const INPUT: i32 = 2;
/// What a run needs is missing.
pub(super) const SETUP: i32 = 3;

/// Every exit code, with its meaning; `--help` shows this table.
pub(super) const CODES: [(i32, &str); 5] = [
    (WELL, "all well"),
    (
        FAILED,
        "a scenario failed (failed, xpassed, error or killed)",
    ),
    (INPUT, "the command line or a scenario file is wrong"),
    (
        SETUP,
        "the set-up failed: something that runs need is missing",
    ),
    (EXIT_INTERRUPTED, "interrupted"),
];

/// The table as text.
pub(super) fn help() -> String {
    let mut text = "Exit codes:".to_owned();
    for (code, meaning) in CODES {
        text += &format!("\n  {code:>3}  {meaning}");
    }
    text
}

/// The exit code after runs.
pub(super) fn of(results: &Results, interrupted: bool) -> i32 {
    match (interrupted, results.good()) {
        (true, _) => EXIT_INTERRUPTED,
        (false, true) => WELL,
        (false, false) => FAILED,
    }
}
