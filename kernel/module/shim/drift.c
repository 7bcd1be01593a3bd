// SPDX-License-Identifier: GPL-2.0-or-later
/* What differs between the kernels: see drift.h. */
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/security.h>

#include "drift.h"

#if CF_BEFORE_7

struct dentry *cf_lookup(const char *name, u32 len, struct dentry *dir)
{
	return lookup_one_len(name, dir, len);
}

struct dentry *cf_lookup_positive_unlocked(const char *name, u32 len, struct dentry *dir)
{
	return lookup_positive_unlocked(name, dir, len);
}

struct dentry *cf_mkdir(struct vfsmount *mnt, struct dentry *dir, struct dentry *child, umode_t mode)
{
	struct path path = { .mnt = mnt, .dentry = dir };
	int ret = security_path_mkdir(&path, child, mode);

	ret = ret ?: vfs_mkdir(&nop_mnt_idmap, d_inode(dir), child, mode);
	if (!ret)
		return child;
	inode_unlock(d_inode(dir));
	dput(child);
	return ERR_PTR(ret);
}

int cf_start_renaming(struct cf_renaming *r, struct dentry *from, struct dentry *old,
		      struct dentry *to, const char *name, u32 len)
{
	struct dentry *trap = lock_rename(to, from);
	struct dentry *grave;
	int ret = -EINVAL;

	if (IS_ERR(trap))
		return PTR_ERR(trap);
	if (d_unhashed(old) || old->d_parent != from || old == trap)
		goto unlock;
	grave = lookup_one_len(name, to, len);
	ret = PTR_ERR_OR_ZERO(grave);
	if (ret)
		goto unlock;
	ret = -ENOTEMPTY;
	if (grave == trap)
		goto put;
	r->from = dget(from);
	r->old = dget(old);
	r->to = to;
	r->grave = grave;
	return 0;

put:
	dput(grave);
unlock:
	unlock_rename(to, from);
	return ret;
}

int cf_rename(const struct cf_renaming *r)
{
	struct renamedata rd = {
		.old_mnt_idmap	= &nop_mnt_idmap,
		.old_dir	= d_inode(r->from),
		.old_dentry	= r->old,
		.new_mnt_idmap	= &nop_mnt_idmap,
		.new_dir	= d_inode(r->to),
		.new_dentry	= r->grave,
	};

	return vfs_rename(&rd);
}

void cf_end_renaming(const struct cf_renaming *r)
{
	unlock_rename(r->to, r->from);
	dput(r->old);
	dput(r->grave);
	dput(r->from);
}

#else

struct dentry *cf_lookup(const char *name, u32 len, struct dentry *dir)
{
	return lookup_one(&nop_mnt_idmap, &QSTR_LEN(name, len), dir);
}

struct dentry *cf_lookup_positive_unlocked(const char *name, u32 len, struct dentry *dir)
{
	return lookup_one_positive_unlocked(&nop_mnt_idmap, &QSTR_LEN(name, len), dir);
}

struct dentry *cf_mkdir(struct vfsmount *mnt, struct dentry *dir, struct dentry *child, umode_t mode)
{
	struct path path = { .mnt = mnt, .dentry = dir };
	int ret = security_path_mkdir(&path, child, mode);

	if (!ret)
		return vfs_mkdir(&nop_mnt_idmap, d_inode(dir), child, mode, NULL);
	end_creating(child);
	return ERR_PTR(ret);
}

static struct renamedata renamedata(const struct cf_renaming *r)
{
	return (struct renamedata) {
		.mnt_idmap	= &nop_mnt_idmap,
		.old_parent	= r->from,
		.old_dentry	= r->old,
		.new_parent	= r->to,
		.new_dentry	= r->grave,
	};
}

int cf_start_renaming(struct cf_renaming *r, struct dentry *from, struct dentry *old,
		      struct dentry *to, const char *name, u32 len)
{
	struct renamedata rd = {
		.mnt_idmap	= &nop_mnt_idmap,
		.old_parent	= from,
		.new_parent	= to,
	};
	int ret = start_renaming_dentry(&rd, 0, old, &QSTR_LEN(name, len));

	r->from = rd.old_parent;
	r->old = rd.old_dentry;
	r->to = rd.new_parent;
	r->grave = rd.new_dentry;
	return ret;
}

int cf_rename(const struct cf_renaming *r)
{
	struct renamedata rd = renamedata(r);

	return vfs_rename(&rd);
}

void cf_end_renaming(const struct cf_renaming *r)
{
	struct renamedata rd = renamedata(r);

	end_renaming(&rd);
}

#endif
