// SPDX-License-Identifier: GPL-2.0-or-later
//! PID 1 of a test guest: carries out the runner's steps.
fn main() {}
