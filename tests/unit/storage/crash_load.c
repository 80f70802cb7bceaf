// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Load on an image, and what must be left of it: see crash_load.h.
 *
 * Operations are numbered. A sector holds the number of the one that wrote it, or is zero; for each there
 * is a promise, which numbers it may hold.
 */
#include "tests/unit/storage/crash_load.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/storage/block_io.h"
#include "tests/unit/storage/power_cut.h"
#include "tests/unit/storage/sim_io.h"

#define SECTOR 512u

/* Places on the disk that are written: far apart, so that many blocks and BAT sectors have a part in it. */
#define SPOTS 80u
#define SPOT_SECTORS 24u
#define SECTORS (SPOTS * SPOT_SECTORS)
#define IN_FLIGHT 6

struct promise {
	uint64_t issued;  /* newest operation on it */
	uint64_t done;    /* newest completed one */
	uint64_t flushed; /* this one, or a newer one, must be found */
	uint64_t zeroed;  /* newest operation that made it zero */
};

struct op {
	struct block_request request; /* first */
	struct iovec iov;
	bool active;
	uint64_t number;
	uint32_t first, count; /* sectors, as in promises */
	uint64_t *snapshot;    /* FLUSH: what was done when it began */
	uint8_t data[SPOT_SECTORS * SECTOR];
};

static struct {
	const struct crash_image *image;
	struct promise promises[SECTORS];
	struct op ops[IN_FLIGHT];
	uint64_t operation;
	struct io_loop *loops[2], *check_loop;
	struct block_device *device;
	bool faults;
	uint64_t failed;   /* requests */
	const char *opens; /* crash_opens() */
} load;

static char error[BLOCK_ERROR_BYTES];

/* ---- what each sector may hold ---- */

static void fill(uint8_t *sector, uint64_t number, uint64_t index)
{
	for (uint32_t i = 0; i < SECTOR / 16; i++) {
		memcpy(sector + 16 * i, &number, 8);
		memcpy(sector + 16 * i + 8, &index, 8);
	}
}

static void check_sector(const uint8_t *sector, uint64_t index)
{
	const struct promise *promise = &load.promises[index];
	unsigned long long state = power_cut_state(), number;
	uint8_t expected[SECTOR];

	memcpy(&number, sector, 8);
	if (number)
		fill(expected, number, index);
	else
		memset(expected, 0, SECTOR);
	if (memcmp(sector, expected, SECTOR))
		fail_msg("%s, state %llu: sector %u holds what was never written there", load.image->name,
			 state, (unsigned)index);
	if (number > promise->issued)
		fail_msg("%s, state %llu: sector %u comes from the future", load.image->name, state,
			 (unsigned)index);
	if (number ? number < promise->flushed : promise->flushed && promise->zeroed < promise->flushed)
		fail_msg("%s, state %llu: sector %u lost what was flushed: %llu instead of %llu",
			 load.image->name, state, (unsigned)index, number,
			 (unsigned long long)promise->flushed);
}

static uint64_t spot_offset(uint32_t spot)
{
	return spot * (load.image->size_bytes / SPOTS / SECTOR) * SECTOR;
}

static uint64_t disk_offset(uint32_t index)
{
	return spot_offset(index / SPOT_SECTORS) + index % SPOT_SECTORS * SECTOR;
}

static void check_contents(struct block_device *device)
{
	static uint8_t data[SPOT_SECTORS * SECTOR];

	for (uint32_t spot = 0; spot < SPOTS; spot++) {
		int result = block_io(device, load.check_loop, BLOCK_READ, 0, spot_offset(spot), data, sizeof(data));

		if (result)
			fail_msg("%s, state %llu: reading failed: %d", load.image->name,
				 (unsigned long long)power_cut_state(), result);
		for (uint32_t i = 0; i < SPOT_SECTORS; i++)
			check_sector(data + i * SECTOR, spot * SPOT_SECTORS + i);
	}
}

/* ---- opening ---- */

static const char *image_path(const char *folder)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", folder, load.opens ? load.opens : "");
	if (load.opens && access(path, F_OK) == 0)
		return path;
	for (int i = 3; i >= 0; i--) {
		if (!load.image->files[i])
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, load.image->files[i]);
		if (!i || access(path, F_OK) == 0)
			break;
	}
	return path;
}

static struct block_device *open_image(const char *folder, bool read_only)
{
	struct block_open_options options = { .read_only = read_only };
	struct block_device *device;

	if (block_open(image_path(folder), &options, &device, error))
		fail_msg("%s, state %llu: %s", load.image->name, (unsigned long long)power_cut_state(), error);
	return device;
}

