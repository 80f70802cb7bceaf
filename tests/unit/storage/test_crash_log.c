// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Power cuts while the log of a VHDX file, full of entries as long as they may get, begins anew, also
 * where its header cannot be written the first few times, or at all: what a flush has acknowledged stays.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "storage/block.h"
#include "storage/images/vhdx_internal.h"
#include "tests/unit/storage/block_io.h"
#include "tests/unit/storage/power_cut.h"
#include "tests/unit/storage/sim_io.h"
#include "tests/unit/storage/vhdx_make.h"
#include "vmbus/os.h"

#define MIB (UINT64_C(1) << 20)
#define BAT_SECTORS 32u   /* of the disk; an entry has all of them, so seven fill the log */
#define ENTRY_BLOCKS 512u /* in one of them */
#define FLUSHES 24u

static struct block_device *device;
static struct io_loop *loop;
static char error[BLOCK_ERROR_BYTES];
static uint32_t acknowledged; /* flushes */
static uint64_t sizes[2];     /* that the disk may have, in bytes */
static char path[256];        /* of the disk */

static const struct block_create_options dynamic = {
	.format = "vhdx", .block_bytes = 1 << 20, .size_bytes = BAT_SECTORS * ENTRY_BLOCKS * MIB,
};

/* In place of io/log.c's. */
void os_log(enum os_log_level level, const char *format, ...)
{
}

/* Block @flush of each sector of the BAT. */
static uint64_t place(uint32_t sector, uint32_t flush)
{
	return (uint64_t)(sector * ENTRY_BLOCKS + flush) * MIB;
}

/* A disk of which nothing is acknowledged yet. */
static void new_disk(uint64_t seed, const struct block_create_options *options)
{
	sim_seed(seed);
	power_cut_setup();
	acknowledged = 0;
	sizes[0] = sizes[1] = options->size_bytes;
	snprintf(path, sizeof(path), "%s/disk.vhdx", power_cut_folder());
	assert_int_equal(block_create(path, options, error), 0);
}

static struct block_device *open_in(const char *folder)
{
	struct block_device *opened;
	char there[256];

	snprintf(there, sizeof(there), "%s/disk.vhdx", folder);
	if (block_open(there, NULL, &opened, error))
		fail_msg("state %llu: %s", (unsigned long long)power_cut_state(), error);
	return opened;
}

static void check(const char *folder, void *context)
{
	struct block_device *left = open_in(folder);
	struct io_loop *own;
	uint8_t data[512];

	assert_true(left->geometry.size_bytes == sizes[0] || left->geometry.size_bytes == sizes[1]);
	assert_int_equal(io_loop_create(NULL, &own), 0);
	for (uint32_t flush = 0; flush < acknowledged; flush++) {
		for (uint32_t sector = 0; sector < BAT_SECTORS; sector++) {
			assert_int_equal(block_io(left, own, BLOCK_READ, 0, place(sector, flush), data, sizeof(data)), 0);
			if (data[0] != flush + 1 || data[511] != flush + 1)
				fail_msg("state %llu: flush %u of %u is lost",
					 (unsigned long long)power_cut_state(), flush, acknowledged);
		}
	}
	io_loop_destroy(own);
	block_close(left);
}

/* Writes what belongs to the next flush, and flushes. */
static int flush_next(void)
{
	uint8_t data[512];
	int result = 0;

	memset(data, (int)acknowledged + 1, sizeof(data));
	for (uint32_t sector = 0; sector < BAT_SECTORS && !result; sector++)
		result = block_io(device, loop, BLOCK_WRITE, 0, place(sector, acknowledged), data, sizeof(data));
	if (!result)
		result = block_io(device, loop, BLOCK_FLUSH, 0, 0, NULL, 0);
	if (!result)
		acknowledged++;
	return result;
}

