/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* VHDX images, fixed, dynamic and differencing, as the rest of storage/ sees them. */
#ifndef OPENLIS_STORAGE_IMAGES_VHDX_H
#define OPENLIS_STORAGE_IMAGES_VHDX_H

#include "storage/images/image.h"

/* The first eight bytes of every VHDX file. */
#define VHDX_SIGNATURE "vhdxfile"

/**
 * vhdx_open() - Parse and validate a VHDX file, replaying its log if it was not closed.
 * @file: taken over on success
 * @out_device: set on success only
 * @error: as block_open()
 *
 * A read-only file is not written: its log is replayed in memory.
 *
 * Context: may sleep.
 * Return: 0, -LIS_FORMAT (damaged, or over another parent), -LIS_UNSUPPORTED (parts that only newer
 * software knows), -LIS_NOMEM, -LIS_IO, -LIS_NOSPACE; of the parent's, as block_open().
 */
int vhdx_open(const struct image_file *file, struct block_device **out_device, char *error) LIS_MUST_USE;

#endif