static void open_and_check(const char *folder, bool read_only, bool contents)
{
	struct block_device *device = open_image(folder, read_only);

	if (contents)
		check_contents(device);
	if (block_close(device))
		fail_msg("%s, state %llu: closing failed", load.image->name,
			 (unsigned long long)power_cut_state());
}

/* Whoever opened it for writing has mended what there was to mend. */
static void check_clean(const char *folder)
{
	struct block_device *device = open_image(folder, true);
	struct block_details details;

	block_describe(device, &details);
	if (details.problems[0])
		fail_msg("%s, state %llu: still has a problem: %s", load.image->name,
			 (unsigned long long)power_cut_state(), details.problems[0]);
	assert_int_equal(block_close(device), 0);
}

static void check_state(const char *folder, void *context)
{
	bool all = power_cut_state() % 4 == 0;

	/* What a reader sees of a file that nobody mended, and of one that was. */
	if (all)
		open_and_check(folder, true, true);
	if (load.image->again)
		load.image->again(folder, load.image);
	open_and_check(folder, false, true);
	if (all)
		open_and_check(folder, true, true);
	check_clean(folder);
}

/* ---- work ---- */

static void op_done(struct block_request *request, int result)
{
	struct op *op = (struct op *)request;

	assert_true(op->active);
	op->active = false;
	if (result) {
		/* What it had to write may be there or not. */
		assert_true(load.faults);
		load.failed++;
		free(op->snapshot);
		op->snapshot = NULL;
		return;
	}
	if (request->op == BLOCK_FLUSH) {
		for (uint32_t i = 0; i < SECTORS; i++)
			if (load.promises[i].flushed < op->snapshot[i])
				load.promises[i].flushed = op->snapshot[i];
		free(op->snapshot);
		op->snapshot = NULL;
		return;
	}
	for (uint32_t i = op->first; i < op->first + op->count; i++) {
		load.promises[i].done = op->number;
		if (request->flags & BLOCK_WRITE_FUA)
			load.promises[i].flushed = op->number;
	}
}

static bool overlaps(uint32_t first, uint32_t count)
{
	for (int i = 0; i < IN_FLIGHT; i++)
		if (load.ops[i].active && load.ops[i].count && first < load.ops[i].first + load.ops[i].count &&
		    load.ops[i].first < first + count)
			return true;
	return false;
}

static void start_flush(struct op *op)
{
	op->request.op = BLOCK_FLUSH;
	op->count = 0;
	op->snapshot = malloc(SECTORS * sizeof(uint64_t));
	assert_non_null(op->snapshot);
	for (uint32_t i = 0; i < SECTORS; i++)
		op->snapshot[i] = load.promises[i].done;
}

static enum block_op op_of(uint64_t kind)
{
	if (kind < 80)
		return BLOCK_WRITE;
	/* Where discarding promises nothing there is nothing to check. */
	return kind >= 87 && load.device->geometry.discard_zeroes ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES;
}

/* A spot, with all of the block around it. */
static void widen(struct block_request *request)
{
	request->offset_bytes &= ~(uint64_t)(load.image->block_bytes - 1);
	request->length_bytes = load.image->block_bytes;
}

static bool start_change(struct op *op, uint64_t kind)
{
	uint32_t spot = (uint32_t)sim_pick(SPOTS), from = (uint32_t)sim_pick(SPOT_SECTORS);
	bool whole = kind >= 90 && load.image->block_bytes;

	op->first = spot * SPOT_SECTORS + (whole ? 0 : from);
	op->count = whole ? SPOT_SECTORS : 1 + (uint32_t)sim_pick(SPOT_SECTORS - from);
	if (overlaps(op->first, op->count))
		return false;
	op->number = ++load.operation;
	op->request.op = op_of(kind);
	op->request.flags = kind % 8 == 0 && op->request.op != BLOCK_DISCARD ? BLOCK_WRITE_FUA : 0;
	op->request.offset_bytes = disk_offset(op->first);
	op->request.length_bytes = op->count * SECTOR;
	if (whole)
		widen(&op->request);
	op->iov = (struct iovec){ op->data, op->count * SECTOR };
	op->request.iov = &op->iov;
	op->request.iov_count = 1;
	for (uint32_t i = 0; i < op->count; i++) {
		fill(op->data + i * SECTOR, op->number, op->first + i);
		load.promises[op->first + i].issued = op->number;
		if (op->request.op != BLOCK_WRITE)
			load.promises[op->first + i].zeroed = op->number;
	}
	return true;
}

