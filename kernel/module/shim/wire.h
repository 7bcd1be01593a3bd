/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parts of the on-demand messages that the trace events show. Kernels up to 7.2 have them in a
 * header; for later ones they are here. The messages themselves are made by core/src/wire.rs.
 */
#ifndef CACHEFILES_RS_WIRE_H
#define CACHEFILES_RS_WIRE_H

#if __has_include(<linux/cachefiles.h>)
#include <linux/cachefiles.h>
#else
#include <linux/types.h>

/* The kernel's trace header has lost the events too: trace_ondemand.h has them. */
#define CF_OWN_ONDEMAND_EVENTS

struct cachefiles_msg {
	u32 msg_id;
	u32 object_id;
};

struct cachefiles_open {
	u32 fd;
	u32 flags;
};

struct cachefiles_read {
	u64 off;
	u64 len;
};
#endif

#endif
