// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * C side of the Rust cachefiles module: see helpers.h for what belongs here and what does not.
 */
#include <linux/module.h>
#include <linux/fs_struct.h>
#include <linux/ioprio.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>
#include <linux/xattr.h>

#include <trace/events/fscache.h>

#include "bindings.h"

MODULE_AUTHOR("The cachefiles-rs authors");

unsigned int cf_debug;
module_param_named(debug, cf_debug, uint, 0644);
MODULE_PARM_DESC(debug, "Debugging mask, as written by the 'debug' command");

/* Credentials. */
struct cred *cf_prepare_kernel_cred(void) { return prepare_kernel_cred(current); }
void cf_put_cred(const struct cred *cred) { put_cred(cred); }
const struct cred *cf_override_creds(const struct cred *cred) { return override_creds(cred); }
void cf_revert_creds(const struct cred *saved) { revert_creds(saved); }
bool cf_capable_sys_admin(void) { return capable(CAP_SYS_ADMIN); }

int cf_secctx_to_secid(const char *ctx, u32 len, u32 *secid)
{
	return security_secctx_to_secid(ctx, len, secid);
}

/* Paths, dentries, inodes. */
struct dentry *cf_dget(struct dentry *dentry) { return dget(dentry); }
struct vfsmount *cf_mntget(struct vfsmount *mnt) { return mntget(mnt); }
struct inode *cf_dentry_inode(const struct dentry *dentry) { return d_inode(dentry); }
bool cf_dentry_is_negative(const struct dentry *dentry) { return d_is_negative(dentry); }
bool cf_dentry_is_dir(const struct dentry *dentry) { return d_is_dir(dentry); }
bool cf_dentry_is_reg(const struct dentry *dentry) { return d_is_reg(dentry); }
bool cf_dentry_can_lookup(const struct dentry *dentry) { return d_can_lookup(dentry); }
bool cf_dentry_unhashed(const struct dentry *dentry) { return d_unhashed(dentry); }
bool cf_dentry_is_mountpoint(const struct dentry *dentry) { return d_mountpoint(dentry); }
bool cf_inode_is_dead_dir(const struct inode *inode) { return IS_DEADDIR(inode); }
u64 cf_inode_ino(const struct inode *inode) { return inode->i_ino; }
loff_t cf_inode_size(const struct inode *inode) { return i_size_read(inode); }
u64 cf_inode_blocks(const struct inode *inode) { return inode->i_blocks; }
void cf_inode_lock(struct inode *inode) { inode_lock(inode); }
void cf_inode_lock_parent(struct inode *inode) { inode_lock_nested(inode, I_MUTEX_PARENT); }
void cf_inode_unlock(struct inode *inode) { inode_unlock(inode); }

bool cf_dir_can_hold_cache(struct dentry *dir)
{
	const struct inode_operations *iop = d_inode(dir)->i_op;
	const struct super_operations *sop = dir->d_sb->s_op;

	return iop->lookup && iop->mkdir && iop->tmpfile &&
	       (d_inode(dir)->i_opflags & IOP_XATTR) &&
	       sop->statfs && sop->sync_fs && dir->d_sb->s_blocksize <= PAGE_SIZE;
}

bool cf_dir_can_hold_objects(struct dentry *dir)
{
	const struct inode_operations *iop = d_inode(dir)->i_op;

	return (d_inode(dir)->i_opflags & IOP_XATTR) && iop->lookup && iop->mkdir &&
	       iop->rename && iop->rmdir && iop->unlink;
}

bool cf_sb_is_read_only(struct dentry *dir) { return sb_rdonly(dir->d_sb); }
bool cf_mnt_is_idmapped(struct vfsmount *mnt) { return is_idmapped_mnt(mnt); }
void cf_current_dir(struct path *path) { get_fs_pwd(current->fs, path); }

int cf_security_unlink(struct vfsmount *mnt, struct dentry *dir, struct dentry *victim)
{
	struct path path = { .mnt = mnt, .dentry = dir };

	return security_path_unlink(&path, victim);
}

