// SPDX-License-Identifier: GPL-2.0-or-later
//! Reading scenario files, and filling in their parameters.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use vmtest_protocol::template;
use vmtest_protocol::template::Var;

use super::Needs;
use super::Scenario;
use super::check;
use super::diagnose::Diagnosis;
use super::diagnose::nearest;
use crate::artifacts::Index;

/// No scenario file is longer than this, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Parameters from the command line: `--param NAME=VALUE`.
#[derive(Debug, Clone, Default)]
pub struct Overrides(BTreeMap<String, Var>);

impl Overrides {
    /// Reads `NAME=VALUE` each; a whole number is one, anything else is a text.
    pub fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut overrides = BTreeMap::new();
        for argument in arguments {
            let (name, value) = argument
                .split_once('=')
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| format!("--param {argument}: write it as --param NAME=VALUE"))?;
            let value = match value.parse() {
                Ok(number) => Var::Number(number),
                Err(_) => Var::Text(value.to_owned()),
            };
            overrides.insert(name.to_owned(), value);
        }
        Ok(Overrides(overrides))
    }

    /// The first name that none of the scenarios has, with the nearest one that some has.
    fn unknown<'a>(&'a self, scenarios: &'a [Scenario]) -> Option<(&'a str, Option<&'a str>)> {
        let known = || scenarios.iter().flat_map(|scenario| scenario.params.keys());
        let stray = self.0.keys().find(|name| !known().any(|k| k == *name))?;
        Some((stray, nearest(stray, known().map(String::as_str))))
    }
}

/// All that is wrong with the scenarios that were asked for.
#[derive(Debug)]
pub struct LoadError(pub Vec<Diagnosis>);

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, diagnosis) in self.0.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnosis}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}

