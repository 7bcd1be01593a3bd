/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parts of an object and of a volume that the kernel's cachefiles trace events read. Rust puts
 * each of them at offset 0 of its own type and owns the rest.
 */
#ifndef CACHEFILES_RS_OBJECT_H
#define CACHEFILES_RS_OBJECT_H

struct fscache_cookie;
struct fscache_volume;

/* What a file holds, as its record on disk says (core/src/xattr.rs has the meanings). */
enum cachefiles_content {
	CACHEFILES_CONTENT_NO_DATA,
	CACHEFILES_CONTENT_SINGLE,
	CACHEFILES_CONTENT_ALL,
	CACHEFILES_CONTENT_BACKFS_MAP,
	CACHEFILES_CONTENT_DIRTY,
};

struct cachefiles_volume {
	struct fscache_volume	*vcookie;
};

struct cachefiles_object {
	struct fscache_cookie	*cookie;
	unsigned int		debug_id;
};

#endif
