// SPDX-License-Identifier: GPL-2.0-or-later
//! `${...}` in the texts of a step.
//!
//! Inside the braces stands arithmetic on whole numbers (`+ - * / %`, parentheses) over variables,
//! or one variable that is a text. A format `:04` pads a number with zeros: `${i/40}`,
//! `/mnt/${i:04}`, `${fsid}`. Variables are a scenario's parameters and the counters of `repeat`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

/// What a variable holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Var {
    /// A number that can be calculated with.
    Number(i64),
    /// Any text.
    Text(String),
}

/// Variables by name.
pub type Vars = BTreeMap<String, Var>;

/// Why a template could not be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `${` without its `}`.
    #[error("`{text}`: `${{` without a closing brace")]
    Unclosed {
        /// The whole text.
        text: String,
    },
    /// Nobody set this variable.
    #[error("`{text}`: no variable `{name}` here; there are: {known}")]
    Unknown {
        /// The whole text.
        text: String,
        /// The name.
        name: String,
        /// The variables that exist, comma separated.
        known: String,
    },
    /// Not an expression.
    #[error("`{text}`: {why}")]
    Syntax {
        /// The whole text.
        text: String,
        /// What is wrong.
        why: String,
    },
}

/// Fills in every `${...}` of `text`.
pub fn fill(text: &str, vars: &Vars) -> Result<String, TemplateError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..start]);
        let after = &rest[start + 2..];
        let end = after.find('}').ok_or_else(|| TemplateError::Unclosed {
            text: text.to_owned(),
        })?;
        out.push_str(&evaluate(&after[..end], vars, text)?);
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Fills in the texts of a JSON value, except below the keys in `not_below`: the steps inside a
/// `repeat` are filled in when their own turn comes, with the counter of the repeat.
pub fn fill_value(value: &mut Value, vars: &Vars, not_below: &[&str]) -> Result<(), TemplateError> {
    match value {
        Value::String(text) if text.contains("${") => *text = fill(text, vars)?,
        Value::Array(items) => {
            for item in items {
                fill_value(item, vars, not_below)?;
            }
        }
        Value::Object(fields) => {
            for (key, item) in fields {
                if !not_below.contains(&key.as_str()) {
                    fill_value(item, vars, not_below)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Checks that every `${...}` below `value` parses and names a variable in `known`; the variable
/// of a `repeat` and those of a `group` count as known in the steps below.
pub fn check_value(value: &Value, known: &BTreeSet<String>) -> Result<(), TemplateError> {
    match value {
        Value::String(text) => {
            // A text may only be checked for its names: 1 is as good as any value.
            let vars = known.iter().map(|n| (n.clone(), Var::Number(1))).collect();
            fill(text, &vars).map(|_| ())
        }
        Value::Array(items) => items.iter().try_for_each(|item| check_value(item, known)),
        Value::Object(fields) => {
            let mut inner = known.clone();
            if let Some(Value::String(name)) = fields.get("var") {
                inner.insert(name.clone());
            }
            if let Some(Value::Object(vars)) = fields.get("vars") {
                inner.extend(vars.keys().cloned());
            }
            fields.iter().try_for_each(|(key, item)| {
                check_value(item, if key == "steps" { &inner } else { known })
            })
        }
        _ => Ok(()),
    }
}

fn evaluate(inside: &str, vars: &Vars, text: &str) -> Result<String, TemplateError> {
    let (expression, width) = match inside.split_once(':') {
        None => (inside, None),
        Some((expression, format)) => {
            let width = format
                .strip_prefix('0')
                .and_then(|digits| digits.parse::<usize>().ok())
                .filter(|width| (1..=20).contains(width))
                .ok_or_else(|| TemplateError::Syntax {
                    text: text.to_owned(),
                    why: format!("`:{format}` is not a format; `:04` pads to four digits"),
                })?;
            (expression, Some(width))
        }
    };
    if let Some(Var::Text(value)) = vars.get(expression.trim()) {
        if width.is_none() {
            return Ok(value.clone());
        }
    }
    let mut parser = Parser {
        rest: expression.trim(),
        vars,
        text,
    };
    let number = parser.sum()?;
    if !parser.rest.is_empty() {
        return Err(parser.wrong(format!("`{}` is left over", parser.rest)));
    }
    Ok(match width {
        Some(width) => format!("{number:0width$}"),
        None => number.to_string(),
    })
}

struct Parser<'a> {
    rest: &'a str,
    vars: &'a Vars,
    text: &'a str,
}

impl Parser<'_> {
    fn wrong(&self, why: String) -> TemplateError {
        TemplateError::Syntax {
            text: self.text.to_owned(),
            why,
        }
    }

    fn eat(&mut self, operators: &[char]) -> Option<char> {
        let operator = self.rest.chars().next().filter(|c| operators.contains(c))?;
        self.rest = self.rest[operator.len_utf8()..].trim_start();
        Some(operator)
    }

    fn sum(&mut self) -> Result<i64, TemplateError> {
        let mut left = self.product()?;
        while let Some(operator) = self.eat(&['+', '-']) {
            let right = self.product()?;
            let result = match operator {
                '+' => left.checked_add(right),
                _ => left.checked_sub(right),
            };
            left = result.ok_or_else(|| self.wrong("the result is too large".to_owned()))?;
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<i64, TemplateError> {
        let mut left = self.atom()?;
        while let Some(operator) = self.eat(&['*', '/', '%']) {
            let right = self.atom()?;
            let result = match operator {
                '*' => left.checked_mul(right),
                '/' => left.checked_div(right),
                _ => left.checked_rem(right),
            };
            left = result
                .ok_or_else(|| self.wrong("division by zero, or too large a result".to_owned()))?;
        }
        Ok(left)
    }

    fn atom(&mut self) -> Result<i64, TemplateError> {
        if self.eat(&['(']).is_some() {
            let value = self.sum()?;
            return match self.eat(&[')']) {
                Some(_) => Ok(value),
                None => Err(self.wrong("a parenthesis is not closed".to_owned())),
            };
        }
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        if word.is_empty() {
            return Err(self.wrong("a number or a variable is missing".to_owned()));
        }
        self.rest = rest.trim_start();
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return word
                .parse()
                .map_err(|_| self.wrong(format!("`{word}` is not a number")));
        }
        match self.vars.get(word) {
            Some(Var::Number(number)) => Ok(*number),
            Some(Var::Text(value)) => value.trim().parse().map_err(|_| {
                self.wrong(format!(
                    "`{word}` is `{value}`, with which one cannot calculate"
                ))
            }),
            None => Err(TemplateError::Unknown {
                text: self.text.to_owned(),
                name: word.to_owned(),
                known: match self.vars.is_empty() {
                    true => "none".to_owned(),
                    false => self.vars.keys().cloned().collect::<Vec<_>>().join(", "),
                },
            }),
        }
    }
}
