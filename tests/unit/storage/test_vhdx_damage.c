// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Damaged and forged VHDX files: every byte of every structure is changed, with and without its
 * checksum set right, and the file is cut at every page. Whatever is opened is read, written and
 * closed. Nothing may crash, hang or take much memory, and every refusal says why.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "io/log.h"
#include "tests/unit/storage/block_io.h"
#include "tests/unit/storage/vhdx_make.h"

#define MIB (UINT64_C(1) << 20)
#define PAGE 4096u
#define SECONDS_MAX 200u /* for all of one test; it takes a few */

static char path[64];
static char error[BLOCK_ERROR_BYTES];
static struct io_loop *loop;
static uint32_t opened, refused;

/* The undamaged file: its pages that are not zero. */
static struct page {
	uint64_t offset_bytes;
	uint8_t bytes[PAGE];
} pages[256];
static uint32_t page_count;
static uint64_t golden_bytes;
static int fd;

static const struct vhdx_make make = { .size_bytes = 20 * MIB, .block_bytes = 1 << 20 };

/* A disk with three blocks, copied while open, so that its log has two entries to replay. */
static int set_up(void **state)
{
	static uint8_t data[PAGE];
	struct block_device *device;
	struct stat status;

	log_init(OS_LOG_ERROR, NULL, false);
	if (io_loop_create(NULL, &loop))
		return -1;
	fd = make_vhdx(path, &make);
	if (block_open(path, NULL, &device, error))
		return -1;
	for (uint64_t i = 0; i < 3; i++) {
		memset(data, (int)(0x11 * (i + 1)), sizeof(data));
		if (block_io(device, loop, BLOCK_WRITE, 0, i * 7 * MIB, data, PAGE) ||
		    block_io(device, loop, BLOCK_FLUSH, 0, 0, NULL, 0))
			return -1;
	}
	if (fstat(fd, &status))
		return -1;
	golden_bytes = (uint64_t)status.st_size;
	for (uint64_t at = 0; at < golden_bytes; at += PAGE) {
		static const uint8_t zeroes[PAGE];

		make_get(fd, pages[page_count].bytes, PAGE, at);
		if (!memcmp(pages[page_count].bytes, zeroes, PAGE))
			continue;
		pages[page_count].offset_bytes = at;
		if (++page_count == sizeof(pages) / sizeof(pages[0]))
			return -1;
	}
	return block_close(device);
}

static int tear_down(void **state)
{
	io_loop_destroy(loop);
	close(fd);
	return unlink(path);
}

static void restore(uint64_t size_bytes)
{
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(ftruncate(fd, (off_t)size_bytes), 0);
	for (uint32_t i = 0; i < page_count; i++) {
		uint64_t at = pages[i].offset_bytes;

		if (at < size_bytes)
			make_put(fd, pages[i].bytes, size_bytes - at < PAGE ? size_bytes - at : PAGE, at);
	}
}

static void use(struct block_device *device, bool write)
{
	static uint8_t data[64 * 1024];
	const struct block_geometry *geometry = &device->geometry;
	uint64_t last = geometry->size_bytes - geometry->logical_sector_bytes;
	uint64_t places[] = { 0, 7 * MIB, 14 * MIB, 5 * MIB, last };

	assert_true(geometry->logical_sector_bytes == 512 || geometry->logical_sector_bytes == 4096);
	assert_int_equal(geometry->size_bytes % geometry->logical_sector_bytes, 0);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		uint64_t bytes = geometry->logical_sector_bytes;

		(void)block_io(device, loop, BLOCK_READ, 0, places[i], data, bytes);
		if (write)
			(void)block_io(device, loop, BLOCK_WRITE, i == 2 ? BLOCK_WRITE_FUA : 0, places[i],
				       data, bytes);
		(void)block_io(device, loop, BLOCK_READ, 0, places[i] / 2 / 4096 * 4096, data, 65536);
	}
	if (write) {
		(void)block_io(device, loop, BLOCK_DISCARD, 0, 0, NULL, 8192);
		(void)block_io(device, loop, BLOCK_WRITE_ZEROES, 0, 4096, NULL, 8192);
		(void)block_io(device, loop, BLOCK_FLUSH, 0, 0, NULL, 0);
	}
}

/* Opens what is there now, first for reading, then for writing. Returns the first result. */
static int try_it(void)
{
	int results[2];

	for (int write = 0; write < 2; write++) {
		struct block_open_options options = { .read_only = !write, .format = "vhdx" };
		struct block_device *device;

		error[0] = 0;
		results[write] = block_open(path, &options, &device, error);
		if (results[write]) {
			if (results[write] != -LIS_FORMAT && results[write] != -LIS_UNSUPPORTED &&
			    results[write] != -LIS_IO && results[write] != -LIS_NOSPACE)
				fail_msg("%d: %s", results[write], error);
			assert_non_null(strstr(error, path));
			assert_true(strlen(error) > strlen(path) + 10);
			refused++;
			continue;
		}
		opened++;
		use(device, write);
		(void)block_close(device);
	}
	return results[0];
}

