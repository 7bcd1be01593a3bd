// SPDX-License-Identifier: GPL-2.0-or-later
//! A walk over all steps: their templates, their limits, how deep they lie; and each step for itself.

use std::time::Duration;

use vmtest_protocol::Step;
use vmtest_protocol::step::DEFAULT_TIMEOUT;
use vmtest_protocol::template;
use vmtest_protocol::template::Var;
use vmtest_protocol::template::Vars;
use vmtest_protocol::value::Scalar as _;
use vmtest_protocol::value::Time;

use super::Act;
use super::Findings;
use super::MAX_NESTING;
use super::MAX_STEPS;
use super::head::is_variable;
use super::local;
use crate::scenario::Needs;
use crate::scenario::cases::fill_node;
use crate::scenario::cases::template_wrong;
use crate::scenario::de;
use crate::scenario::de::Plain;
use crate::scenario::source::Place;
use crate::scenario::tree::Form;
use crate::scenario::tree::Node;
use crate::scenario::tree::Value;

/// The variables of a place in the steps, twice: with the first and with the last value of each
/// counter around it.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    first: Vars,
    last: Vars,
}

impl Scope {
    pub(super) fn new(vars: &Vars) -> Self {
        Scope {
            first: vars.clone(),
            last: vars.clone(),
        }
    }

    /// The scope of the steps inside an action.
    pub(super) fn inside(&self, act: Act<'_>) -> Scope {
        let mut inner = self.clone();
        match act.name() {
            "repeat" => {
                let number = |key: &str, vars: &Vars| {
                    let text = act.node.str(key)?;
                    template::fill(text, vars).ok()?.trim().parse::<i64>().ok()
                };
                if let Some(var) = act.node.str("var") {
                    let from = number("from", &self.first).unwrap_or(0);
                    let last = number("to", &self.last).map_or(from, |to| to.saturating_sub(1));
                    inner.first.insert(var.to_owned(), Var::Number(from));
                    inner
                        .last
                        .insert(var.to_owned(), Var::Number(last.max(from)));
                }
            }
            "group" => {
                let steps = act.node.get("steps").map(|steps| steps.place.source);
                if steps.is_some_and(|source| source != act.node.place.source) {
                    // A piece sees its own parameters only, so that it means the same everywhere.
                    inner = Scope::new(&Vars::new());
                }
                for (key, value) in act.node.get("vars").map_or(&[][..], Node::fields) {
                    for (vars, outer) in [
                        (&mut inner.first, &self.first),
                        (&mut inner.last, &self.last),
                    ] {
                        vars.insert(key.text.clone(), var_of(value, outer));
                    }
                }
            }
            "storm" => {
                for vars in [&mut inner.first, &mut inner.last] {
                    vars.insert("thread".to_owned(), Var::Number(0));
                }
            }
            _ => {}
        }
        inner
    }

    /// A step as it is with the first values, and, where it differs, with the last.
    pub(super) fn filled(&self, step: &Node) -> Vec<Node> {
        let mut filled = Vec::new();
        for vars in [&self.first, &self.last] {
            let mut node = without_steps(step);
            if fill_node(&mut node, vars, &mut |_, _| {}) && !filled.contains(&node) {
                filled.push(node);
            }
        }
        filled
    }
}

fn var_of(node: &Node, outer: &Vars) -> Var {
    let Value::Scalar(scalar) = &node.value else {
        return Var::Text(String::new());
    };
    let text = template::fill(&scalar.text, outer).unwrap_or(scalar.text.clone());
    let number = match scalar.form {
        Form::Plain => match de::resolve(&text) {
            Plain::Unsigned(number) => i64::try_from(number).ok(),
            Plain::Signed(number) => Some(number),
            _ => None,
        },
        _ => None,
    };
    number.map_or(Var::Text(text), Var::Number)
}

/// A step whose inner steps are left out.
pub(super) fn without_steps(step: &Node) -> Node {
    let mut step = step.clone();
    if let Value::Map(fields) = &mut step.value {
        for (_, action) in fields {
            clear_steps(action);
            let Value::Map(fields) = &mut action.value else {
                continue;
            };
            for (key, below) in fields {
                if let ("branches", Value::List(branches)) = (key.text.as_str(), &mut below.value) {
                    branches.iter_mut().for_each(clear_steps);
                }
            }
        }
    }
    step
}

fn clear_steps(map: &mut Node) {
    if let Value::Map(fields) = &mut map.value {
        for (_, steps) in fields.iter_mut().filter(|(key, _)| key.text == "steps") {
            steps.value = Value::List(Vec::new());
        }
    }
}

struct Walk<'f, 's> {
    found: &'f mut Findings<'s>,
    needs: Option<&'f Needs>,
    count: usize,
    too_many: bool,
    dropped: bool,
}

