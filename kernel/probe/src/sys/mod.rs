// SPDX-License-Identifier: GPL-2.0-or-later
//! Safe wrappers of what the probe uses of the kernel: all its unsafe code. What is not about
//! fscache's clients is the cache's own, from `kernel/module/src/sys`.

#[path = "../../../module/src/sys/bindings.rs"]
pub(crate) mod bindings;
#[path = "../../../module/src/sys/complete.rs"]
#[allow(dead_code)]
pub(crate) mod complete;
pub(crate) mod cookie;
pub(crate) mod device;
#[path = "../../../module/src/sys/errno.rs"]
#[allow(dead_code)]
pub(crate) mod errno;
pub(crate) mod operation;
pub(crate) mod thread;
#[path = "../../../module/src/sys/user.rs"]
#[allow(dead_code)]
pub(crate) mod user;
