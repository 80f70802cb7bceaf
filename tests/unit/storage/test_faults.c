// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Faults below the image layer, as a guest sees them: a disk of each format under a SCSI unit, while
 * operations on its file fail. The sense data must be right, the log must have one line, and once the
 * fault is gone everything must go on, with all that was acknowledged.
 */
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

#include "storage/scsi_disk.h"
#include "tests/unit/storage/block_io.h"
#include "tests/unit/storage/sim_io.h"
#include "vmbus/os.h"

#define MIB (UINT64_C(1) << 20)
#define DISK_BYTES (64 * MIB)
#define PIECE 65536u
#define TIMES 20

/* A disk; a child is over one that is of its format and empty. */
static const struct kind {
	const char *name;
	struct block_create_options options;
	bool child;
} disks[] = {
	{ "raw", { .format = "raw" } },
	{ "fixed VHD", { .format = "vhd", .fixed = true } },
	{ "dynamic VHD", { .format = "vhd" } },
	{ "fixed VHDX", { .format = "vhdx", .fixed = true } },
	{ "dynamic VHDX", { .format = "vhdx", .block_bytes = 1 << 20 } },
	{ "differencing VHD", { .format = "vhd" }, true },
	{ "differencing VHDX", { .format = "vhdx", .block_bytes = 1 << 20 }, true },
};

struct fixture {
	char path[64], parent[64];
	struct block_device *device;
	struct scsi_unit *unit;
	struct io_loop *loop;
	struct scsi_request request;
	struct iovec iov;
	bool done;
	uint8_t data[PIECE];
};

static unsigned log_lines;
static char error[BLOCK_ERROR_BYTES];

/* In place of io/log.c's. */
void os_log(enum os_log_level level, const char *format, ...)
{
	log_lines += level == OS_LOG_ERROR;
}

/* ---- commands ---- */

static void on_done(struct scsi_request *request)
{
	struct fixture *f = (struct fixture *)((char *)request - offsetof(struct fixture, request));

	f->done = true;
}

/* READ(16), WRITE(16) or SYNCHRONIZE CACHE(16); returns the sense, SCSI_SENSE_NONE where all is well. */
static uint32_t run(struct fixture *f, uint8_t operation, uint64_t at)
{
	struct scsi_request *request = &f->request;
	uint32_t bytes = operation == 0x91 ? 0 : PIECE;

	memset(request, 0, sizeof(*request));
	request->cdb[0] = operation;
	for (int i = 0; i < 8; i++)
		request->cdb[2 + i] = (uint8_t)(at / 512 >> (56 - 8 * i));
	request->cdb[12] = (uint8_t)(bytes / 512 >> 8);
	request->cdb[13] = (uint8_t)(bytes / 512);
	request->direction = operation == 0x88 ? SCSI_DATA_IN : operation == 0x8a ? SCSI_DATA_OUT : 0;
	f->iov = (struct iovec){ f->data, bytes };
	request->iov = &f->iov;
	request->iov_count = bytes ? 1 : 0;
	request->data_bytes = bytes;
	request->done = on_done;
	f->done = false;
	scsi_unit_submit(f->unit, f->loop, request);
	while (!f->done)
		assert_true(io_loop_turn(f->loop, true));
	if (request->status == SCSI_GOOD)
		return SCSI_SENSE_NONE;
	assert_int_equal(request->status, SCSI_CHECK_CONDITION);
	return SCSI_SENSE(request->sense[2], request->sense[12], request->sense[13]);
}

static uint32_t read_at(struct fixture *f, uint64_t at)
{
	memset(f->data, 0xee, PIECE);
	return run(f, 0x88, at);
}

static uint32_t write_at(struct fixture *f, uint64_t at, uint64_t seed)
{
	block_pattern(f->data, PIECE, at, seed);
	return run(f, 0x8a, at);
}

static uint32_t flush(struct fixture *f)
{
	return run(f, 0x91, 0);
}

