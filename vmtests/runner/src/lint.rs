// SPDX-License-Identifier: GPL-2.0-or-later
//! Checking scenarios and pieces without running anything.

use std::path::Path;
use std::path::PathBuf;

use crate::artifacts::Index;
use crate::matrix;
use crate::scenario;
use crate::scenario::Diagnosis;
use crate::scenario::Overrides;

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// Scenario files that were looked at.
    pub scenarios: usize,
    /// What is wrong.
    pub wrong: Vec<Diagnosis>,
    /// With an index: what it would skip, and why. That is no mistake.
    pub skipped: Vec<String>,
}

impl Report {
    /// The last line.
    pub fn summary(&self) -> String {
        let count = |number: usize, what: &str| match number {
            1 => format!("1 {what}"),
            _ => format!("{number} {what}s"),
        };
        format!(
            "{}, {}",
            count(self.scenarios, "scenario"),
            count(self.wrong.len(), "mistake")
        )
    }
}

/// The scenarios and pieces that a path means: itself, or those of a folder and of its `pieces`.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, Box<Diagnosis>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = scenario::scenario_files(path)?;
    let pieces = path.join("pieces");
    if pieces.is_dir() {
        files.extend(scenario::scenario_files(&pieces)?);
    }
    Ok(files)
}

/// Checks files, and with an index what they need of it.
pub fn check(files: &[PathBuf], index: Option<&Index>) -> Report {
    let mut report = Report::default();
    for file in files {
        if scenario::is_piece(file) {
            report.wrong.extend(scenario::parse_piece(file));
            continue;
        }
        report.scenarios += 1;
        let loaded = scenario::load_file(file, &Overrides::default(), index);
        report.wrong.extend(loaded.wrong);
        for planned in index
            .map(|index| matrix::expand(&loaded.cases, None, index))
            .unwrap_or_default()
        {
            if let Some(why) = planned.skip {
                let (title, module) = (planned.scenario.title(), planned.module.word());
                report
                    .skipped
                    .push(format!("{title} {module}: would be skipped: {why}"));
            }
        }
    }
    // A mistake in a piece is found where it stands and wherever it is included.
    let mut seen = std::collections::HashSet::new();
    report.wrong.sort_by_key(|one| !one.included.is_empty());
    report.wrong.retain(|one| {
        let file = one.file.canonicalize().unwrap_or(one.file.clone());
        seen.insert((file, one.line, one.column, one.message.clone()))
    });
    report
        .wrong
        .sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    report
}
