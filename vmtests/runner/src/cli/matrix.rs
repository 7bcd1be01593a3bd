// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest matrix`.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use clap::ValueEnum;

use super::Refused;
use super::exit;
use crate::github::jobs;
use crate::scenario::nearest;

/// What `matrix` takes.
#[derive(Debug, Args)]
pub(super) struct MatrixArgs {
    /// How to print the jobs
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Shards for each kernel
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1000))]
    shards: u32,
    /// Only this kernel; may be given several times
    #[arg(long, value_name = "NAME")]
    kernel: Vec<String>,
    /// Folder of the kernels' locks
    #[arg(long, value_name = "DIR", default_value = "configs/kernels")]
    kernels: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A line for each job
    Text,
    /// The JSON of a GitHub workflow's `strategy.matrix`
    Github,
}

/// Prints the jobs that together run everything.
pub(super) fn run(args: &MatrixArgs) -> Result<i32, Refused> {
    let mut kernels = jobs::kernels(&args.kernels).map_err(Refused::input)?;
    for wanted in &args.kernel {
        if !kernels.contains(wanted) {
            let hint = nearest(wanted, kernels.iter().map(String::as_str))
                .map(|near| format!("; did you mean `{near}`?"))
                .unwrap_or_default();
            return Err(Refused::input(anyhow!(
                "no kernel `{wanted}` in {}; there are: {}{hint}",
                args.kernels.display(),
                kernels.join(", ")
            )));
        }
    }
    if !args.kernel.is_empty() {
        kernels.retain(|kernel| args.kernel.contains(kernel));
    }
    let jobs = jobs::jobs(&kernels, args.shards);
    match args.format {
        Format::Github => println!("{}", jobs::github(&jobs)),
        Format::Text => {
            for job in jobs {
                println!("{:<10} --shard {}", job.kernel, job.shard);
            }
        }
    }
    Ok(exit::WELL)
}
