/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What Rust cannot call by itself: inline functions and macros of the kernel's headers. What
 * differs between kernels is in drift.h. Nothing here loops or decides.
 */
#ifndef CACHEFILES_RS_HELPERS_H
#define CACHEFILES_RS_HELPERS_H

#include <linux/refcount.h>
#include <linux/types.h>

struct cf_renaming;
struct cred;
struct dentry;
struct file;
struct fscache_cache;
struct fscache_cookie;
struct fscache_volume;
struct inode;
struct iov_iter;
struct kiocb;
struct kstatfs;
struct netfs_io_stream;
struct netfs_io_subrequest;
struct path;
struct poll_table_struct;
struct vfsmount;
struct wait_queue_head;
struct xarray;

/* Constants that bindgen cannot see because they are expressions, casts or enumerators. */
enum cf_consts {
	CF_EIOCBQUEUED = EIOCBQUEUED,
	CF_LOOKUP_DIRECTORY = LOOKUP_DIRECTORY,
	CF_MISC_DYNAMIC_MINOR = MISC_DYNAMIC_MINOR,
	CF_O_WRONLY = O_WRONLY,
	CF_S_KERNEL_FILE = S_KERNEL_FILE,
	CF_SEEK_DATA = SEEK_DATA,
	CF_SEEK_HOLE = SEEK_HOLE,
	CF_IOCB_DIRECT = IOCB_DIRECT,
	CF_IOCB_WRITE = IOCB_WRITE,
	CF_FALLOC_PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	CF_FALLOC_ZERO = FALLOC_FL_ZERO_RANGE,
	CF_COOKIE_LOCAL_WRITE = FSCACHE_COOKIE_LOCAL_WRITE,
	CF_COOKIE_HAVE_DATA = FSCACHE_COOKIE_HAVE_DATA,
	CF_COOKIE_NEEDS_UPDATE = FSCACHE_COOKIE_NEEDS_UPDATE,
	CF_COOKIE_NO_DATA_TO_READ = FSCACHE_COOKIE_NO_DATA_TO_READ,
	CF_COOKIE_RETIRED = FSCACHE_COOKIE_RETIRED,
	CF_ADV_WANT_CACHE_SIZE = FSCACHE_ADV_WANT_CACHE_SIZE,
	CF_MAX_RW_COUNT = MAX_RW_COUNT,
	CF_BIO_MAX_VECS = BIO_MAX_VECS,
	CF_SREQ_COPY_TO_CACHE = NETFS_SREQ_COPY_TO_CACHE,
	CF_SREQ_ONDEMAND = CACHEFILES_RS_SREQ_ONDEMAND,
};

/* Credentials. */
struct cred *cf_prepare_kernel_cred(void);
void cf_put_cred(const struct cred *cred);
const struct cred *cf_override_creds(const struct cred *cred);
void cf_revert_creds(const struct cred *saved);
bool cf_capable_sys_admin(void);
int cf_secctx_to_secid(const char *ctx, u32 len, u32 *secid);

