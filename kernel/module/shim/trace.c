// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The cachefiles trace events, under the names and fields of the kernel's own header, so that
 * existing tracing scripts go on working. One function an event, nothing else.
 */
#include <linux/fs.h>
#include <linux/fscache-cache.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/netfs.h>
#include <trace/events/netfs.h>

#include "drift.h"
#include "object.h"

#define CREATE_TRACE_POINTS
#include "trace.h"
#ifdef CF_OWN_ONDEMAND_EVENTS
#include "trace_ondemand.h"
#endif

void cf_trace_ref(u32 object, u32 cookie, int usage, enum cachefiles_obj_ref_trace why)
{
	trace_cachefiles_ref(object, cookie, usage, why);
}

void cf_trace_lookup(struct cachefiles_object *obj, struct dentry *dir, struct dentry *de)
{
	trace_cachefiles_lookup(obj, dir, de);
}

void cf_trace_mkdir(struct dentry *dir, struct dentry *subdir)
{
	trace_cachefiles_mkdir(dir, subdir);
}

void cf_trace_tmpfile(struct cachefiles_object *obj, struct inode *backer)
{
	trace_cachefiles_tmpfile(obj, backer);
}

void cf_trace_link(struct cachefiles_object *obj, struct inode *backer)
{
	trace_cachefiles_link(obj, backer);
}

void cf_trace_unlink(struct cachefiles_object *obj, u64 ino, enum fscache_why_object_killed why)
{
	trace_cachefiles_unlink(obj, ino, why);
}

void cf_trace_rename(struct cachefiles_object *obj, u64 ino, enum fscache_why_object_killed why)
{
	trace_cachefiles_rename(obj, ino, why);
}

void cf_trace_coherency(struct cachefiles_object *obj, u64 ino, const void *aux, u8 content,
	enum cachefiles_coherency_trace why)
{
#if CF_BEFORE_7
	trace_cachefiles_coherency(obj, ino, content, why);
#else
	trace_cachefiles_coherency(obj, ino, aux, content, why);
#endif
}

void cf_trace_vol_coherency(struct cachefiles_volume *vol, u64 ino,
	enum cachefiles_coherency_trace why)
{
	trace_cachefiles_vol_coherency(vol, ino, why);
}

void cf_trace_prep_read(struct cachefiles_object *obj, loff_t start, size_t len, unsigned long flags,
	enum netfs_io_source source, enum cachefiles_prepare_read_trace why,
	u64 cache_ino, u64 netfs_ino)
{
	trace_cachefiles_prep_read(obj, start, len, flags, source, why, cache_ino, netfs_ino);
}

void cf_trace_read(struct cachefiles_object *obj, struct inode *backer, loff_t start, size_t len)
{
	trace_cachefiles_read(obj, backer, start, len);
}

void cf_trace_write(struct cachefiles_object *obj, struct inode *backer, loff_t start, size_t len)
{
	trace_cachefiles_write(obj, backer, start, len);
}

void cf_trace_trunc(struct cachefiles_object *obj, struct inode *backer, loff_t from, loff_t to,
	enum cachefiles_trunc_trace why)
{
	trace_cachefiles_trunc(obj, backer, from, to, why);
}

void cf_trace_mark_active(struct cachefiles_object *obj, struct inode *inode)
{
	trace_cachefiles_mark_active(obj, inode);
}

void cf_trace_mark_failed(struct cachefiles_object *obj, struct inode *inode)
{
	trace_cachefiles_mark_failed(obj, inode);
}

void cf_trace_mark_inactive(struct cachefiles_object *obj, struct inode *inode)
{
	trace_cachefiles_mark_inactive(obj, inode);
}

void cf_trace_vfs_error(struct cachefiles_object *obj, struct inode *backer, int error,
	enum cachefiles_error_trace where)
{
	trace_cachefiles_vfs_error(obj, backer, error, where);
}

void cf_trace_statfs_error(struct vfsmount *mnt, int error)
{
	trace_cachefiles_vfs_error(NULL, d_inode(mnt->mnt_root), error, cachefiles_trace_statfs_error);
}

void cf_trace_io_error(struct cachefiles_object *obj, struct inode *backer, int error,
	enum cachefiles_error_trace where)
{
	trace_cachefiles_io_error(obj, backer, error, where);
}

void cf_trace_ondemand_open(struct cachefiles_object *obj, u32 msg_id, u32 object_id, u32 fd, u32 flags)
{
	struct cachefiles_msg msg = { .msg_id = msg_id, .object_id = object_id };
	struct cachefiles_open load = { .fd = fd, .flags = flags };

	trace_cachefiles_ondemand_open(obj, &msg, &load);
}

void cf_trace_ondemand_copen(struct cachefiles_object *obj, u32 msg_id, long len)
{
	trace_cachefiles_ondemand_copen(obj, msg_id, len);
}

void cf_trace_ondemand_close(struct cachefiles_object *obj, u32 msg_id, u32 object_id)
{
	struct cachefiles_msg msg = { .msg_id = msg_id, .object_id = object_id };

	trace_cachefiles_ondemand_close(obj, &msg);
}

void cf_trace_ondemand_read(struct cachefiles_object *obj, u32 msg_id, u32 object_id, loff_t off, size_t len)
{
	struct cachefiles_msg msg = { .msg_id = msg_id, .object_id = object_id };
	struct cachefiles_read load = { .off = off, .len = len };

	trace_cachefiles_ondemand_read(obj, &msg, &load);
}

void cf_trace_ondemand_cread(struct cachefiles_object *obj, u32 msg_id)
{
	trace_cachefiles_ondemand_cread(obj, msg_id);
}

void cf_trace_ondemand_fd_write(struct cachefiles_object *obj, struct inode *backer, loff_t start, size_t len)
{
	trace_cachefiles_ondemand_fd_write(obj, backer, start, len);
}

void cf_trace_ondemand_fd_release(struct cachefiles_object *obj, int object_id)
{
	trace_cachefiles_ondemand_fd_release(obj, object_id);
}

/* netfs's own event, for stages that kernels before 7 have no words for, and do not show. */
#if CF_BEFORE_7
void cf_trace_sreq_prepare(struct netfs_io_subrequest *subreq) { }
void cf_trace_sreq_write(struct netfs_io_subrequest *subreq) { }
void cf_trace_sreq_refused(struct netfs_io_subrequest *subreq) { }
#else
void cf_trace_sreq_prepare(struct netfs_io_subrequest *subreq)
{
	trace_netfs_sreq(subreq, netfs_sreq_trace_cache_prepare);
}

void cf_trace_sreq_write(struct netfs_io_subrequest *subreq)
{
	trace_netfs_sreq(subreq, netfs_sreq_trace_cache_write);
}

void cf_trace_sreq_refused(struct netfs_io_subrequest *subreq)
{
	trace_netfs_sreq(subreq, netfs_sreq_trace_cache_nowrite);
}
#endif
