/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Marked regions of a disk, against a plain list of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "storage/regions.h"
#include "tests/unit/storage/block_io.h"

#define REGION UINT64_C(65536)
#define REGIONS 300u
#define DISK_BYTES (REGIONS * REGION - 512)

static void what_was_marked_is_taken_once_and_in_order(void **state)
{
	uint64_t random = 7, offset_bytes, bytes;
	struct regions *regions;
	bool model[REGIONS] = { false };

	assert_int_equal(regions_create(DISK_BYTES, &regions), 0);
	for (int round = 0; round < 200; round++) {
		uint64_t at = 0, count = 0;

		for (uint64_t n = block_random(&random) % 20; n; n--) {
			uint64_t from = block_random(&random) % (DISK_BYTES / 512);
			uint64_t sectors = 1 + block_random(&random) % (n % 4 ? 200 : 40000);

			if (sectors > DISK_BYTES / 512 - from)
				sectors = DISK_BYTES / 512 - from;
			regions_mark(regions, from * 512, sectors * 512);
			for (uint64_t i = from * 512 / REGION; i <= (from + sectors) * 512 / REGION; i++)
				if (i * REGION < (from + sectors) * 512)
					model[i] = true;
		}
		regions_mark(regions, 0, 0);
		assert_int_equal(regions_span_bytes(regions, 0, 0), 0);
		for (uint32_t i = 0; i < REGIONS; i++)
			count += model[i];
		assert_int_equal(regions_marked_bytes(regions), count * REGION);
		for (uint32_t i = 0; i < REGIONS; i++) {
			if (!model[i])
				continue;
			assert_true(regions_take(regions, &at, &offset_bytes, &bytes));
			assert_int_equal(offset_bytes, i * REGION);
			assert_int_equal(bytes, i == REGIONS - 1 ? REGION - 512 : REGION);
			model[i] = false;
		}
		assert_false(regions_take(regions, &at, &offset_bytes, &bytes));
		at = 0;
		assert_false(regions_take(regions, &at, &offset_bytes, &bytes));
	}
	regions_destroy(regions);
}

static void a_span_is_all_that_a_mark_marks(void **state)
{
	static const struct { uint64_t offset_bytes, bytes, regions; } spans[] = {
		{ 0, 1, 1 }, { 0, REGION, 1 }, { 512, REGION, 2 }, { REGION - 512, 512, 1 }, { REGION - 512, 1024, 2 },
		{ 3 * REGION, 5 * REGION, 5 }, { 3 * REGION + 512, 5 * REGION, 6 },
	};

	for (size_t i = 0; i < sizeof(spans) / sizeof(*spans); i++) {
		struct regions *regions;

		assert_int_equal(regions_create(DISK_BYTES, &regions), 0);
		assert_int_equal(regions_span_bytes(regions, spans[i].offset_bytes, spans[i].bytes),
				 spans[i].regions * REGION);
		regions_mark(regions, spans[i].offset_bytes, spans[i].bytes);
		assert_int_equal(regions_marked_bytes(regions), spans[i].regions * REGION);
		regions_destroy(regions);
	}
}

/* Behind where one looks it waits for the next time. */
static void a_region_marked_again_is_taken_again(void **state)
{
	uint64_t at = 0, offset_bytes, bytes;
	struct regions *regions;

	assert_int_equal(regions_create(DISK_BYTES, &regions), 0);
	regions_mark(regions, 5 * REGION, 1);
	assert_true(regions_take(regions, &at, &offset_bytes, &bytes));
	regions_mark(regions, 5 * REGION, 1);
	assert_false(regions_take(regions, &at, &offset_bytes, &bytes));
	at = 0;
	assert_true(regions_take(regions, &at, &offset_bytes, &bytes));
	assert_int_equal(offset_bytes, 5 * REGION);
	regions_destroy(regions);
}

static void a_huge_disk_has_larger_regions(void **state)
{
	const uint64_t size_bytes = UINT64_C(64) << 40;
	uint64_t at = 0, offset_bytes, bytes;
	struct regions *regions;

	assert_int_equal(regions_create(size_bytes, &regions), 0);
	regions_mark(regions, size_bytes - 512, 512);
	assert_true(regions_take(regions, &at, &offset_bytes, &bytes));
	assert_int_equal(offset_bytes + bytes, size_bytes);
	assert_int_equal(bytes, size_bytes >> 23);
	regions_destroy(regions);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_marked_is_taken_once_and_in_order),
		cmocka_unit_test(a_span_is_all_that_a_mark_marks),
		cmocka_unit_test(a_region_marked_again_is_taken_again),
		cmocka_unit_test(a_huge_disk_has_larger_regions),
	};

	return cmocka_run_group_tests_name("regions", tests, NULL, NULL);
}
