// SPDX-License-Identifier: GPL-2.0-or-later
//! The pure part of the cachefiles port: wire messages, command grammar, keys, limits, request table.
