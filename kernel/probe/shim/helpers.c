// SPDX-License-Identifier: GPL-2.0-or-later
/* C side of the probe: see probe.h. */
#include <linux/completion.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/uaccess.h>
#include <linux/version.h>

#include "bindings.h"
#include "cachefiles_rs.h"

MODULE_AUTHOR("The cachefiles-rs authors");

unsigned long cf_copy_to_user(void __user *to, const void *from, unsigned long n)
{
	return copy_to_user(to, from, n);
}

unsigned long cf_copy_from_user(void *to, const void __user *from, unsigned long n)
{
	return copy_from_user(to, from, n);
}

void cf_init_completion(struct completion *done) { init_completion(done); }

/* Cookies. */
void cp_update_cookie(struct fscache_cookie *cookie, const void *aux, const loff_t *size)
{
	fscache_update_cookie(cookie, aux, size);
}

void cp_resize_cookie(struct fscache_cookie *cookie, loff_t size) { fscache_resize_cookie(cookie, size); }

void cp_invalidate_cookie(struct fscache_cookie *cookie, const void *aux, loff_t size, unsigned int flags)
{
	fscache_invalidate(cookie, aux, size, flags);
}

void cp_cookie_state(const struct fscache_cookie *cookie, struct cp_state *state)
{
	state->state = READ_ONCE(cookie->state);
	state->flags = READ_ONCE(cookie->flags);
	state->active = atomic_read(&cookie->n_active);
	state->accesses = atomic_read(&cookie->n_accesses);
	state->invalidations = READ_ONCE(cookie->inval_counter);
	state->size = READ_ONCE(cookie->object_size);
}

/* Operations. */
int cp_begin_read(struct netfs_cache_resources *cres, struct fscache_cookie *cookie)
{
	return fscache_begin_read_operation(cres, cookie);
}

int cp_begin_write(struct netfs_cache_resources *cres, struct fscache_cookie *cookie)
{
	return fscache_begin_write_operation(cres, cookie);
}

void cp_end(struct netfs_cache_resources *cres) { fscache_end_operation(cres); }

enum netfs_io_source cp_prepare_ondemand_read(struct netfs_cache_resources *cres, loff_t start,
					      size_t *len, loff_t i_size, unsigned long *flags)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 3, 0)
	return cres->ops->prepare_ondemand_read(cres, start, len, i_size, flags, 0);
#else
	typeof(&cachefiles_rs_prepare_ondemand_read) prepare =
		symbol_get(cachefiles_rs_prepare_ondemand_read);
	enum netfs_io_source source;

	if (!prepare)
		return NETFS_INVALID_READ;
	source = prepare(cres, start, len, i_size, flags, 0);
	symbol_put(cachefiles_rs_prepare_ondemand_read);
	return source;
#endif
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
static void cp_terminated(void *data, ssize_t result, bool was_async) { cp_ended(data, result); }
#else
static void cp_terminated(void *data, ssize_t result) { cp_ended(data, result); }
#endif

int cp_read(struct netfs_cache_resources *cres, loff_t start, struct cp_transfer *transfer, void *buffer,
	    size_t len, enum netfs_read_from_hole hole, void *data)
{
	transfer->vec = (struct kvec) { .iov_base = buffer, .iov_len = len };
	iov_iter_kvec(&transfer->iter, ITER_DEST, &transfer->vec, 1, len);
	return fscache_read(cres, start, &transfer->iter, hole, data ? cp_terminated : NULL, data);
}

int cp_write(struct netfs_cache_resources *cres, loff_t start, struct cp_transfer *transfer, void *buffer,
	     size_t len, void *data)
{
	transfer->vec = (struct kvec) { .iov_base = buffer, .iov_len = len };
	iov_iter_kvec(&transfer->iter, ITER_SOURCE, &transfer->vec, 1, len);
	return fscache_write(cres, start, &transfer->iter, data ? cp_terminated : NULL, data);
}

size_t cp_left(const struct cp_transfer *transfer) { return iov_iter_count(&transfer->iter); }

/* Threads. */
static DECLARE_COMPLETION(cp_threads_ended);

static int cp_thread_main(void *data)
{
	cp_thread_run(data);
	kthread_complete_and_exit(&cp_threads_ended, 0);
}

int cp_start_thread(void *data)
{
	return PTR_ERR_OR_ZERO(kthread_run(cp_thread_main, data, "cachefiles-probe"));
}

void cp_wait_thread_end(void) { wait_for_completion(&cp_threads_ended); }
