// SPDX-License-Identifier: GPL-2.0-or-later
//! Builds kernels, modules, the guest's initramfs and erofs test images into a content-addressed cache.
