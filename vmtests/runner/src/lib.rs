// SPDX-License-Identifier: GPL-2.0-or-later
//! Boots kernels under QEMU and runs YAML scenarios in them.
