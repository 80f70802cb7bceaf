// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* VHDX images: what is written is read, also after a crash; what the file then says of itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "storage/images/image.h"
#include "tests/unit/storage/block_io.h"
#include "tests/unit/storage/image_model.h"
#include "tests/unit/storage/vhdx_make.h"

#define MIB (UINT64_C(1) << 20)

static char path[64], copy_path[72];
static char error[BLOCK_ERROR_BYTES];
static struct io_loop *loop;
static uint8_t data[4 << 20], back[4 << 20];

static const struct block_open_options read_only = { .read_only = true };
static const struct guid zero_guid;

static int set_up(void **state)
{
	return io_loop_create(NULL, &loop);
}

static int tear_down(void **state)
{
	io_loop_destroy(loop);
	return 0;
}

static struct block_device *open_ok(const char *name, const struct block_open_options *options)
{
	struct block_device *device = NULL;

	error[0] = 0;
	if (block_open(name, options, &device, error))
		fail_msg("%s", error);
	return device;
}

static struct block_device *open_new(uint64_t size_bytes, uint32_t block_bytes)
{
	struct vhdx_make make = { .size_bytes = size_bytes, .block_bytes = block_bytes };

	close(make_vhdx(path, &make));
	return open_ok(path, NULL);
}

static int io(struct block_device *device, enum block_op op, uint64_t at, uint64_t bytes)
{
	bool moves = op == BLOCK_READ || op == BLOCK_WRITE;

	return block_io(device, loop, op, 0, at, op == BLOCK_READ ? back : moves ? data : NULL, bytes);
}

static void write_byte(struct block_device *device, int byte, uint64_t at, uint64_t bytes)
{
	memset(data, byte, bytes);
	assert_int_equal(io(device, BLOCK_WRITE, at, bytes), 0);
}

static void assert_byte(struct block_device *device, int byte, uint64_t at, uint64_t bytes)
{
	memset(back, ~byte, bytes);
	assert_int_equal(io(device, BLOCK_READ, at, bytes), 0);
	for (uint64_t i = 0; i < bytes; i++)
		if (back[i] != (uint8_t)byte)
			fail_msg("byte %llu is 0x%02x, not 0x%02x", (unsigned long long)(at + i), back[i], byte);
}

