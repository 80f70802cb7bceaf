// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Where memory lies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/memory.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

static char error[256];

static void small_memory_is_one_piece(void **state)
{
	struct memory_map map;

	assert_int_equal(memory_map_init(&map, 512 * MIB, 40, error, sizeof(error)), 0);
	assert_int_equal(map.low_bytes, 512 * MIB);
	assert_int_equal(map.high_bytes, 0);
}

static void large_memory_leaves_a_hole_below_4_gib(void **state)
{
	struct memory_map map;

	assert_int_equal(memory_map_init(&map, 3 * GIB, 40, error, sizeof(error)), 0);
	assert_int_equal(map.low_bytes, 3 * GIB);
	assert_int_equal(map.high_bytes, 0);
	assert_int_equal(memory_map_init(&map, 8 * GIB, 40, error, sizeof(error)), 0);
	assert_int_equal(map.low_bytes, 3 * GIB);
	assert_int_equal(map.high_bytes, 5 * GIB);
	assert_true(map.low_bytes <= MEMORY_MMIO_LOW_START);
}

static void windows_never_overlap_memory_on_any_processor(void **state)
{
	for (uint32_t bits = 36; bits <= 52; bits++) {
		struct memory_map map;

		for (uint64_t bytes = 16 * MIB; bytes < 1ull << 51; bytes *= 2) {
			int err = memory_map_init(&map, bytes, bits, error, sizeof(error));

			if (err) {
				assert_int_equal(err, -LIS_INVALID);
				assert_non_null(strstr(error, "bits"));
				assert_true(bytes > (1ull << bits) / 2);
				break;
			}
			assert_true(map.mmio_high_start >= MEMORY_HIGH_START + map.high_bytes);
			assert_true(map.mmio_high_start < map.mmio_high_end);
			assert_true(map.mmio_high_end <= 1ull << bits);
		}
	}
}

static void senseless_sizes_are_refused(void **state)
{
	struct memory_map map;

	assert_int_equal(memory_map_init(&map, 0, 40, error, sizeof(error)), -LIS_INVALID);
	assert_int_equal(memory_map_init(&map, 8 * MIB, 40, error, sizeof(error)), -LIS_INVALID);
	assert_int_equal(memory_map_init(&map, 64 * MIB + 4096, 40, error, sizeof(error)),
			 -LIS_INVALID);
	assert_int_equal(memory_map_init(&map, UINT64_MAX - MIB + 1, 40, error, sizeof(error)),
			 -LIS_INVALID);
}

static void more_than_the_machine_has_is_refused_with_its_size(void **state)
{
	struct partition partition = { 0 };
	struct memory_map map;

	assert_int_equal(memory_map_init(&map, 1ull << 48, 52, error, sizeof(error)), 0);
	assert_int_equal(memory_create(&partition, &map, error, sizeof(error)), -LIS_NOMEM);
	assert_non_null(strstr(error, "cannot be had"));
	assert_int_equal(partition.slot_count, 0);
}

static void memory_is_there_and_clearing_gives_zeros(void **state)
{
	struct partition partition = { 0 };
	struct memory_map map = { .low_bytes = 16 * MIB, .high_bytes = 16 * MIB };
	uint8_t *low, *high;

	assert_int_equal(memory_create(&partition, &map, error, sizeof(error)), 0);
	assert_int_equal(partition.slot_count, 2);
	low = partition_hva(&partition, GPA(16 * MIB - 1), 1);
	high = partition_hva(&partition, GPA(4 * GIB), 16 * MIB);
	assert_non_null(low);
	assert_non_null(high);
	assert_null(partition_hva(&partition, GPA(16 * MIB - 1), 2));
	*low = *high = 1;
	assert_int_equal(partition.slots[1].fd_offset_bytes, 16 * MIB);
	memory_clear(&partition);
	assert_int_equal(*low + *high, 0);
	memory_destroy(&partition);
}

static void huge_pages_change_nothing_of_it(void **state)
{
	struct memory_map map = { .low_bytes = 17 * MIB, .high_bytes = 0 };
	struct partition partition = { 0 };
	uint8_t *all;

	assert_int_equal(memory_create(&partition, &map, error, sizeof(error)), 0);
	all = partition_hva(&partition, GPA(0), 17 * MIB);
	assert_int_equal((uintptr_t)all % (2 * MIB), 0);
	for (uint32_t i = 0; i < 17; i++)
		all[i * MIB + i] = (uint8_t)(i + 1);
	/* What there is of them is the host's matter; the last MiB is none. */
	assert_in_range(memory_make_huge(&partition), 0, 16 * MIB);
	for (uint32_t i = 0; i < 17; i++)
		assert_int_equal(all[i * MIB + i], i + 1);
	memory_clear(&partition);
	for (uint32_t i = 0; i < 17; i++)
		assert_int_equal(all[i * MIB + i], 0);
	memory_destroy(&partition);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_memory_is_one_piece),
		cmocka_unit_test(large_memory_leaves_a_hole_below_4_gib),
		cmocka_unit_test(windows_never_overlap_memory_on_any_processor),
		cmocka_unit_test(senseless_sizes_are_refused),
		cmocka_unit_test(more_than_the_machine_has_is_refused_with_its_size),
		cmocka_unit_test(memory_is_there_and_clearing_gives_zeros),
		cmocka_unit_test(huge_pages_change_nothing_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