/* A structure, and the one whose checksum covers it (0 bytes: none). */
struct area {
	const char *name;
	uint64_t offset_bytes;
	uint32_t bytes;
	uint64_t sum_offset_bytes;
	uint32_t sum_bytes;
};

#define LOG_ENTRY(n) (MAKE_LOG_OFFSET + (n) * 8192)

static const struct area areas[] = {
	{ "file identifier", 0, 16, 0, 0 },
	{ "header 1", VHDX_HEADER1_OFFSET, 80, VHDX_HEADER1_OFFSET, VHDX_HEADER_BYTES },
	{ "header 2", VHDX_HEADER2_OFFSET, 80, VHDX_HEADER2_OFFSET, VHDX_HEADER_BYTES },
	{ "region table", VHDX_REGION_TABLE1_OFFSET, 96, VHDX_REGION_TABLE1_OFFSET, VHDX_REGION_TABLE_BYTES },
	{ "metadata table", MAKE_METADATA_OFFSET, 32 + 5 * 32, 0, 0 },
	{ "metadata items", MAKE_METADATA_OFFSET + 65536, 5 * 64, 0, 0 },
	{ "BAT", MAKE_BAT_OFFSET, 24 * 8, 0, 0 },
	{ "log entry 1", LOG_ENTRY(0), 128, LOG_ENTRY(0), 8192 },
	{ "log entry 2", LOG_ENTRY(1), 128, LOG_ENTRY(1), 8192 },
	{ "log entry 3", LOG_ENTRY(2), 128, LOG_ENTRY(2), 8192 },
	{ "log data 3", LOG_ENTRY(2) + 4096, 200, LOG_ENTRY(2), 8192 },
};

static void change(const struct area *area, uint32_t at, const void *value, uint32_t bytes, bool checksum)
{
	restore(golden_bytes);
	make_put(fd, value, bytes, area->offset_bytes + at);
	if (checksum)
		make_checksum(fd, area->sum_offset_bytes, area->sum_bytes);
	try_it();
}

static void the_undamaged_file_opens_and_holds_what_was_flushed(void **state)
{
	struct block_open_options options = { .read_only = true };
	struct block_device *device;
	uint8_t data[PAGE];

	restore(golden_bytes);
	assert_int_equal(block_open(path, &options, &device, error), 0);
	for (uint64_t i = 0; i < 3; i++) {
		assert_int_equal(block_io(device, loop, BLOCK_READ, 0, i * 7 * MIB, data, PAGE), 0);
		assert_int_equal(data[PAGE - 1], 0x11 * (i + 1));
	}
	assert_int_equal(block_close(device), 0);
}

static void any_changed_byte_is_survived(void **state)
{
	static const uint8_t masks[] = { 0x01, 0x80, 0xff };

	alarm(SECONDS_MAX);
	for (size_t i = 0; i < sizeof(areas) / sizeof(areas[0]); i++) {
		const struct area *area = &areas[i];

		for (uint32_t at = 0; at < area->bytes; at++) {
			uint8_t byte;

			restore(golden_bytes);
			make_get(fd, &byte, 1, area->offset_bytes + at);
			for (size_t m = 0; m < sizeof(masks); m++) {
				uint8_t value = byte ^ masks[m];

				change(area, at, &value, 1, false);
				if (area->sum_bytes)
					change(area, at, &value, 1, true);
			}
		}
	}
	alarm(0);
	assert_true(opened > 1000 && refused > 1000); /* both happen, or this tests little */
}

static void any_field_of_extreme_value_is_survived(void **state)
{
	static const uint64_t values[] = {
		0, 1, UINT64_MAX, UINT64_C(1) << 63, UINT64_MAX >> 1, UINT64_C(0xfffff00000), 1 << 20,
		UINT64_C(0x8000000080000000), UINT64_C(0x7fffffff7fffffff), UINT64_C(0xfffff000fffff000),
		UINT64_C(0xfffffffffff00006), UINT64_C(0x0000400000000006), UINT64_C(0x300006),
	};

	alarm(SECONDS_MAX);
	for (size_t i = 0; i < sizeof(areas) / sizeof(areas[0]); i++) {
		for (uint32_t at = 0; at + 8 <= areas[i].bytes; at += 4) {
			for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
				change(&areas[i], at, &values[v], at % 8 ? 4 : 8, areas[i].sum_bytes);
				if (at % 8 == 0)
					change(&areas[i], at, &values[v], 4, areas[i].sum_bytes);
			}
		}
	}
	alarm(0);
}

static void a_file_cut_anywhere_is_survived(void **state)
{
	alarm(SECONDS_MAX);
	for (uint64_t bytes = PAGE; bytes < golden_bytes; bytes += bytes < 5 * MIB ? PAGE : 256 * 1024) {
		restore(bytes);
		try_it();
		restore(bytes - 100);
		assert_int_not_equal(try_it(), 0); /* what was flushed is gone: refused */
	}
	alarm(0);
}

