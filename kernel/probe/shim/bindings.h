/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What bindgen reads for the probe: the kernel's headers, and the helpers of this folder. */
#ifndef CACHEFILES_PROBE_BINDINGS_H
#define CACHEFILES_PROBE_BINDINGS_H

#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/fscache.h>
#include <linux/miscdevice.h>
#include <linux/netfs.h>
#include <linux/uio.h>

#include "drift.h"
#include "probe.h"

#endif