static void assert_holds(struct fixture *f, uint64_t at, uint64_t seed)
{
	static uint8_t expected[PIECE];

	block_pattern(expected, PIECE, at, seed);
	assert_int_equal(read_at(f, at), SCSI_SENSE_NONE);
	assert_memory_equal(f->data, expected, PIECE);
}

/* ---- fixture ---- */

static void open_disk(struct fixture *f)
{
	struct scsi_disk_config config = { .device = NULL };

	if (block_open(f->path, NULL, &f->device, error))
		fail_msg("%s", error);
	config.device = f->device;
	assert_int_equal(scsi_disk_create(&config, &f->unit), 0);
}

static void close_disk(struct fixture *f, int expected)
{
	scsi_unit_destroy(f->unit);
	assert_int_equal(block_close(f->device), expected);
}

static void make_image(const char *path, struct block_create_options options, const char *parent)
{
	const struct block_open_options read_only = { .read_only = true };

	unlink(path);
	if (parent ? block_open(parent, &read_only, &options.parent, error) != 0 : false)
		fail_msg("%s", error);
	options.size_bytes = DISK_BYTES;
	if (block_create(path, &options, error))
		fail_msg("%s", error);
	assert_int_equal(block_close(options.parent), 0);
}

/* With its file, but not open. */
static struct fixture *make_fixture(const struct kind *kind)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const char *folder = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";

	assert_non_null(f);
	snprintf(f->path, sizeof(f->path), "%s/lis-faults.%d", folder, (int)getpid());
	snprintf(f->parent, sizeof(f->parent), "%s/lis-faults.%d.parent", folder, (int)getpid());
	sim_fault(NULL);
	sim_seed(1);
	if (kind->child)
		make_image(f->parent, kind->options, NULL);
	make_image(f->path, kind->options, kind->child ? f->parent : NULL);
	assert_int_equal(io_loop_create(NULL, &f->loop), 0);
	return f;
}

static struct fixture *make_disk(const struct kind *kind)
{
	struct fixture *f = make_fixture(kind);

	open_disk(f);
	log_lines = 0;
	return f;
}

static void drop_disk(struct fixture *f)
{
	io_loop_destroy(f->loop);
	unlink(f->path);
	unlink(f->parent);
	free(f);
}

/* ---- claims, each for every format ---- */

/* A fault while something is done many times: the same sense each time, one line, and it goes away. */
static void writes_fail_for_a_while(const struct kind *kind, int posix, unsigned kinds,
				    uint32_t sense)
{
	struct fixture *f = make_disk(kind);

	assert_int_equal(write_at(f, 0, 1), SCSI_SENSE_NONE);
	assert_int_equal(flush(f), SCSI_SENSE_NONE);
	sim_fault(&(const struct sim_fault){ .kinds = kinds, .posix = posix });
	for (uint64_t i = 0; i < TIMES; i++)
		assert_int_equal(write_at(f, i * 2 * MIB, 2), sense);
	assert_true(sim_faults_seen() >= TIMES);
	assert_int_equal(log_lines, 1);
	sim_fault(NULL);
	assert_holds(f, 0, 1); /* nothing of the others came through */
	for (uint64_t i = 0; i < TIMES; i++)
		assert_int_equal(write_at(f, i * 2 * MIB, 3), SCSI_SENSE_NONE);
	assert_int_equal(flush(f), SCSI_SENSE_NONE);
	close_disk(f, 0);
	open_disk(f);
	for (uint64_t i = 0; i < TIMES; i++)
		assert_holds(f, i * 2 * MIB, 3);
	close_disk(f, 0);
	drop_disk(f);
}

static void a_full_disk_is_told_and_room_helps(void **state)
{
	writes_fail_for_a_while(*state, ENOSPC, SIM_WRITE, SCSI_SENSE_SPACE_ALLOCATION_FAILED);
}

