// SPDX-License-Identifier: GPL-2.0-or-later
//! The daemon that matches the cachefiles module: serves cache objects on demand and culls.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cachefilesd::cli::Cli::parse();
    match cachefilesd::run::main(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // The log may go elsewhere, or not be set up yet: whoever started us reads this.
            eprintln!("cachefilesd: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
