// SPDX-License-Identifier: GPL-2.0-or-later
//! `matrix`: a scenario with values to choose from is a case for each combination of them.

use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de;
use serde::ser::SerializeMap;
use sha2::Digest;
use sha2::Sha256;
use vmtest_protocol::template;
use vmtest_protocol::template::Var;
use vmtest_protocol::template::Vars;

use super::Overrides;
use super::diagnose::Diagnosis;
use super::source::Sources;
use super::tree::Form;
use super::tree::Node;
use super::tree::Value;

/// The most cases of one scenario.
pub const MAX_CASES: usize = 256;
/// Longest part of a folder's name that comes from a matrix.
const MAX_FOLDER: usize = 80;
/// Top-level keys in which a case's values are filled in when the file is read: those of the steps
/// are filled in when the steps run.
const FILLED: &[&str] = &["needs", "limit", "weight", "requires_requests"];

/// Variables with the values to choose from, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matrix(pub Vec<(String, Vec<Var>)>);

impl<'de> Deserialize<'de> for Matrix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Matrix;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of lists, such as `{fs: [ext4, ext2]}`")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Matrix, A::Error> {
                let mut axes = Vec::new();
                while let Some((name, values)) = map.next_entry::<String, Vec<Var>>()? {
                    axes.push((name, values));
                }
                Ok(Matrix(axes))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

impl Serialize for Matrix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, values) in &self.0 {
            map.serialize_entry(name, values)?;
        }
        map.end()
    }
}

/// One choice from a matrix, in its order; empty for a scenario without one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Case(pub Vec<(String, Var)>);

impl Matrix {
    /// How many cases there are.
    pub fn count(&self) -> usize {
        self.0.iter().fold(1usize, |count, (_, values)| {
            count.saturating_mul(values.len())
        })
    }

    /// The matrix with only the value that the command line gives.
    pub fn overridden(mut self, overrides: &Overrides) -> Self {
        for (name, values) in &mut self.0 {
            if let Some(value) = overrides.get(name) {
                *values = vec![value.clone()];
            }
        }
        self
    }

    /// The first combinations, at most `count`.
    pub fn cases_within(&self, count: usize) -> Vec<Case> {
        let first = |(name, values): &(String, Vec<Var>)| {
            (name.clone(), values.iter().take(count).cloned().collect())
        };
        let mut cases = Matrix(self.0.iter().map(first).collect()).cases();
        cases.truncate(count);
        cases
    }

    /// Every combination; the last variable changes fastest.
    pub fn cases(&self) -> Vec<Case> {
        let mut cases = vec![Case::default()];
        for (name, values) in &self.0 {
            cases = cases
                .iter()
                .flat_map(|case| {
                    values.iter().map(|value| {
                        let mut longer = case.clone();
                        longer.0.push((name.clone(), value.clone()));
                        longer
                    })
                })
                .collect();
        }
        cases
    }
}

impl Case {
    /// For people: `[fs=ext4,n=1]`, or nothing.
    pub fn words(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let values: Vec<String> = self
            .0
            .iter()
            .map(|(name, value)| format!("{name}={}", text_of(value)))
            .collect();
        format!("[{}]", values.join(","))
    }

    /// For a folder's name: letters, digits, `.`, `_` and `-` only, not too long, and different for
    /// different cases.
    pub fn folder(&self) -> String {
        let mut folder = String::new();
        let mut same = true;
        for (name, value) in &self.0 {
            for word in [name.clone(), text_of(value)] {
                folder.push('-');
                for c in word.chars() {
                    let safe = c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
                    same &= safe;
                    folder.push(if safe { c } else { '_' });
                }
            }
        }
        if !same || folder.len() > MAX_FOLDER {
            // What was changed or cut off may have been all that differed.
            folder.truncate(MAX_FOLDER);
            let digest = hex::encode(Sha256::digest(self.words()));
            folder += &format!("-{}", &digest[..8]);
        }
        folder
    }

    /// Adds the case's values to `vars`.
    pub fn add_to(&self, vars: &mut Vars) {
        for (name, value) in &self.0 {
            vars.insert(name.clone(), value.clone());
        }
    }
}

/// A variable's value as a text.
pub fn text_of(value: &Var) -> String {
    match value {
        Var::Number(number) => number.to_string(),
        Var::Text(text) => text.clone(),
    }
}

