// SPDX-License-Identifier: GPL-2.0-or-later
//! Ends of pinned types of the logic: the macro's expansion is unsafe code, and so stays here.

use crate::daemon::Binding;
use core::pin::Pin;
use kernel::prelude::*;

#[pinned_drop]
impl PinnedDrop for Binding {
    fn drop(self: Pin<&mut Self>) {
        self.withdraw();
    }
}
