// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Copies what a differencing image has of its own into an image below it: see merge.h.
 *
 * Several pieces are under way at once, on a loop of its own. No two of them have a sector in common.
 */
#include "storage/merge.h"

#include <stdlib.h>

#include "io/error.h"
#include "storage/images/image.h"

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

static bool may_go_on(const struct merge *merge)
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
		if (!merge->error && !may_go_on(merge))
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

/* ---- images that nobody uses ---- */

/* The base for writing, and over it the others for reading. */
static int open_chain(char *const *paths, size_t count, struct block_device **out_child, char *error)
{
	struct block_open_options options = { .read_only = false };
	struct block_device *device = NULL;

	while (count--) {
		struct block_device *over;
		int result = block_open(paths[count], &options, &over, error);

		if (result) {
			(void)block_close(device);
			return result;
		}
		device = over;
		options = (struct block_open_options){ .read_only = true, .parent = device };
	}
	*out_child = device;
	return 0;
}

/* The image @levels below @device. */
static struct block_device *below(struct block_device *device, size_t levels)
{
	while (levels--)
		device = device->parent;
	return device;
}

int merge_images(char *const *paths, size_t count, merge_goes_on *goes_on, void *context, char *error)
{
	struct merge_copy copy = { .goes_on = goes_on, .context = context };
	struct block_device *device;
	int result = open_chain(paths, count, &device, error), closed;

	if (result)
		return result;
	copy.base = below(device, count - 1);
	block_begin_merge(below(device, count - 2));
	for (size_t left = count - 1; left && !result; left--) {
		copy.child = below(device, left - 1);
		result = merge_copy(&copy);
	}
	if (result)
		image_error(error, result, copy.failed_path ? copy.failed_path : copy.child->path,
			    "merging stopped: %s; it can be run again", lis_error_text(result));
	closed = block_close(device); /* and what is below it, the base durably */
	if (closed && !result)
		result = image_error(error, closed, paths[count - 1], "cannot be written: %s; the merge can be run "
				     "again", lis_error_text(closed));
	return result;
}
