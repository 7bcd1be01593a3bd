// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! What most files of the module use: the kernel's prelude without its errors, and ours.

pub(crate) use crate::sys::errno::*;
pub(crate) use kernel::alloc::flags::GFP_KERNEL;
pub(crate) use kernel::prelude::pin_data;
pub(crate) use kernel::prelude::pr_err;
pub(crate) use kernel::prelude::pr_info;
pub(crate) use kernel::prelude::pr_notice;
pub(crate) use kernel::prelude::pr_warn;
pub(crate) use kernel::prelude::try_pin_init;
pub(crate) use kernel::prelude::InPlaceInit;
pub(crate) use kernel::prelude::KBox;
pub(crate) use kernel::prelude::PinInit;

/// The kernel crate's error, which its constructors need.
pub(crate) use kernel::error::Error as KernelError;
