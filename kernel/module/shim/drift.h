/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What differs between the kernels. The functions have the meaning that the VFS of Linux 7.x gives
 * them, and emulate it on 6.12; the constants stand for names that some kernels lack.
 */
#ifndef CACHEFILES_RS_DRIFT_H
#define CACHEFILES_RS_DRIFT_H

#include <linux/netfs.h>
#include <linux/types.h>
#include <linux/version.h>

/* What the Kbuild file refuses; between the two the API changed piece by piece. */
#define CF_BEFORE_7 (LINUX_VERSION_CODE < KERNEL_VERSION(7, 2, 0))

struct dentry;
struct vfsmount;

enum cf_drift_consts {
#if CF_BEFORE_7
	CF_READ_HOLE_CLEAR = NETFS_READ_HOLE_CLEAR,
#else
	/* No filesystem asks for it any more; kernel/probe does, by a value that netfs does not use. */
	CF_READ_HOLE_CLEAR = 0xff,
#endif
};

/* A rename that is under way: both directories locked, all four referenced. */
struct cf_renaming {
	struct dentry *from;
	struct dentry *old;
	struct dentry *to;
	struct dentry *grave;
};

/*
 * Looks name up in dir, whose lock the caller holds; negative when nothing has it. The positive one
 * takes the lock by itself, and knows ENOENT only.
 */
struct dentry *cf_lookup(const char *name, u32 len, struct dentry *dir);
struct dentry *cf_lookup_positive_unlocked(const char *name, u32 len, struct dentry *dir);

/*
 * Makes a directory. Consumes the reference to child. Returns the directory's dentry, which may be
 * another one, with dir still locked; or an error pointer, and dir is no longer locked.
 */
struct dentry *cf_mkdir(struct vfsmount *mnt, struct dentry *dir, struct dentry *child, umode_t mode);

/*
 * Locks two directories for renaming old, a child of from, to name in to, and looks that up. EINVAL
 * when old is no longer there or is an ancestor of to; ENOTEMPTY when the target is one of from.
 */
int cf_start_renaming(struct cf_renaming *r, struct dentry *from, struct dentry *old,
		      struct dentry *to, const char *name, u32 len);
int cf_rename(const struct cf_renaming *r);
void cf_end_renaming(const struct cf_renaming *r);

#endif
