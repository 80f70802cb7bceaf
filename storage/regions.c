// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Which regions of a disk something was done to: a bit for each, see regions.h. */
#include "storage/regions.h"

#include <stdatomic.h>
#include <stdlib.h>

#define REGION_SHIFT 16u             /* [policy] */
#define REGIONS_MAX (UINT64_C(8) << 20) /* [policy] */

struct regions {
	uint64_t size_bytes;
	uint32_t shift;
	uint64_t words;
	_Atomic uint64_t marked; /* regions */
	_Atomic uint64_t bits[];
};

int regions_create(uint64_t size_bytes, struct regions **out_regions)
{
	struct regions *regions;
	uint32_t shift = REGION_SHIFT;
	uint64_t words;

	while ((size_bytes - 1) >> shift >= REGIONS_MAX)
		shift++;
	words = ((size_bytes - 1) >> shift) / 64 + 1;
	regions = calloc(1, sizeof(*regions) + words * sizeof(regions->bits[0]));
	if (!regions)
		return -LIS_NOMEM;
	regions->size_bytes = size_bytes;
	regions->shift = shift;
	regions->words = words;
	*out_regions = regions;
	return 0;
}

void regions_destroy(struct regions *regions)
{
	free(regions);
}

void regions_mark(struct regions *regions, uint64_t offset_bytes, uint64_t bytes)
{
	uint64_t region = offset_bytes >> regions->shift, last;

	if (!bytes)
		return;
	last = (offset_bytes + bytes - 1) >> regions->shift;
	while (region <= last) {
		uint64_t end = (region | 63) < last ? region | 63 : last;
		uint64_t mask = ~UINT64_C(0) >> (63 - (end - region)) << region % 64;
		/* Release and acquire: pairs with regions_take(). */
		uint64_t old = atomic_fetch_or(&regions->bits[region / 64], mask);

		atomic_fetch_add(&regions->marked, (uint64_t)__builtin_popcountll(mask & ~old));
		region = end + 1;
	}
}

uint64_t regions_span_bytes(const struct regions *regions, uint64_t offset_bytes, uint64_t bytes)
{
	if (!bytes)
		return 0;
	return (((offset_bytes + bytes - 1) >> regions->shift) - (offset_bytes >> regions->shift) + 1) << regions->shift;
}

bool regions_take(struct regions *regions, uint64_t *at_bytes, uint64_t *out_offset_bytes, uint64_t *out_bytes)
{
	uint64_t region = *at_bytes >> regions->shift, word = region / 64;
	uint64_t skip = ~UINT64_C(0) << region % 64, bits = 0, offset_bytes;

	for (; word < regions->words; word++, skip = ~UINT64_C(0)) {
		bits = atomic_load_explicit(&regions->bits[word], memory_order_relaxed) & skip;
		if (bits)
			break;
	}
	if (!bits)
		return false;
	bits &= -bits;
	atomic_fetch_and(&regions->bits[word], ~bits);
	atomic_fetch_sub(&regions->marked, 1);
	offset_bytes = (word * 64 + (uint64_t)__builtin_ctzll(bits)) << regions->shift;
	*at_bytes = offset_bytes + (UINT64_C(1) << regions->shift);
	*out_offset_bytes = offset_bytes;
	*out_bytes = (*at_bytes < regions->size_bytes ? *at_bytes : regions->size_bytes) - offset_bytes;
	return true;
}

uint64_t regions_marked_bytes(const struct regions *regions)
{
	return atomic_load(&regions->marked) << regions->shift;
}
