// SPDX-License-Identifier: GPL-2.0-or-later
//! Erofs test images.
pub mod manifest {}
use std::collections::BTreeMap;
/// Stand.
pub fn build(
    _b: &crate::Builder,
    _n: &[String],
) -> anyhow::Result<BTreeMap<String, crate::index::Image>> {
    Ok(BTreeMap::new())
}
