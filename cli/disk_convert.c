// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * `lis disk convert`: copies a disk from any format to any other. Several pieces are under way at a
 * time, each in a slot that reads, drops what is zero, and writes the rest. Holes are not even read.
 *
 * A new image reads as zero. What is there already, an NBD server's export or a host's block device, is
 * written over: what is zero is cleared there, and what is behind the end of the disk stays.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/disk.h"
#include "cli/exit.h"
#include "cli/progress.h"
#include "io/error.h"
#include "storage/images/image.h"
#include "storage/images/nbd.h"

#define SLOTS 16
#define PIECE_BYTES (UINT64_C(1) << 20)
#define GRAIN_BYTES 4096u       /* [policy] zeroes shorter than this are written */
#define OVER_GRAIN_BYTES 65536u /* [policy] the same where clearing is a request */
#define OVER_ZERO_BYTES (UINT64_C(64) << 20) /* [policy] cleared by one request */
#define FLUSH_BYTES (UINT64_C(64) << 20) /* [policy] written before they are sent to the disk, while it goes on */

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
	struct block_request flush; /* first */
	struct block_device *from, *to;
	struct io_loop *loop;
	struct slot slots[SLOTS];
	bool flushing;
	uint64_t unflushed_bytes;
	uint64_t at;        /* next place to look for data */
	uint64_t data_to;   /* up to where it is known to be data */
	bool over;          /* @to has contents already */
	uint32_t grain_bytes;
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
	uint32_t grain_bytes = slot->copy->grain_bytes;

	return slot->bytes - at < grain_bytes ? slot->bytes - at : grain_bytes;
}

