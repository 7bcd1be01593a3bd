// SPDX-License-Identifier: GPL-2.0-or-later
//! The summary of a job, in GitHub's Markdown.

use std::collections::BTreeMap;

use crate::report::differences;
use crate::report::duration;
use crate::results::Outcome;
use crate::results::Results;
use crate::results::RunResult;
use crate::timeline::clean;

/// GitHub takes a mebibyte for each step, in bytes.
const MOST: usize = 900 << 10;
/// Bad runs whose reasons are shown.
const REASONS: usize = 30;
/// Lines of each reason.
const REASON_LINES: usize = 40;

/// The summary.
pub fn summary(results: &Results) -> String {
    let mark = match results.good() {
        true => "✅",
        false => "❌",
    };
    let mut text = format!("## {mark} vmtest: {}\n\n", results.summary());
    for warning in &results.warnings {
        text += &format!("> ⚠️ {}\n\n", inline(warning));
    }
    text += &table(&results.runs);
    text += &found_differences(&results.runs);
    text += &reasons(&results.runs);
    if text.len() > MOST {
        let cut = (0..=MOST).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(cut.unwrap_or(0));
        text += "\n\n(cut here: the rest is in report.html)\n";
    }
    text
}

fn symbol(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "✅",
        Outcome::Xfailed => "🟦",
        Outcome::Skipped => "⏭️",
        Outcome::Xpassed => "🟨",
        Outcome::Failed => "❌",
        Outcome::Error => "🟧",
        Outcome::Killed => "⬛",
    }
}

/// A row for each scenario, a column for each kernel and module.
fn table(runs: &[RunResult]) -> String {
    let mut columns: Vec<(String, &str)> = runs.iter().map(|r| (r.label(), &*r.module)).collect();
    columns.sort_unstable();
    columns.dedup();
    let mut rows: BTreeMap<&str, Vec<&RunResult>> = BTreeMap::new();
    for run in runs {
        rows.entry(run.name()).or_default().push(run);
    }
    if rows.is_empty() {
        return "Nothing was run.\n".to_owned();
    }
    let mut text = "| scenario |".to_owned();
    for (kernel, module) in &columns {
        text += &format!(" {} {} |", inline(kernel), inline(module));
    }
    text += "\n|---|";
    text += &"---|".repeat(columns.len());
    text.push('\n');
    for (name, of_name) in rows {
        text += &format!("| {} |", inline(name));
        for column in &columns {
            let run = of_name
                .iter()
                .filter(|run| (run.label(), &*run.module) == *column)
                .max_by_key(|run| run.outcome);
            match run {
                Some(run) => {
                    let (symbol, word) = (symbol(run.outcome), run.outcome.word());
                    text += &format!(" {symbol} {word} {} |", duration(run.seconds));
                }
                None => text += " |",
            }
        }
        text.push('\n');
    }
    text.push('\n');
    text
}

fn found_differences(runs: &[RunResult]) -> String {
    let mut text = String::new();
    for c in runs.iter().filter(|run| run.module == "c") {
        let rust = runs
            .iter()
            .find(|run| run.module == "rust" && (run.name(), run.label()) == (c.name(), c.label()));
        let Some(rust) = rust else { continue };
        for found in differences(c, rust) {
            text += &format!(
                "| {} | {} | {} | {} | {} |\n",
                inline(c.name()),
                inline(&c.label()),
                inline(&found.what),
                inline(&found.c),
                inline(&found.rust)
            );
        }
    }
    match text.is_empty() {
        true => text,
        false => format!(
            "### Where the modules differ\n\n| scenario | kernel | what | C | Rust |\n\
             |---|---|---|---|---|\n{text}\n"
        ),
    }
}

fn reasons(runs: &[RunResult]) -> String {
    let bad: Vec<&RunResult> = runs.iter().filter(|run| run.outcome.is_bad()).collect();
    let mut text = String::new();
    for run in bad.iter().take(REASONS) {
        let all = run.reason.lines().count();
        let lines: Vec<String> = run
            .reason
            .lines()
            .take(REASON_LINES)
            .map(clean::line)
            .collect();
        let more = match all.saturating_sub(REASON_LINES) {
            0 => String::new(),
            more => format!("\n({more} lines more)"),
        };
        text += &format!(
            "<details><summary>{} <b>{}</b> on {} ({}): {}</summary>\n\n{}\n\n</details>\n",
            symbol(run.outcome),
            html(run.name()),
            html(&run.module),
            html(&run.label()),
            html(&short(&run.headline())),
            fenced(&format!("{}{more}", lines.join("\n")))
        );
    }
    if bad.len() > REASONS {
        text += &format!(
            "\n{} bad runs more are in report.html.\n",
            bad.len() - REASONS
        );
    }
    match text.is_empty() {
        true => text,
        false => format!("### What went wrong\n\n{text}\n"),
    }
}

fn short(text: &str) -> String {
    let text = clean::line(text);
    match text.char_indices().nth(200) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// Text within a line or a cell of a table.
fn inline(text: &str) -> String {
    let mut out = String::new();
    for c in html(&short(text)).chars() {
        if matches!(c, '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '~' | '@') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn html(text: &str) -> String {
    clean::line(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A block of text as it is, in a fence that the text cannot close.
fn fenced(text: &str) -> String {
    let longest = text
        .split(|c| c != '`')
        .map(str::len)
        .max()
        .unwrap_or_default();
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{text}\n{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::example;
    use crate::results::example_results as results;

    #[test]
    fn the_matrix_the_differences_and_the_reasons_are_there() {
        let mut rust = example("a", Outcome::Passed, "");
        rust.module = "rust".to_owned();
        let failed = example("a", Outcome::Failed, "is 40, 11 was expected\nmore");
        let text = summary(&results(vec![failed, rust]));
        for words in [
            "## ❌ vmtest: 1 passed, 1 failed",
            "| scenario | 6.12 c | 6.12 rust |",
            "| a | ❌ failed 1.25 s | ✅ passed 1.25 s |",
            "| a | 6.12 | outcome | failed | passed |",
            "```text\nis 40, 11 was expected\nmore\n```",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
    }

    #[test]
    fn all_well_has_no_reasons() {
        let text = summary(&results(vec![example("a", Outcome::Passed, "")]));
        assert!(text.starts_with("## ✅ vmtest: 1 passed, 0 failed\n"));
        assert!(!text.contains("went wrong"));
    }

    #[test]
    fn what_a_guest_says_stays_text() {
        let hostile = "</details><img src=x>| a `b` ````\n```\n# head";
        let mut run = example("a|b<c>", Outcome::Failed, hostile);
        run.kernel = "`*_".to_owned();
        let text = summary(&results(vec![run]));
        assert!(text.contains("a\\|b&lt;c&gt;"), "{text}");
        assert!(
            text.contains("`````text\n"),
            "the fence can be closed: {text}"
        );
        assert_eq!(text.matches("<details>").count(), 1);
        let before = text.split("`````text").next().unwrap();
        assert!(!before.contains("<img"), "{before}");
    }

    #[test]
    fn a_summary_is_never_longer_than_what_is_taken() {
        let reason = "x".repeat(3000);
        let reason = vec![reason.as_str(); 60].join("\n");
        let runs: Vec<_> = (0..3000)
            .map(|n| example(&format!("run-{n}"), Outcome::Failed, &reason))
            .collect();
        assert!(summary(&results(runs)).len() < 1 << 20);
    }
}
