// SPDX-License-Identifier: GPL-2.0-or-later
/* Rust functions that other modules may call: see cachefiles_rs.h. */
#include <linux/export.h>

#include "cachefiles_rs.h"

EXPORT_SYMBOL_GPL(cachefiles_rs_prepare_ondemand_read);
