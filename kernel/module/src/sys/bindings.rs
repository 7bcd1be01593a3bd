// SPDX-License-Identifier: GPL-2.0-or-later
//! What bindgen made of `shim/bindings.h`, see `Kbuild`.

#![allow(warnings, unsafe_op_in_unsafe_fn, clippy::all)]

// Excluded from the generated file, as in the kernel's own bindings, which map them to the
// pointer-sized integers of Rust.
type __kernel_size_t = usize;
type __kernel_ssize_t = isize;
type __kernel_ptrdiff_t = isize;

include!(env!("CACHEFILES_BINDINGS"));