/* Whenever a header is written, that fails @failures times before it goes well. Returns how often that was too much. */
static unsigned run(uint64_t failures)
{
	const struct sim_fault fault = { .kinds = SIM_WRITE, .count = failures, .posix = EIO,
					 .from_bytes = VHDX_HEADER1_OFFSET, .to_bytes = VHDX_REGION_TABLE1_OFFSET };
	const struct power_cut cut = { check, NULL, .combine = 3, .samples = 4 };
	uint64_t states;
	unsigned opened_again = 0;

	new_disk(failures + 1, &dynamic);
	assert_int_equal(io_loop_create(NULL, &loop), 0);
	power_cut_begin(&cut);
	device = open_in(power_cut_folder());
	while (acknowledged < FLUSHES) {
		uint64_t seen, tries = failures;

		sim_fault(failures ? &fault : NULL);
		while (flush_next() && tries-- > 0)
			;
		seen = sim_faults_seen();
		sim_fault(NULL);
		assert_true(seen || tries == failures);
		if (!seen)
			continue;
		/* It failed as often as it could; then it goes on, or wants to be opened anew. */
		power_cut_now();
		if (flush_next()) {
			opened_again++;
			block_close(device);
			device = open_in(power_cut_folder());
			assert_int_equal(flush_next(), 0);
		}
	}
	assert_int_equal(block_close(device), 0);
	power_cut_now();
	states = power_cut_end();
	io_loop_destroy(loop);
	power_cut_teardown();
	print_message("%llu crash states\n", (unsigned long long)states);
	assert_true(states > 100);
	return opened_again;
}

static void a_log_begins_anew(void **state)
{
	assert_int_equal(run(0), 0);
}

static void a_header_that_fails_once_is_written_again(void **state)
{
	assert_int_equal(run(1), 0);
}

static void a_header_that_fails_twice_is_written_again(void **state)
{
	assert_int_equal(run(2), 0);
}

static void a_header_that_fails_for_good_leaves_the_log_before_as_it_is(void **state)
{
	assert_true(run(20) > 1);
}

static void assert_log_empty(void)
{
	static const struct guid zero_guid;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct vhdx_header header;

	assert_true(fd >= 0);
	header = make_current_header(fd);
	assert_int_equal(guid_compare(&header.log_guid, &zero_guid), 0);
	close(fd);
}

/*
 * A change of the disk's size, with a new place for its BAT, is an entry by itself, in a log that was emptied.
 * Whatever of it fails: closed or cut off, what is left opens, with what was acknowledged and one size or the
 * other.
 */
static void a_change_that_fails_leaves_nothing_in_doubt(void **state)
{
	const struct power_cut cut = { check, NULL, .combine = 3, .samples = 4 };
	static const uint64_t parts[][2] = {
		{ VHDX_HEADER1_OFFSET, VHDX_REGION_TABLE1_OFFSET },
		{ VHDX_REGION_TABLE1_OFFSET, MAKE_LOG_OFFSET },
		{ MAKE_LOG_OFFSET, MAKE_METADATA_OFFSET },
		{ MAKE_METADATA_OFFSET, MAKE_BAT_OFFSET },
	};
	enum { PARTS = sizeof(parts) / sizeof(parts[0]) };
	uint64_t failed = 0;

	assert_int_equal(io_loop_create(NULL, &loop), 0);
	for (uint32_t round = 0; round < 2 * 2 * PARTS; round++) {
		const struct sim_fault fault = { .kinds = SIM_WRITE, .skip = round / 2 % 2, .count = 1, .posix = EIO,
						 .from_bytes = parts[round / 4][0], .to_bytes = parts[round / 4][1] };

		new_disk(round + 1, &dynamic);
		device = open_in(power_cut_folder());
		for (int i = 0; i < 7; i++)
			assert_int_equal(flush_next(), 0);
		power_cut_begin(&cut);
		sim_fault(&fault);
		sizes[1] = 200000 * MIB;
		if (block_resize(device, sizes[1], error) == 0)
			sizes[0] = sizes[1];
		failed += sim_faults_seen();
		sim_fault(NULL);
		power_cut_now();
		if (round % 2) {
			(void)!flush_next();
			power_cut_now();
		}
		if (block_close(device) == 0)
			assert_log_empty();
		power_cut_now();
		power_cut_end();
		check(power_cut_folder(), NULL);
		power_cut_teardown();
	}
	assert_true(failed >= 8);
	io_loop_destroy(loop);
}

