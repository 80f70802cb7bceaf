/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Blocks given back and filled: UNMAP and WRITE SAME. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/storage/scsi_fixture.h"

/* ---- UNMAP ---- */

static void put_unmap(struct scsi_fixture *f, unsigned index, uint64_t lba, uint32_t blocks)
{
	uint8_t *at = f->data + 8 + 16 * index;

	memset(at, 0, 16);
	put_be(at, lba, 8);
	put_be(at + 8, blocks, 4);
}

static void run_unmap(struct scsi_fixture *f, unsigned count)
{
	memset(f->data, 0, 8);
	put_be(f->data, 8 + 16 * count - 2, 2);
	put_be(f->data + 2, 16 * count, 2);
	run_10(f, 0x42, 0, 0, (uint16_t)(8 + 16 * count), SCSI_DATA_OUT, 8 + 16 * count);
}

static void unmap_discards_each_range(void **state)
{
	struct scsi_fixture *f = *state;

	put_unmap(f, 0, 8, 16);
	put_unmap(f, 1, 100, 0);
	put_unmap(f, 2, DISK_SECTORS - 8, 8);
	run_unmap(f, 3);
	assert_good(f, 8 + 48);
	assert_int_equal(f->memory.log_count, 2);
	assert_int_equal(f->memory.log[0].op, BLOCK_DISCARD);
	assert_int_equal(f->memory.log[0].offset_bytes, 8 * 512);
	assert_int_equal(f->memory.log[0].length_bytes, 16 * 512);
	assert_int_equal(f->memory.log[1].offset_bytes, (DISK_SECTORS - 8) * 512);
	assert_int_equal(atomic_load(&scsi_unit_counters(f->unit)->discarded_bytes), 24 * 512);
}

static void unmap_of_many_ranges_is_no_recursion(void **state)
{
	struct scsi_fixture *f = *state;

	for (unsigned i = 0; i < 255; i++)
		put_unmap(f, i, i, 1);
	run_unmap(f, 255);
	assert_good(f, 8 + 255 * 16);
	assert_int_equal(f->memory.log_count, 255);
	run_unmap(f, 256);
	assert_sense(f, SCSI_SENSE_INVALID_FIELD_IN_PARAMETERS);
	assert_int_equal(f->memory.log_count, 255);
}

static void unmap_refuses_bad_lists(void **state)
{
	struct scsi_fixture *f = *state;

	put_unmap(f, 0, 0, 1);
	put_unmap(f, 1, DISK_SECTORS - 1, 2);
	run_unmap(f, 2);
	assert_sense(f, SCSI_SENSE_LBA_OUT_OF_RANGE);
	put_unmap(f, 0, UINT64_MAX, UINT32_MAX);
	run_unmap(f, 1);
	assert_sense(f, SCSI_SENSE_LBA_OUT_OF_RANGE);
	run_10(f, 0x42, 0, 0, 7, SCSI_DATA_OUT, 7);
	assert_sense(f, SCSI_SENSE_PARAMETER_LIST_LENGTH);
	run_10(f, 0x42, 0, 0, 0, 0, 0);
	assert_good(f, 0);
	memset(f->data, 0, 8);
	put_be(f->data + 2, 17, 2); /* descriptors longer than the list */
	run_10(f, 0x42, 0, 0, 24, SCSI_DATA_OUT, 24);
	assert_sense(f, SCSI_SENSE_PARAMETER_LIST_LENGTH);
	put_be(f->data + 2, 16, 2); /* list longer than the memory */
	run_10(f, 0x42, 0, 0, 24, SCSI_DATA_OUT, 23);
	assert_sense(f, SCSI_SENSE_INVALID_FIELD_IN_CDB);
	run_10(f, 0x42, 1, 0, 24, SCSI_DATA_OUT, 24); /* ANCHOR */
	assert_bad_field(f, 1);
	f->memory.base.geometry.discard_granularity_bytes = 0;
	run_unmap(f, 1);
	assert_sense(f, SCSI_SENSE_INVALID_OPERATION);
}

/* ---- WRITE SAME ---- */

