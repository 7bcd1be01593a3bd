// SPDX-License-Identifier: GPL-2.0-or-later
//! The program `vmtest`; everything is in the library.
#![forbid(unsafe_code)]

fn main() {
    std::process::exit(vmtest::cli::main());
}
