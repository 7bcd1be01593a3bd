// SPDX-License-Identifier: GPL-2.0-or-later
//! The model of the whole report.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use super::compare;
use super::compare::Difference;
use super::compare::Pair;
use super::run;
use super::run::Budget;
use super::run::Look;
use super::run::RunView;
use super::text;
use crate::results::Outcome;
use crate::results::Results;
use crate::results::RunResult;
use crate::timeline::clean;

/// Everything that the template needs.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    good: bool,
    verdict: String,
    counts: Vec<Count>,
    facts: Vec<(&'static str, String)>,
    warnings: Vec<String>,
    bad: Vec<Bad>,
    findings: Vec<Finding>,
    /// Whether kernels must be named, because there are several.
    several: bool,
    kernels: Vec<KernelHead>,
    rows: Vec<Row>,
    groups: Vec<Group>,
    commands: Vec<String>,
    version: &'static str,
}

#[derive(Debug, Serialize)]
struct Count {
    look: Look,
    count: usize,
}

#[derive(Debug, Serialize)]
struct Bad {
    look: Look,
    name: String,
    kernel: String,
    module: String,
    href: String,
    headline: String,
}

#[derive(Debug, Serialize)]
struct Finding {
    name: String,
    kernel: String,
    href: String,
    difference: Difference,
}

#[derive(Debug, Serialize)]
struct KernelHead {
    kernel: String,
    modules: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    href: String,
    cells: Vec<Option<Cell>>,
    differs: bool,
}

#[derive(Debug, Serialize)]
struct Cell {
    look: Look,
    href: String,
    seconds: String,
    title: String,
}

/// All runs of one name.
#[derive(Debug, Serialize)]
struct Group {
    id: String,
    name: String,
    about: String,
    file: String,
    rows: Vec<u32>,
    refs: Vec<Reference>,
    sets: Vec<Set>,
}

#[derive(Debug, Serialize)]
struct Reference {
    text: String,
    href: Option<String>,
}

/// The runs on one kernel: side by side.
#[derive(Debug, Serialize)]
struct Set {
    kernel: String,
    pairs: Vec<Pair>,
    runs: Vec<RunView>,
}

