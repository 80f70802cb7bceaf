// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Copies what a differencing image has of its own into an image below it: see merge.h.
 *
 * Several pieces are under way at once, on a loop of its own. No two of them have a sector in common.
 */
#include "storage/merge.h"

#include <stdlib.h>

#define SLOTS 8
#define PIECE_BYTES (UINT64_C(1) << 20)

struct slot {
	struct block_request request; /* first */
	struct merge *merge;
	struct iovec iov;
	bool busy;
};

struct merge {
	struct merge_copy *copy;
	struct io_loop *loop;
	struct slot slots[SLOTS];
	uint64_t at, end;  /* of the range that is looked at */
	uint64_t taken_to; /* in copy->only */
	uint64_t taken_bytes;
	uint32_t busy;
	int error;
};

static void fail(struct merge *merge, int error, const char *path)
{
	if (merge->error)
		return;
	merge->error = error;
	merge->copy->failed_path = path;
}

static void slot_end(struct slot *slot, int result, const struct block_device *device)
{
	if (result)
		fail(slot->merge, result, device->path);
	slot->busy = false;
	slot->merge->busy--;
}

static void written(struct block_request *request, int result)
{
	struct slot *slot = (struct slot *)request;

	slot_end(slot, result, slot->merge->copy->base);
}

static void start(struct slot *slot, enum block_op op, uint64_t at, uint64_t bytes, block_done *done)
{
	struct merge *merge = slot->merge;

	slot->iov.iov_len = bytes;
	slot->request = (struct block_request){
		.op = op, .offset_bytes = at, .length_bytes = bytes, .iov = &slot->iov, .iov_count = 1, .done = done,
	};
	block_submit(op == BLOCK_READ ? merge->copy->child : merge->copy->base, merge->loop, &slot->request);
}

static void was_read(struct block_request *request, int result)
{
	struct slot *slot = (struct slot *)request;

	if (result)
		slot_end(slot, result, slot->merge->copy->child);
	else
		start(slot, BLOCK_WRITE, request->offset_bytes, request->length_bytes, written);
}

/* The next range that may have something of the child's own; false: there is none. */
static bool next_range(struct merge *merge)
{
	uint64_t bytes;

	if (merge->at < merge->end)
		return true;
	if (!merge->copy->only || (merge->copy->take_bytes && merge->taken_bytes >= merge->copy->take_bytes) ||
	    !regions_take(merge->copy->only, &merge->taken_to, &merge->at, &bytes))
		return false;
	merge->taken_bytes += bytes;
	merge->end = merge->at + bytes;
	return true;
}

/* The next extent that the child has of its own. False: there is none, or an error. */
static bool next_extent(struct merge *merge, struct block_extent *extent)
{
	while (next_range(merge)) {
		int result = block_map_own(merge->copy->child, merge->at, extent);

		if (result) {
			fail(merge, result, merge->copy->child->path);
			return false;
		}
		if (extent->length_bytes > merge->end - merge->at)
			extent->length_bytes = merge->end - merge->at;
		if (!extent->inherited)
			return true;
		merge->at += extent->length_bytes;
	}
	return false;
}

/* Starts the next piece. False: there is none, or an error. */
static bool start_piece(struct merge *merge, struct slot *slot)
{
	struct block_extent extent;
	uint64_t at;

	if (!next_extent(merge, &extent))
		return false;
	at = merge->at;
	if (extent.data && extent.length_bytes > PIECE_BYTES - at % PIECE_BYTES)
		extent.length_bytes = PIECE_BYTES - at % PIECE_BYTES;
	slot->busy = true;
	merge->busy++;
	merge->at += extent.length_bytes;
	if (extent.data)
		start(slot, BLOCK_READ, at, extent.length_bytes, was_read);
	else
		start(slot, BLOCK_WRITE_ZEROES, at, extent.length_bytes, written);
	return true;
}

static bool goes_on(const struct merge *merge)
{
	const struct merge_copy *copy = merge->copy;

	return !copy->goes_on || copy->goes_on(copy->context, copy->only ? merge->taken_bytes : merge->at);
}

static void run(struct merge *merge)
{
	bool more = true;

	while (more || merge->busy) {
		for (int i = 0; i < SLOTS && more && !merge->error; i++)
			if (!merge->slots[i].busy)
				more = start_piece(merge, &merge->slots[i]);
		if (!merge->error && !goes_on(merge))
			merge->error = -LIS_CANCELED;
		more = more && !merge->error;
		if (merge->busy)
			io_loop_turn(merge->loop, true);
	}
}

int merge_copy(struct merge_copy *copy)
{
	struct merge merge = { .copy = copy, .end = copy->only ? 0 : copy->child->geometry.size_bytes };
	int result = io_loop_create(NULL, &merge.loop);

	copy->failed_path = NULL;
	if (result)
		return result;
	for (int i = 0; i < SLOTS; i++) {
		merge.slots[i].merge = &merge;
		if (posix_memalign(&merge.slots[i].iov.iov_base, 4096, PIECE_BYTES)) {
			merge.slots[i].iov.iov_base = NULL;
			merge.error = -LIS_NOMEM;
		}
	}
	run(&merge);
	for (int i = 0; i < SLOTS; i++)
		free(merge.slots[i].iov.iov_base);
	io_loop_destroy(merge.loop);
	return merge.error;
}
