/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The trace events of on-demand mode, for kernels whose own header has them no more: under the names,
 * with the fields and in the words that tracing scripts know from Linux 6.12 and 7.2.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM cachefiles
/* The kernel's header of the same system is compiled into the same file. */
#undef TRACE_SYSTEM_VAR
#define TRACE_SYSTEM_VAR cachefiles_ondemand

#if !defined(CACHEFILES_RS_TRACE_ONDEMAND_H) || defined(TRACE_HEADER_MULTI_READ)
#define CACHEFILES_RS_TRACE_ONDEMAND_H

#include <linux/tracepoint.h>

#define CF_OBJ_ID(obj) ((obj) ? (obj)->debug_id : 0)

/* Requests on their way to the daemon. */
TRACE_EVENT(cachefiles_ondemand_open,
	TP_PROTO(struct cachefiles_object *obj, struct cachefiles_msg *msg, struct cachefiles_open *load),
	TP_ARGS(obj, msg, load),
	TP_STRUCT__entry(
		__field(unsigned int, obj)
		__field(unsigned int, msg_id)
		__field(unsigned int, object_id)
		__field(unsigned int, fd)
		__field(unsigned int, flags)
	),
	TP_fast_assign(
		__entry->obj = CF_OBJ_ID(obj);
		__entry->msg_id = msg->msg_id;
		__entry->object_id = msg->object_id;
		__entry->fd = load->fd;
		__entry->flags = load->flags;
	),
	TP_printk("o=%08x mid=%x oid=%x fd=%d f=%x",
		__entry->obj, __entry->msg_id, __entry->object_id, __entry->fd, __entry->flags)
);

TRACE_EVENT(cachefiles_ondemand_close,
	TP_PROTO(struct cachefiles_object *obj, struct cachefiles_msg *msg),
	TP_ARGS(obj, msg),
	TP_STRUCT__entry(
		__field(unsigned int, obj)
		__field(unsigned int, msg_id)
		__field(unsigned int, object_id)
	),
	TP_fast_assign(
		__entry->obj = CF_OBJ_ID(obj);
		__entry->msg_id = msg->msg_id;
		__entry->object_id = msg->object_id;
	),
	TP_printk("o=%08x mid=%x oid=%x", __entry->obj, __entry->msg_id, __entry->object_id)
);

TRACE_EVENT(cachefiles_ondemand_read,
	TP_PROTO(struct cachefiles_object *obj, struct cachefiles_msg *msg, struct cachefiles_read *load),
	TP_ARGS(obj, msg, load),
	TP_STRUCT__entry(
		__field(unsigned int, obj)
		__field(unsigned int, msg_id)
		__field(unsigned int, object_id)
		__field(loff_t, start)
		__field(size_t, len)
	),
	TP_fast_assign(
		__entry->obj = CF_OBJ_ID(obj);
		__entry->msg_id = msg->msg_id;
		__entry->object_id = msg->object_id;
		__entry->start = load->off;
		__entry->len = load->len;
	),
	TP_printk("o=%08x mid=%x oid=%x s=%llx l=%zx",
		__entry->obj, __entry->msg_id, __entry->object_id, __entry->start, __entry->len)
);

/* The daemon's answers. */
TRACE_EVENT(cachefiles_ondemand_copen,
	TP_PROTO(struct cachefiles_object *obj, unsigned int msg_id, long len),
	TP_ARGS(obj, msg_id, len),
	TP_STRUCT__entry(
		__field(unsigned int, obj)
		__field(unsigned int, msg_id)
		__field(long, len)
	),
	TP_fast_assign(
		__entry->obj = CF_OBJ_ID(obj);
		__entry->msg_id = msg_id;
		__entry->len = len;
	),
	TP_printk("o=%08x mid=%x l=%lx", __entry->obj, __entry->msg_id, __entry->len)
);

TRACE_EVENT(cachefiles_ondemand_cread,
	TP_PROTO(struct cachefiles_object *obj, unsigned int msg_id),
	TP_ARGS(obj, msg_id),
	TP_STRUCT__entry(
		__field(unsigned int, obj)
		__field(unsigned int, msg_id)
	),
	TP_fast_assign(
		__entry->obj = CF_OBJ_ID(obj);
		__entry->msg_id = msg_id;
	),
	TP_printk("o=%08x mid=%x", __entry->obj, __entry->msg_id)
);

/* What it does with an anonymous fd. */
TRACE_EVENT(cachefiles_ondemand_fd_write,
	TP_PROTO(struct cachefiles_object *obj, struct inode *backer, loff_t start, size_t len),
	TP_ARGS(obj, backer, start, len),
	TP_STRUCT__entry(
		__field(unsigned int, obj)
		__field(unsigned int, backer)
		__field(loff_t, start)
		__field(size_t, len)
	),
	TP_fast_assign(
		__entry->obj = CF_OBJ_ID(obj);
		__entry->backer = backer->i_ino;
		__entry->start = start;
		__entry->len = len;
	),
	TP_printk("o=%08x iB=%x s=%llx l=%zx",
		__entry->obj, __entry->backer, __entry->start, __entry->len)
);

TRACE_EVENT(cachefiles_ondemand_fd_release,
	TP_PROTO(struct cachefiles_object *obj, int object_id),
	TP_ARGS(obj, object_id),
	TP_STRUCT__entry(
		__field(unsigned int, obj)
		__field(unsigned int, object_id)
	),
	TP_fast_assign(
		__entry->obj = CF_OBJ_ID(obj);
		__entry->object_id = object_id;
	),
	TP_printk("o=%08x oid=%x", __entry->obj, __entry->object_id)
);

#endif

/* Outside of the guard: read once for each of the tracing core's passes. */
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace_ondemand
#include <trace/define_trace.h>
