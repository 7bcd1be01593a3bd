// SPDX-License-Identifier: GPL-2.0-or-later
//! Reading scenario files into cases, with all that is wrong in them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use vmtest_protocol::template::Var;
use vmtest_protocol::template::Vars;

use super::Piece;
use super::Scenario;
use super::cases;
use super::cases::MAX_CASES;
use super::cases::Matrix;
use super::check;
use super::diagnose;
use super::diagnose::Diagnosis;
use super::diagnose::nearest;
use super::include;
use super::read;
use super::source;
use super::source::Sources;
use super::tree;
use super::tree::Node;
use super::tree::Value;
use crate::artifacts::Index;

/// The folder, beside the scenarios, whose files are pieces.
const PIECES: &str = "pieces";

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

    /// The value that was given for a variable.
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.0.get(name)
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
        f.write_str(diagnose::shown(&self.0).trim_end())
    }
}

impl std::error::Error for LoadError {}

/// What a file holds: its cases, as far as they could be read, and its mistakes.
#[derive(Debug, Default)]
pub struct Loaded {
    /// A scenario for each case of the matrix; none when something is wrong.
    pub cases: Vec<Scenario>,
    /// What is wrong.
    pub wrong: Vec<Diagnosis>,
}

/// Reads every scenario of a folder of which a case's full name contains `filter`, sorted by name.
/// Files that the filter leaves out are not looked at: a broken one does not stand in the way of
/// the others.
pub fn load_all(
    dir: &Path,
    filter: Option<&str>,
    overrides: &Overrides,
    index: &Index,
) -> Result<Vec<Scenario>, LoadError> {
    let files = scenario_files(dir).map_err(|wrong| LoadError(vec![*wrong]))?;
    let mut names = Vec::new();
    let mut scenarios = Vec::new();
    let mut wrong = Vec::new();
    let mut chosen = 0;
    for file in &files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let Some(filter) = filter.filter(|filter| !name.contains(filter)) else {
            let mut loaded = load_file(file, overrides, Some(index));
            chosen += 1;
            scenarios.append(&mut loaded.cases);
            wrong.append(&mut loaded.wrong);
            continue;
        };
        // The filter may mean some cases of it: `enospc[fs=ext2`, or `fs=ext2` alone.
        let loaded = load_file(file, overrides, Some(index));
        let cases = loaded.cases.into_iter();
        let mut meant: Vec<_> = cases.filter(|case| case.title().contains(filter)).collect();
        chosen += usize::from(!meant.is_empty());
        scenarios.append(&mut meant);
        names.push(name.into_owned());
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
            let mut diagnosis = Diagnosis::whole_file(dir, message);
            if let Some(near) = near {
                diagnosis = diagnosis.with_help(format!("did you mean `{near}`?"));
            }
            wrong.push(diagnosis);
        }
    }
    match wrong.is_empty() {
        true => Ok(scenarios),
        false => Err(LoadError(wrong)),
    }
}