/*
 * A file begins again when another child is merged into it. That flush is for what the last entry has, and has put
 * into place, too: if it fails, the log keeps the entry.
 */
static void a_flush_that_fails_when_a_file_begins_again_stops_its_journal(void **state)
{
	const struct sim_fault fault = { .kinds = SIM_FLUSH, .count = 1, .posix = EIO };
	struct vhdx child = { .linkage[1] = { { 1 } } };

	new_disk(1, &dynamic);
	assert_int_equal(io_loop_create(NULL, &loop), 0);
	device = open_in(power_cut_folder());
	assert_int_equal(flush_next(), 0);
	child.image.device.parent = device;
	vhdx_begin_merge(&child.image.device);
	sim_fault(&fault);
	assert_int_equal(flush_next(), -LIS_IO);
	assert_int_equal(sim_faults_seen(), 1);
	sim_fault(NULL);
	assert_int_equal(flush_next(), -LIS_IO);
	assert_int_equal(block_close(device), -LIS_IO);
	check(power_cut_folder(), NULL);
	io_loop_destroy(loop);
	power_cut_teardown();
}

#define FIXED_BYTES (600 * MIB)

/* @context: a byte: 0, or what the last megabyte of the disk has. */
static void check_end(const char *folder, void *context)
{
	struct block_device *left = open_in(folder);
	struct io_loop *own;
	uint8_t data[512];

	assert_int_equal(io_loop_create(NULL, &own), 0);
	if (*(const uint8_t *)context) {
		assert_int_equal(left->geometry.size_bytes, FIXED_BYTES);
		assert_int_equal(block_io(left, own, BLOCK_READ, 0, FIXED_BYTES - MIB, data, sizeof(data)), 0);
		assert_int_equal(data[0], *(const uint8_t *)context);
	}
	io_loop_destroy(own);
	block_close(left);
}

/* The log has the entries of its blocks as they were taken away. They come back with places of their own. */
static void a_fixed_disk_that_grew_again_keeps_what_is_written_there(void **state)
{
	const struct block_create_options options = { .format = "vhdx", .fixed = true, .block_bytes = 1 << 20,
						      .size_bytes = FIXED_BYTES };
	uint8_t data[512], byte = 0;
	const struct power_cut cut = { check_end, &byte, .combine = 3, .samples = 4 };

	new_disk(1, &options);
	assert_int_equal(io_loop_create(NULL, &loop), 0);
	power_cut_begin(&cut);
	device = open_in(power_cut_folder());
	for (uint64_t shorter = 100; shorter; shorter -= 50) {
		byte = 0;
		assert_int_equal(block_resize(device, FIXED_BYTES - shorter * MIB, error), 0);
		assert_int_equal(block_resize(device, FIXED_BYTES, error), 0);
		memset(data, (int)shorter, sizeof(data));
		assert_int_equal(block_io(device, loop, BLOCK_WRITE, 0, FIXED_BYTES - MIB, data, sizeof(data)), 0);
		assert_int_equal(block_io(device, loop, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
		byte = (uint8_t)shorter;
		power_cut_now();
	}
	assert_int_equal(block_close(device), 0);
	power_cut_now();
	assert_true(power_cut_end() > 10);
	io_loop_destroy(loop);
	power_cut_teardown();
}

/* A failed test leaves in the middle of everything. */
static int teardown(void **state)
{
	sim_fault(NULL);
	power_cut_teardown();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_log_begins_anew, teardown),
		cmocka_unit_test_teardown(a_header_that_fails_once_is_written_again, teardown),
		cmocka_unit_test_teardown(a_header_that_fails_twice_is_written_again, teardown),
		cmocka_unit_test_teardown(a_header_that_fails_for_good_leaves_the_log_before_as_it_is, teardown),
		cmocka_unit_test_teardown(a_change_that_fails_leaves_nothing_in_doubt, teardown),
		cmocka_unit_test_teardown(a_flush_that_fails_when_a_file_begins_again_stops_its_journal, teardown),
		cmocka_unit_test_teardown(a_fixed_disk_that_grew_again_keeps_what_is_written_there, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
