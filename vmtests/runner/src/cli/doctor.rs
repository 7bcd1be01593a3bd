// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest doctor`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use clap::ValueEnum;

use super::Refused;
use super::exit;
use crate::accel::Wanted;
use crate::doctor;
use crate::doctor::Patient;

/// What `doctor` takes.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// The artifact index that runs would use
    #[arg(long, value_name = "FILE", default_value = "target/images/6.12.json")]
    artifacts: PathBuf,
    /// Where runs would leave their results
    #[arg(long, value_name = "DIR", default_value = "target/vmtest")]
    out: PathBuf,
    /// How guest instructions would be executed
    #[arg(long, value_enum, default_value = "auto")]
    accel: Wanted,
    /// For people or for programs
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each point
    Text,
    /// One JSON object
    Json,
}

/// Says what this machine can do; 0 when runs are possible.
pub(super) fn run(args: &DoctorArgs) -> Result<i32, Refused> {
    let own = std::env::current_exe()
        .context("cannot find this program's own file")
        .map_err(Refused::setup)?;
    let patient = Patient {
        own: &own,
        artifacts: &args.artifacts,
        out: &args.out,
        accel: args.accel,
    };
    let text = args.format == Format::Text;
    let mut stdout = std::io::stdout();
    let report = doctor::examine(&patient, |point| {
        if text {
            // Nobody is there to read it when this fails.
            let _ = writeln!(stdout, "{}", point.line());
        }
    });
    let last = match args.format {
        Format::Text => report.summary(),
        Format::Json => serde_json::to_string_pretty(&report)
            .context("the report as JSON")
            .map_err(Refused::setup)?,
    };
    let _ = writeln!(std::io::stdout(), "{last}");
    Ok(match report.runs_possible {
        true => 0,
        false => exit::SETUP,
    })
}
