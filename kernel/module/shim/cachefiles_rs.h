/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What cachefiles_rs.ko offers to other modules. UNSTABLE: it may change with any commit; the only
 * user that counts is kernel/probe, which is built from the same checkout.
 */
#ifndef CACHEFILES_RS_H
#define CACHEFILES_RS_H

#include <linux/netfs.h>
#include <linux/types.h>

/*
 * Bit of the flag word by which a reader says that it cannot download: the daemon must fill the
 * hole. Kernels before 7.3 have a name for it (NETFS_SREQ_ONDEMAND), with this value; netfs of 7.3
 * leaves the bit unused.
 */
#define CACHEFILES_RS_SREQ_ONDEMAND	5

/*
 * Says where the data of a read is to come from: what netfs_cache_ops::prepare_ondemand_read does
 * in the kernels that have it, for those, too, that have lost it. Sleeps, killable, while the daemon
 * fills a hole.
 *
 * cres: resources of a read that fscache_begin_read_operation() began and that has not ended.
 * start, len, i_size: bytes; *len is shortened to what is alike.
 * flags: bits numbered as those of a netfs subrequest.
 * ino: the reader's inode, for trace events.
 *
 * NETFS_INVALID_READ when the daemon did not fill the hole, or when the cache behind cres is not
 * this module's.
 */
enum netfs_io_source cachefiles_rs_prepare_ondemand_read(struct netfs_cache_resources *cres,
							 loff_t start, size_t *len, loff_t i_size,
							 unsigned long *flags, u64 ino);

#endif
