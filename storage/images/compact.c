// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Looks for zeroes and fills gaps: see compact.h. Nothing is in flight, one thread. */
#include "storage/images/compact.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "storage/images/query.h"

#define PIECE_BYTES (UINT64_C(1) << 20) /* stays in the processor's cache */
#define PAGE IMAGE_PAGE_BYTES
#define BATCH_BYTES (UINT64_C(256) << 20) /* [policy] moved between two flushes */

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

int compact_init(struct compact *compact, struct image *image, const struct block_compact *how)
{
	*compact = (struct compact){ .image = image, .how = how };
	return posix_memalign((void **)&compact->buffer, PAGE, PIECE_BYTES) ? -LIS_NOMEM : 0;
}

void compact_fini(struct compact *compact)
{
	free(compact->buffer);
	free(compact->items);
}

int compact_goes_on(struct compact *compact, uint64_t bytes)
{
	compact->done_bytes += bytes;
	return compact->how->goes_on(compact->how->context, compact->done_bytes, compact->all_bytes) ?
	       0 : -LIS_CANCELED;
}

/* ---- zeroes ---- */

/* Whole pages only can become a hole. */
static void punch(struct compact *compact, uint64_t from, uint64_t to)
{
	from = (from + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	to &= ~(uint64_t)(PAGE - 1);
	/* Where that is not possible it costs room, no more. */
	if (from < to)
		(void)fallocate(compact->image->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
				(off_t)(to - from));
}

/* Looks through what was read, up to the ends of pages of the file. */
static bool scan_piece(struct compact *compact, uint64_t offset_bytes, uint64_t bytes)
{
	uint64_t at = 0, zero_from = 0;
	bool all = true;

	while (at < bytes) {
		uint64_t count = smaller(bytes - at, PAGE - (offset_bytes + at) % PAGE);

		if (!image_is_zero(compact->buffer + at, count)) {
			punch(compact, offset_bytes + zero_from, offset_bytes + at);
			zero_from = at + count;
			all = false;
		}
		at += count;
	}
	punch(compact, offset_bytes + zero_from, offset_bytes + bytes);
	return all;
}

int compact_scan(struct compact *compact, uint64_t offset_bytes, uint64_t bytes, bool *out_zero)
{
	int result = 0;

	*out_zero = true;
	while (bytes && !result) {
		uint64_t count;
		bool data;

		result = query_file(compact->image, offset_bytes, bytes, &count, &data);
		if (!result && data) {
			count = smaller(count, PIECE_BYTES - offset_bytes % PAGE);
			result = image_read(compact->image->fd, compact->buffer, count, offset_bytes);
			if (!result && !scan_piece(compact, offset_bytes, count))
				*out_zero = false;
		}
		offset_bytes += count;
		bytes -= count;
	}
	return result;
}

/* ---- moving ---- */

static int compare_items(const void *a, const void *b)
{
	const struct compact_item *left = a, *right = b;

	return left->place_bytes < right->place_bytes ? -1 : left->place_bytes > right->place_bytes;
}

static int copy_block(struct compact *compact, uint64_t from, uint64_t to)
{
	uint64_t left_bytes = compact->block_bytes;
	int result = image_clear(compact->image->fd, to, to + left_bytes);

	while (left_bytes && !result) {
		uint64_t count;
		bool data;

		result = query_file(compact->image, from, left_bytes, &count, &data);
		if (!result && data) {
			count = smaller(count, PIECE_BYTES);
			result = image_read(compact->image->fd, compact->buffer, count, from);
			if (!result)
				result = image_write(compact->image->fd, compact->buffer, count, to);
		}
		from += count;
		to += count;
		left_bytes -= count;
	}
	return result;
}

/* Where a block goes between @at and @limit; false if it does not fit. */
static bool find_place(const struct compact *compact, uint64_t at, uint64_t limit, uint64_t *out_place_bytes)
{
	uint64_t align = compact->align_bytes, skew = compact->align_skew_bytes;
	uint64_t aligned = (at + skew + align - 1) / align * align - skew;

	if (limit < at || limit - at < compact->block_bytes)
		return false;
	*out_place_bytes = aligned + compact->block_bytes <= limit ? aligned : at;
	return true;
}

/* Copies are durable before the BAT says so. */
static int end_batch(struct compact *compact, const struct compact_item *items, uint64_t count)
{
	int result;

	if (!count)
		return 0;
	if (fdatasync(compact->image->fd) < 0)
		return image_errno(errno);
	for (uint64_t i = 0; i < count; i++)
		compact->set(compact->image, items[i].block, items[i].place_bytes);
	result = compact->settle(compact->image);
	return result ? result : compact_goes_on(compact, count * compact->block_bytes);
}

/* The last block that is not moved yet, below @count items; its index + 1, or 0. */
static uint64_t last_block(const struct compact *compact, uint64_t count)
{
	while (count && compact->items[count - 1].block == COMPACT_STAYS)
		count--;
	return count;
}

int compact_move(struct compact *compact)
{
	uint64_t batch_max = BATCH_BYTES / compact->block_bytes + 1, batch = 0, next = 0, at = 0;
	uint64_t last, batch_first;
	int result = 0;

	qsort(compact->items, compact->item_count, sizeof(*compact->items), compare_items);
	last = last_block(compact, compact->item_count);
	batch_first = last;
	while (last && next < last && !result) {
		struct compact_item *gap_end = &compact->items[next], *source = &compact->items[last - 1];
		uint64_t place;

		if (!find_place(compact, at, gap_end->place_bytes, &place)) {
			at = gap_end->place_bytes + gap_end->length_bytes;
			next++;
			continue;
		}
		result = copy_block(compact, source->place_bytes, place);
		if (result)
			break;
		/* What was moved is kept where it was in the list, until the batch is through. */
		source->place_bytes = place;
		at = place + compact->block_bytes;
		last--;
		batch++;
		if (batch == batch_max || last != last_block(compact, last)) {
			result = end_batch(compact, source, batch);
			batch = 0;
			last = last_block(compact, last);
			batch_first = last;
		}
	}
	if (!result && batch)
		result = end_batch(compact, &compact->items[batch_first - batch], batch);
	return result;
}

/* ---- raw ---- */

int compact_raw(struct block_device *device, const struct block_compact *how, char *error)
{
	struct compact compact;
	int result = compact_init(&compact, (struct image *)device, how);
	bool zero;

	compact.all_bytes = device->geometry.size_bytes;
	for (uint64_t at = 0; at < compact.all_bytes && !result; at += compact.block_bytes) {
		compact.block_bytes = smaller(16 * PIECE_BYTES, compact.all_bytes - at);
		result = compact_scan(&compact, at, compact.block_bytes, &zero);
		if (!result)
			result = compact_goes_on(&compact, compact.block_bytes);
	}
	compact_fini(&compact);
	return result;
}