impl Page {
    pub fn new(out: &Path, results: &Results) -> Self {
        let runs = &results.runs;
        let columns = columns(runs);
        let mut by_name: BTreeMap<&str, Vec<&RunResult>> = BTreeMap::new();
        for run in runs {
            by_name.entry(run.name()).or_default().push(run);
        }
        let budget = Budget::of(runs);
        let mut findings = Vec::new();
        let mut rows = Vec::new();
        let mut groups = Vec::new();
        for (name, of_name) in &by_name {
            let group = Group::new(out, name, of_name, budget);
            let before = findings.len();
            add_findings(&mut findings, &group.id, of_name);
            rows.push(Row {
                name: clean::line(name),
                href: group.id.clone(),
                cells: columns.iter().map(|column| cell(of_name, column)).collect(),
                differs: findings[before..]
                    .iter()
                    .any(|finding: &Finding| finding.difference.of_outcome),
            });
            groups.push(group);
        }
        // Other outcomes weigh more than other times.
        findings.sort_by_key(|finding| !finding.difference.of_outcome);
        Page {
            good: results.good(),
            verdict: verdict(results),
            counts: Outcome::ALL
                .iter()
                .map(|outcome| Count {
                    look: run::look(*outcome),
                    count: runs.iter().filter(|run| run.outcome == *outcome).count(),
                })
                .filter(|count| count.count > 0)
                .collect(),
            facts: facts(results),
            warnings: results
                .warnings
                .iter()
                .map(|text| text::block(text, 4))
                .collect(),
            bad: bad(runs),
            findings,
            several: columns.iter().any(|(kernel, _)| *kernel != columns[0].0),
            kernels: heads(&columns),
            rows,
            groups,
            commands: results
                .invocations
                .iter()
                .map(|by| clean::line(&by.command_line.join(" ")))
                .collect(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// Kernel and module of every column.
fn columns(runs: &[RunResult]) -> Vec<(String, String)> {
    let all: BTreeSet<_> = runs
        .iter()
        .map(|run| (run.label(), run.module.clone()))
        .collect();
    all.into_iter().collect()
}

fn heads(columns: &[(String, String)]) -> Vec<KernelHead> {
    let mut heads: Vec<KernelHead> = Vec::new();
    for (kernel, module) in columns {
        let kernel = clean::line(kernel);
        if heads.last().is_none_or(|head| head.kernel != kernel) {
            heads.push(KernelHead {
                kernel,
                modules: Vec::new(),
            });
        }
        if let Some(head) = heads.last_mut() {
            head.modules.push(module_name(module));
        }
    }
    heads
}

/// How a module is called in the report.
pub(super) fn module_name(module: &str) -> String {
    match module {
        "c" => "C".to_owned(),
        "rust" => "Rust".to_owned(),
        other => clean::line(other),
    }
}

fn verdict(results: &Results) -> String {
    let bad = results
        .runs
        .iter()
        .filter(|run| run.outcome.is_bad())
        .count();
    let all = results.runs.len();
    match (bad, all) {
        (0, 0) => "Nothing was run".to_owned(),
        (0, _) if results.good() => "All is well".to_owned(),
        (0, _) => "The results are not complete".to_owned(),
        (1, 1) => "The run went wrong".to_owned(),
        (bad, all) if bad == all => format!("All {all} runs went wrong"),
        (bad, all) => format!("{bad} of {all} runs went wrong"),
    }
}

fn facts(results: &Results) -> Vec<(&'static str, String)> {
    let runs = &results.runs;
    let unique = |values: Vec<String>| {
        let values: BTreeSet<String> = values.into_iter().filter(|v| !v.is_empty()).collect();
        let values: Vec<String> = values.into_iter().collect();
        values.join(", ")
    };
    let mut first: Vec<f64> = runs
        .iter()
        .filter_map(|r| r.seconds_to_first_step)
        .collect();
    first.sort_by(f64::total_cmp);
    let median = first.get(first.len() / 2).copied();
    let machine_time: f64 = runs.iter().map(|run| run.seconds).sum();
    let mut facts = vec![
        (
            "began",
            text::moment(
                runs.iter()
                    .map(|run| run.began.as_str())
                    .filter(|began| !began.is_empty())
                    .min()
                    .unwrap_or_default(),
            ),
        ),
        (
            "kernel",
            unique(runs.iter().map(|run| run.release.clone()).collect()),
        ),
        (
            "profile",
            unique(runs.iter().map(|run| run.profile.clone()).collect()),
        ),
        (
            "accelerator",
            unique(runs.iter().map(|run| run.accel.to_uppercase()).collect()),
        ),
        ("all runs took", text::duration(machine_time)),
    ];
    if let Some(wall) = results.seconds {
        facts.push(("from start to end", text::duration(wall)));
    }
    if let Some(median) = median {
        facts.push(("first step after (median)", text::duration(median)));
    }
    facts.retain(|(_, value)| !value.is_empty());
    for (_, value) in &mut facts {
        *value = clean::line(value);
    }
    facts
}

fn bad(runs: &[RunResult]) -> Vec<Bad> {
    let mut bad: Vec<&RunResult> = runs.iter().filter(|run| run.outcome.is_bad()).collect();
    bad.sort_by_key(|run| (std::cmp::Reverse(run.outcome), run.key()));
    bad.into_iter()
        .map(|run| Bad {
            look: run::look(run.outcome),
            name: clean::line(run.name()),
            kernel: clean::line(&run.label()),
            module: module_name(&run.module),
            href: run::id(run),
            headline: text::block(&run.headline(), 1),
        })
        .collect()
}

fn cell(runs: &[&RunResult], (kernel, module): &(String, String)) -> Option<Cell> {
    // Of a run that was done again, the worst one speaks.
    let run = runs
        .iter()
        .filter(|run| run.label() == *kernel && run.module == *module)
        .max_by_key(|run| run.outcome)?;
    Some(Cell {
        look: run::look(run.outcome),
        href: run::id(run),
        seconds: text::duration(run.seconds),
        title: text::block(&run.headline(), 1),
    })
}

/// The runs with the C and the Rust module on each kernel.
fn both<'a>(runs: &[&'a RunResult]) -> Vec<(&'a RunResult, &'a RunResult)> {
    let of = |module: &str| -> Vec<&'a RunResult> {
        runs.iter()
            .copied()
            .filter(|run| run.module == module)
            .collect()
    };
    let rust = of("rust");
    of("c")
        .into_iter()
        .filter_map(|c| Some((c, *rust.iter().find(|run| run.label() == c.label())?)))
        .collect()
}

fn add_findings(findings: &mut Vec<Finding>, group: &str, runs: &[&RunResult]) {
    for (c, rust) in both(runs) {
        for difference in compare::differences(c, rust) {
            findings.push(Finding {
                name: clean::line(c.name()),
                kernel: clean::line(&c.label()),
                href: group.to_owned(),
                difference: Difference {
                    what: clean::line(&difference.what),
                    c: clean::line(&difference.c),
                    rust: clean::line(&difference.rust),
                    ..difference
                },
            });
        }
    }
}

impl Group {
    fn new(out: &Path, name: &str, runs: &[&RunResult], budget: Budget) -> Self {
        let mut by_kernel: BTreeMap<String, Vec<&RunResult>> = BTreeMap::new();
        for run in runs {
            by_kernel.entry(run.label()).or_default().push(run);
        }
        let sets = by_kernel
            .into_iter()
            .map(|(kernel, mut runs)| {
                runs.sort_by(|a, b| a.module.cmp(&b.module));
                let span = runs.iter().map(|run| run.seconds).fold(0.1, f64::max);
                Set {
                    kernel: clean::line(&kernel),
                    pairs: both(&runs)
                        .first()
                        .map(|(c, rust)| compare::pairs(c, rust))
                        .unwrap_or_default(),
                    runs: runs
                        .iter()
                        .map(|run| RunView::new(out, run, span, budget))
                        .collect(),
                }
            })
            .collect();
        let first = runs.first();
        Group {
            id: text::anchor("scenario", name),
            name: clean::line(name),
            about: first
                .map(|run| text::block(&run.about, 20))
                .unwrap_or_default(),
            file: first.map(|run| clean::line(&run.file)).unwrap_or_default(),
            rows: first.map(|run| run.rows.clone()).unwrap_or_default(),
            refs: first.map(|run| references(&run.refs)).unwrap_or_default(),
            sets,
        }
    }
}

fn references(refs: &[String]) -> Vec<Reference> {
    refs.iter()
        .map(|text| Reference {
            text: clean::line(text),
            href: match text.as_str() {
                link if link.starts_with("https://") || link.starts_with("http://") => {
                    Some(clean::line(link))
                }
                cve if cve.starts_with("CVE-") => Some(format!(
                    "https://www.cve.org/CVERecord?id={}",
                    text::href(Path::new(cve))
                )),
                _ => None,
            },
        })
        .collect()
}
