// SPDX-License-Identifier: GPL-2.0-or-later
//! Scenario files: what a scenario needs, which requests it must cause, and its steps.
//!
//! The steps themselves are [`vmtest_protocol::step`]: they travel to the guest as they stand in
//! the file. vmtests/LANGUAGE.md shows the language by example and has every field.
//!
//! The way of a file: it is read ([`source`]) and parsed into a tree whose nodes know their places
//! ([`tree`]); its `include`s are expanded ([`include`]), its `matrix` makes cases ([`cases`]); each
//! is read as a [`Scenario`] ([`read`](mod@read), [`de`]), and what types cannot say is [`check`]ed.
//! Whatever is wrong is a [`Diagnosis`] that points at the very word.
//!
//! In the guest the images' blobs are in `/blobs` (a file per fsid or device), their manifests in
//! `/fixtures/NAME.manifest.json`, both read-only; `/artifacts` is the run's own folder on the host.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use vmtest_protocol::Step;
use vmtest_protocol::template::Vars;
use vmtest_protocol::value::Count;
use vmtest_protocol::value::Span;
use vmtest_protocol::value::seconds;

mod asks;
mod cases;
mod check;
mod de;
mod diagnose;
mod include;
mod load;
mod needs;
mod read;
mod source;
#[cfg(test)]
mod tests;
mod tree;

pub use asks::Asks;
pub use asks::EROFS;
pub use asks::ONDEMAND;
pub use cases::Case;
pub use cases::Matrix;
pub use cases::text_of;
pub use check::images_named;
pub use check::pattern_matches;
pub use diagnose::Diagnosis;
pub use diagnose::nearest;
pub use diagnose::shown;
pub use include::Include;
pub use include::Piece;
pub use load::LoadError;
pub use load::Loaded;
pub use load::Overrides;
pub use load::is_piece;
pub use load::load_all;
pub use load::load_file;
pub use load::parse;
pub use load::parse_piece;
pub use load::scenario_files;
pub use needs::DiskFs;
pub use needs::DiskNeed;
pub use needs::KernelNeed;
pub use needs::ModuleNeed;
pub use needs::Needs;
pub use needs::ShareNeed;

/// A scenario as its file says it, in one case of its matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name; the file is called NAME.yaml.
    pub name: String,
    /// What it shows, in a sentence or a few.
    pub about: String,
    /// Rows of the failure catalogue that it covers.
    #[serde(default)]
    pub rows: Vec<u32>,
    /// What it stands for: CVE numbers, or links.
    #[serde(default)]
    pub refs: Vec<String>,
    /// Numbers and texts for `${...}`; `--param NAME=VALUE` changes one.
    #[serde(default)]
    pub params: Vars,
    /// Parameters that have other values on kernels of a profile of configs/profiles, by its name.
    #[serde(default)]
    pub profiles: BTreeMap<String, Vars>,
    /// Parameters that have other values on a kernel, by its name as its lock in configs/kernels has
    /// it; where a profile changes one too, the profile's value holds.
    #[serde(default)]
    pub kernels: BTreeMap<String, Vars>,
    /// Variables with several values each: every combination is a run of its own.
    #[serde(default)]
    pub matrix: Matrix,
    /// What must be there before the first step.
    #[serde(default)]
    pub needs: Needs,
    /// How many of the host's cores a run keeps busy; as many as the guest has CPUs without it.
    /// It changes only how many runs are carried out at once.
    #[serde(default)]
    pub weight: Option<Count>,
    /// Requests that the kernel must have handed out by the end: fewer, and the run has not
    /// reached its subject, which makes it an `error`.
    #[serde(default)]
    pub requires_requests: RequiredRequests,
    /// Time for the whole scenario, from the guest's first message to its last step.
    #[serde(default = "default_limit")]
    pub limit: Span,
    /// Known failures of the C module. The Rust module has none.
    #[serde(default)]
    pub xfail: Vec<ExpectedFailure>,
    /// Complaints of the kernel that belong to what is tried here, on either module.
    #[serde(default)]
    pub allow_splats: Vec<AllowedSplat>,
    /// What to do.
    pub steps: Vec<Step>,
    /// The choice from the matrix; its values are among `params` too.
    #[serde(skip)]
    pub case: Case,
    /// The file.
    #[serde(skip)]
    pub file: PathBuf,
    /// The line of each of `steps`, counted from 1.
    #[serde(skip)]
    pub lines: Vec<usize>,
}

fn default_limit() -> Span {
    seconds(15 * 60)
}

impl Scenario {
    /// The name with the case, which is unique: `enospc[fs=ext4,n=1]`.
    pub fn title(&self) -> String {
        self.name.clone() + &self.case.words()
    }

    /// The title in letters that a folder's name may have.
    pub fn folder(&self) -> String {
        self.name.clone() + &self.case.folder()
    }

    /// Cores that a run keeps busy.
    pub fn cores(&self) -> u64 {
        let weight = self.weight.as_ref().and_then(|weight| weight.get().ok());
        weight.or(self.needs.cpus.get().ok()).unwrap_or(2).max(1)
    }
}

/// Lower bounds for the requests of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequiredRequests {
    /// OPEN requests.
    #[serde(default)]
    pub open: u64,
    /// READ requests.
    #[serde(default)]
    pub read: u64,
    /// CLOSE requests.
    #[serde(default)]
    pub close: u64,
}

/// A known failure of the C module: the run must fail, and where it does not, that is reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectedFailure {
    /// The kernel's name as its lock in configs/kernels has it, or "*" for all.
    pub kernel: String,
    /// The name of the step that fails, also of one inside others; any failure without it.
    #[serde(default)]
    pub step: Option<String>,
    /// The complaint of the kernel that is the failure: the name of a pattern in
    /// configs/splats/patterns.yaml. A complaint that is not named here is never expected.
    #[serde(default)]
    pub splat: Option<String>,
    /// It depends on the moment whether it fails: passing is no news.
    #[serde(default)]
    pub sometimes: bool,
    /// What is wrong with the module.
    pub reason: String,
    /// Where that can be read.
    pub link: String,
    /// Only in these cases: values of the matrix or of parameters.
    #[serde(default)]
    pub when: Vars,
}

/// A complaint of the kernel that does not fail the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AllowedSplat {
    /// Which kind: the name of a pattern in configs/splats/patterns.yaml.
    pub pattern: String,
    /// Only where its lines, joined by line ends, match this regular expression.
    #[serde(default)]
    pub regex: Option<String>,
    /// Why it belongs to what the scenario tries.
    pub reason: String,
}
