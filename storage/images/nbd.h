/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Disks behind an NBD server, by libnbd: what qemu-nbd, nbdkit and others export. */
#ifndef OPENLIS_STORAGE_IMAGES_NBD_H
#define OPENLIS_STORAGE_IMAGES_NBD_H

#include "storage/block.h"

/** nbd_is_uri() - Is this no path but nbd://HOST[:PORT]/EXPORT, nbds://..., nbd+unix:///EXPORT?socket=PATH or the like? */
bool nbd_is_uri(const char *path);

/**
 * nbd_open() - block_open() for such a URI.
 *
 * A server that goes away while the disk is in use costs the requests under way, which end with
 * -LIS_GONE. Those that come later wait until it is back or cannot be reached once more.
 *
 * Return: 0, -LIS_GONE (no server, or it does not answer), -LIS_READONLY, -LIS_UNSUPPORTED, -LIS_NOMEM.
 */
int nbd_open(const char *uri, const struct block_open_options *options, struct block_device **out_device,
	     char *error) LIS_MUST_USE;

#endif
