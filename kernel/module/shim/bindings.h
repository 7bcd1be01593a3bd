/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What bindgen reads to make bindings_generated.rs: the kernel headers that cachefiles stands on,
 * and the helpers of this folder.
 */
#ifndef CACHEFILES_RS_BINDINGS_H
#define CACHEFILES_RS_BINDINGS_H

#include <linux/anon_inodes.h>
#include <linux/bio.h>
#include <linux/completion.h>
#include <linux/cred.h>
#include <linux/falloc.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fscache-cache.h>
#include <linux/miscdevice.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/netfs.h>
#include <linux/poll.h>
#include <linux/security.h>
#include <linux/statfs.h>
#include <linux/sysctl.h>
#include <linux/uio.h>
#include <linux/wait.h>
#include <linux/xarray.h>
#include <trace/events/fscache.h>

#include "cachefiles_rs.h"
#include "drift.h"
#include "object.h"
#include "helpers.h"
#include "trace.h"

#endif
