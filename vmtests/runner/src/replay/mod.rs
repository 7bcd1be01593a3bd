// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest replay`: a run once more, with the same artifacts, the same scenario, the same seed.
//!
//! Every run leaves in its folder what is needed for that: `scenario.json`, the scenario as it was
//! then with its parameters filled in, and `replay.json`, everything else. The scenario's file may
//! have changed or gone since.

mod compare;
mod record;

pub use compare::Comparison;
pub use compare::compare;
pub use record::Record;
pub use record::SCENARIO;
pub use record::record;

use std::path::Path;
use std::path::PathBuf;

use anyhow::anyhow;
use anyhow::bail;

use crate::results::Results;

/// The folder of the run that `text` names: the folder itself, or a run of the results in `out`.
///
/// # Errors
/// When there is no such run, or several.
pub fn find(text: &str, out: &Path) -> anyhow::Result<PathBuf> {
    let folder = Path::new(text);
    if folder.join(record::RECORD).is_file() {
        return Ok(folder.to_owned());
    }
    if folder.is_dir() {
        bail!(
            "{} has no {}: it is no run's folder, or of a vmtest from before runs could be \
             repeated",
            folder.display(),
            record::RECORD
        );
    }
    let results =
        Results::read(out).map_err(|error| anyhow!("{text} is no folder, and {error:#}"))?;
    let folder_of = |artifacts: &Path| {
        let name = artifacts.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let found: Vec<PathBuf> = results
        .runs
        .iter()
        .filter(|run| run.name() == text || folder_of(&run.artifacts) == text)
        .map(|run| run.artifacts.clone())
        .collect();
    match &found[..] {
        [one] => Ok(out.join(one)),
        [] => {
            let names: Vec<String> = results
                .runs
                .iter()
                .map(|r| folder_of(&r.artifacts))
                .collect();
            bail!(
                "no run in {} is called `{text}`; there are: {}",
                out.join("results.json").display(),
                names.join(", ")
            )
        }
        several => {
            let names: Vec<String> = several.iter().map(|path| folder_of(path)).collect();
            bail!(
                "`{text}` is several runs; take one of: {}",
                names.join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Outcome;
    use crate::results::RunResult;
    use crate::results::example;

    #[test]
    fn a_run_is_found_by_its_folder_its_name_or_its_folders_name() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path();
        let mut results = Results::begin(out).unwrap();
        for (module, scenario) in [("c", "a"), ("rust", "a"), ("c", "b")] {
            let run = example(scenario, Outcome::Failed, "x");
            results
                .add(RunResult {
                    module: module.to_owned(),
                    artifacts: format!("runs/{scenario}-6.12-{module}").into(),
                    ..run
                })
                .unwrap();
        }
        let found = |text: &str| find(text, out).map_err(|error| format!("{error:#}"));
        assert_eq!(found("b").unwrap(), out.join("runs/b-6.12-c"));
        assert_eq!(found("a-6.12-rust").unwrap(), out.join("runs/a-6.12-rust"));
        let several = found("a").unwrap_err();
        assert!(several.contains("a-6.12-c, a-6.12-rust"), "{several}");
        assert!(found("c").unwrap_err().contains("there are: a-6.12-c"));
        let folder = out.join("elsewhere");
        std::fs::create_dir(&folder).unwrap();
        let text = folder.to_str().unwrap();
        assert!(found(text).unwrap_err().contains("no run's folder"));
        std::fs::write(folder.join("replay.json"), "{}").unwrap();
        assert_eq!(found(text).unwrap(), folder);
    }
}
