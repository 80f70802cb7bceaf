// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * `lis disk convert`: copies a disk from any format to any other. Several pieces are under way at a
 * time, each in a slot that reads, drops what is zero, and writes the rest. Holes are not even read.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/disk.h"
#include "cli/exit.h"
#include "cli/progress.h"
#include "io/error.h"
#include "storage/images/image.h"

#define SLOTS 8
#define PIECE_BYTES (UINT64_C(1) << 20)
#define GRAIN_BYTES 4096u       /* [policy] zeroes shorter than this are written */

struct copy;

struct slot {
	struct block_request request; /* first */
	struct copy *copy;
	struct iovec iov;
	uint8_t *data;
	uint64_t at, bytes; /* of the piece */
	uint64_t next;      /* in the piece: where to look for what must be written */
	bool busy;
};

struct copy {
	struct block_device *from, *to;
	struct io_loop *loop;
	struct slot slots[SLOTS];
	uint64_t at;        /* next place to look for data */
	uint64_t data_to;   /* up to where it is known to be data */
	uint32_t busy;
	int error;
	const char *error_path;
	struct progress progress;
};

static void fail(struct copy *copy, int error, const char *path)
{
	if (!copy->error) {
		copy->error = error;
		copy->error_path = path;
	}
}

/* ---- slots ---- */

static uint64_t grain(const struct slot *slot, uint64_t at)
{
	return slot->bytes - at < GRAIN_BYTES ? slot->bytes - at : GRAIN_BYTES;
}

static void slot_free(struct slot *slot)
{
	slot->busy = false;
	slot->copy->busy--;
}

static void slot_write(struct slot *slot);

static void write_done(struct block_request *request, int result)
{
	struct slot *slot = (struct slot *)request;

	if (result)
		fail(slot->copy, result, NULL);
	if (slot->copy->error)
		slot_free(slot);
	else
		slot_write(slot);
}

static void start(struct slot *slot, enum block_op op, uint64_t at, uint8_t *data, uint64_t bytes)
{
	struct copy *copy = slot->copy;

	slot->iov = (struct iovec){ data, bytes };
	slot->request = (struct block_request){
		.op = op, .offset_bytes = at, .length_bytes = bytes, .iov = &slot->iov, .iov_count = 1,
		.done = slot->request.done,
	};
	block_submit(op == BLOCK_READ ? copy->from : copy->to, copy->loop, &slot->request);
}

/* Writes the next run of the piece that is not zero; at its end the slot is free. */
static void slot_write(struct slot *slot)
{
	uint64_t from = slot->next, to;

	while (from < slot->bytes && image_is_zero(slot->data + from, grain(slot, from)))
		from += grain(slot, from);
	for (to = from; to < slot->bytes && !image_is_zero(slot->data + to, grain(slot, to));)
		to += grain(slot, to);
	slot->next = to;
	if (from == to) {
		slot_free(slot);
		return;
	}
	slot->request.done = write_done;
	start(slot, BLOCK_WRITE, slot->at + from, slot->data + from, to - from);
}

static void read_done(struct block_request *request, int result)
{
	struct slot *slot = (struct slot *)request;

	if (result)
		fail(slot->copy, result, slot->copy->from->path);
	slot->next = 0;
	if (slot->copy->error)
		slot_free(slot);
	else
		slot_write(slot);
}

/* Finds the next piece with data. Returns false at the end or on an error. */
static bool next_piece(struct copy *copy, uint64_t *out_at, uint64_t *out_bytes)
{
	uint64_t size_bytes = copy->from->geometry.size_bytes;

	while (copy->at < size_bytes && copy->at >= copy->data_to) {
		struct block_extent extent;
		int result = block_map(copy->from, copy->at, &extent);

		if (result) {
			fail(copy, result, copy->from->path);
			return false;
		}
		if (extent.data)
			copy->data_to = copy->at + extent.length_bytes;
		else
			copy->at += extent.length_bytes;
	}
	if (copy->at >= size_bytes)
		return false;
	*out_at = copy->at;
	/* Pieces end where pieces end in a disk without holes: blocks of the new image do too. */
	*out_bytes = PIECE_BYTES - copy->at % PIECE_BYTES;
	if (*out_bytes > copy->data_to - copy->at)
		*out_bytes = copy->data_to - copy->at;
	copy->at += *out_bytes;
	return true;
}

