/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cachefiles trace events as plain functions, one each. */
#ifndef CACHEFILES_RS_TRACE_H
#define CACHEFILES_RS_TRACE_H

#include <linux/types.h>
#include <linux/cachefiles.h>
#include <trace/events/cachefiles.h>

void cf_trace_ref(u32 object, u32 cookie, int usage, enum cachefiles_obj_ref_trace why);
void cf_trace_lookup(struct cachefiles_object *obj, struct dentry *dir, struct dentry *de);
void cf_trace_mkdir(struct dentry *dir, struct dentry *subdir);
void cf_trace_tmpfile(struct cachefiles_object *obj, struct inode *backer);
void cf_trace_link(struct cachefiles_object *obj, struct inode *backer);
void cf_trace_unlink(struct cachefiles_object *obj, u64 ino, enum fscache_why_object_killed why);
void cf_trace_rename(struct cachefiles_object *obj, u64 ino, enum fscache_why_object_killed why);
void cf_trace_coherency(struct cachefiles_object *obj, u64 ino, u8 content,
			enum cachefiles_coherency_trace why);
void cf_trace_vol_coherency(struct cachefiles_volume *vol, u64 ino,
			    enum cachefiles_coherency_trace why);
void cf_trace_prep_read(struct cachefiles_object *obj, loff_t start, size_t len, unsigned long flags,
			enum netfs_io_source source, enum cachefiles_prepare_read_trace why,
			u64 cache_ino, u64 netfs_ino);
void cf_trace_read(struct cachefiles_object *obj, struct inode *backer, loff_t start, size_t len);
void cf_trace_write(struct cachefiles_object *obj, struct inode *backer, loff_t start, size_t len);
void cf_trace_trunc(struct cachefiles_object *obj, struct inode *backer, loff_t from, loff_t to,
		    enum cachefiles_trunc_trace why);
void cf_trace_mark_active(struct cachefiles_object *obj, struct inode *inode);
void cf_trace_mark_failed(struct cachefiles_object *obj, struct inode *inode);
void cf_trace_mark_inactive(struct cachefiles_object *obj, struct inode *inode);
void cf_trace_vfs_error(struct cachefiles_object *obj, struct inode *backer, int error,
			enum cachefiles_error_trace where);
void cf_trace_io_error(struct cachefiles_object *obj, struct inode *backer, int error,
		       enum cachefiles_error_trace where);
void cf_trace_ondemand_open(struct cachefiles_object *obj, u32 msg_id, u32 object_id, u32 fd, u32 flags);
void cf_trace_ondemand_copen(struct cachefiles_object *obj, u32 msg_id, long len);
void cf_trace_ondemand_close(struct cachefiles_object *obj, u32 msg_id, u32 object_id);
void cf_trace_ondemand_read(struct cachefiles_object *obj, u32 msg_id, u32 object_id, loff_t off, size_t len);
void cf_trace_ondemand_cread(struct cachefiles_object *obj, u32 msg_id);
void cf_trace_ondemand_fd_write(struct cachefiles_object *obj, struct inode *backer, loff_t start, size_t len);
void cf_trace_ondemand_fd_release(struct cachefiles_object *obj, int object_id);

#endif
