// SPDX-License-Identifier: GPL-2.0-or-later
//! `report.html`: what came of the runs, for people. One file without scripts, which can be mailed,
//! opened from an archive of CI, or read on a phone.
//!
//! [`page`] makes the model of the whole page, [`run`] that of one run, [`lines`] chooses what of
//! its timeline is shown, [`compare`] sets the two modules against each other. The template only
//! lays it out. Everything that comes from a guest is text to it: it escapes all values.

use std::path::Path;

use anyhow::Context;
use minijinja::Environment;

use crate::results;
use crate::results::Results;

mod compare;
mod lines;
mod page;
mod run;
mod text;

pub use compare::Difference;
pub use compare::differences;
pub use text::duration;

/// Name of the file.
pub const FILE: &str = "report.html";

const TEMPLATE: &str = include_str!("template.html");
const STYLE: &str = include_str!("style.css");

/// Writes the report of results whose runs' folders are in `out`.
pub fn write(out: &Path, results: &Results) -> anyhow::Result<()> {
    let html = render(out, results)?;
    results::replace(&out.join(FILE), html.as_bytes())
}

/// The report's text.
pub fn render(out: &Path, results: &Results) -> anyhow::Result<String> {
    let mut environment = Environment::new();
    // The name's ending makes every value be escaped.
    environment
        .add_template(FILE, TEMPLATE)
        .context("the report's template")?;
    environment
        .add_template("style.css", STYLE)
        .context("the report's style")?;
    environment.set_formatter(|out, state, value| match value.as_str() {
        Some(text) if !value.is_safe() => Ok(out.write_str(&escaped(text))?),
        _ => minijinja::escape_formatter(out, state, value),
    });
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    let page = page::Page::new(out, results);
    environment
        .get_template(FILE)
        .and_then(|template| template.render(&page))
        .context("cannot lay out the report")
}

/// Text as it stands in a page, also between quotes. Whoever fills the page in has made text fit to
/// be shown already; this is the last gate.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests;
