/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What differencing images have of their own, copied into an image below them. */
#ifndef OPENLIS_STORAGE_MERGE_H
#define OPENLIS_STORAGE_MERGE_H

#include "storage/block.h"
#include "storage/regions.h"

/* Return: false to stop. */
typedef bool merge_goes_on(void *context, uint64_t done_bytes);

struct merge_copy {
	struct block_device *child; /* may be read and written by others meanwhile */
	struct block_device *base;  /* below it, open for writing; others may read it, of what shows through @child */
	struct regions *only;       /* NULL: all; else what is marked there, which is taken from it */
	uint64_t take_bytes;        /* with @only: so much of it, in whole regions; 0: all */
	/**
	 * @goes_on: optional; the child is through up to done_bytes, or with @only so much was taken. May be called
	 * while there is nothing but to wait for what is under way.
	 */
	merge_goes_on *goes_on;
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

/**
 * merge_images() - Copy what images that nobody uses have into the one below all of them, durably.
 * @paths: from the child to that one, each the parent of the one before; two or more
 * @goes_on: optional, as merge_copy.goes_on, of each image
 * @error: as block_open()
 *
 * Whenever it is interrupted, by a crash too, the child still reads the same, over a base that has part of it
 * already (block_begin_merge()), and it can be run again. The images stay; those above the base are to be removed,
 * the first one first.
 *
 * Context: may sleep, for long.
 * Return: 0, or as block_open(), merge_copy() and block_close().
 */
int merge_images(char *const *paths, size_t count, merge_goes_on *goes_on, void *context, char *error) LIS_MUST_USE;

#endif