/* The extra reference keeps the dentry positive, and so its inode pinned, for the caller. */
int cf_unlink(struct dentry *dir, struct dentry *victim)
{
	int ret;

	dget(victim);
	ret = vfs_unlink(&nop_mnt_idmap, d_inode(dir), victim, NULL);
	dput(victim);
	return ret;
}

int cf_link(struct dentry *old, struct dentry *dir, struct dentry *new_dentry)
{
	return vfs_link(old, &nop_mnt_idmap, d_inode(dir), new_dentry, NULL);
}

int cf_security_rename(struct vfsmount *mnt, const struct cf_renaming *r)
{
	struct path from = { .mnt = mnt, .dentry = r->from };
	struct path to = { .mnt = mnt, .dentry = r->to };

	return security_path_rename(&from, r->old, &to, r->grave, 0);
}

/* Whether the security modules let the current credentials make directories and files here. */
int cf_security_create(struct dentry *dir)
{
	int ret = security_inode_mkdir(d_inode(dir), dir, 0);

	return ret ?: security_inode_create(d_inode(dir), dir, 0);
}

/* The caller holds the inode's lock. */
int cf_set_size(struct dentry *dentry, loff_t size)
{
	struct iattr attr = { .ia_valid = ATTR_SIZE, .ia_size = size };

	return notify_change(&nop_mnt_idmap, dentry, &attr, NULL);
}

int cf_statfs(struct vfsmount *mnt, struct kstatfs *st)
{
	struct path path = { .mnt = mnt, .dentry = mnt->mnt_root };

	return vfs_statfs(&path, st);
}

int cf_sync_fs(struct vfsmount *mnt)
{
	int ret;

	down_read(&mnt->mnt_sb->s_umount);
	ret = sync_filesystem(mnt->mnt_sb);
	up_read(&mnt->mnt_sb->s_umount);
	return ret;
}

ssize_t cf_getxattr(struct dentry *dentry, const char *name, void *buf, size_t len)
{
	return vfs_getxattr(&nop_mnt_idmap, dentry, name, buf, len);
}

int cf_setxattr(struct dentry *dentry, const char *name, const void *buf, size_t len)
{
	return vfs_setxattr(&nop_mnt_idmap, dentry, name, buf, len, 0);
}

int cf_removexattr(struct dentry *dentry, const char *name)
{
	return vfs_removexattr(&nop_mnt_idmap, dentry, name);
}

/* Files. */
struct file *cf_get_file(struct file *file) { return get_file(file); }
struct inode *cf_file_inode(const struct file *file) { return file_inode(file); }
struct dentry *cf_file_dentry(const struct file *file) { return file->f_path.dentry; }

struct file *cf_tmpfile_open(struct vfsmount *mnt, struct dentry *dir, const struct cred *cred)
{
	struct path parent = { .mnt = mnt, .dentry = dir };

	return kernel_tmpfile_open(&nop_mnt_idmap, &parent, S_IFREG | 0600,
				   O_RDWR | O_LARGEFILE | O_DIRECT, cred);
}

struct file *cf_file_open(struct vfsmount *mnt, struct dentry *dentry, const struct cred *cred)
{
	struct path path = { .mnt = mnt, .dentry = dentry };

	return kernel_file_open(&path, O_RDWR | O_LARGEFILE | O_DIRECT, cred);
}

void cf_touch_atime(struct file *file) { touch_atime(&file->f_path); }
int cf_truncate(struct file *file, loff_t size) { return vfs_truncate(&file->f_path, size); }
bool cf_file_has_iter_ops(const struct file *file) { return file->f_op->read_iter && file->f_op->write_iter; }
void cf_file_allow_pwrite_seek(struct file *file) { file->f_mode |= FMODE_PWRITE | FMODE_LSEEK; }
u32 cf_memalloc_nofs_save(void) { return memalloc_nofs_save(); }
void cf_memalloc_nofs_restore(u32 flags) { memalloc_nofs_restore(flags); }
void cf_kiocb_end_write(struct kiocb *iocb) { kiocb_end_write(iocb); }
int cf_get_current_ioprio(void) { return get_current_ioprio(); }
size_t cf_iov_iter_count(const struct iov_iter *iter) { return iov_iter_count(iter); }

