// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Images that change their shape: blocks are discarded, what is zero is given back, disks get longer and shorter, beside random requests and a model in
 * memory that says what they must hold. What a crash meanwhile leaves is test_crash.c's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/log.h"
#include "tests/unit/storage/image_model.h"

#define MIB (UINT64_C(1) << 20)
#define MODEL_BYTES_MAX (64 * MIB)

static char path[64];
static char error[BLOCK_ERROR_BYTES];
static struct io_loop *loop;

struct shape {
	const char *format;
	bool fixed;
	uint32_t block_bytes, sector_bytes;
};

static const struct shape shapes[] = {
	{ "raw", false, 0, 0 },
	{ "vhd", true, 0, 0 },
	{ "vhd", false, 512 << 10, 0 },
	{ "vhd", false, 4 << 20, 0 },
	{ "vhdx", true, 1 << 20, 0 },
	{ "vhdx", false, 1 << 20, 0 },
	{ "vhdx", false, 8 << 20, 4096 },
};

static struct block_device *open_disk(void)
{
	struct block_device *device;

	if (block_open(path, NULL, &device, error))
		fail_msg("%s", error);
	return device;
}

static void create_disk(const struct shape *shape, uint64_t bytes)
{
	const struct block_create_options options = {
		.format = shape->format, .size_bytes = bytes, .fixed = shape->fixed,
		.block_bytes = shape->block_bytes, .logical_sector_bytes = shape->sector_bytes,
	};

	unlink(path);
	if (block_create(path, &options, error))
		fail_msg("%s", error);
}

static struct block_device *reopen(struct block_device *device)
{
	assert_int_equal(block_close(device), 0);
	return open_disk();
}

/* ---- discard ---- */

static uint64_t blocks_present(struct block_device *device)
{
	struct block_details details;

	block_describe(device, &details);
	return details.blocks_present;
}

static uint64_t room(uint64_t *out_file_bytes)
{
	struct stat status;

	assert_int_equal(stat(path, &status), 0);
	*out_file_bytes = (uint64_t)status.st_size;
	return (uint64_t)status.st_blocks * 512;
}

static void discard(struct block_device *device, uint64_t from, uint64_t to)
{
	assert_int_equal(block_io(device, loop, BLOCK_DISCARD, 0, from, NULL, to - from), 0);
}

static void discarded_blocks_free_their_room_and_find_it_again(void **state)
{
	const struct shape shape = { "vhdx", false, 1 << 20, 0 };
	uint64_t full_bytes, file_bytes, again_bytes;
	struct model model = { .bytes = calloc(1, MODEL_BYTES_MAX) };
	struct block_device *device;

	create_disk(&shape, 20 * MIB + 4096);
	device = open_disk();
	for (uint64_t at = 0; at < 20 * MIB + 4096; at += 4096) {
		block_pattern(model.bytes + at, 4096, at, 3);
		assert_int_equal(block_io(device, loop, BLOCK_WRITE, 0, at, model.bytes + at, 4096), 0);
	}
	device = reopen(device);
	full_bytes = room(&file_bytes);
	/* One whole block, parts of two; then all to the end, where the last block is a short one. */
	discard(device, 3 * MIB - 8192, 4 * MIB + 4096);
	memset(model.bytes + 3 * MIB - 8192, 0, MIB + 8192 + 4096);
	assert_int_equal(blocks_present(device), 20);
	discard(device, 10 * MIB, 20 * MIB + 4096);
	memset(model.bytes + 10 * MIB, 0, 10 * MIB + 4096);
	assert_int_equal(blocks_present(device), 9);
	assert_int_equal(model_compare(&model, device, loop), 0);
	device = reopen(device);
	assert_int_equal(blocks_present(device), 9);
	assert_true(room(&again_bytes) + 10 * MIB < full_bytes);
	assert_int_equal(model_compare(&model, device, loop), 0);
	/* Written again it takes no more of the file than it did. */
	for (uint64_t at = 0; at < 20 * MIB; at += MIB / 2) {
		block_pattern(model.bytes + at, 4096, at, 4);
		assert_int_equal(block_io(device, loop, BLOCK_WRITE, 0, at, model.bytes + at, 4096), 0);
	}
	assert_int_equal(blocks_present(device), 20);
	assert_int_equal(model_compare(&model, device, loop), 0);
	assert_int_equal(block_close(device), 0);
	room(&again_bytes);
	assert_int_equal(again_bytes, file_bytes);
	free(model.bytes);
}

/* ---- compact ---- */

struct stop {
	uint64_t after; /* so many calls */
};