static void a_file_that_cannot_grow_is_told_and_room_helps(void **state)
{
	const struct kind *kind = *state;
	struct fixture *f = make_disk(kind);
	bool grows = !kind->options.fixed && strcmp(kind->options.format, "raw");

	sim_fault(&(const struct sim_fault){ .kinds = SIM_SPACE, .posix = ENOSPC });
	for (uint64_t i = 0; i < TIMES; i++)
		assert_int_equal(write_at(f, i * 2 * MIB, 1),
				 grows ? SCSI_SENSE_SPACE_ALLOCATION_FAILED : SCSI_SENSE_NONE);
	assert_int_equal(log_lines, grows);
	sim_fault(NULL);
	assert_int_equal(write_at(f, 0, 2), SCSI_SENSE_NONE);
	assert_holds(f, 0, 2);
	close_disk(f, 0);
	drop_disk(f);
}

static void a_bad_sector_costs_what_is_in_it(void **state)
{
	struct fixture *f = make_disk(*state);

	assert_int_equal(write_at(f, 0, 1), SCSI_SENSE_NONE);
	assert_int_equal(flush(f), SCSI_SENSE_NONE);
	sim_fault(&(const struct sim_fault){ .kinds = SIM_READ, .posix = EIO });
	for (int i = 0; i < TIMES; i++)
		assert_int_equal(read_at(f, 0), SCSI_SENSE_READ_ERROR);
	assert_int_equal(log_lines, 1);
	sim_fault(&(const struct sim_fault){ .kinds = SIM_WRITE, .posix = EIO });
	for (int i = 0; i < TIMES; i++)
		assert_int_equal(write_at(f, 0, 2), SCSI_SENSE_WRITE_ERROR);
	assert_int_equal(log_lines, 2);
	sim_fault(NULL);
	assert_holds(f, 0, 1);
	close_disk(f, 0);
	drop_disk(f);
}

static void short_results_are_continued(void **state)
{
	struct fixture *f = make_disk(*state);

	sim_fault(&(const struct sim_fault){ .kinds = SIM_READ | SIM_WRITE, .posix = 0 });
	for (uint64_t i = 0; i < TIMES; i++)
		assert_int_equal(write_at(f, i * 2 * MIB, i), SCSI_SENSE_NONE);
	assert_int_equal(flush(f), SCSI_SENSE_NONE);
	for (uint64_t i = 0; i < TIMES; i++)
		assert_holds(f, i * 2 * MIB, i);
	assert_true(sim_faults_seen() > TIMES);
	close_disk(f, 0);
	open_disk(f);
	for (uint64_t i = 0; i < TIMES; i++)
		assert_holds(f, i * 2 * MIB, i);
	sim_fault(NULL);
	close_disk(f, 0);
	assert_int_equal(log_lines, 0);
	drop_disk(f);
}

/* After it nobody knows what is on the disk: no later flush may say that all is well with what is lost. */
static void a_flush_that_fails_is_told(void **state)
{
	struct fixture *f = make_disk(*state);

	assert_int_equal(write_at(f, 0, 1), SCSI_SENSE_NONE);
	assert_int_equal(flush(f), SCSI_SENSE_NONE);
	assert_int_equal(write_at(f, 4 * MIB, 2), SCSI_SENSE_NONE);
	sim_fault(&(const struct sim_fault){ .kinds = SIM_FLUSH, .count = 1, .posix = EIO });
	assert_int_equal(flush(f), SCSI_SENSE_WRITE_ERROR);
	assert_in_range(log_lines, 1, 2); /* that it failed, and what that means */
	scsi_unit_destroy(f->unit);
	(void)!block_close(f->device);
	open_disk(f);
	assert_holds(f, 0, 1);
	assert_int_equal(write_at(f, 4 * MIB, 3), SCSI_SENSE_NONE);
	assert_int_equal(flush(f), SCSI_SENSE_NONE);
	close_disk(f, 0);
	drop_disk(f);
}

