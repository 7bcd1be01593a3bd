// SPDX-License-Identifier: GPL-2.0-or-later
//! JSON Schemas of scenarios and pieces, from the types that read them. Editors use the copies in
//! vmtests/scenarios; the reference of the language is made from the same ([`crate::reference`]).

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::scenario::Include;
use crate::scenario::Piece;
use crate::scenario::Scenario;

/// Types of a scenario's head: any of their values may be a template.
const FILLED: &[&str] = &[
    "Needs",
    "KernelNeed",
    "ModuleNeed",
    "DiskNeed",
    "ShareNeed",
    "RequiredRequests",
];

/// The schema of a scenario file.
pub fn scenario() -> Value {
    of::<Scenario>("a scenario of vmtest")
}

/// The schema of a piece.
pub fn piece() -> Value {
    of::<Piece>("a piece of scenarios of vmtest")
}

/// A schema as text, as it is committed.
pub fn text(schema: &Value) -> String {
    let mut text = serde_json::to_string_pretty(schema).unwrap_or_default();
    text.push('\n');
    text
}

fn of<T: JsonSchema>(title: &str) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let include = generator.subschema_for::<Include>().to_value();
    let definitions = generator.definitions().clone();
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    schema["title"] = json!(title);
    if let Some(defs) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        for (name, definition) in definitions {
            defs.entry(name).or_insert(definition);
        }
        add_include(defs, include);
        for name in FILLED {
            if let Some(definition) = defs.get_mut(*name) {
                allow_templates(definition);
            }
        }
    }
    schema
}

/// `include` is a step of the file, not of the guest: it is no [`vmtest_protocol::Action`].
fn add_include(defs: &mut Map<String, Value>, mut include: Value) {
    let Some(step) = defs.get_mut("Step") else {
        return;
    };
    include["description"] = json!("Runs the steps of a piece: a file that scenarios share.");
    step["properties"]["include"] = include;
    if let Some(choices) = step.get_mut("oneOf").and_then(Value::as_array_mut) {
        choices.push(json!({"required": ["include"]}));
    }
}

/// Values that are no texts may be given as one with `${...}` in it.
fn allow_templates(definition: &mut Value) {
    let Some(properties) = definition
        .get_mut("properties")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    for property in properties.values_mut() {
        let kind = property.get("type").and_then(Value::as_str);
        let words = property["$ref"].as_str() == Some("#/$defs/DiskFs");
        if !words && !matches!(kind, Some("boolean" | "integer")) {
            continue;
        }
        let mut old = property.take();
        let mut new = Map::new();
        for keep in ["description", "default"] {
            if let Some(value) = old.as_object_mut().and_then(|old| old.remove(keep)) {
                new.insert(keep.to_owned(), value);
            }
        }
        let template = json!({"type": "string", "pattern": r"\$\{"});
        new.insert("anyOf".to_owned(), json!([old, template]));
        *property = Value::Object(new);
    }
}

impl JsonSchema for crate::scenario::Matrix {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Matrix".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let value = generator.subschema_for::<vmtest_protocol::template::Var>();
        schemars::json_schema!({
            "description": "Values to choose from, by the name of their variable.",
            "type": "object",
            "additionalProperties": {
                "type": "array", "items": value, "minItems": 1, "uniqueItems": true,
            },
        })
    }
}
