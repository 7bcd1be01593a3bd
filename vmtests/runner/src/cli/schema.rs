// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest schema`.

use std::io::Write;

use clap::Args;
use clap::ValueEnum;

use super::Refused;
use crate::reference;
use crate::results;
use crate::schema;

/// What `schema` takes.
#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    /// Of what
    #[arg(value_enum, default_value = "scenario")]
    of: Kind,
    /// Print the language's reference instead: what vmtests/LANGUAGE.md ends with
    #[arg(long)]
    markdown: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A scenario file
    Scenario,
    /// A piece, which scenarios include
    Piece,
    /// results.json
    Results,
}

/// Prints it; the exit code.
pub(super) fn run(args: &SchemaArgs) -> Result<i32, Refused> {
    let text = match (args.markdown, args.of) {
        (true, _) => reference::markdown(),
        (false, Kind::Scenario) => schema::text(&schema::scenario()),
        (false, Kind::Piece) => schema::text(&schema::piece()),
        (false, Kind::Results) => results::schema::text(),
    };
    // A reader such as `head` may have had enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(0)
}
