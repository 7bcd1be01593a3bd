// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest explain`.

use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use super::Refused;
use crate::artifacts::Index;
use crate::explain;
use crate::scenario;
use crate::scenario::Diagnosis;
use crate::scenario::LoadError;
use crate::scenario::Overrides;

/// What `explain` takes.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The scenario: its name, with a case such as `a[fs=ext4]` if wanted, or its file
    scenario: String,
    /// Folder of the scenario files
    #[arg(long, value_name = "DIR", default_value = "vmtests/scenarios")]
    scenarios: PathBuf,
    /// Say what this artifact index lets run
    #[arg(long, value_name = "FILE")]
    artifacts: Option<PathBuf>,
    /// Changes a scenario's parameter; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    param: Vec<String>,
}

/// Explains it; the exit code.
pub(super) fn run(args: &ExplainArgs) -> Result<i32, Refused> {
    let overrides = Overrides::parse(&args.param).map_err(|text| Refused::input(anyhow!(text)))?;
    let index = args.artifacts.as_deref().map(Index::load).transpose();
    let index = index.map_err(Refused::setup)?;
    let (name, case) = match args.scenario.split_once('[') {
        Some((name, _)) if !Path::new(&args.scenario).exists() => (name, Some(&args.scenario)),
        _ => (args.scenario.as_str(), None),
    };
    let file = file_of(name, &args.scenarios)?;
    let loaded = scenario::load_file(&file, &overrides, index.as_ref());
    if !loaded.wrong.is_empty() {
        return Err(Refused::input(LoadError(loaded.wrong)));
    }
    let mut cases = loaded.cases;
    if let Some(case) = case {
        let titles: Vec<String> = cases.iter().map(scenario::Scenario::title).collect();
        cases.retain(|one| one.title() == *case);
        if cases.is_empty() {
            let message = format!("no case `{case}`; there are: {}", titles.join(", "));
            return Err(Refused::input(anyhow!(message)));
        }
    }
    let text = explain::explain(&cases, index.as_ref());
    // A reader such as `head` may have had enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(0)
}

fn file_of(name: &str, dir: &Path) -> Result<PathBuf, Refused> {
    if Path::new(name).is_file() {
        return Ok(PathBuf::from(name));
    }
    let file = dir.join(format!("{name}.yaml"));
    if file.is_file() {
        return Ok(file);
    }
    let files = scenario::scenario_files(dir).unwrap_or_default();
    let names: Vec<String> = files
        .iter()
        .filter_map(|file| Some(file.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    let message = format!("there is no scenario `{name}` here");
    let wrong = Diagnosis::whole_file(dir, message)
        .with_nearest(name, names.iter().map(String::as_str))
        .with_help(format!("there are: {}", names.join(", ")));
    Err(Refused::input(LoadError(vec![wrong])))
}
