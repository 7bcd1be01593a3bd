/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cachefiles trace events as plain functions, one each. */
#ifndef CACHEFILES_RS_TRACE_H
#define CACHEFILES_RS_TRACE_H

#include <linux/types.h>

/* The kernel's header of the events wants it before. */
#include "wire.h"
#include <trace/events/cachefiles.h>

/*
 * Reasons for which a reference to an object is taken and given back. Where the kernel's header has
 * lost those of on-demand mode, they are numbers after its last one, which trace as numbers.
 */
enum cf_ref_consts {
#ifdef CF_OWN_ONDEMAND_EVENTS
	CF_REF_GET_ONDEMAND_FD = cachefiles_obj_see_withdrawal + 1,
	CF_REF_PUT_ONDEMAND_FD = cachefiles_obj_see_withdrawal + 2,
	CF_REF_GET_READ_REQ = cachefiles_obj_see_withdrawal + 3,
	CF_REF_PUT_READ_REQ = cachefiles_obj_see_withdrawal + 4,
#else
	CF_REF_GET_ONDEMAND_FD = cachefiles_obj_get_ondemand_fd,
	CF_REF_PUT_ONDEMAND_FD = cachefiles_obj_put_ondemand_fd,
	CF_REF_GET_READ_REQ = cachefiles_obj_get_read_req,
	CF_REF_PUT_READ_REQ = cachefiles_obj_put_read_req,
#endif
};

void cf_trace_ref(u32 object, u32 cookie, int usage, enum cachefiles_obj_ref_trace why);
void cf_trace_lookup(struct cachefiles_object *obj, struct dentry *dir, struct dentry *de);
void cf_trace_mkdir(struct dentry *dir, struct dentry *subdir);
void cf_trace_tmpfile(struct cachefiles_object *obj, struct inode *backer);
void cf_trace_link(struct cachefiles_object *obj, struct inode *backer);
void cf_trace_unlink(struct cachefiles_object *obj, u64 ino, enum fscache_why_object_killed why);
void cf_trace_rename(struct cachefiles_object *obj, u64 ino, enum fscache_why_object_killed why);
/* aux: eight bytes of the record on disk, which Linux 7.x shows. */
void cf_trace_coherency(struct cachefiles_object *obj, u64 ino, const void *aux, u8 content,
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
void cf_trace_statfs_error(struct vfsmount *mnt, int error);
void cf_trace_io_error(struct cachefiles_object *obj, struct inode *backer, int error,
		       enum cachefiles_error_trace where);
void cf_trace_ondemand_open(struct cachefiles_object *obj, u32 msg_id, u32 object_id, u32 fd, u32 flags);
void cf_trace_ondemand_copen(struct cachefiles_object *obj, u32 msg_id, long len);
void cf_trace_ondemand_close(struct cachefiles_object *obj, u32 msg_id, u32 object_id);
void cf_trace_ondemand_read(struct cachefiles_object *obj, u32 msg_id, u32 object_id, loff_t off, size_t len);
void cf_trace_ondemand_cread(struct cachefiles_object *obj, u32 msg_id);
void cf_trace_ondemand_fd_write(struct cachefiles_object *obj, struct inode *backer, loff_t start, size_t len);
void cf_trace_ondemand_fd_release(struct cachefiles_object *obj, int object_id);

void cf_trace_sreq_prepare(struct netfs_io_subrequest *subreq);
void cf_trace_sreq_write(struct netfs_io_subrequest *subreq);
void cf_trace_sreq_refused(struct netfs_io_subrequest *subreq);

#endif
