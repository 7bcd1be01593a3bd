// SPDX-License-Identifier: GPL-2.0-or-later
//! Arguments that several verbs share.

use std::path::Path;
use std::path::PathBuf;

use clap::Args;

use crate::accel::Wanted;
use crate::matrix::Module;
use crate::schedule::shard::Shard;

/// Where results go when nobody says.
pub(super) const DEFAULT_OUT: &str = "target/vmtest";

/// Where scenarios are when nobody says.
const DEFAULT_SCENARIOS: &str = "vmtests/scenarios";

/// What `run` and its relatives take.
#[derive(Debug, Clone, Args)]
pub(super) struct RunArgs {
    /// The artifact index that `images build --out FILE` wrote; several kernels are several of them
    #[arg(long, value_name = "FILE", required = true)]
    pub artifacts: Vec<PathBuf>,
    /// Only scenarios whose name contains this
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Only this module; both without it
    #[arg(long)]
    pub module: Option<Module>,
    /// Folder of the scenario files
    #[arg(long, value_name = "DIR", default_value = DEFAULT_SCENARIOS)]
    pub scenarios: PathBuf,
    /// Folder of the splat patterns and of the allow-list
    #[arg(long, value_name = "DIR", default_value = "configs/splats")]
    pub splats: PathBuf,
    /// Where results go
    #[arg(long, value_name = "DIR", default_value = DEFAULT_OUT)]
    pub out: PathBuf,
    /// How guest instructions are executed
    #[arg(long, value_enum, default_value = "auto")]
    pub accel: Wanted,
    /// Changes a scenario's parameter; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// Never more machines at once than this; without it as many as cores and memory allow
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
    /// Cores to share out among the machines; without it all that this process may use
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub cores: Option<u16>,
    /// Seconds for a guest to boot
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub boot_limit: u32,
    /// Multiplies every limit, for slow machines
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = factor)]
    pub limits: f64,
    /// Only a part of the runs: part I of N
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// A results.json of earlier runs: parts are made to take equally long. All machines must be
    /// given the same one; without it, runs count as equally long
    #[arg(long, value_name = "FILE", requires = "shard")]
    pub durations: Option<PathBuf>,
    /// Boot every machine, instead of restoring a memory snapshot of one that booted before
    #[arg(long)]
    pub cold: bool,
    /// Mount images by the probe on kernels whose erofs could do it, too
    #[arg(long)]
    pub by_probe: bool,
    /// Makes all choices by chance again as the run did whose results name this seed
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Keep the guests' disks
    #[arg(long)]
    pub keep_disks: bool,
    /// Print each stage and the console of each run
    #[arg(long, short)]
    pub verbose: bool,
}

impl RunArgs {
    /// The same for a verb that measures: scenarios and results are in folders of its own, where
    /// nobody said otherwise.
    pub fn measuring(&self, scenarios: &str, out: &str) -> RunArgs {
        let mut args = self.clone();
        if args.scenarios == Path::new(DEFAULT_SCENARIOS) {
            args.scenarios = PathBuf::from(scenarios);
        }
        if args.out == Path::new(DEFAULT_OUT) {
            args.out = PathBuf::from(out);
        }
        args
    }
}

fn factor(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if (0.1..=100.0).contains(&factor) => Ok(factor),
        _ => Err("a number from 0.1 to 100".to_owned()),
    }
}