/* The file as it is this moment: what a crash of the program would leave. */
static int copy_file(void)
{
	int from = open(path, O_RDONLY | O_CLOEXEC);
	int to = open(copy_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct stat status;
	off_t at = 0;

	assert_true(from >= 0 && to >= 0);
	assert_int_equal(fstat(from, &status), 0);
	assert_int_equal(ftruncate(to, status.st_size), 0);
	while ((at = lseek(from, at, SEEK_DATA)) >= 0) {
		off_t end = lseek(from, at, SEEK_HOLE);

		assert_int_equal(lseek(to, at, SEEK_SET), at);
		while (at < end)
			assert_true(sendfile(to, from, &at, (size_t)(end - at)) > 0);
	}
	close(from);
	return to;
}

static uint64_t file_bytes(const char *name)
{
	struct stat status;

	assert_int_equal(stat(name, &status), 0);
	return (uint64_t)status.st_size;
}

/* ---- reading and writing ---- */

static void geometry_and_identity_come_from_the_metadata(void **state)
{
	struct vhdx_make make = { .size_bytes = 10 * MIB + 4096, .block_bytes = 2 << 20, .sector_bytes = 4096 };
	struct block_device *device;
	struct guid id = MAKE_PAGE_83;

	close(make_vhdx(path, &make));
	device = open_ok(path, NULL);
	assert_int_equal(device->geometry.size_bytes, make.size_bytes);
	assert_int_equal(device->geometry.logical_sector_bytes, 4096);
	assert_int_equal(device->geometry.physical_sector_bytes, 4096);
	assert_int_equal(guid_compare(&device->geometry.unique_id, &id), 0);
	assert_int_equal(io(device, BLOCK_READ, 512, 512), -LIS_INVALID);
	assert_byte(device, 0, 10 * MIB, 4096);
	assert_int_equal(block_close(device), 0);
}

static void a_new_disk_reads_as_zero_and_takes_no_room(void **state)
{
	struct block_device *device = open_new(100 * MIB, 2 << 20);
	uint64_t before = file_bytes(path);

	assert_byte(device, 0, 0, 4 * MIB);
	assert_byte(device, 0, 97 * MIB, 3 * MIB);
	assert_int_equal(io(device, BLOCK_DISCARD, 0, 100 * MIB), 0);
	assert_int_equal(io(device, BLOCK_WRITE_ZEROES, 0, 100 * MIB), 0);
	assert_int_equal(block_close(device), 0);
	assert_int_equal(file_bytes(path), before);
}

static void only_the_blocks_written_take_room_after_closing(void **state)
{
	struct block_device *device = open_new(100 * MIB, 2 << 20);
	uint64_t before = file_bytes(path);

	write_byte(device, 1, 50 * MIB, 512);
	write_byte(device, 2, 60 * MIB - 512, 1024); /* over an edge */
	assert_int_equal(block_close(device), 0);
	assert_int_equal(file_bytes(path), before + 3 * (2 << 20));
	device = open_ok(path, NULL);
	assert_byte(device, 0, 50 * MIB + 512, 1 * MIB);
	assert_byte(device, 1, 50 * MIB, 512);
	assert_byte(device, 2, 60 * MIB - 512, 1024);
	assert_byte(device, 0, 60 * MIB + 512, 1 * MIB);
	assert_int_equal(block_close(device), 0);
}

static void run_model(uint64_t size_bytes, uint32_t block_bytes, uint32_t parameter_flags, bool direct, uint64_t seed)
{
	struct vhdx_make make = { .size_bytes = size_bytes, .block_bytes = block_bytes,
				  .parameter_flags = parameter_flags };
	struct block_open_options options = { .direct = direct };
	struct model model = { .threads = 3, .requests = 300, .seed = seed, .flushes = true, .clears = true };

	model.bytes = calloc(1, size_bytes);
	close(make_vhdx(path, &make));
	for (int opening = 0; opening < 2; opening++) {
		model.device = open_ok(path, &options);
		assert_int_equal(model_run(&model), 0);
		assert_int_equal(block_close(model.device), 0);
		model.seed += 100;
	}
	model.device = open_ok(path, &read_only);
	assert_int_equal(model_compare(&model, model.device, loop), 0);
	assert_int_equal(block_close(model.device), 0);
	free(model.bytes);
}

static void random_requests_from_three_loops_match_a_model(void **state)
{
	run_model(48 * MIB, 1 << 20, 0, false, 1);
	run_model(45 * MIB + 512, 8 << 20, 0, false, 2);
	run_model(40 * MIB, 256 << 20, 0, true, 3);
	run_model(32 * MIB, 2 << 20, VHDX_LEAVE_BLOCKS_ALLOCATED, false, 4);
}

static void two_writers_of_one_absent_block_both_succeed(void **state)
{
	struct block_device *device = open_new(64 * MIB, 32 << 20);
	struct block_io first, second;

	memset(data, 0xa1, 4096);
	memset(data + 4096, 0xa2, 4096);
	block_io_start(&first, device, loop, BLOCK_WRITE, 0, 0, data, 4096);
	block_io_start(&second, device, loop, BLOCK_WRITE, 0, 8192, data + 4096, 4096);
	assert_int_equal(block_io_wait(&first, loop), 0);
	assert_int_equal(block_io_wait(&second, loop), 0);
	assert_int_equal(first.ends + second.ends, 2);
	assert_byte(device, 0xa1, 0, 4096);
	assert_byte(device, 0, 4096, 4096);
	assert_byte(device, 0xa2, 8192, 4096);
	assert_int_equal(block_close(device), 0);
	assert_int_equal(file_bytes(path), 4 * MIB + (32 << 20));
}

static void blocks_far_behind_the_first_chunk_are_found_again(void **state)
{
	/* 256 MiB blocks: 16 in a chunk, so every 17th entry is a sector bitmap's. */
	struct block_device *device = open_new(UINT64_C(64) << 40, 256 << 20);

	for (uint64_t block = 0; block < 70; block++)
		write_byte(device, (int)(block + 1), (block * 3) << 28, 512);
	write_byte(device, 0xee, (UINT64_C(64) << 40) - 512, 512);
	assert_int_equal(block_close(device), 0);
	device = open_ok(path, &read_only);
	for (uint64_t block = 0; block < 70; block++)
		assert_byte(device, (int)(block + 1), (block * 3) << 28, 512);
	assert_byte(device, 0xee, (UINT64_C(64) << 40) - 512, 512);
	assert_byte(device, 0, UINT64_C(1) << 28, 512);
	assert_int_equal(block_close(device), 0);
}

static void an_unmapped_block_reads_as_zero_also_in_the_place_it_gets_back(void **state)
{
	struct block_device *device = open_new(10 * MIB, 1 << 20);
	uint64_t entry, length;
	int fd;

	write_byte(device, 0x33, 0, 2 * MIB);
	assert_int_equal(block_close(device), 0);
	length = file_bytes(path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	make_get(fd, &entry, 8, MAKE_BAT_OFFSET);
	entry = (entry & VHDX_BAT_OFFSET) | VHDX_BLOCK_UNMAPPED;
	make_put(fd, &entry, 8, MAKE_BAT_OFFSET);
	device = open_ok(path, NULL);
	assert_byte(device, 0, 0, MIB);
	assert_byte(device, 0x33, MIB, MIB);
	write_byte(device, 0x44, 4096, 512);
	assert_byte(device, 0, 0, 4096);
	assert_byte(device, 0, 4608, MIB - 4608);
	assert_int_equal(block_close(device), 0);
	assert_int_equal(file_bytes(path), length); /* its own place again */
	make_get(fd, &entry, 8, MAKE_BAT_OFFSET);
	assert_int_equal(entry & VHDX_BAT_STATE, VHDX_BLOCK_FULLY_PRESENT);
	close(fd);
}

static void zeroes_on_an_undefined_block_make_it_zero_for_others_too(void **state)
{
	struct vhdx_make make = { .size_bytes = 10 * MIB, .block_bytes = 1 << 20 };
	uint64_t entry = VHDX_BLOCK_UNDEFINED;
	struct block_device *device;
	int fd = make_vhdx(path, &make);

	make_put(fd, &entry, 8, MAKE_BAT_OFFSET + 8 * 3);
	device = open_ok(path, NULL);
	assert_int_equal(io(device, BLOCK_WRITE_ZEROES, 3 * MIB, 512), 0);
	assert_int_equal(block_close(device), 0);
	make_get(fd, &entry, 8, MAKE_BAT_OFFSET + 8 * 3);
	assert_int_equal(entry, VHDX_BLOCK_ZERO);
	close(fd);
}

static void what_a_dead_writer_left_behind_the_end_is_never_read(void **state)
{
	struct block_device *device = open_new(10 * MIB, 1 << 20);
	int fd;

	write_byte(device, 1, 0, 512);
	assert_int_equal(block_close(device), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	memset(data, 0xbd, sizeof(data));
	make_put(fd, data, sizeof(data), file_bytes(path));
	close(fd);
	device = open_ok(path, NULL);
	write_byte(device, 2, 5 * MIB, 512);
	assert_byte(device, 0, 5 * MIB + 512, MIB - 512);
	assert_int_equal(block_close(device), 0);
}

static void a_discard_gives_room_back_and_reads_as_zero(void **state)
{
	struct block_device *device = open_new(16 * MIB, 2 << 20);
	struct stat before, after;

	write_byte(device, 7, 0, 4 * MIB);
	assert_int_equal(io(device, BLOCK_FLUSH, 0, 0), 0);
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(io(device, BLOCK_DISCARD, MIB, 2 * MIB), 0);
	assert_int_equal(stat(path, &after), 0);
	if (device->geometry.discard_granularity_bytes) {
		assert_true(device->geometry.discard_zeroes);
		assert_true(after.st_blocks < before.st_blocks);
		assert_byte(device, 0, MIB, 2 * MIB);
	}
	assert_byte(device, 7, 0, MIB);
	assert_byte(device, 7, 3 * MIB, MIB);
	assert_int_equal(block_close(device), 0);
}

static void a_fixed_disk_keeps_its_room(void **state)
{
	struct vhdx_make make = { .size_bytes = 8 * MIB, .block_bytes = 2 << 20,
				  .parameter_flags = VHDX_LEAVE_BLOCKS_ALLOCATED };
	struct block_device *device;

	close(make_vhdx(path, &make));
	device = open_ok(path, NULL);
	assert_int_equal(device->geometry.discard_granularity_bytes, 0);
	write_byte(device, 9, 0, 4 * MIB);
	assert_int_equal(io(device, BLOCK_DISCARD, 0, MIB), 0); /* accepted, does nothing */
	assert_byte(device, 9, 0, 4 * MIB);
	assert_int_equal(io(device, BLOCK_WRITE_ZEROES, 0, MIB), 0);
	assert_byte(device, 0, 0, MIB);
	assert_int_equal(block_close(device), 0);
}

/* ---- headers ---- */

static void a_disk_only_looked_at_is_not_changed(void **state)
{
	struct block_device *device = open_new(10 * MIB, 1 << 20);
	static uint8_t before[4 << 20], after[4 << 20];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	make_get(fd, before, sizeof(before), 0);
	assert_byte(device, 0, 0, MIB);
	assert_int_equal(io(device, BLOCK_FLUSH, 0, 0), 0);
	assert_int_equal(block_close(device), 0);
	make_get(fd, after, sizeof(after), 0);
	assert_memory_equal(before, after, sizeof(after));
	close(fd);
}

static void the_first_write_is_announced_in_the_header(void **state)
{
	struct block_device *device = open_new(10 * MIB, 1 << 20);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct vhdx_header before = make_current_header(fd), after, last;

	write_byte(device, 1, 0, 512);
	after = make_current_header(fd);
	assert_int_equal(after.sequence_number, before.sequence_number + 1);
	assert_int_not_equal(guid_compare(&after.file_write_guid, &before.file_write_guid), 0);
	assert_int_not_equal(guid_compare(&after.data_write_guid, &before.data_write_guid), 0);
	write_byte(device, 2, 0, 512);
	last = make_current_header(fd);
	assert_int_equal(last.sequence_number, after.sequence_number); /* once */
	assert_int_equal(block_close(device), 0);
	last = make_current_header(fd);
	assert_int_equal(guid_compare(&last.log_guid, &zero_guid), 0);
	assert_int_equal(guid_compare(&last.data_write_guid, &after.data_write_guid), 0);
	close(fd);
}

static void one_damaged_header_or_region_table_is_survived(void **state)
{
	const uint64_t places[] = { VHDX_HEADER1_OFFSET, VHDX_HEADER2_OFFSET, VHDX_REGION_TABLE1_OFFSET,
				    VHDX_REGION_TABLE2_OFFSET };

	for (int i = 0; i < 4; i++) {
		struct block_device *device = open_new(10 * MIB, 1 << 20);
		int fd;

		write_byte(device, 5, 0, 512);
		assert_int_equal(block_close(device), 0);
		fd = open(path, O_RDWR | O_CLOEXEC);
		make_put(fd, "garbage", 7, places[i] + 16);
		close(fd);
		device = open_ok(path, NULL);
		assert_byte(device, 5, 0, 512);
		write_byte(device, 6, MIB, 512);
		assert_int_equal(block_close(device), 0);
		device = open_ok(path, &read_only);
		assert_byte(device, 6, MIB, 512);
		assert_int_equal(block_close(device), 0);
	}
}

/* ---- crashes ---- */

static void flushed_writes_outlive_a_crash_even_without_the_entries_in_place(void **state)
{
	struct block_device *device = open_new(64 * MIB, 1 << 20), *copy;
	uint8_t zeroes[4096] = { 0 };
	struct vhdx_header header;
	int fd;

	write_byte(device, 0x21, 5 * MIB, 3 * MIB);
	write_byte(device, 0x22, 60 * MIB, 512);
	assert_int_equal(io(device, BLOCK_FLUSH, 0, 0), 0);
	write_byte(device, 0x23, 20 * MIB, 512); /* not flushed */
	fd = copy_file();
	header = make_current_header(fd);
	assert_int_not_equal(guid_compare(&header.log_guid, &zero_guid), 0);
	/* As if the BAT had not reached the disk yet. */
	make_put(fd, zeroes, sizeof(zeroes), MAKE_BAT_OFFSET);

	copy = open_ok(copy_path, &read_only);
	assert_byte(copy, 0x21, 5 * MIB, 3 * MIB);
	assert_byte(copy, 0x22, 60 * MIB, 512);
	assert_int_equal(block_close(copy), 0);
	make_get(fd, zeroes, sizeof(zeroes), MAKE_BAT_OFFSET);
	for (size_t i = 0; i < sizeof(zeroes); i++)
		assert_int_equal(zeroes[i], 0); /* a reader replays in memory */

	copy = open_ok(copy_path, NULL);
	header = make_current_header(fd);
	assert_int_equal(guid_compare(&header.log_guid, &zero_guid), 0);
	assert_byte(copy, 0x21, 5 * MIB, 3 * MIB);
	assert_byte(copy, 0x22, 60 * MIB, 512);
	write_byte(copy, 0x24, 30 * MIB, 512);
	assert_byte(copy, 0, 30 * MIB + 512, MIB - 512);
	assert_int_equal(block_close(copy), 0);
	close(fd);
	assert_int_equal(block_close(device), 0);
}

static void a_fua_write_outlives_a_crash(void **state)
{
	struct block_device *device = open_new(64 * MIB, 1 << 20), *copy;

	memset(data, 0x31, 512);
	assert_int_equal(block_io(device, loop, BLOCK_WRITE, BLOCK_WRITE_FUA, 9 * MIB, data, 512), 0);
	close(copy_file());
	copy = open_ok(copy_path, &read_only);
	assert_byte(copy, 0x31, 9 * MIB, 512);
	assert_int_equal(block_close(copy), 0);
	assert_int_equal(block_close(device), 0);
}

static void a_file_shorter_than_the_log_says_is_refused(void **state)
{
	struct block_device *device = open_new(64 * MIB, 1 << 20), *copy;
	uint64_t length;
	int fd;

	write_byte(device, 1, 0, 512);
	assert_int_equal(io(device, BLOCK_FLUSH, 0, 0), 0);
	write_byte(device, 1, 10 * MIB, 512);
	assert_int_equal(io(device, BLOCK_FLUSH, 0, 0), 0);
	fd = copy_file();
	length = file_bytes(copy_path);
	assert_int_equal(ftruncate(fd, (off_t)(length - MIB)), 0);
	assert_int_equal(block_open(copy_path, NULL, &copy, error), -LIS_FORMAT);
	assert_non_null(strstr(error, "cut off"));
	close(fd);
	assert_int_equal(block_close(device), 0);
}

static void the_last_whole_entry_counts_when_the_newest_is_torn(void **state)
{
	struct block_device *device = open_new(64 * MIB, 1 << 20), *copy;
	struct vhdx_log_entry entry;
	int fd;

	for (int i = 0; i < 5; i++) {
		write_byte(device, 0x41 + i, (uint64_t)i * MIB, 512);
		assert_int_equal(io(device, BLOCK_FLUSH, 0, 0), 0);
	}
	fd = copy_file();
	/* The fifth entry, 8 KiB each; torn in its data. */
	make_get(fd, &entry, sizeof(entry), MAKE_LOG_OFFSET + 4 * 8192);
	assert_int_equal(entry.signature, VHDX_LOG_ENTRY_TAG);
	assert_int_equal(entry.sequence_number, 5);
	assert_int_equal(entry.tail_bytes, 3 * 8192);
	make_put(fd, "torn", 4, MAKE_LOG_OFFSET + 4 * 8192 + 5000);
	copy = open_ok(copy_path, &read_only);
	for (int i = 0; i < 4; i++)
		assert_byte(copy, 0x41 + i, (uint64_t)i * MIB, 512);
	assert_byte(copy, 0, 4 * MIB, 512);
	assert_int_equal(block_close(copy), 0);
	/* All of them: nothing to go by. */
	for (int i = 0; i < 5; i++)
		make_put(fd, "torn", 4, MAKE_LOG_OFFSET + (uint64_t)i * 8192 + 5000);
	assert_int_equal(block_open(copy_path, NULL, &copy, error), -LIS_FORMAT);
	assert_non_null(strstr(error, "log"));
	close(fd);
	assert_int_equal(block_close(device), 0);
}

static void a_full_log_begins_anew(void **state)
{
	struct block_device *device = open_new(700 * MIB, 1 << 20), *copy;

	/* 8 KiB for each flush, so 127 fill it; three sectors shift the edge out of step. */
	for (uint64_t i = 0; i < 400; i++) {
		write_byte(device, (int)i, i * MIB, 512);
		if (i % 7 == 0)
			write_byte(device, 0x99, 512 * MIB + i / 7 * MIB, 512);
		assert_int_equal(io(device, BLOCK_FLUSH, 0, 0), 0);
		close(copy_file());
		copy = open_ok(copy_path, &read_only);
		for (uint64_t k = i % 31 ? i : 0; k <= i; k++)
			assert_byte(copy, (int)k, k * MIB, 512);
		assert_int_equal(block_close(copy), 0);
	}
	assert_int_equal(block_close(device), 0);
}

static void more_entries_than_one_round_takes_are_all_flushed(void **state)
{
	/* 40 sectors of the BAT, 512 blocks each. */
	struct block_device *device = open_new(UINT64_C(40 * 512) * MIB, 1 << 20), *copy;

	for (uint64_t i = 0; i < 40; i++)
		write_byte(device, (int)i + 1, i * 512 * MIB, 512);
	assert_int_equal(io(device, BLOCK_FLUSH, 0, 0), 0);
	close(copy_file());
	copy = open_ok(copy_path, &read_only);
	for (uint64_t i = 0; i < 40; i++)
		assert_byte(copy, (int)i + 1, i * 512 * MIB, 512);
	assert_int_equal(block_close(copy), 0);
	assert_int_equal(block_close(device), 0);
}

static void a_full_host_fails_the_write_and_not_the_disk(void **state)
{
	struct block_device *device = open_new(512 * MIB, 32 << 20);
	struct rlimit before, limit;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	write_byte(device, 1, 0, 512);
	limit = before;
	limit.rlim_cur = 70 * MIB;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	memset(data, 2, 512);
	assert_int_equal(io(device, BLOCK_WRITE, 32 * MIB, 512), 0); /* was in store */
	assert_int_equal(io(device, BLOCK_WRITE, 64 * MIB, 512), -LIS_NOSPACE);
	assert_byte(device, 0, 64 * MIB, 512);
	write_byte(device, 3, 0, 512);
	assert_int_equal(io(device, BLOCK_FLUSH, 0, 0), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	write_byte(device, 4, 64 * MIB, 512);
	assert_int_equal(block_close(device), 0);
	device = open_ok(path, &read_only);
	assert_byte(device, 3, 0, 512);
	assert_byte(device, 2, 32 * MIB, 512);
	assert_byte(device, 4, 64 * MIB, 512);
	assert_int_equal(block_close(device), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(geometry_and_identity_come_from_the_metadata),
		cmocka_unit_test(a_new_disk_reads_as_zero_and_takes_no_room),
		cmocka_unit_test(only_the_blocks_written_take_room_after_closing),
		cmocka_unit_test(random_requests_from_three_loops_match_a_model),
		cmocka_unit_test(two_writers_of_one_absent_block_both_succeed),
		cmocka_unit_test(blocks_far_behind_the_first_chunk_are_found_again),
		cmocka_unit_test(an_unmapped_block_reads_as_zero_also_in_the_place_it_gets_back),
		cmocka_unit_test(zeroes_on_an_undefined_block_make_it_zero_for_others_too),
		cmocka_unit_test(what_a_dead_writer_left_behind_the_end_is_never_read),
		cmocka_unit_test(a_discard_gives_room_back_and_reads_as_zero),
		cmocka_unit_test(a_fixed_disk_keeps_its_room),
		cmocka_unit_test(a_disk_only_looked_at_is_not_changed),
		cmocka_unit_test(the_first_write_is_announced_in_the_header),
		cmocka_unit_test(one_damaged_header_or_region_table_is_survived),
		cmocka_unit_test(flushed_writes_outlive_a_crash_even_without_the_entries_in_place),
		cmocka_unit_test(a_fua_write_outlives_a_crash),
		cmocka_unit_test(a_file_shorter_than_the_log_says_is_refused),
		cmocka_unit_test(the_last_whole_entry_counts_when_the_newest_is_torn),
		cmocka_unit_test(a_full_log_begins_anew),
		cmocka_unit_test(more_entries_than_one_round_takes_are_all_flushed),
		cmocka_unit_test(a_full_host_fails_the_write_and_not_the_disk),
	};
	int failed;

	/* Hundreds of flushes: in memory where that can be had. */
	snprintf(path, sizeof(path), "%s/lis-vhdx.%d", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm",
		 (int)getpid());
	snprintf(copy_path, sizeof(copy_path), "%s.copy", path);
	failed = cmocka_run_group_tests(tests, set_up, tear_down);
	unlink(path);
	unlink(copy_path);
	return failed;
}