/// The scenario files of a folder, sorted. Those of its folder `pieces` are none.
pub fn scenario_files(dir: &Path) -> Result<Vec<PathBuf>, Box<Diagnosis>> {
    let entries = fs::read_dir(dir).map_err(|error| {
        let message = format!("cannot read the folder of scenarios: {error}");
        let help = "name it with --scenarios DIR";
        Box::new(Diagnosis::whole_file(dir, message).with_help(help))
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

/// Whether a file is a piece by its folder.
pub fn is_piece(file: &Path) -> bool {
    let folder = file.parent().and_then(Path::file_name);
    folder.is_some_and(|name| name == PIECES)
}

/// Reads one scenario file and checks all that can be known, with an index also what that lacks.
pub fn load_file(file: &Path, overrides: &Overrides, index: Option<&Index>) -> Loaded {
    match source::read(file) {
        Ok(text) => parse(file, text, overrides, index),
        Err(wrong) => Loaded {
            cases: Vec::new(),
            wrong: vec![*wrong],
        },
    }
}

/// The variables of a scenario, which are needed before the rest can be read.
#[derive(Debug, Default, Deserialize)]
struct Variables {
    #[serde(default)]
    params: Vars,
    #[serde(default)]
    profiles: BTreeMap<String, Vars>,
    #[serde(default)]
    kernels: BTreeMap<String, Vars>,
    #[serde(default)]
    matrix: Matrix,
}

impl Variables {
    /// The parameters on the index's kernel: what the command line says comes first, then the
    /// profile, then the kernel.
    fn params(&self, index: Option<&Index>, overrides: &Overrides) -> Vars {
        let mut params = self.params.clone();
        let of_profile = index.and_then(|index| self.profiles.get(&index.profile));
        let of_kernel = index.and_then(|index| self.kernels.get(&index.kernel));
        for (name, value) in &mut params {
            let mut special = [of_profile, of_kernel].into_iter().flatten();
            let special = || special.find_map(|vars| vars.get(name));
            if let Some(given) = overrides.get(name).or_else(special) {
                *value = given.clone();
            }
        }
        params
    }
}

/// Parses a scenario's text; see [`load_file`].
pub fn parse(
    file: &Path,
    text: impl Into<Arc<str>>,
    overrides: &Overrides,
    index: Option<&Index>,
) -> Loaded {
    let mut sources = Sources::default();
    let number = sources.add(file, text.into(), None);
    let (mut root, mut wrong) = match tree::parse(&sources, number) {
        Ok(parsed) => parsed,
        Err(hopeless) => {
            return Loaded {
                cases: Vec::new(),
                wrong: vec![*hopeless],
            };
        }
    };
    wrong.append(&mut include::expand(&mut sources, &mut root));
    let expanded = wrong.is_empty();
    let mut reader = Reader {
        sources: &sources,
        file,
        wrong,
        dropped: !expanded,
    };
    let cases = reader.cases(root, overrides, index);
    let mut wrong = reader.wrong;
    keep_first(&mut wrong);
    Loaded {
        cases: match wrong.is_empty() {
            true => cases,
            false => Vec::new(),
        },
        wrong,
    }
}

/// The cases of one matrix mostly have the same mistakes; so have two inclusions of a piece.
fn keep_first(wrong: &mut Vec<Diagnosis>) {
    let mut seen = std::collections::HashSet::new();
    wrong.retain(|one| seen.insert((one.file.clone(), one.line, one.column, one.message.clone())));
    wrong.sort_by_key(|one| (one.included.len().min(1), one.line, one.column));
}

struct Reader<'a> {
    sources: &'a Sources,
    file: &'a Path,
    wrong: Vec<Diagnosis>,
    dropped: bool,
}

impl Reader<'_> {
    fn cases(
        &mut self,
        mut root: Node,
        overrides: &Overrides,
        index: Option<&Index>,
    ) -> Vec<Scenario> {
        let mut variables = only(&root, &["params", "profiles", "kernels", "matrix"]);
        let variables: Variables = read::read(self.sources, &mut variables)
            .value
            .unwrap_or_default();
        let params = variables.params(index, overrides);
        let matrix = variables.matrix.overridden(overrides);
        let combinations = match matrix.count() {
            0 => vec![cases::Case::default()],
            // Too many is said by the check of the first.
            count if count > MAX_CASES => matrix.cases_within(1),
            _ => matrix.cases(),
        };
        // The steps are the same in all cases: their templates are filled in when they run.
        let Some(steps) = self.steps(&mut root) else {
            return Vec::new();
        };
        let mut scenarios = Vec::new();
        for case in combinations {
            let mut vars = params.clone();
            case.add_to(&mut vars);
            let mut head = root.clone();
            if let Value::Map(fields) = &mut head.value {
                for (key, value) in fields.iter_mut().filter(|(key, _)| key.text == "steps") {
                    *value = Node {
                        place: key.place,
                        value: Value::List(Vec::new()),
                    };
                }
            }
            let filling = cases::fill(self.sources, &mut head, &vars);
            let filled = filling.is_empty();
            self.wrong.extend(filling);
            let reading = read::read::<Scenario>(self.sources, &mut head);
            // What cannot be filled in cannot be read either: that has been said.
            if filled {
                self.wrong.extend(reading.wrong);
            }
            let Some(mut scenario) = reading.value.filter(|_| filled) else {
                continue;
            };
            let line = |step: &Node| {
                let place = step
                    .fields()
                    .first()
                    .map_or(step.place, |(key, _)| key.place);
                self.sources.line_column(place).0
            };
            scenario.steps.clone_from(&steps);
            scenario.lines = root
                .get("steps")
                .map_or(&[][..], Node::items)
                .iter()
                .map(line)
                .collect();
            scenario.params = vars;
            scenario.case = case;
            scenario.file = self.file.to_owned();
            let dropped = self.dropped || reading.dropped;
            self.wrong.extend(check::scenario(
                self.sources,
                &scenario,
                &head,
                &root,
                dropped,
            ));
            if let Some(index) = index {
                let vars = &scenario.params;
                self.wrong.extend(check::against_index(
                    self.sources,
                    &scenario,
                    &head,
                    &root,
                    vars,
                    index,
                ));
            }
            scenarios.push(scenario);
        }
        scenarios
    }

    /// Reads the steps, and leaves them repaired in the tree.
    fn steps(&mut self, root: &mut Node) -> Option<Vec<vmtest_protocol::Step>> {
        #[derive(Deserialize)]
        struct Steps {
            steps: Vec<vmtest_protocol::Step>,
        }
        let mut steps = only(root, &["steps"]);
        let missing = root.key("steps").is_none();
        let mut reading = read::read::<Steps>(self.sources, &mut steps);
        self.dropped |= reading.dropped;
        if missing {
            // The reading of the whole says so.
            reading.wrong.clear();
        }
        self.wrong.append(&mut reading.wrong);
        if let (Value::Map(fields), Some(repaired)) = (&mut root.value, steps.get("steps")) {
            for (_, value) in fields.iter_mut().filter(|(key, _)| key.text == "steps") {
                *value = repaired.clone();
            }
        }
        match (&root.value, reading.value) {
            // A list or a text is no scenario at all: the reading of the whole says so.
            (Value::Map(_), Some(steps)) => Some(steps.steps),
            _ => {
                let whole = read::read::<Scenario>(self.sources, &mut root.clone());
                self.wrong.extend(whole.wrong);
                None
            }
        }
    }
}

/// A map with only these keys of `root`.
fn only(root: &Node, keys: &[&str]) -> Node {
    let mut root = root.clone();
    if let Value::Map(fields) = &mut root.value {
        fields.retain(|(key, _)| keys.contains(&key.text.as_str()));
    }
    root
}

/// Reads and checks a piece for itself.
pub fn parse_piece(file: &Path) -> Vec<Diagnosis> {
    let text = match source::read(file) {
        Ok(text) => text,
        Err(wrong) => return vec![*wrong],
    };
    let mut sources = Sources::default();
    let number = sources.add(file, text, None);
    let (mut root, mut wrong) = match tree::parse(&sources, number) {
        Ok(parsed) => parsed,
        Err(hopeless) => return vec![*hopeless],
    };
    wrong.append(&mut include::expand(&mut sources, &mut root));
    let expanded = wrong.is_empty();
    let mut reading = read::read::<Piece>(&sources, &mut root);
    wrong.append(&mut reading.wrong);
    if let Some(piece) = reading.value {
        wrong.append(&mut check::piece(
            &sources,
            &piece,
            &root,
            reading.dropped || !expanded,
        ));
    }
    keep_first(&mut wrong);
    wrong
}