/* ---- the whole ---- */

static void start_slots(struct copy *copy)
{
	for (int i = 0; i < SLOTS && !copy->error && !disk_interrupted(); i++) {
		struct slot *slot = &copy->slots[i];

		if (slot->busy)
			continue;
		if (!next_piece(copy, &slot->at, &slot->bytes))
			return;
		slot->busy = true;
		copy->busy++;
		slot->request.done = read_done;
		start(slot, BLOCK_READ, slot->at, slot->data, slot->bytes);
	}
}

static void run(struct copy *copy)
{
	for (;;) {
		start_slots(copy);
		if (!copy->busy) {
			if (copy->error || disk_interrupted() || copy->at >= copy->from->geometry.size_bytes)
				break;
			continue;
		}
		io_loop_turn(copy->loop, true);
		progress_show(&copy->progress, copy->at, copy->from->geometry.size_bytes);
	}
	progress_end(&copy->progress);
}

static int copy_disk(struct block_device *from, struct block_device *to, const char *to_path, bool quiet)
{
	struct copy copy = { .from = from, .to = to };
	int result = io_loop_create(NULL, &copy.loop);

	if (result)
		return complain("no I/O ring: %s", lis_error_text(result));
	progress_begin(&copy.progress, quiet);
	for (int i = 0; i < SLOTS && !copy.error; i++) {
		copy.slots[i].copy = &copy;
		if (posix_memalign((void **)&copy.slots[i].data, 4096, PIECE_BYTES)) {
			copy.slots[i].data = NULL;
			fail(&copy, -LIS_NOMEM, NULL);
		}
	}
	run(&copy);
	for (int i = 0; i < SLOTS; i++)
		free(copy.slots[i].data);
	io_loop_destroy(copy.loop);
	if (copy.error)
		return complain("%s: %s: %s", copy.error_path ? copy.error_path : to_path,
				copy.error_path ? "cannot be read" : "cannot be written",
				lis_error_text(copy.error));
	return LIS_EXIT_OK;
}

static int convert(struct block_device *from, const struct disk_options *options, const char *format)
{
	struct block_create_options create = {
		.format = format,
		.size_bytes = from->geometry.size_bytes,
		.block_bytes = options->block_bytes,
		.fixed = options->fixed,
		.logical_sector_bytes = strcmp(format, "vhdx") ? 0 : from->geometry.logical_sector_bytes,
	};
	const struct block_open_options open_options = { .format = format };
	char error[BLOCK_ERROR_BYTES];
	struct disk_target target;
	struct block_device *to;
	int status, result;

	if (disk_target_begin(&target, options->paths[1], options->force, &create))
		return LIS_EXIT_ERROR;
	if (block_open(target.temporary, &open_options, &to, error)) {
		disk_target_drop(&target);
		return complain("%s", error);
	}
	status = copy_disk(from, to, target.path, options->quiet);
	result = block_close(to);
	if (result && !status)
		status = complain("%s: cannot be written: %s", target.path, lis_error_text(result));
	if (!status)
		return disk_target_finish(&target) ? LIS_EXIT_ERROR : LIS_EXIT_OK;
	disk_target_drop(&target);
	return status;
}

int disk_convert(const struct disk_options *options)
{
	const struct block_open_options open_options = { .read_only = true };
	const char *format = disk_format(options, options->paths[1]);
	char error[BLOCK_ERROR_BYTES];
	struct block_device *from;
	int status;

	if (!format)
		return LIS_EXIT_USAGE;
	if (block_open(options->paths[0], &open_options, &from, error))
		return complain("%s", error);
	status = convert(from, options, format);
	(void)block_close(from);
	return status;
}