static void a_log_full_of_forged_entries_ends_soon(void **state)
{
	struct vhdx_header header;

	alarm(SECONDS_MAX);
	restore(golden_bytes);
	header = make_current_header(fd);
	/* Each sector is a valid entry; none of their tails leads back to them. */
	for (uint32_t i = 0; i < 256; i++) {
		struct vhdx_log_entry entry = {
			.signature = VHDX_LOG_ENTRY_TAG, .entry_length_bytes = PAGE, .sequence_number = 2 * i + 1,
			.tail_bytes = (i + 1) % 256 * PAGE, .log_guid = header.log_guid,
		};

		make_put(fd, &entry, sizeof(entry), MAKE_LOG_OFFSET + i * PAGE);
		make_put(fd, pages[0].bytes + 512, PAGE - sizeof(entry),
			 MAKE_LOG_OFFSET + i * PAGE + sizeof(entry));
		make_checksum(fd, MAKE_LOG_OFFSET + i * PAGE, PAGE);
	}
	assert_int_equal(try_it(), -LIS_FORMAT);
	alarm(0);
}

static void the_log_cannot_reach_headers_or_itself(void **state)
{
	const uint64_t targets[] = { 0, VHDX_HEADER1_OFFSET - PAGE, MAKE_LOG_OFFSET + 100 * PAGE };
	static uint8_t before[PAGE], after[PAGE];

	for (int i = 0; i < 3; i++) {
		restore(golden_bytes);
		make_put(fd, &targets[i], 8, LOG_ENTRY(2) + sizeof(struct vhdx_log_entry) +
			 offsetof(struct vhdx_log_descriptor, file_offset_bytes));
		make_checksum(fd, LOG_ENTRY(2), 8192);
		make_get(fd, before, PAGE, targets[i]);
		(void)try_it();
		make_get(fd, after, PAGE, targets[i]);
		assert_memory_equal(before, after, PAGE);
	}
}

static void a_differencing_file_without_a_parent_locator_is_damaged(void **state)
{
	struct vhdx_make child = make;

	child.parameter_flags = VHDX_HAS_PARENT;
	close(make_vhdx(path, &child));
	assert_int_equal(try_it(), -LIS_FORMAT);
	assert_non_null(strstr(error, "has no parent locator"));
}

static void refused_with(int result, const char *words)
{
	assert_int_equal(try_it(), result);
	assert_non_null(strstr(error, words));
}

static void refusals_name_what_is_wrong(void **state)
{
	const uint64_t present = VHDX_BLOCK_FULLY_PRESENT;
	const uint32_t far_away = (1 << 20) - 4; /* 8 bytes there end behind the region */
	struct vhdx_make small = make;
	uint64_t entry;

	close(make_vhdx(path, &small));
	assert_int_equal(ftruncate(fd, 8 * MIB), 0);
	entry = 4 * MIB | present;
	make_put(fd, &entry, 8, MAKE_BAT_OFFSET);
	assert_int_equal(try_it(), 0);
	make_put(fd, &entry, 8, MAKE_BAT_OFFSET + 8);
	refused_with(-LIS_FORMAT, "block 1 overlaps another");
	entry = MAKE_LOG_OFFSET | present;
	make_put(fd, &entry, 8, MAKE_BAT_OFFSET + 8);
	refused_with(-LIS_FORMAT, "block 1 overlaps the metadata");
	entry = 1000 * MIB | present;
	make_put(fd, &entry, 8, MAKE_BAT_OFFSET + 8);
	refused_with(-LIS_FORMAT, "block 1 is behind the end");
	entry = VHDX_BLOCK_PARTIALLY_PRESENT;
	make_put(fd, &entry, 8, MAKE_BAT_OFFSET + 8);
	refused_with(-LIS_FORMAT, "entry of block 1");
	entry = 0;
	make_put(fd, &entry, 8, MAKE_BAT_OFFSET + 8);
	make_put(fd, &far_away, 4, MAKE_METADATA_OFFSET + 32 + 32 + 16);
	refused_with(-LIS_FORMAT, "disk size is not where");
	make_put(fd, "x", 1, VHDX_HEADER1_OFFSET + 9);
	make_put(fd, "x", 1, VHDX_HEADER2_OFFSET + 9);
	refused_with(-LIS_FORMAT, "neither of its two headers");
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#endif

static void memory_stays_small(void **state)
{
#ifndef SANITIZED
	struct rusage usage;

	assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
	assert_true(usage.ru_maxrss < 64 * 1024); /* KiB, of everything above */
#else
	skip();
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_undamaged_file_opens_and_holds_what_was_flushed),
		cmocka_unit_test(any_changed_byte_is_survived),
		cmocka_unit_test(any_field_of_extreme_value_is_survived),
		cmocka_unit_test(a_file_cut_anywhere_is_survived),
		cmocka_unit_test(a_log_full_of_forged_entries_ends_soon),
		cmocka_unit_test(the_log_cannot_reach_headers_or_itself),
		cmocka_unit_test(a_differencing_file_without_a_parent_locator_is_damaged),
		cmocka_unit_test(refusals_name_what_is_wrong),
		cmocka_unit_test(memory_stays_small),
	};

	/* Thousands of files are flushed: in memory where that can be had. */
	snprintf(path, sizeof(path), "%s/lis-damage.%d", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm",
		 (int)getpid());
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
