// SPDX-License-Identifier: GPL-2.0-or-later
//! `include`: steps that several scenarios share stand in a file of their own, a piece.
//!
//! ```yaml
//! about: Binds a cache by hand.
//! params: {dir: /cache}
//! steps:
//!   - puppet: {actions: [{open: {}}, {command: {text: "dir ${dir}"}}]}
//! ```
//!
//! Each `- include: {file: pieces/bind.yaml, with: {dir: /cache}}` becomes a `group` of the piece's
//! steps, with its parameters as the group's variables, before anything else looks at the scenario.

use std::path::Path;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use vmtest_protocol::step::DEFAULT_TIMEOUT;
use vmtest_protocol::step::Step;
use vmtest_protocol::template::Vars;
use vmtest_protocol::value::Scalar as _;
use vmtest_protocol::value::Time;

use super::diagnose::Diagnosis;
use super::read;
use super::source;
use super::source::Place;
use super::source::Sources;
use super::tree;
use super::tree::Key;
use super::tree::MAX_NODES;
use super::tree::Node;
use super::tree::Value;

/// How deep pieces may include each other.
const MAX_INCLUDES: usize = 8;

/// A piece: steps that scenarios include.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// What its steps do, in a sentence or a few.
    pub about: String,
    /// Its parameters with their defaults; `with` of an `include` changes them. The steps see no
    /// other variables.
    #[serde(default)]
    pub params: Vars,
    /// What to do.
    pub steps: Vec<Step>,
}

/// Carries out the steps of a piece, which is a file of its own with `about`, `params` and `steps`.
/// Becomes a `group` that is called like the file, unless the step has a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Include {
    /// The piece's path as seen from this file, such as `pieces/bind.yaml`.
    pub file: String,
    /// Values for the piece's parameters; their defaults without it.
    #[serde(default)]
    pub with: Vars,
}

/// A piece without its steps: those are read where they are included.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    #[allow(dead_code)]
    about: String,
    #[serde(default)]
    params: Vars,
    #[allow(dead_code)]
    steps: Vec<()>,
}

/// Replaces every `include` below `root` by a `group`.
pub fn expand(sources: &mut Sources, root: &mut Node) -> Vec<Diagnosis> {
    let mut expansion = Expansion {
        sources,
        wrong: Vec::new(),
        chain: Vec::new(),
        nodes: 0,
    };
    let number = root.place.source;
    if let Some(file) = expansion.sources.get(number).map(|s| s.file.clone()) {
        expansion.chain.push(resolved(&file));
        if let Some(steps) = steps_of(root) {
            expansion.list(steps, &file);
        }
    }
    expansion.wrong
}

fn steps_of(map: &mut Node) -> Option<&mut Vec<Node>> {
    let Value::Map(fields) = &mut map.value else {
        return None;
    };
    let (_, steps) = fields.iter_mut().find(|(key, _)| key.text == "steps")?;
    match &mut steps.value {
        Value::List(items) => Some(items),
        _ => None,
    }
}

/// The same file by one name, where it exists.
fn resolved(file: &Path) -> PathBuf {
    file.canonicalize().unwrap_or_else(|_| file.to_owned())
}

struct Expansion<'a> {
    sources: &'a mut Sources,
    wrong: Vec<Diagnosis>,
    /// The files that are being expanded, outermost first.
    chain: Vec<PathBuf>,
    nodes: usize,
}