static void write_same_of_zeroes_writes_no_zeroes(void **state)
{
	struct scsi_fixture *f = *state;

	memset(f->data, 0, 512);
	run_16(f, 0x93, 0, 16, 1000, SCSI_DATA_OUT, 512);
	assert_good(f, 512);
	run_16(f, 0x93, 0x08, 16, 1000, SCSI_DATA_OUT, 512); /* UNMAP */
	assert_good(f, 512);
	run_10(f, 0x41, 0x08, 16, 1000, SCSI_DATA_OUT, 512);
	assert_good(f, 512);
	run_16(f, 0x93, 0x01, 16, 1000, 0, 0); /* NDOB: no data at all */
	assert_good(f, 0);
	assert_int_equal(f->memory.log_count, 4);
	assert_int_equal(f->memory.log[0].op, BLOCK_WRITE_ZEROES);
	assert_int_equal(f->memory.log[1].op, BLOCK_DISCARD);
	assert_int_equal(f->memory.log[2].op, BLOCK_DISCARD);
	assert_int_equal(f->memory.log[3].op, BLOCK_WRITE_ZEROES);
	assert_int_equal(f->memory.log[0].offset_bytes, 16 * 512);
	assert_int_equal(f->memory.log[0].length_bytes, 1000 * 512);
	/* Where discarded sectors need not read as zeroes, UNMAP is only a hint. */
	f->memory.base.geometry.discard_zeroes = false;
	run_16(f, 0x93, 0x08, 16, 1000, SCSI_DATA_OUT, 512);
	assert_int_equal(f->memory.log[4].op, BLOCK_WRITE_ZEROES);
}

static void write_same_repeats_any_pattern(void **state)
{
	struct scsi_fixture *f = *state;

	for (unsigned i = 0; i < 512; i++)
		f->data[i] = (uint8_t)(i * 3 + 1);
	run_16(f, 0x93, 0x08, 16, 1000, SCSI_DATA_OUT, 512);
	assert_good(f, 512);
	assert_int_equal(f->memory.log_count, 8);
	for (unsigned s = 16; s < 1016; s++)
		assert_memory_equal(f->memory.bytes + s * 512, f->data, 512);
	assert_disk_pattern(f->memory.bytes + 15 * 512, 15 * 512, 512);
	assert_disk_pattern(f->memory.bytes + 1016 * 512, 1016 * 512, 512);
	f->memory.fail_at = 3;
	f->memory.fail_with = -LIS_NOSPACE;
	run_16(f, 0x93, 0, 16, 1000, SCSI_DATA_OUT, 512);
	assert_sense(f, SCSI_SENSE_SPACE_ALLOCATION_FAILED);
	assert_int_equal(f->memory.log_count, 11);
}

static void write_same_refuses_what_it_cannot_bound(void **state)
{
	struct scsi_fixture *f = *state;

	memset(f->data, 1, 512);
	run_16(f, 0x93, 0, 0, 0, SCSI_DATA_OUT, 512); /* to the end: WSNZ */
	assert_bad_field(f, 10);
	run_10(f, 0x41, 0, 0, 0, SCSI_DATA_OUT, 512);
	assert_bad_field(f, 7);
	run_16(f, 0x93, 0, 0, (256u << 20) / 512 + 1, SCSI_DATA_OUT, 512);
	assert_bad_field(f, 10);
	run_16(f, 0x93, 0, 1, DISK_SECTORS, SCSI_DATA_OUT, 512);
	assert_sense(f, SCSI_SENSE_LBA_OUT_OF_RANGE);
	run_16(f, 0x93, 0x10, 0, 1, SCSI_DATA_OUT, 512);
	assert_bad_field(f, 1);
	run_10(f, 0x41, 0x01, 0, 1, SCSI_DATA_OUT, 512); /* no NDOB in the short form */
	assert_bad_field(f, 1);
	run_16(f, 0x93, 0, 0, 1, SCSI_DATA_OUT, 511);
	assert_sense(f, SCSI_SENSE_INVALID_FIELD_IN_CDB);
	assert_int_equal(f->memory.log_count, 0);
}

static void zeroes_are_flushed_where_there_is_no_cache(void **state)
{
	struct scsi_fixture *f = *state;

	scsi_make_disk(f, &(struct scsi_disk_config){ .write_through = true });
	memset(f->data, 0, 512);
	run_16(f, 0x93, 0, 16, 8, SCSI_DATA_OUT, 512);
	assert_good(f, 512);
	assert_int_equal(f->memory.log_count, 2);
	assert_int_equal(f->memory.log[1].op, BLOCK_FLUSH);
}

/* ---- GET LBA STATUS ---- */

