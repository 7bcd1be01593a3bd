// SPDX-License-Identifier: GPL-2.0-or-later
//! The reference of the language: every step, action and field with its comment, made from the
//! types by way of their schema. vmtests/LANGUAGE.md ends with it.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::Map;
use serde_json::Value;
use vmtest_protocol::step::DEFAULT_TIMEOUT;

use crate::schema;

/// What LANGUAGE.md has above the reference: what is below is made, not written.
pub const MARK: &str =
    "<!-- Made by `vmtest schema --markdown` from the types. Do not edit below. -->";

/// The reference, from its mark to its end.
pub fn markdown() -> String {
    let schema = schema::scenario();
    let piece = schema::piece();
    let empty = Map::new();
    let defs = schema["$defs"].as_object().unwrap_or(&empty);
    let mut page = Page {
        text: format!("{MARK}\n"),
        defs,
        told: BTreeSet::new(),
        later: Vec::new(),
    };
    page.heading(2, "Reference");
    page.heading(3, "A scenario file");
    page.paragraph(&schema);
    page.fields(&schema);
    page.parts(&["Step"]);
    page.heading(3, "A piece");
    page.paragraph(&piece);
    page.fields(&piece);
    page.heading(3, "Steps");
    let _ = writeln!(
        page.text,
        "\nA step is a map with one of these actions, and beside it:\n\n\
         | field | value | |\n|---|---|---|\n\
         | `name` | text | What reports call the step; without it the action's name. |\n\
         | `timeout` | [Span](#span) | How long it may take; {} s without it. |",
        DEFAULT_TIMEOUT.as_secs()
    );
    page.told.insert("Step".to_owned());
    page.choices(&defs["Step"], &["name", "timeout"], "");
    page.heading(3, "Actions of a puppet");
    let _ = writeln!(
        page.text,
        "\nEach is a map with one of these keys. They are carried out in order, in one process."
    );
    page.told.insert("PuppetAction".to_owned());
    page.choices(&defs["PuppetAction"], &[], "puppet: ");
    page.heading(3, "Actions of a probe");
    let _ = writeln!(
        page.text,
        "\nEach is a map with one of these keys. They are carried out in order, in one process, which \
         holds what it has acquired until it ends. Volumes and cookies have numbers that the \
         scenario chooses."
    );
    page.told.insert("ProbeAction".to_owned());
    page.choices(&defs["ProbeAction"], &[], "probe: ");
    page.heading(3, "Parts of steps");
    page.parts(&[]);
    page.heading(3, "Values");
    page.values();
    page.text
}

struct Page<'a> {
    text: String,
    defs: &'a Map<String, Value>,
    /// Types that have their place already.
    told: BTreeSet<String>,
    /// Types that were mentioned and are still to be told.
    later: Vec<String>,
}

