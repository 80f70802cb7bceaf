/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What a differencing image has of its own, copied into an image below it. */
#ifndef OPENLIS_STORAGE_MERGE_H
#define OPENLIS_STORAGE_MERGE_H

#include "storage/block.h"
#include "storage/regions.h"

struct merge_copy {
	struct block_device *child; /* may be read and written by others meanwhile */
	struct block_device *base;  /* below it, open for writing; others may read it, of what shows through @child */
	struct regions *only;       /* NULL: all; else what is marked there, which is taken from it */
	uint64_t take_bytes;        /* with @only: so much of it, in whole regions; 0: all */
	/**
	 * @goes_on: optional; the child is through up to @done_bytes, or with @only so much was taken. May be called
	 * while there is nothing but to wait for what is under way. Return: false to stop.
	 */
	bool (*goes_on)(void *context, uint64_t done_bytes);
	void *context;
	const char *failed_path;    /* out, after an error of one of the images */
};

/**
 * merge_copy() - Copy it; where the child is zero the base becomes zero.
 *
 * It is durable when the base was flushed. What is written to the child meanwhile may be copied or not.
 *
 * Context: may sleep, for long.
 * Return: 0, -LIS_CANCELED, -LIS_NOMEM, or as block_done.
 */
int merge_copy(struct merge_copy *copy) LIS_MUST_USE;

#endif
