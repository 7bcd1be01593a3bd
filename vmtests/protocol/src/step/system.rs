// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that have to do with the guest as a whole.

use serde::Deserialize;
use serde::Serialize;

use super::daemon::EndedBy;
use crate::value::Errno;
use crate::value::Span;

/// Writes dirty pages out, then drops clean page cache, dentries and inodes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropCaches {}

/// Waits a fixed time: only where there is nothing to wait for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sleep {
    /// How long.
    #[serde(rename = "for")]
    pub span: Span,
}

/// Runs a program. An end by a signal is never a pass, unless `ended_by` asks for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Program and arguments. No shell: write `[sh, -c, "..."]` for one.
    pub argv: Vec<String>,
    /// How it must end; exit code 0 without it.
    #[serde(default)]
    pub ended_by: EndedBy,
    /// A regular expression that its standard output must match somewhere.
    #[serde(default)]
    pub stdout: Option<String>,
}

/// Unloads a kernel module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnloadModule {
    /// Its name; `cachefiles` stands for whichever of the two is loaded.
    pub name: String,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<Errno>,
}