/// Reads every scenario of a folder whose name contains `filter`, sorted by name. Files that the
/// filter leaves out are not read: a broken one does not stand in the way of the others.
pub fn load_all(
    dir: &Path,
    filter: Option<&str>,
    overrides: &Overrides,
    index: &Index,
) -> Result<Vec<Scenario>, LoadError> {
    let files = scenario_files(dir)?;
    let names: Vec<String> = files
        .iter()
        .map(|file| {
            file.file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    let mut scenarios = Vec::new();
    let mut wrong = Vec::new();
    let mut chosen = 0;
    for (file, name) in files.iter().zip(&names) {
        if !filter.is_none_or(|filter| name.contains(filter)) {
            continue;
        }
        chosen += 1;
        match load_one(file, overrides, index) {
            Ok(scenario) => scenarios.push(scenario),
            Err(mut diagnoses) => wrong.append(&mut diagnoses),
        }
    }
    if chosen == 0 {
        let message = match filter {
            Some(filter) => format!(
                "no scenario's name contains `{filter}`; there are: {}",
                names.join(", ")
            ),
            None => "no *.yaml file is in this folder".to_owned(),
        };
        wrong.push(Diagnosis::whole_file(dir, message));
    }
    if wrong.is_empty() {
        if let Some((stray, near)) = overrides.unknown(&scenarios) {
            let message = format!("--param {stray}: no chosen scenario has such a parameter");
            let hint = near.map(|near| format!("did you mean `{near}`?"));
            wrong.push(Diagnosis::whole_file(dir, message).with_hint(hint));
        }
    }
    match wrong.is_empty() {
        true => Ok(scenarios),
        false => Err(LoadError(wrong)),
    }
}

fn scenario_files(dir: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let entries = fs::read_dir(dir).map_err(|error| {
        LoadError(vec![Diagnosis::whole_file(
            dir,
            format!("cannot read the folder of scenarios: {error}; name it with --scenarios DIR"),
        )])
    })?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    Ok(files)
}

fn load_one(file: &Path, overrides: &Overrides, index: &Index) -> Result<Scenario, Vec<Diagnosis>> {
    let one = |message: String| vec![Diagnosis::whole_file(file, message)];
    let size = fs::metadata(file)
        .map_err(|error| one(format!("cannot read the file: {error}")))?
        .len();
    if size > MAX_FILE {
        return Err(one(format!("{size} bytes, the limit is {MAX_FILE}")));
    }
    let source =
        fs::read_to_string(file).map_err(|error| one(format!("cannot read the file: {error}")))?;
    let scenario = parse(file, &source, overrides)?;
    let missing = check::check_images(&scenario, file, &source, index);
    match missing.is_empty() {
        true => Ok(scenario),
        false => Err(missing),
    }
}

/// Parses a scenario, fills its parameters in outside the steps, and checks what can be checked
/// without an artifact index.
pub fn parse(file: &Path, source: &str, overrides: &Overrides) -> Result<Scenario, Vec<Diagnosis>> {
    let mut scenario: Scenario = serde_yaml::from_str(source)
        .map_err(|error| vec![Diagnosis::from_yaml(file, source, &error)])?;
    for (name, value) in &overrides.0 {
        if let Some(param) = scenario.params.get_mut(name) {
            *param = value.clone();
        }
    }
    scenario.needs = fill_needs(&scenario)
        .map_err(|message| vec![Diagnosis::at_word(file, source, "needs", message)])?;
    let wrong = check::check(&scenario, file, source);
    match wrong.is_empty() {
        true => Ok(scenario),
        false => Err(wrong),
    }
}

fn fill_needs(scenario: &Scenario) -> Result<Needs, String> {
    let mut value = serde_json::to_value(&scenario.needs).map_err(|error| error.to_string())?;
    template::fill_value(&mut value, &scenario.params, &[]).map_err(|error| error.to_string())?;
    serde_json::from_value(value)
        .map_err(|error| format!("after filling in the parameters: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name: a\nabout: Shows something.\nparams: {mib: 64, n: 2}\n\
        needs:\n  images: [small]\n  disks:\n    - {name: cache, size: '${mib}MiB'}\n\
        steps:\n  - mount: {image: small, at: '/mnt/${n}'}\n";

    fn parsed(source: &str, params: &[&str]) -> Result<Scenario, String> {
        let params: Vec<String> = params.iter().map(|p| (*p).to_owned()).collect();
        parse(
            Path::new("a.yaml"),
            source,
            &Overrides::parse(&params).unwrap(),
        )
        .map_err(|wrong| LoadError(wrong).to_string())
    }

    #[test]
    fn parameters_reach_the_needs_and_the_command_line_wins() {
        let size = |scenario: Scenario| scenario.needs.disks[0].size.get().unwrap().0;
        assert_eq!(size(parsed(GOOD, &[]).unwrap()), 64 << 20);
        assert_eq!(size(parsed(GOOD, &["mib=128"]).unwrap()), 128 << 20);
    }

    #[test]
    fn an_unknown_key_shows_line_column_and_the_nearest_word() {
        let wrong = parsed(&GOOD.replace("images:", "imges:"), &[]).unwrap_err();
        assert!(wrong.starts_with("a.yaml:5:3: "), "{wrong}");
        assert!(wrong.contains("unknown field `imges`"), "{wrong}");
        assert!(wrong.contains("did you mean `images`?"), "{wrong}");
    }

    #[test]
    fn an_unknown_step_and_an_unknown_key_in_a_step_show_the_nearest_word() {
        let wrong = parsed(&GOOD.replace("mount:", "mout:"), &[]).unwrap_err();
        assert!(wrong.starts_with("a.yaml:9:5: "), "{wrong}");
        assert!(wrong.contains("did you mean `mount`?"), "{wrong}");
        let wrong =
            parsed(&GOOD.replace("image: small, at", "imagee: small, at"), &[]).unwrap_err();
        assert!(wrong.starts_with("a.yaml:9:13: "), "{wrong}");
        assert!(wrong.contains("did you mean `image`?"), "{wrong}");
    }

    #[test]
    fn a_step_may_use_only_images_that_the_scenario_needs() {
        let wrong = parsed(&GOOD.replace("image: small", "image: smal"), &[]).unwrap_err();
        assert!(wrong.contains("a step uses the image `smal`"), "{wrong}");
        assert!(wrong.contains("did you mean `small`?"), "{wrong}");
    }

    #[test]
    fn a_variable_that_nobody_sets_is_found_before_the_run() {
        let wrong = parsed(&GOOD.replace("/mnt/${n}", "/mnt/${nn}"), &[]).unwrap_err();
        assert!(wrong.contains("no variable `nn`"), "{wrong}");
    }

    #[test]
    fn name_and_file_must_agree_and_steps_must_exist() {
        assert!(parsed(&GOOD.replace("name: a", "name: b"), &[]).is_err());
        let none = "name: a\nabout: x\nsteps: []\n";
        assert!(parsed(none, &[]).unwrap_err().contains("without steps"));
    }

    #[test]
    fn parameters_are_written_name_equals_value() {
        assert!(Overrides::parse(&["mounts".to_owned()]).is_err());
        assert!(Overrides::parse(&["=3".to_owned()]).is_err());
    }

    #[test]
    fn every_scenario_of_the_project_is_right() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        let files = scenario_files(&dir).unwrap();
        assert!(files.len() >= 6, "{}", files.len());
        for file in files {
            let source = fs::read_to_string(&file).unwrap();
            if let Err(wrong) = parse(&file, &source, &Overrides::default()) {
                panic!("{}", LoadError(wrong));
            }
        }
    }
}
