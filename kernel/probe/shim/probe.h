/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the probe's Rust cannot call by itself: inline functions and macros of the kernel's headers,
 * and what differs between kernels. Nothing here loops or decides. The names that begin with cf_ are
 * those of kernel/module/shim, for the wrappers that both modules are built from.
 */
#ifndef CACHEFILES_PROBE_H
#define CACHEFILES_PROBE_H

#include <linux/fscache.h>
#include <linux/miscdevice.h>
#include <linux/types.h>
#include <linux/uio.h>

/* Constants that bindgen cannot see because they are expressions. */
enum cf_consts {
	CF_EIOCBQUEUED = EIOCBQUEUED,
	CF_MISC_DYNAMIC_MINOR = MISC_DYNAMIC_MINOR,
};

/* A transfer between a cache and a buffer of the kernel. */
struct cp_transfer {
	struct kvec	vec;
	struct iov_iter	iter;
};

/* A cookie as it is at this moment. */
struct cp_state {
	u64	state, flags, active, accesses, invalidations, size;
};

unsigned long cf_copy_to_user(void __user *to, const void *from, unsigned long n);
unsigned long cf_copy_from_user(void *to, const void __user *from, unsigned long n);
void cf_init_completion(struct completion *done);

void cp_update_cookie(struct fscache_cookie *cookie, const void *aux, const loff_t *size);
void cp_resize_cookie(struct fscache_cookie *cookie, loff_t size);
void cp_invalidate_cookie(struct fscache_cookie *cookie, const void *aux, loff_t size, unsigned int flags);
void cp_cookie_state(const struct fscache_cookie *cookie, struct cp_state *state);
int cp_begin_read(struct netfs_cache_resources *cres, struct fscache_cookie *cookie);
int cp_begin_write(struct netfs_cache_resources *cres, struct fscache_cookie *cookie);
void cp_end(struct netfs_cache_resources *cres);

/* The operation where the kernel's table has it, the Rust module's exported entry elsewhere. */
enum netfs_io_source cp_prepare_ondemand_read(struct netfs_cache_resources *cres, loff_t start,
					      size_t *len, loff_t i_size, unsigned long *flags);
/* With data, the end is told to cp_ended(data, result); without, the call waits for it. */
int cp_read(struct netfs_cache_resources *cres, loff_t start, struct cp_transfer *transfer, void *buffer,
	    size_t len, enum netfs_read_from_hole hole, void *data);
int cp_write(struct netfs_cache_resources *cres, loff_t start, struct cp_transfer *transfer, void *buffer,
	     size_t len, void *data);
/* Bytes that the transfer has not moved. */
size_t cp_left(const struct cp_transfer *transfer);
/* Rust's. */
void cp_ended(void *data, ssize_t result);

/*
 * Starts a thread, which calls Rust's cp_thread_run() and ends without coming back to the module's
 * text. cp_wait_thread_end() returns once for each thread that has ended.
 */
int cp_start_thread(void *data);
void cp_wait_thread_end(void);
void cp_thread_run(void *data);

#endif
