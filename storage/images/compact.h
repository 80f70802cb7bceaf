/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What block_compact() is for all formats: looking for zeroes, and moving blocks down into gaps. A block is
 * copied into a gap, made durable, and only then does the BAT say so; its old place is not used again.
 */
#ifndef OPENLIS_STORAGE_IMAGES_COMPACT_H
#define OPENLIS_STORAGE_IMAGES_COMPACT_H

#include "storage/images/image.h"

#define COMPACT_STAYS UINT64_MAX

/* Something in the file. */
struct compact_item {
	uint64_t place_bytes, length_bytes;
	uint64_t block; /* COMPACT_STAYS: it is not a block, and is not moved */
};

struct compact {
	struct image *image;
	const struct block_compact *how;
	uint64_t done_bytes, all_bytes; /* of the work, for how->goes_on() */
	uint8_t *buffer;

	struct compact_item *items;
	uint64_t item_count;
	uint64_t block_bytes;                   /* what a block takes in the file */
	uint64_t align_bytes, align_skew_bytes; /* (place + skew) is a multiple of it where there is room */

	void (*set)(struct image *image, uint64_t block, uint64_t place_bytes);
	int (*settle)(struct image *image);     /* what was set becomes durable, as block_done */
};

/** compact_init() - Return: 0, -LIS_NOMEM. compact_fini() - Also frees @items. */
int compact_init(struct compact *compact, struct image *image, const struct block_compact *how) LIS_MUST_USE;
void compact_fini(struct compact *compact);

/** compact_goes_on() - @bytes more are through. Return: 0, -LIS_CANCELED. */
int compact_goes_on(struct compact *compact, uint64_t bytes) LIS_MUST_USE;

/**
 * compact_scan() - Look through a part of the file; pages of it that are zero become holes.
 * @out_zero: is all of it zero?
 * Return: 0, -LIS_IO.
 */
int compact_scan(struct compact *compact, uint64_t offset_bytes, uint64_t bytes, bool *out_zero) LIS_MUST_USE;

/** compact_move() - Move the last blocks into the first gaps, as long as that is down. Return: as block_done. */
int compact_move(struct compact *compact) LIS_MUST_USE;

/** compact_raw() - As block_driver.compact, for an image that is its disk. */
int compact_raw(struct block_device *device, const struct block_compact *how, char *error) LIS_MUST_USE;

#endif
