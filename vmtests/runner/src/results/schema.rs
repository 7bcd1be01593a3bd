// SPDX-License-Identifier: GPL-2.0-or-later
//! The JSON Schema of `results.json`, made from the types; `vmtests/results.schema.json` is a copy
//! of it for everybody else's programs.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Results;

/// The schema.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Results>();
    schema.insert("title".to_owned(), "results of vmtest".into());
    schema.to_value()
}

/// The schema as text, as it is committed.
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&schema()).unwrap_or_default();
    text.push('\n');
    text
}