/* Parts of a client's write. */
struct netfs_io_stream *cf_subreq_stream(struct netfs_io_subrequest *subreq)
{
	return &subreq->rreq->io_streams[subreq->stream_nr];
}

/* Leaves out what is to be skipped, takes in what lies behind the end, and keeps len bytes. */
void cf_subreq_cut(struct netfs_io_subrequest *subreq, size_t skip, size_t grow, size_t len)
{
	subreq->transferred += skip;
	subreq->len += grow;
	iov_iter_advance(&subreq->io_iter, skip);
	subreq->io_iter.count += grow;
	iov_iter_truncate(&subreq->io_iter, len);
}

/* Memory. A second function, as kvrealloc() tries a small allocation twice. */
void *cf_alloc(size_t bytes) { return kvmalloc(bytes, GFP_KERNEL); }
void *cf_realloc(void *memory, size_t bytes) { return kvrealloc(memory, bytes, GFP_KERNEL); }

/* User memory. */
unsigned long cf_copy_to_user(void __user *to, const void *from, unsigned long n)
{
	return copy_to_user(to, from, n);
}

unsigned long cf_copy_from_user(void *to, const void __user *from, unsigned long n)
{
	return copy_from_user(to, from, n);
}

/* Waiting. */
void cf_init_waitqueue(struct wait_queue_head *wq) { init_waitqueue_head(wq); }

void cf_wake_up_poll(struct wait_queue_head *wq, u32 events)
{
	wake_up_poll(wq, (__force __poll_t)events);
}

void cf_poll_wait(struct file *file, struct wait_queue_head *wq, struct poll_table_struct *pt)
{
	poll_wait(file, wq, pt);
}

void cf_init_completion(struct completion *done) { init_completion(done); }

/* This module. */
void cf_module_get(void) { __module_get(THIS_MODULE); }
void cf_module_put(void) { module_put(THIS_MODULE); }

/* Time. */
u32 cf_real_seconds(void) { return (u32)ktime_get_real_seconds(); }
void cf_cond_resched(void) { cond_resched(); }

/* Reference counts. */
int cf_refcount_inc(refcount_t *r)
{
	int old;

	__refcount_inc(r, &old);
	return old;
}

bool cf_refcount_dec_and_test(refcount_t *r, int *old) { return __refcount_dec_and_test(r, old); }

/* Ids. */
void cf_xa_init_ids(struct xarray *xa) { xa_init_flags(xa, XA_FLAGS_ALLOC1); }

int cf_xa_alloc_cyclic(struct xarray *xa, u32 *id, u32 *next)
{
	return xa_alloc_cyclic(xa, id, NULL, XA_LIMIT(1, INT_MAX), next, GFP_KERNEL);
}

/* fscache. */
const void *cf_cookie_key(const struct fscache_cookie *cookie)
{
	return fscache_get_key((struct fscache_cookie *)cookie);
}

const void *cf_cookie_aux(const struct fscache_cookie *cookie)
{
	return fscache_get_aux((struct fscache_cookie *)cookie);
}

void cf_count_object(struct fscache_cache *cache) { fscache_count_object(cache); }
void cf_uncount_object(struct fscache_cache *cache) { fscache_uncount_object(cache); }
void cf_wait_for_objects(struct fscache_cache *cache) { fscache_wait_for_objects(cache); }
void cf_count_read(void) { fscache_count_read(); }
void cf_count_write(void) { fscache_count_write(); }
void cf_count_no_write_space(void) { fscache_count_no_write_space(); }
void cf_count_no_create_space(void) { fscache_count_no_create_space(); }
void cf_count_culled(void) { fscache_count_culled(); }
void cf_count_dio_misfit(void) { fscache_count_dio_misfit(); }

/* Keeps the count of accesses above zero while the cache uses the volume; returns the new count. */
int cf_volume_pin_accesses(struct fscache_volume *volume)
{
	int n = atomic_inc_return(&volume->n_accesses);

	trace_fscache_access_volume(volume->debug_id, 0, refcount_read(&volume->ref), n,
				    fscache_access_cache_pin);
	return n;
}

bool cf_volume_has_accesses(const struct fscache_volume *volume)
{
	return atomic_read(&volume->n_accesses) != 0;
}
