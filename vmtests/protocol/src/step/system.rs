// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that have to do with the guest as a whole.

use serde::Deserialize;
use serde::Serialize;

use crate::template::Var;
use crate::value::ErrnoName;
use crate::value::Span;

/// Writes dirty pages out, then drops clean page cache, dentries and inodes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DropCaches {}

/// Waits a fixed time: only where there is nothing to wait for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Sleep {
    /// How long.
    #[serde(rename = "for")]
    pub span: Span,
}

/// Loads a kernel module from /lib/modules, and first whatever it depends on and is not loaded yet.
/// One that is loaded already is EEXIST.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LoadModule {
    /// Its name; `cachefiles` stands for whichever of the two this run is about, and
    /// `cachefiles_other` for the other one.
    pub name: String,
    /// Parameters as for insmod, such as `debug=1`; those of the scenario's `needs` without it.
    #[serde(default)]
    pub params: Option<String>,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// Writes a kernel setting below /proc/sys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Sysctl {
    /// Its name, such as `vm.drop_caches`; slashes do as well as dots.
    pub key: String,
    /// What to write.
    pub value: Var,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}

/// Unloads a kernel module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct UnloadModule {
    /// Its name; `cachefiles` and `cachefiles_other` stand for whichever of the two is loaded.
    pub name: String,
    /// It must fail with this error.
    #[serde(default)]
    pub expect_errno: Option<ErrnoName>,
}