impl Page<'_> {
    fn heading(&mut self, level: usize, title: &str) {
        let _ = writeln!(self.text, "\n{} {title}", "#".repeat(level));
    }

    fn paragraph(&mut self, schema: &Value) {
        if let Some(description) = schema["description"].as_str() {
            let _ = writeln!(self.text, "\n{}", description.trim());
        }
    }

    /// A table of an object's fields.
    fn fields(&mut self, schema: &Value) {
        let Some(properties) = schema["properties"].as_object() else {
            return;
        };
        if properties.is_empty() {
            let _ = writeln!(self.text, "\nNo fields: write `{{}}`.");
            return;
        }
        let required: Vec<&str> = schema["required"]
            .as_array()
            .map(|keys| keys.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let _ = writeln!(self.text, "\n| field | value | |\n|---|---|---|");
        // What must be given comes first.
        let mut keys: Vec<&String> = properties.keys().collect();
        keys.sort_by_key(|key| !required.contains(&key.as_str()));
        for key in keys {
            let field = &properties[key];
            let kind = self.kind(field);
            let mut about = one_line(field["description"].as_str().unwrap_or_default());
            match (required.contains(&key.as_str()), default_of(field)) {
                (true, _) => about = format!("**Required.** {about}"),
                (false, Some(default)) => about = format!("{about} Default: `{default}`."),
                (false, None) => {}
            }
            let _ = writeln!(self.text, "| `{key}` | {kind} | {about} |");
        }
    }

    /// The keys of which one is chosen, each with its fields.
    fn choices(&mut self, schema: &Value, except: &[&str], prefix: &str) {
        let Some(properties) = schema["properties"].as_object() else {
            return;
        };
        for (key, field) in properties {
            if except.contains(&key.as_str()) {
                continue;
            }
            self.heading(4, &format!("{prefix}`{key}`"));
            let Some(name) = reference(field) else {
                continue;
            };
            self.told.insert(name.to_owned());
            let Some(definition) = self.defs.get(name) else {
                continue;
            };
            // The type says more than the key; where it does not, the key's sentence will do.
            let described = definition["description"].is_string();
            self.paragraph(if described && name != "PuppetNothing" {
                definition
            } else {
                field
            });
            self.fields(definition);
        }
    }

    /// The objects that were mentioned, and those that they mention.
    fn parts(&mut self, except: &[&str]) {
        while !self.later.is_empty() {
            let mut names = std::mem::take(&mut self.later);
            names.retain(|name| !except.contains(&name.as_str()));
            for name in names {
                if !self.told.insert(name.clone()) {
                    continue;
                }
                if let Some(definition) = self.defs.get(&name) {
                    self.heading(4, &name);
                    self.paragraph(definition);
                    self.fields(definition);
                }
            }
        }
    }

    /// The values that are no objects.
    fn values(&mut self) {
        for (name, definition) in self.defs {
            if definition["properties"].is_object() || self.told.contains(name) {
                continue;
            }
            self.heading(4, name);
            self.paragraph(definition);
            for word in words(definition) {
                let _ = writeln!(self.text, "{word}");
            }
            if let Some(items) = definition
                .get("additionalProperties")
                .filter(|v| v.is_object())
            {
                let kind = self.kind(items);
                let _ = writeln!(self.text, "\nA map, each value of it: {kind}.");
            }
        }
    }

    /// What a field takes, in a few words.
    fn kind(&mut self, schema: &Value) -> String {
        if let Some(name) = reference(schema) {
            let name = name.to_owned();
            if self
                .defs
                .get(&name)
                .is_some_and(|def| def["properties"].is_object())
            {
                self.later.push(name.clone());
            }
            let anchor = match name.as_str() {
                "Step" => "steps".to_owned(),
                "PuppetAction" => "actions-of-a-puppet".to_owned(),
                "ProbeAction" => "actions-of-a-probe".to_owned(),
                other => other.to_lowercase(),
            };
            return format!("[{name}](#{anchor})");
        }
        if let Some(choices) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
            let choices = choices.clone();
            let mut kinds: Vec<String> = Vec::new();
            for choice in &choices {
                // Every value may be a template; that is said once, under Values.
                let template = choice["pattern"].as_str() == Some(r"\$\{");
                if choice["type"].as_str() != Some("null") && !template {
                    let kind = self.kind(choice);
                    if !kinds.contains(&kind) {
                        kinds.push(kind);
                    }
                }
            }
            return kinds.join(" or ");
        }
        if let Some(word) = schema["const"].as_str() {
            return format!("`{word}`");
        }
        if let Some(words) = schema["enum"].as_array() {
            let words = words.iter().filter_map(Value::as_str);
            return words
                .map(|word| format!("`{word}`"))
                .collect::<Vec<_>>()
                .join(", ");
        }
        let kind = match &schema["type"] {
            Value::String(kind) => kind.as_str(),
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).next().unwrap_or(""),
            _ => "",
        };
        match kind {
            "string" => "text".to_owned(),
            "boolean" => "`true` or `false`".to_owned(),
            "integer" => "whole number".to_owned(),
            "number" => "number".to_owned(),
            "array" => format!("list of {}", self.kind(&schema["items"])),
            "object" => match schema.get("additionalProperties").filter(|v| v.is_object()) {
                Some(items) => format!("map of {}", self.kind(&items.clone())),
                None => "map".to_owned(),
            },
            _ => "anything".to_owned(),
        }
    }
}

fn reference(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/$defs/")
}

/// The words of an enumeration with their meanings, as a list.
fn words(schema: &Value) -> Vec<String> {
    let choices = schema["oneOf"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut lines = Vec::new();
    for choice in choices {
        if let Some(word) = choice["const"].as_str() {
            let about = one_line(choice["description"].as_str().unwrap_or_default());
            lines.push(format!("- `{word}`: {about}"));
        }
    }
    if !lines.is_empty() {
        lines.insert(0, String::new());
    }
    lines
}

fn default_of(schema: &Value) -> Option<String> {
    match schema.get("default")? {
        Value::Null => None,
        Value::Bool(false) => None,
        Value::Array(items) if items.is_empty() => None,
        Value::Object(_) => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// A comment as it fits into a table's cell.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use vmtest_protocol::step::ACTION_DOCS;
    use vmtest_protocol::step::PuppetAction;

    use super::*;

    #[test]
    fn every_action_has_its_place_with_its_fields_and_their_comments() {
        let text = markdown();
        for (key, _) in ACTION_DOCS {
            assert!(text.contains(&format!("\n#### `{key}`\n")), "{key}");
        }
        for (key, _) in PuppetAction::KEYS {
            assert!(text.contains(&format!("\n#### puppet: `{key}`\n")), "{key}");
        }
        assert!(text.contains("\n#### `include`\n"));
        assert!(text.contains("| `image` | text | **Required.** The image's name"));
        assert!(!text.contains("| anything |"), "a field without a type");
    }

    #[test]
    fn every_field_has_a_comment_and_every_link_a_target() {
        let text = markdown();
        for line in text.lines().filter(|line| line.starts_with("| `")) {
            let about = line
                .trim_end_matches('|')
                .rsplit('|')
                .next()
                .unwrap_or_default();
            let about = about.replace("**Required.**", "");
            assert!(about.trim().len() > 3, "no comment: {line}");
        }
        let anchors: BTreeSet<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix('#'))
            .map(|line| {
                line.trim_start_matches('#')
                    .trim()
                    .to_lowercase()
                    .replace(' ', "-")
            })
            .collect();
        for link in text.split("](#").skip(1) {
            let anchor = link.split(')').next().unwrap_or_default();
            assert!(anchors.contains(anchor), "no heading for #{anchor}");
        }
    }
}