impl Expansion<'_> {
    fn list(&mut self, steps: &mut Vec<Node>, file: &Path) {
        steps.retain_mut(|step| self.step(step, file));
    }

    /// Expands a step and those inside it; whether it may stay.
    fn step(&mut self, step: &mut Node, file: &Path) -> bool {
        if step.key("include").is_some() {
            return match self.include(step, file) {
                Some(expanded) => {
                    *step = expanded;
                    true
                }
                None => false,
            };
        }
        let Value::Map(fields) = &mut step.value else {
            return true;
        };
        for (_, action) in fields {
            if let Some(steps) = steps_of(action) {
                self.list(steps, file);
            }
            let Value::Map(fields) = &mut action.value else {
                continue;
            };
            for (key, branches) in fields {
                let key = key.text.as_str();
                if let ("branches", Value::List(branches)) = (key, &mut branches.value) {
                    for steps in branches.iter_mut().filter_map(steps_of) {
                        self.list(steps, file);
                    }
                }
            }
        }
        true
    }

    /// The group that takes the place of an `include`; `None` when that is wrong, which has then
    /// been said.
    fn include(&mut self, step: &Node, from: &Path) -> Option<Node> {
        let node = step.get("include")?;
        let mut fields = node.clone();
        let holder = step.key_place("include");
        if matches!(fields.value, Value::Map(_)) || fields.place.start == fields.place.end {
            // What is missing in it is shown at its key.
            fields.place = holder;
        }
        let reading = read::read::<Include>(self.sources, &mut fields);
        self.wrong.extend(reading.wrong);
        let include = reading.value.filter(|_| !reading.dropped)?;
        let place = node.get("file").map_or(node.place, |file| file.place);
        let (mut piece, file) = match self.load(&include.file, place, from) {
            Ok(loaded) => loaded,
            Err(wrong) => {
                self.wrong.push(*wrong);
                return None;
            }
        };
        let params = self.head(&mut piece)?;
        self.nodes += piece.count();
        if self.nodes > MAX_NODES {
            let message = format!("with what is included, there are more than {MAX_NODES} values");
            self.wrong.push(self.sources.diagnose(place, message));
            return None;
        }
        let vars = self.vars(node, &piece, &params);
        self.chain.push(resolved(&file));
        if let Some(steps) = steps_of(&mut piece) {
            self.list(steps, &file);
        }
        self.chain.pop();
        if steps_of(&mut piece).is_none_or(|steps| steps.is_empty()) {
            return None;
        }
        Some(group(step, piece, vars, &file))
    }

    fn load(
        &mut self,
        name: &str,
        place: Place,
        from: &Path,
    ) -> Result<(Node, PathBuf), Box<Diagnosis>> {
        let wrong = |message: String| Box::new(self.sources.diagnose(place, message));
        if Path::new(name).is_absolute() || name.contains("${") {
            return Err(Box::new(
                wrong(format!("`{name}` cannot be included")).with_help(
                    "write the piece's path as seen from this file, such as `pieces/bind.yaml`",
                ),
            ));
        }
        let folder = from.parent().unwrap_or(Path::new(""));
        let file = folder.join(name);
        if self.chain.contains(&resolved(&file)) {
            return Err(wrong(format!("`{name}` includes itself by way of this")));
        }
        if self.chain.len() > MAX_INCLUDES {
            return Err(wrong(format!(
                "pieces include each other more than {MAX_INCLUDES} deep"
            )));
        }
        if !file.is_file() {
            let mut diagnosis = *wrong(format!("there is no piece {}", file.display()));
            let known = pieces_beside(&file, name);
            diagnosis = diagnosis.with_nearest(name, known.iter().map(String::as_str));
            return Err(Box::new(diagnosis));
        }
        let text = source::read(&file)?;
        let number = self.sources.add(&file, text, Some(place));
        let (root, mut wrong) = tree::parse(self.sources, number)?;
        self.wrong.append(&mut wrong);
        Ok((root, file))
    }

    /// Checks all of a piece but its steps; its parameters.
    fn head(&mut self, piece: &mut Node) -> Option<Vars> {
        let mut head = piece.clone();
        if let Some(steps) = steps_of(&mut head) {
            steps.clear();
        }
        let reading = read::read::<Head>(self.sources, &mut head);
        self.wrong.extend(reading.wrong);
        if piece.items().is_empty() && steps_of(piece).is_some_and(|steps| steps.is_empty()) {
            let place = piece.key_place("steps");
            self.wrong
                .push(self.sources.diagnose(place, "a piece without steps"));
        }
        reading.value.map(|head| head.params)
    }

    /// The group's variables: the piece's parameters, as the `include` changes them.
    fn vars(&mut self, include: &Node, piece: &Node, params: &Vars) -> Node {
        let with = include.get("with").map_or(&[][..], Node::fields);
        for (key, _) in with {
            if !params.contains_key(&key.text) {
                let message = format!("the piece has no parameter `{}`", key.text);
                let mut wrong = self.sources.diagnose(key.place, message);
                let known: Vec<&str> = params.keys().map(String::as_str).collect();
                wrong = wrong.with_nearest(&key.text, known.iter().copied());
                wrong = match known.is_empty() {
                    true => wrong.with_help("it has none"),
                    false => wrong.with_help(format!("it has: {}", known.join(", "))),
                };
                self.wrong.push(wrong);
            }
        }
        let own = piece.get("params").map_or(&[][..], Node::fields);
        let fields = own.iter().map(|(key, default)| {
            let given = with.iter().find(|(k, _)| k.text == key.text);
            given.unwrap_or(&(key.clone(), default.clone())).clone()
        });
        Node {
            place: include.place,
            value: Value::Map(fields.collect()),
        }
    }
}

/// The files beside `file`, written as `name` is.
fn pieces_beside(file: &Path, name: &str) -> Vec<String> {
    let folder = Path::new(name).parent().unwrap_or(Path::new(""));
    let Some(entries) = file.parent().and_then(|dir| dir.read_dir().ok()) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok())
        .map(|entry| folder.join(entry.file_name()).display().to_string())
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    names.sort();
    names
}

/// The step with its `include` replaced. It is called by the piece's name unless it has one, and may
/// take as long as its steps together unless it says otherwise.
fn group(step: &Node, piece: Node, vars: Node, file: &Path) -> Node {
    let place = step.key_place("include");
    let key = |text: &str| Key {
        text: text.to_owned(),
        place,
    };
    let steps = piece.get("steps").cloned().unwrap_or(Node {
        place,
        value: Value::List(Vec::new()),
    });
    let limit = together(&steps);
    let mut fields: Vec<(Key, Node)> = Vec::new();
    for (name, value) in step.fields().iter().filter(|(k, _)| k.text != "include") {
        fields.push((name.clone(), value.clone()));
    }
    if step.get("name").is_none() {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        fields.push((key("name"), Node::text(place, stem)));
    }
    if step.get("timeout").is_none() {
        fields.push((key("timeout"), Node::text(place, Time(limit).to_text())));
    }
    let group = Value::Map(vec![(key("vars"), vars), (key("steps"), steps)]);
    fields.push((
        key("group"),
        Node {
            place,
            value: group,
        },
    ));
    Node {
        place: step.place,
        value: Value::Map(fields),
    }
}

/// The limits of steps, one after the other.
fn together(steps: &Node) -> std::time::Duration {
    let limit = |step: &Node| {
        step.str("timeout")
            .and_then(Time::parse)
            .map_or(DEFAULT_TIMEOUT, |time| time.0)
    };
    steps.items().iter().map(limit).sum()
}
