// SPDX-License-Identifier: GPL-2.0-or-later
//! JSON Schemas of what has a form of its own: scalars that may be templates, and maps of which
//! one key says what they are. All other types derive theirs, with their comments as descriptions.

use std::borrow::Cow;

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::step::Action;
use crate::step::EndedBy;
use crate::step::ProbeAction;
use crate::step::PuppetAction;
use crate::step::Step;
use crate::value::Bare;
use crate::value::Errno;
use crate::value::Late;
use crate::value::Scalar;
use crate::value::Span;

/// What any template matches.
const TEMPLATE: &str = r"\$\{";

impl<T: Scalar> JsonSchema for Late<T> {
    fn schema_name() -> Cow<'static, str> {
        T::NAME.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut forms = Vec::new();
        match T::BARE {
            Bare::Integer(None) => forms.push(json!({"type": "integer"})),
            Bare::Integer(Some(least)) => {
                forms.push(json!({"type": "integer", "minimum": least}));
            }
            Bare::Number => forms.push(json!({"type": "number", "minimum": 0})),
            Bare::None => {}
        }
        let words: Vec<Value> = match T::NAME {
            "Errno" => Errno::names().map(|name| json!(name)).collect(),
            _ => T::WORDS.iter().map(|(word, _)| json!(word)).collect(),
        };
        match words.is_empty() {
            false => {
                forms.push(json!({"enum": words}));
                forms.push(json!({"type": "string", "pattern": TEMPLATE}));
            }
            true => {
                let pattern = format!("^ *({}) *$|{TEMPLATE}", T::PATTERN);
                forms.push(json!({"type": "string", "pattern": pattern}));
            }
        }
        let mut description = format!("{}, or a text with `${{...}}` in it.", T::EXPECTED);
        if let Some(first) = description.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        for (word, meaning) in T::WORDS {
            description.push_str(&format!("\n- `{word}`: {}", meaning.trim()));
        }
        json_schema!({"description": description, "anyOf": forms})
    }
}

/// A map of which exactly one of `choices` is a key, and beside it any of `others`.
fn one_of(
    description: &str,
    choices: Vec<(&'static str, &'static str, Schema)>,
    others: Vec<(&'static str, &'static str, Schema)>,
) -> Schema {
    let required: Vec<Value> = choices
        .iter()
        .map(|(key, _, _)| json!({"required": [key]}))
        .collect();
    let mut properties = Map::new();
    for (key, doc, schema) in choices.into_iter().chain(others) {
        let mut schema = schema.to_value();
        if let Value::Object(fields) = &mut schema {
            fields.insert("description".to_owned(), json!(doc.trim()));
        }
        properties.insert(key.to_owned(), schema);
    }
    json_schema!({
        "description": description,
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "oneOf": required,
    })
}

impl JsonSchema for Step {
    fn schema_name() -> Cow<'static, str> {
        "Step".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let others = vec![
            (
                "name",
                "What reports call the step; without it the action's name.",
                json_schema!({"type": "string"}),
            ),
            (
                "timeout",
                "How long the step may take; 60s without it.",
                generator.subschema_for::<Span>(),
            ),
        ];
        let actions = Action::schemas(generator);
        one_of(
            "A step: a map with one action, and perhaps a name and a timeout.",
            actions,
            others,
        )
    }
}

impl JsonSchema for PuppetAction {
    fn schema_name() -> Cow<'static, str> {
        "PuppetAction".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let actions = PuppetAction::schemas(generator);
        one_of(
            "An action of a puppet: a map with one key.",
            actions,
            Vec::new(),
        )
    }
}

impl JsonSchema for ProbeAction {
    fn schema_name() -> Cow<'static, str> {
        "ProbeAction".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let actions = ProbeAction::schemas(generator);
        one_of(
            "An action of a probe: a map with one key.",
            actions,
            Vec::new(),
        )
    }
}

impl JsonSchema for EndedBy {
    fn schema_name() -> Cow<'static, str> {
        "EndedBy".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let forms = vec![
            (
                "exit_code",
                "It returned this code.",
                json_schema!({"type": "integer", "minimum": 0, "maximum": 255}),
            ),
            (
                "signal",
                "This signal ended it.",
                generator.subschema_for::<crate::step::Signal>(),
            ),
        ];
        one_of(
            "How a program must have ended: `{exit_code: 0}` or `{signal: kill}`.",
            forms,
            Vec::new(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema<T: JsonSchema>() -> Value {
        schemars::schema_for!(T).to_value()
    }

    #[test]
    fn a_step_has_exactly_one_of_all_actions() {
        let schema = schema::<Vec<Step>>();
        let step = &schema["$defs"]["Step"];
        let choices = step["oneOf"].as_array().unwrap().len();
        assert_eq!(choices, crate::step::ACTIONS.len());
        let properties = step["properties"].as_object().unwrap();
        assert_eq!(properties.len(), choices + 2);
        assert_eq!(step["additionalProperties"], json!(false));
    }

    #[test]
    fn every_property_is_described_and_nothing_else_is_allowed() {
        let schema = schema::<Vec<Step>>();
        for (name, definition) in schema["$defs"].as_object().unwrap() {
            assert!(
                definition["description"].is_string(),
                "{name} has no description"
            );
            let Some(properties) = definition["properties"].as_object() else {
                continue;
            };
            assert_eq!(definition["additionalProperties"], json!(false), "{name}");
            for (key, property) in properties {
                assert!(
                    property["description"].is_string(),
                    "{name}.{key} has no description"
                );
            }
        }
    }

    #[test]
    fn scalars_allow_their_literals_and_templates() {
        let size = schema::<crate::value::Size>();
        assert_eq!(size["anyOf"][0]["type"], "integer");
        let pattern = size["anyOf"][1]["pattern"].as_str().unwrap();
        assert!(pattern.contains("KiB") && pattern.contains(TEMPLATE));
        let errno = schema::<crate::value::ErrnoName>();
        let names = errno["anyOf"][0]["enum"].as_array().unwrap();
        assert!(names.contains(&json!("ENOBUFS")));
        let signal = schema::<crate::step::Signal>();
        assert!(signal["description"].as_str().unwrap().contains("`kill`"));
    }
}
