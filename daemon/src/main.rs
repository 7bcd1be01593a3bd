// SPDX-License-Identifier: GPL-2.0-or-later
//! The daemon that matches the cachefiles module: serves cache objects on demand and culls.
fn main() {}