static void a_file_cut_off_under_our_feet_costs_what_it_had(void **state)
{
	struct fixture *f = make_disk(*state);

	for (uint64_t at = 0; at < DISK_BYTES; at += 2 * MIB)
		assert_int_equal(write_at(f, at, 1), SCSI_SENSE_NONE);
	assert_int_equal(flush(f), SCSI_SENSE_NONE);
	assert_int_equal(truncate(f->path, 8 * MIB), 0);
	for (int i = 0; i < TIMES; i++)
		assert_int_equal(read_at(f, DISK_BYTES - 2 * MIB), SCSI_SENSE_READ_ERROR);
	assert_int_equal(log_lines, 1);
	assert_holds(f, 0, 1);
	scsi_unit_destroy(f->unit);
	(void)!block_close(f->device);
	drop_disk(f);
}

/* Of children only. */
static void a_parent_cut_off_costs_what_shows_of_it(void **state)
{
	const struct kind *kind = *state;
	struct fixture *f = make_fixture(kind);
	char child[64];

	strcpy(child, f->path);
	strcpy(f->path, f->parent);
	open_disk(f);
	for (uint64_t at = 0; at < DISK_BYTES; at += 2 * MIB)
		assert_int_equal(write_at(f, at, 1), SCSI_SENSE_NONE);
	close_disk(f, 0);
	strcpy(f->path, child);
	make_image(f->path, kind->options, f->parent);
	open_disk(f);
	log_lines = 0;
	assert_int_equal(write_at(f, DISK_BYTES - 4 * MIB, 2), SCSI_SENSE_NONE);
	assert_int_equal(truncate(f->parent, 8 * MIB), 0);
	for (int i = 0; i < TIMES; i++)
		assert_int_equal(read_at(f, DISK_BYTES - 2 * MIB), SCSI_SENSE_READ_ERROR);
	assert_int_equal(log_lines, 1);
	assert_holds(f, 0, 1);
	/* What is the child's own is whole, and takes more. */
	assert_holds(f, DISK_BYTES - 4 * MIB, 2);
	assert_int_equal(write_at(f, DISK_BYTES - 2 * MIB, 3), SCSI_SENSE_NONE);
	assert_int_equal(flush(f), SCSI_SENSE_NONE);
	assert_holds(f, DISK_BYTES - 2 * MIB, 3);
	close_disk(f, 0);
	drop_disk(f);
}

int main(void)
{
	static const struct {
		const char *name;
		CMUnitTestFunction fn;
	} claims[] = {
#define CLAIM(name) { #name, name }
		CLAIM(a_full_disk_is_told_and_room_helps),
		CLAIM(a_file_that_cannot_grow_is_told_and_room_helps),
		CLAIM(a_bad_sector_costs_what_is_in_it),
		CLAIM(short_results_are_continued),
		CLAIM(a_flush_that_fails_is_told),
		CLAIM(a_file_cut_off_under_our_feet_costs_what_it_had),
		CLAIM(a_parent_cut_off_costs_what_shows_of_it), /* the last: not of all */
	};
	enum { CLAIMS = sizeof(claims) / sizeof(claims[0]), TESTS = CLAIMS * sizeof(disks) / sizeof(disks[0]) };
	static struct CMUnitTest tests[TESTS];
	static char names[TESTS][128];
	size_t count = 0;

	for (int i = 0; i < TESTS; i++) {
		const struct kind *kind = &disks[i / CLAIMS];

		if (i % CLAIMS == CLAIMS - 1 && !kind->child)
			continue;
		snprintf(names[count], sizeof(names[count]), "%s: %s", kind->name, claims[i % CLAIMS].name);
		tests[count] = (struct CMUnitTest){ .name = names[count], .test_func = claims[i % CLAIMS].fn,
						    .initial_state = (void *)(uintptr_t)kind };
		count++;
	}
	return _cmocka_run_group_tests("faults", tests, count, NULL, NULL);
}
