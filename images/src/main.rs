// SPDX-License-Identifier: GPL-2.0-or-later
//! The `images` program; all it does is in the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    images::cli::main()
}
