// SPDX-License-Identifier: GPL-2.0-or-later
//! Tests of the command line, one file for each kind of thing that it builds.

mod kernels;
mod modules;
mod support;