static bool goes_on(void *context, uint64_t done_bytes, uint64_t all_bytes)
{
	struct stop *stop = context;

	assert_true(done_bytes <= 2 * all_bytes);
	return !stop || stop->after-- > 0;
}

/* Blocks come, some become zero, by all means there are; then nothing is in the file that need not be. */
static void compact_at_random(const struct shape *shape)
{
	struct model model = { .threads = 2, .requests = 150, .flushes = true, .clears = true };
	struct stop stop = { 0 };
	const struct block_compact how = { goes_on, NULL }, stopped = { goes_on, &stop };
	uint64_t file_bytes, state = 11;
	struct block_device *device;

	create_disk(shape, 60 * MIB);
	device = open_disk();
	model.bytes = calloc(1, MODEL_BYTES_MAX);
	for (uint64_t round = 1; round <= 4; round++) {
		uint64_t from = block_random(&state) % 30 * MIB, bytes = 20 * MIB;

		model.device = device;
		model.seed = round;
		assert_int_equal(model_run(&model), 0);
		assert_int_equal(block_io(device, loop, BLOCK_WRITE, 0, from, memset(model.bytes + from, 0, bytes),
					  bytes), 0);
		if (round % 2) {
			stop.after = 2;
			assert_int_equal(block_compact(device, &stopped, error), -LIS_CANCELED);
			assert_int_equal(model_compare(&model, device, loop), 0);
		}
		assert_int_equal(block_compact(device, &how, error), 0);
		if (block_random(&state) % 2)
			device = reopen(device);
		assert_int_equal(model_compare(&model, device, loop), 0);
	}
	/* All of it zero: the file is as one that was just made. */
	memset(model.bytes, 0, 60 * MIB);
	assert_int_equal(block_io(device, loop, BLOCK_WRITE, 0, 0, model.bytes, 60 * MIB), 0);
	assert_int_equal(block_compact(device, &how, error), 0);
	assert_int_equal(block_close(device), 0);
	assert_true(room(&file_bytes) < MIB);
	assert_true(!strcmp(shape->format, "raw") || file_bytes <= 4 * MIB);
	device = open_disk();
	assert_int_equal(model_compare(&model, device, loop), 0);
	assert_int_equal(block_close(device), 0);
	free(model.bytes);
}

static void a_compacted_image_holds_the_same_and_nothing_else(void **state)
{
	struct block_device *device;

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		const struct block_compact how = { goes_on, NULL };

		if (!shapes[i].fixed) {
			compact_at_random(&shapes[i]);
			continue;
		}
		create_disk(&shapes[i], 8 * MIB);
		device = open_disk();
		assert_int_equal(block_compact(device, &how, error), -LIS_UNSUPPORTED);
		assert_non_null(strstr(error, "fixed"));
		assert_int_equal(block_close(device), 0);
	}
}

/* ---- resize ---- */

static void resize_to(struct block_device *device, struct model *model, uint64_t bytes)
{
	uint64_t was_bytes = device->geometry.size_bytes;

	if (block_resize(device, bytes, error))
		fail_msg("%s", error);
	assert_int_equal(device->geometry.size_bytes, bytes);
	if (bytes < was_bytes)
		memset(model->bytes + bytes, 0, was_bytes - bytes);
}

static void resize_at_random(const struct shape *shape)
{
	struct model model = { .threads = 2, .requests = 60, .flushes = true, .clears = true };
	struct block_device *device;
	uint64_t state = 5, unit = shape->sector_bytes ? shape->sector_bytes : 512;

	create_disk(shape, 20 * MIB);
	device = open_disk();
	model.bytes = calloc(1, MODEL_BYTES_MAX);
	for (uint64_t round = 1; round <= 12; round++) {
		model.device = device;
		model.seed = round;
		assert_int_equal(model_run(&model), 0);
		resize_to(device, &model, 8 * MIB + block_random(&state) % (55 * MIB / unit) * unit);
		if (block_random(&state) % 2)
			device = reopen(device);
		assert_int_equal(model_compare(&model, device, loop), 0);
	}
	assert_int_equal(block_close(device), 0);
	device = open_disk();
	assert_int_equal(model_compare(&model, device, loop), 0);
	assert_int_equal(block_close(device), 0);
	free(model.bytes);
}

static void a_disk_keeps_its_contents_while_its_size_changes(void **state)
{
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		resize_at_random(&shapes[i]);
}