/* Paths, dentries, inodes. */
struct dentry *cf_dget(struct dentry *dentry);
struct vfsmount *cf_mntget(struct vfsmount *mnt);
struct inode *cf_dentry_inode(const struct dentry *dentry);
bool cf_dentry_is_negative(const struct dentry *dentry);
bool cf_dentry_is_dir(const struct dentry *dentry);
bool cf_dentry_is_reg(const struct dentry *dentry);
bool cf_dentry_can_lookup(const struct dentry *dentry);
bool cf_dentry_unhashed(const struct dentry *dentry);
bool cf_dentry_is_mountpoint(const struct dentry *dentry);
bool cf_inode_is_dead_dir(const struct inode *inode);
u64 cf_inode_ino(const struct inode *inode);
loff_t cf_inode_size(const struct inode *inode);
u64 cf_inode_blocks(const struct inode *inode);
void cf_inode_lock(struct inode *inode);
void cf_inode_lock_parent(struct inode *inode);
void cf_inode_unlock(struct inode *inode);
bool cf_dir_can_hold_cache(struct dentry *dir);
bool cf_dir_can_hold_objects(struct dentry *dir);
bool cf_sb_is_read_only(struct dentry *dir);
bool cf_mnt_is_idmapped(struct vfsmount *mnt);
void cf_current_dir(struct path *path);
int cf_unlink(struct dentry *dir, struct dentry *victim);
int cf_security_unlink(struct vfsmount *mnt, struct dentry *dir, struct dentry *victim);
int cf_link(struct dentry *old, struct dentry *dir, struct dentry *new_dentry);
int cf_security_rename(struct vfsmount *mnt, const struct cf_renaming *r);
int cf_security_create(struct dentry *dir);
int cf_set_size(struct dentry *dentry, loff_t size);
int cf_statfs(struct vfsmount *mnt, struct kstatfs *st);
int cf_sync_fs(struct vfsmount *mnt);
ssize_t cf_getxattr(struct dentry *dentry, const char *name, void *buf, size_t len);
int cf_setxattr(struct dentry *dentry, const char *name, const void *buf, size_t len);
int cf_removexattr(struct dentry *dentry, const char *name);

/* Files. */
struct file *cf_get_file(struct file *file);
struct inode *cf_file_inode(const struct file *file);
struct file *cf_tmpfile_open(struct vfsmount *mnt, struct dentry *dir, const struct cred *cred);
struct file *cf_file_open(struct vfsmount *mnt, struct dentry *dentry, const struct cred *cred);
struct dentry *cf_file_dentry(const struct file *file);
void cf_touch_atime(struct file *file);
int cf_truncate(struct file *file, loff_t size);
bool cf_file_has_iter_ops(const struct file *file);
void cf_file_allow_pwrite_seek(struct file *file);
u32 cf_memalloc_nofs_save(void);
void cf_memalloc_nofs_restore(u32 flags);
void cf_kiocb_end_write(struct kiocb *iocb);
int cf_get_current_ioprio(void);
size_t cf_iov_iter_count(const struct iov_iter *iter);

/* Parts of a client's write. */
struct netfs_io_stream *cf_subreq_stream(struct netfs_io_subrequest *subreq);
void cf_subreq_cut(struct netfs_io_subrequest *subreq, size_t skip, size_t grow, size_t len);

/* Memory. */
void *cf_alloc(size_t bytes);
void *cf_realloc(void *memory, size_t bytes);

/* User memory. */
unsigned long cf_copy_to_user(void __user *to, const void *from, unsigned long n);
unsigned long cf_copy_from_user(void *to, const void __user *from, unsigned long n);

/* Waiting. */
void cf_init_waitqueue(struct wait_queue_head *wq);
void cf_wake_up_poll(struct wait_queue_head *wq, u32 events);
void cf_poll_wait(struct file *file, struct wait_queue_head *wq, struct poll_table_struct *pt);
void cf_init_completion(struct completion *done);

/* This module. */
void cf_module_get(void);
void cf_module_put(void);

/* Time. */
u32 cf_real_seconds(void);
void cf_cond_resched(void);

/* Reference counts: each returns the count before the operation. */
int cf_refcount_inc(refcount_t *r);
bool cf_refcount_dec_and_test(refcount_t *r, int *old);

/* Ids. */
void cf_xa_init_ids(struct xarray *xa);
int cf_xa_alloc_cyclic(struct xarray *xa, u32 *id, u32 *next);

/* fscache. */
const void *cf_cookie_key(const struct fscache_cookie *cookie);
const void *cf_cookie_aux(const struct fscache_cookie *cookie);
void cf_count_object(struct fscache_cache *cache);
void cf_uncount_object(struct fscache_cache *cache);
void cf_wait_for_objects(struct fscache_cache *cache);
void cf_count_read(void);
void cf_count_write(void);
void cf_count_no_write_space(void);
void cf_count_no_create_space(void);
void cf_count_culled(void);
void cf_count_dio_misfit(void);
int cf_volume_pin_accesses(struct fscache_volume *volume);
bool cf_volume_has_accesses(const struct fscache_volume *volume);

#endif
