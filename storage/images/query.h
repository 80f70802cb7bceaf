/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Helpers of formats that answer block_map() and block_describe(). */
#ifndef OPENLIS_STORAGE_IMAGES_QUERY_H
#define OPENLIS_STORAGE_IMAGES_QUERY_H

#include "storage/images/image.h"

/**
 * query_file() - What the file system says of a part of the file.
 * @out_bytes: how far, at most @bytes
 * @out_data: false: a hole, which reads as zero
 *
 * Return: 0, -LIS_IO.
 */
int query_file(const struct image *image, uint64_t offset_bytes, uint64_t bytes, uint64_t *out_bytes,
	       bool *out_data) LIS_MUST_USE;

/** query_add() - One more line; those behind BLOCK_DETAILS_LINES are dropped. */
void query_add(struct block_details *details, bool problem, const char *line);

#endif
