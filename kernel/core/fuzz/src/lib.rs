// SPDX-License-Identifier: GPL-2.0-or-later
//! What the fuzz targets check.

pub mod oracles;