static void start_one(void)
{
	struct op *op = &load.ops[sim_pick(IN_FLIGHT)];
	uint64_t kind = sim_pick(100);

	if (op->active)
		return;
	memset(&op->request, 0, sizeof(op->request));
	op->request.done = op_done;
	if (kind >= 93)
		start_flush(op);
	else if (!start_change(op, kind))
		return;
	op->active = true;
	block_submit(load.device, load.loops[sim_pick(2)], &op->request);
}

/* A disk that is full for a while, a bad sector, a short result. */
static void maybe_fault(void)
{
	static const int errors[] = { ENOSPC, EIO, 0 };
	struct sim_fault fault = {
		.kinds = 1 + (unsigned)sim_pick(15),
		.skip = sim_pick(3),
		.count = 1 + sim_pick(4),
		.posix = errors[sim_pick(3)],
	};

	/* A flush that fails spoils the rest of a run, as it must. */
	if (sim_pick(8))
		fault.kinds &= ~(unsigned)SIM_FLUSH;
	sim_fault(&fault);
}

void crash_opens(const char *file)
{
	load.opens = file;
}

void crash_step(void)
{
	if (load.faults && sim_pick(20) == 0)
		maybe_fault();
	if (sim_pick(3) == 0)
		start_one();
	else
		io_loop_turn(load.loops[sim_pick(2)], false);
}

static bool during(bool front)
{
	return front && load.image->during();
}

static void work(const char *folder, uint32_t steps, bool front)
{
	int left = 1, result;

	front = front && load.image->front;
	load.device = open_image(folder, false);
	if (front)
		load.device = load.image->front(load.image, load.device, load.loops);
	for (uint32_t step = 0; step < steps; step++) {
		(void)during(front);
		crash_step();
	}
	while (left) {
		left = during(front); /* which may begin more */
		left += io_loop_turn(load.loops[0], false) + io_loop_turn(load.loops[1], false);
	}
	for (int i = 0; i < IN_FLIGHT; i++)
		assert_false(load.ops[i].active);
	sim_fault(NULL);
	result = block_close(load.device);
	assert_true(load.faults || !result);
	/* Where closing failed what was not flushed may be lost for good: nothing that follows promises it again. */
	for (uint32_t i = 0; i < SECTORS; i++) {
		if (result)
			load.promises[i].done = load.promises[i].flushed;
		else
			load.promises[i].flushed = load.promises[i].done;
	}
}

uint64_t crash_load(const struct crash_image *image, const struct crash_run *run)
{
	const struct power_cut cut = {
		.check = check_state,
		.combine = run->combine,
		.samples = run->samples,
	};
	const char *folder;
	char path[256];
	uint64_t states;

	memset(&load, 0, sizeof(load));
	load.image = image;
	load.faults = run->faults;
	for (int i = 0; i < 2; i++)
		assert_int_equal(io_loop_create(NULL, &load.loops[i]), 0);
	assert_int_equal(io_loop_create(NULL, &load.check_loop), 0);
	sim_seed(run->seed);
	power_cut_setup();
	folder = power_cut_folder();
	snprintf(path, sizeof(path), "%s/%s", folder, image->files[0]);
	image->make(path, image);
	if (image->derive || image->change)
		work(folder, run->steps, false);
	if (image->derive)
		image->derive(folder, image);
	if (image->derive && image->change)
		work(folder, run->steps, false);
	power_cut_begin(&cut);
	if (image->change)
		image->change(folder, image);
	else
		work(folder, run->steps, true);
	power_cut_now();
	states = power_cut_end();
	assert_true(!run->faults || load.failed);
	open_and_check(folder, true, true);
	check_clean(folder);
	power_cut_teardown();
	for (int i = 0; i < 2; i++)
		io_loop_destroy(load.loops[i]);
	io_loop_destroy(load.check_loop);
	return states;
}

void crash_make(const char *path, const struct crash_image *image)
{
	struct block_create_options options = *(const struct block_create_options *)image->context;

	options.size_bytes = image->size_bytes;
	if (block_create(path, &options, error))
		fail_msg("%s", error);
}

void crash_derive(const char *folder, const struct crash_image *image)
{
	const struct block_open_options read_only = { .read_only = true };
	struct block_create_options options = *(const struct block_create_options *)image->context;
	char base[128], child[128];

	snprintf(base, sizeof(base), "%s/%s", folder, image->files[0]);
	snprintf(child, sizeof(child), "%s/%s", folder, image->files[1]);
	if (block_open(base, &read_only, &options.parent, error) || block_create(child, &options, error))
		fail_msg("%s", error);
	assert_int_equal(block_close(options.parent), 0);
}