/// `limit` is the scenario's, `needs` too: a piece has neither.
pub(super) fn check(
    found: &mut Findings<'_>,
    steps: &[Node],
    vars: &Vars,
    limit: Option<Duration>,
    needs: Option<&Needs>,
    dropped: bool,
) {
    let mut walk = Walk {
        found,
        needs,
        count: 0,
        too_many: false,
        dropped,
    };
    walk.list(
        steps,
        &Scope::new(vars),
        1,
        limit.map(|limit| (limit, "the scenario")),
    );
}

impl Walk<'_, '_> {
    fn list(
        &mut self,
        steps: &[Node],
        scope: &Scope,
        depth: usize,
        around: Option<(Duration, &str)>,
    ) {
        for step in steps {
            self.count += 1;
            if self.count > MAX_STEPS {
                if !self.too_many {
                    let message = format!("this is step {}, the limit is {MAX_STEPS}", self.count);
                    let wrong = self.found.add(first_word(step), message);
                    wrong.help.push("use `repeat`".to_owned());
                }
                self.too_many = true;
                return;
            }
            if depth > MAX_NESTING {
                let message = format!("steps lie more than {MAX_NESTING} deep in each other here");
                self.found.add(first_word(step), message);
                return;
            }
            self.step(step, scope, depth, around);
        }
    }

    fn step(&mut self, step: &Node, scope: &Scope, depth: usize, around: Option<(Duration, &str)>) {
        let Some(act) = Act::of(step) else {
            return;
        };
        self.templates(step, scope);
        let limit = self.limit(step, act, scope, around);
        for filled in scope.filled(step) {
            let already = self.found.wrong.len();
            if let Err(fault) = de::from_node::<Step>(&filled) {
                let place = fault.place.unwrap_or(step.place);
                let wrong = self.found.add(place, fault.to_string());
                wrong
                    .help
                    .push("so it is after `${...}` is filled in".to_owned());
            }
            if let Some(act) = Act::of(&filled) {
                local::check(self.found, act, self.needs);
            }
            if self.found.wrong.len() > already {
                break;
            }
        }
        self.variables(act);
        let inner = scope.inside(act);
        for body in act.bodies() {
            if body.is_empty() && !self.dropped {
                let place = act.key.place;
                self.found
                    .add(place, format!("`{}` has no steps", act.name()));
            }
            let named = step.str("name").unwrap_or(act.name());
            let around = limit.map(|limit| (limit, named)).or(around);
            self.list(body, &inner, depth + 1, around);
        }
    }

    fn templates(&mut self, step: &Node, scope: &Scope) {
        let sources = self.found.sources;
        let mut said: Vec<Place> = Vec::new();
        for vars in [&scope.first, &scope.last] {
            let wrong = &mut self.found.wrong;
            let mut node = without_steps(step);
            fill_node(&mut node, vars, &mut |node, error| {
                if !said.contains(&node.place) {
                    said.push(node.place);
                    wrong.push(template_wrong(sources, node, error, vars.keys()));
                }
            });
        }
    }

    /// A step's limit, which must be within that of the step around it.
    fn limit(
        &mut self,
        step: &Node,
        act: Act<'_>,
        scope: &Scope,
        around: Option<(Duration, &str)>,
    ) -> Option<Duration> {
        let given = match step.str("timeout") {
            None => None,
            Some(text) => Some(
                template::fill(text, &scope.first)
                    .ok()
                    .and_then(|t| Time::parse(&t))?,
            ),
        };
        let limit = given.map_or(DEFAULT_TIMEOUT, |time| time.0);
        let place = match step.get("timeout") {
            Some(node) => node.place,
            None => act.key.place,
        };
        if limit.is_zero() {
            self.found
                .add(place, "no time at all: the step could not pass");
        }
        match around {
            Some((outer, who)) if limit > outer && given.is_some() => {
                let message = format!(
                    "the step may take {}, `{who}` around it only {}",
                    Time(limit).to_text(),
                    Time(outer).to_text()
                );
                let wrong = self.found.add(place, message);
                let what = if who == "the scenario" {
                    "`limit`"
                } else {
                    "`timeout`"
                };
                wrong
                    .help
                    .push(format!("raise the outer {what}, or lower this one"));
            }
            _ => {}
        }
        Some(limit)
    }

    fn variables(&mut self, act: Act<'_>) {
        let var = act.node.get("var").filter(|_| act.name() == "repeat");
        let var = var.and_then(|var| Some((var.as_str()?, var.place)));
        let vars = match act.name() {
            "group" => act.node.get("vars").map_or(&[][..], Node::fields),
            _ => &[],
        };
        let vars = vars.iter().map(|(key, _)| (key.text.as_str(), key.place));
        for (name, place) in var.into_iter().chain(vars) {
            if !is_variable(name) {
                let message = format!("`{name}` is no name for a variable");
                let wrong = self.found.add(place, message);
                wrong
                    .help
                    .push("a letter, then letters, digits and `_`".to_owned());
            }
        }
    }
}

/// Where a step is shown as a whole.
pub(super) fn first_word(step: &Node) -> Place {
    step.fields()
        .first()
        .map_or(step.place, |(key, _)| key.place)
}