static void expect(struct block_device *device, uint64_t at, uint64_t seed)
{
	uint8_t data[8192], expected[8192] = { 0 };

	if (seed)
		block_pattern(expected, sizeof(expected), at, seed);
	assert_int_equal(block_io(device, loop, BLOCK_READ, 0, at, data, sizeof(data)), 0);
	assert_memory_equal(data, expected, sizeof(data));
}

static void put(struct block_device *device, uint64_t at, uint64_t seed)
{
	uint8_t data[8192];

	block_pattern(data, sizeof(data), at, seed);
	assert_int_equal(block_io(device, loop, BLOCK_WRITE, 0, at, data, sizeof(data)), 0);
}

/* 1 TiB and more: the BAT does not fit where it was. Twice, so that it moves from where it went. */
static void a_disk_grows_far_beyond_the_room_of_its_table(void **state)
{
	const uint64_t sizes[] = { 3 * MIB, 1000 * 1024 * MIB, 2040 * 1024 * MIB };

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		struct block_device *device;

		if (shapes[i].fixed)
			continue;
		create_disk(&shapes[i], sizes[0]);
		device = open_disk();
		for (uint64_t k = 0; k < 3; k++) {
			if (k && block_resize(device, sizes[k], error))
				fail_msg("%s", error);
			if (k == 1 && i % 2)
				device = reopen(device);
			put(device, sizes[k] - 8192, k + 1);
			put(device, sizes[k] / 8192 / 2 * 8192, k + 11);
		}
		device = reopen(device);
		for (uint64_t k = 0; k < 3; k++) {
			expect(device, sizes[k] - 8192, k + 1);
			expect(device, sizes[k] / 8192 / 2 * 8192, k + 11);
		}
		expect(device, 5 * MIB, 0);
		expect(device, sizes[2] - MIB, 0);
		assert_int_equal(block_close(device), 0);
	}
}

static void a_file_gets_shorter_with_its_disk(void **state)
{
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		struct block_device *device;
		struct stat status;

		create_disk(&shapes[i], 48 * MIB);
		device = open_disk();
		for (uint64_t at = 0; at < 48 * MIB; at += MIB)
			put(device, at, 1 + at);
		assert_int_equal(block_resize(device, 16 * MIB, error), 0);
		assert_int_equal(block_close(device), 0);
		assert_int_equal(stat(path, &status), 0);
		assert_true(status.st_size < (off_t)(22 * MIB));
		device = open_disk();
		expect(device, 15 * MIB, 1 + 15 * MIB);
		assert_int_equal(block_close(device), 0);
	}
}

static void sizes_that_cannot_be_are_refused(void **state)
{
	const struct block_open_options read_only = { .read_only = true };
	struct block_device *device;

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		create_disk(&shapes[i], 8 * MIB);
		device = open_disk();
		assert_int_equal(block_resize(device, 0, error), -LIS_INVALID);
		assert_int_equal(block_resize(device, 8 * MIB + 100, error), -LIS_INVALID);
		if (!strcmp(shapes[i].format, "vhd")) {
			assert_int_equal(block_resize(device, 2041 * 1024 * MIB, error), -LIS_INVALID);
			assert_non_null(strstr(error, "2040 GiB"));
		}
		if (!strcmp(shapes[i].format, "vhdx")) {
			assert_int_equal(block_resize(device, 65 * MIB * MIB, error), -LIS_INVALID);
			assert_non_null(strstr(error, "64 TiB"));
		}
		assert_int_equal(device->geometry.size_bytes, 8 * MIB);
		assert_int_equal(block_resize(device, 8 * MIB, error), 0);
		put(device, MIB, 7);
		assert_int_equal(block_close(device), 0);
		assert_int_equal(block_open(path, &read_only, &device, error), 0);
		assert_int_equal(block_resize(device, 16 * MIB, error), -LIS_READONLY);
		expect(device, MIB, 7);
		assert_int_equal(block_close(device), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(discarded_blocks_free_their_room_and_find_it_again),
		cmocka_unit_test(a_compacted_image_holds_the_same_and_nothing_else),
		cmocka_unit_test(a_disk_keeps_its_contents_while_its_size_changes),
		cmocka_unit_test(a_disk_grows_far_beyond_the_room_of_its_table),
		cmocka_unit_test(a_file_gets_shorter_with_its_disk),
		cmocka_unit_test(sizes_that_cannot_be_are_refused),
	};
	int failed;

	log_init(OS_LOG_ERROR, NULL, false);
	snprintf(path, sizeof(path), "%s/lis-shape.%d", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm",
		 (int)getpid());
	if (io_loop_create(NULL, &loop))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	io_loop_destroy(loop);
	unlink(path);
	return failed;
}
