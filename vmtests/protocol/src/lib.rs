// SPDX-License-Identifier: GPL-2.0-or-later
//! Messages between the vmtest runner and its agent in the guest.