/* Every third run of eight sectors is there; a sector at a time, so that neighbours are alike. */
static int map_thirds(struct block_device *device, uint64_t offset_bytes, struct block_extent *out_extent)
{
	(void)device;
	out_extent->length_bytes = 512;
	out_extent->data = offset_bytes / 4096 % 3 == 0;
	return offset_bytes == 4096 * 200 ? -LIS_IO : 0;
}

static void run_lba_status(struct scsi_fixture *f, uint64_t lba, uint32_t allocation_bytes)
{
	run_16(f, 0x9e, 0x12, lba, allocation_bytes, SCSI_DATA_IN, allocation_bytes);
}

static void assert_lba_status(const struct scsi_fixture *f, unsigned index, uint64_t lba, uint32_t blocks,
			      uint8_t status)
{
	const uint8_t *at = f->data + 8 + 16 * index;

	assert_int_equal(get_be(at, 8), lba);
	assert_int_equal(get_be(at + 8, 4), blocks);
	assert_int_equal(at[12], status);
}

static void lba_status_tells_what_is_there(void **state)
{
	struct block_driver driver;
	struct scsi_fixture *f = *state;

	driver = *f->memory.base.driver;
	driver.map = map_thirds;
	f->memory.base.driver = &driver;
	run_lba_status(f, 4, 8 + 3 * 16);
	assert_good(f, 8 + 3 * 16);
	assert_int_equal(get_be(f->data, 4), 4 + 3 * 16);
	assert_lba_status(f, 0, 4, 4, 0);
	assert_lba_status(f, 1, 8, 16, 1);
	assert_lba_status(f, 2, 24, 8, 0);
	run_lba_status(f, 4, 8 + 16 + 15); /* a descriptor that does not fit is not begun */
	assert_good(f, 8 + 16);
	run_lba_status(f, DISK_SECTORS - 1, 4096); /* to the end, and no further */
	assert_good(f, 8 + 16);
	assert_lba_status(f, 0, DISK_SECTORS - 1, 1, 0);
	run_lba_status(f, 1590, 4096);
	assert_sense(f, SCSI_SENSE_READ_ERROR);
	run_lba_status(f, DISK_SECTORS, 4096);
	assert_sense(f, SCSI_SENSE_LBA_OUT_OF_RANGE);
	run_lba_status(f, 0, 23);
	assert_bad_field(f, 10);
	run_16(f, 0x9e, 0x12, 0, 1u << 20, SCSI_DATA_IN, 16); /* less memory than it was said */
	assert_good(f, 16);
}

static void lba_status_of_a_format_without_a_map_is_there(void **state)
{
	struct scsi_fixture *f = *state;

	run_lba_status(f, 0, 24);
	assert_good(f, 24);
	assert_lba_status(f, 0, 0, DISK_SECTORS, 0);
}

static void lba_status_may_sleep_elsewhere(void **state)
{
	const struct io_loop_config config = { .name = "test" };
	struct scsi_fixture *f = *state;
	struct io_workers *workers;
	struct io_loop *loop;

	assert_int_equal(io_workers_create("test", 2, &workers), 0);
	assert_int_equal(io_loop_create(&config, &loop), 0);
	scsi_make_disk(f, &(struct scsi_disk_config){ .workers = workers });
	for (int i = 0; i < 50; i++) {
		f->loop = loop;
		start(f, CDB(0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 24), SCSI_DATA_IN, 24);
		while (!f->done)
			io_loop_turn(loop, true);
		assert_good(f, 24);
		assert_lba_status(f, 0, 0, DISK_SECTORS, 0);
	}
	scsi_make_disk(f, NULL);
	io_workers_destroy(workers);
	io_loop_destroy(loop);
}

#define T(name) cmocka_unit_test_setup_teardown(name, scsi_setup, scsi_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(unmap_discards_each_range),
		T(unmap_of_many_ranges_is_no_recursion),
		T(unmap_refuses_bad_lists),
		T(write_same_of_zeroes_writes_no_zeroes),
		T(write_same_repeats_any_pattern),
		T(write_same_refuses_what_it_cannot_bound),
		T(zeroes_are_flushed_where_there_is_no_cache),
		T(lba_status_tells_what_is_there),
		T(lba_status_of_a_format_without_a_map_is_there),
		T(lba_status_may_sleep_elsewhere),
	};

	return cmocka_run_group_tests_name("storage/scsi_provisioning", tests, NULL, NULL);
}