/// Fills `vars` into all of a scenario but its steps.
pub fn fill(sources: &Sources, root: &mut Node, vars: &Vars) -> Vec<Diagnosis> {
    let mut wrong = Vec::new();
    if let Value::Map(fields) = &mut root.value {
        for (_, value) in fields
            .iter_mut()
            .filter(|(k, _)| FILLED.contains(&k.text.as_str()))
        {
            fill_node(value, vars, &mut |node, error| {
                wrong.push(template_wrong(sources, node, error, vars.keys()));
            });
        }
    }
    wrong
}

/// Fills templates in; `wrong` is told of each that cannot be. Whether all could.
pub fn fill_node(
    node: &mut Node,
    vars: &Vars,
    wrong: &mut dyn FnMut(&Node, &template::TemplateError),
) -> bool {
    match &mut node.value {
        Value::Scalar(scalar) if scalar.text.contains("${") => {
            match template::fill(&scalar.text, vars) {
                Ok(text) => {
                    scalar.text = text;
                    scalar.form = Form::Filled;
                    true
                }
                Err(error) => {
                    wrong(node, &error);
                    false
                }
            }
        }
        Value::Scalar(_) => true,
        Value::List(items) => {
            // All of them, also after one that cannot be filled in.
            let filled: Vec<bool> = items
                .iter_mut()
                .map(|item| fill_node(item, vars, wrong))
                .collect();
            filled.into_iter().all(|filled| filled)
        }
        Value::Map(fields) => {
            let filled: Vec<bool> = fields
                .iter_mut()
                .map(|(_, item)| fill_node(item, vars, wrong))
                .collect();
            filled.into_iter().all(|filled| filled)
        }
    }
}

/// A template that cannot be filled in.
pub fn template_wrong<'a>(
    sources: &Sources,
    node: &Node,
    error: &template::TemplateError,
    known: impl IntoIterator<Item = &'a String>,
) -> Diagnosis {
    let diagnosis = sources.diagnose(node.place, error.to_string());
    match error {
        template::TemplateError::Unknown { name, .. } => {
            diagnosis.with_nearest(name, known.into_iter().map(String::as_str))
        }
        _ => diagnosis,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn matrix(yaml: &str) -> Matrix {
        serde_yaml::from_str(yaml).unwrap()
    }

    #[test]
    fn each_combination_is_a_case_with_a_readable_name() {
        let cases = matrix("{fs: [ext4, ext2], n: [1, 2]}").cases();
        let words: Vec<String> = cases.iter().map(Case::words).collect();
        assert_eq!(
            words,
            [
                "[fs=ext4,n=1]",
                "[fs=ext4,n=2]",
                "[fs=ext2,n=1]",
                "[fs=ext2,n=2]"
            ]
        );
        assert_eq!(cases[0].folder(), "-fs-ext4-n-1");
        assert_eq!(Matrix::default().cases(), [Case::default()]);
        assert_eq!(Case::default().words(), "");
        assert_eq!(Case::default().folder(), "");
    }

    #[test]
    fn folders_are_safe_short_and_different() {
        let long = "x".repeat(500);
        let cases = matrix(&format!(
            "{{text: ['a/b', 'a b', 'a_b', '../..', '', {long}a, {long}b]}}"
        ))
        .cases();
        let folders: BTreeSet<String> = cases.iter().map(Case::folder).collect();
        assert_eq!(folders.len(), cases.len());
        for folder in &folders {
            assert!(folder.len() <= MAX_FOLDER + 10, "{folder}");
            assert!(!folder.contains(['/', ' ']), "{folder}");
        }
    }

    #[test]
    fn the_command_line_narrows_a_matrix_to_one_value() {
        let overrides = Overrides::parse(&["n=7".to_owned()]).unwrap();
        let narrowed = matrix("{fs: [ext4, ext2], n: [1, 2]}").overridden(&overrides);
        assert_eq!(narrowed.count(), 2);
        assert_eq!(narrowed.cases()[1].words(), "[fs=ext2,n=7]");
    }

    #[test]
    fn a_matrix_without_bounds_is_counted_without_being_made() {
        let axis: Vec<Var> = (0..1000).map(Var::Number).collect();
        let axes = (0..30).map(|n| (format!("a{n}"), axis.clone())).collect();
        assert_eq!(Matrix(axes).count(), usize::MAX);
    }
}