/* The end of what is, or is not, zero from @from on. */
static uint64_t run_end(const struct slot *slot, uint64_t from, bool zero)
{
	while (from < slot->bytes && image_is_zero(slot->data + from, grain(slot, from)) == zero)
		from += grain(slot, from);
	return from;
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

/* Writes, or clears, the next run of the piece; at its end the slot is free. */
static void slot_write(struct slot *slot)
{
	uint64_t from = slot->next, to = run_end(slot, from, true);
	enum block_op op = BLOCK_WRITE_ZEROES;

	if (from == to || !slot->copy->over) {
		from = to;
		to = run_end(slot, from, false);
		op = BLOCK_WRITE;
	}
	slot->next = to;
	if (from == to) {
		slot_free(slot);
		return;
	}
	slot->request.done = write_done;
	if (op == BLOCK_WRITE)
		slot->copy->unflushed_bytes += to - from;
	start(slot, op, slot->at + from, slot->data + from, to - from);
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

/* Looks what comes next, in whole sectors of both disks. @out_zero: so much is; 0: it is data up to data_to */
static bool look_ahead(struct copy *copy, uint64_t *out_zero)
{
	uint64_t sector_bytes = copy->to->geometry.logical_sector_bytes;
	struct block_extent extent;
	int result = block_map(copy->from, copy->at, &extent);

	if (result) {
		fail(copy, result, copy->from->path);
		return false;
	}
	*out_zero = extent.data ? 0 : extent.length_bytes - extent.length_bytes % sector_bytes;
	if (!*out_zero)
		copy->data_to = copy->at + (extent.length_bytes + sector_bytes - 1) / sector_bytes * sector_bytes;
	return true;
}

/* Finds the next piece that is to be read, or cleared. Returns false at the end or on an error. */
static bool next_piece(struct copy *copy, uint64_t *out_at, uint64_t *out_bytes, bool *out_zero)
{
	uint64_t size_bytes = copy->from->geometry.size_bytes, zero_bytes;

	*out_zero = false;
	while (copy->at < size_bytes && copy->at >= copy->data_to) {
		if (!look_ahead(copy, &zero_bytes))
			return false;
		if (zero_bytes && copy->over) {
			*out_zero = true;
			*out_at = copy->at;
			*out_bytes = zero_bytes < OVER_ZERO_BYTES ? zero_bytes : OVER_ZERO_BYTES;
			copy->at += *out_bytes;
			return true;
		}
		copy->at += zero_bytes;
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

static void flush_done(struct block_request *request, int result)
{
	struct copy *copy = (struct copy *)request;

	if (result)
		fail(copy, result, NULL);
	copy->flushing = false;
}

/* In the end all has to be on the disk; it shall not wait until then to begin. */
static void start_flush(struct copy *copy)
{
	if (copy->flushing || copy->unflushed_bytes < FLUSH_BYTES || copy->error)
		return;
	copy->flushing = true;
	copy->unflushed_bytes = 0;
	copy->flush = (struct block_request){ .op = BLOCK_FLUSH, .done = flush_done };
	block_submit(copy->to, copy->loop, &copy->flush);
}

static void start_slots(struct copy *copy)
{
	for (int i = 0; i < SLOTS && !copy->error && !disk_interrupted(); i++) {
		struct slot *slot = &copy->slots[i];
		bool zero;

		if (slot->busy)
			continue;
		if (!next_piece(copy, &slot->at, &slot->bytes, &zero))
			return;
		slot->busy = true;
		copy->busy++;
		slot->next = slot->bytes;
		slot->request.done = zero ? write_done : read_done;
		start(slot, zero ? BLOCK_WRITE_ZEROES : BLOCK_READ, slot->at, slot->data, slot->bytes);
	}
}

static void run(struct copy *copy)
{
	for (;;) {
		start_slots(copy);
		start_flush(copy);
		if (!copy->busy && !copy->flushing) {
			if (copy->error || disk_interrupted() || copy->at >= copy->from->geometry.size_bytes)
				break;
			continue;
		}
		io_loop_turn(copy->loop, true);
		progress_show(&copy->progress, copy->at, copy->from->geometry.size_bytes);
	}
	progress_end(&copy->progress);
}

static int copy_disk(struct block_device *from, struct block_device *to, const char *to_path, bool over, bool quiet)
{
	struct copy copy = { .from = from, .to = to, .over = over,
			     .grain_bytes = over ? OVER_GRAIN_BYTES : GRAIN_BYTES };
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
	const struct block_open_options open_options = { .format = format, .bulk = true };
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
	status = copy_disk(from, to, target.path, false, options->quiet);
	result = block_close(to);
	if (result && !status)
		status = complain("%s: cannot be written: %s", target.path, lis_error_text(result));
	if (!status)
		return disk_target_finish(&target) ? LIS_EXIT_ERROR : LIS_EXIT_OK;
	disk_target_drop(&target);
	return status;
}

/* ---- over what is there ---- */

static bool is_there(const char *path)
{
	struct stat status;

	return nbd_is_uri(path) || (stat(path, &status) == 0 && S_ISBLK(status.st_mode));
}

/* Can the disk go onto @to, whose contents it costs? */
static int check_over(const struct block_device *from, const struct block_device *to)
{
	uint64_t from_bytes = from->geometry.size_bytes, to_bytes = to->geometry.size_bytes;

	if (from_bytes > to_bytes)
		return complain("%s: has %llu bytes, too few for the %llu of %s", to->path,
				(unsigned long long)to_bytes, (unsigned long long)from_bytes, from->path);
	if (from_bytes % to->geometry.logical_sector_bytes)
		return complain("%s: has sectors of %u bytes, and %s is no whole number of them", to->path,
				to->geometry.logical_sector_bytes, from->path);
	return LIS_EXIT_OK;
}

static int convert_over(struct block_device *from, const struct disk_options *options)
{
	const struct block_open_options open_options = { .format = "raw" };
	const char *path = options->paths[1];
	char error[BLOCK_ERROR_BYTES];
	struct block_device *to;
	int status, result;

	if (!options->force)
		return complain("%s: is there already (--force writes over what is on it)", path);
	if (!strcmp(options->paths[0], path))
		return complain("%s: cannot be written while it is read", path);
	if (block_open(path, &open_options, &to, error))
		return complain("%s", error);
	status = check_over(from, to);
	disk_catch_signals();
	if (!status)
		status = copy_disk(from, to, path, true, options->quiet);
	result = block_close(to);
	if (result && !status)
		status = complain("%s: cannot be written: %s", path, lis_error_text(result));
	if (!status && disk_interrupted())
		status = complain("%s: interrupted, written in part only", path);
	return status;
}

int disk_convert(const struct disk_options *options)
{
	const struct block_open_options open_options = { .read_only = true };
	bool over = is_there(options->paths[1]);
	const char *format = over ? "raw" : disk_format(options, options->paths[1]);
	char error[BLOCK_ERROR_BYTES];
	struct block_device *from;
	int status;

	if (!format)
		return LIS_EXIT_USAGE;
	if (over && (options->fixed || options->block_bytes || (options->format && strcmp(options->format, "raw")))) {
		complain("%s: gets the bytes of the disk; there is no choice of a format", options->paths[1]);
		return LIS_EXIT_USAGE;
	}
	if (block_open(options->paths[0], &open_options, &from, error))
		return complain("%s", error);
	status = over ? convert_over(from, options) : convert(from, options, format);
	(void)block_close(from);
	return status;
}
