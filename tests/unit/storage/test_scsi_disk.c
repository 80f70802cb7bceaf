/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The SCSI disk on a block device in memory: transfers, flushes, and the sense of what fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/storage/scsi_fixture.h"

/* ---- READ and WRITE ---- */

static void reads_of_all_lengths_reach_the_right_sectors(void **state)
{
	struct scsi_fixture *f = *state;

	run_cdb(f, CDB(0x08, 0x00, 0x01, 0x02, 3, 0), SCSI_DATA_IN, 3 * 512);
	assert_good(f, 3 * 512);
	assert_disk_pattern(f->data, 0x102 * 512, 3 * 512);
	run_cdb(f, CDB(0x08, 0, 0, 0, 0, 0), SCSI_DATA_IN, 256 * 512); /* 0 means 256 */
	assert_good(f, 256 * 512);
	assert_disk_pattern(f->data, 0, 256 * 512);
	run_10(f, 0x28, 0, 5, 7, SCSI_DATA_IN, 7 * 512);
	assert_good(f, 7 * 512);
	assert_disk_pattern(f->data, 5 * 512, 7 * 512);
	run_cdb(f, CDB(0xa8, 0, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0), SCSI_DATA_IN, 1024);
	assert_good(f, 1024);
	assert_disk_pattern(f->data, 9 * 512, 1024);
	run_16(f, 0x88, 0, 1000, 4, SCSI_DATA_IN, 4 * 512);
	assert_good(f, 4 * 512);
	assert_disk_pattern(f->data, 1000 * 512, 4 * 512);
}

static void writes_of_all_lengths_reach_the_right_sectors(void **state)
{
	static const struct {
		uint8_t cdb[16];
		uint32_t lba, blocks;
	} writes[] = {
		{ { 0x0a, 0x00, 0x01, 0x02, 3 }, 0x102, 3 },
		{ { 0x2a, 0, 0, 0, 0, 40, 0, 0, 2 }, 40, 2 },
		{ { 0xaa, 0, 0, 0, 0, 50, 0, 0, 0, 5 }, 50, 5 },
		{ { 0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, 1 }, 60, 1 },
		{ { 0x2e, 0, 0, 0, 0, 70, 0, 0, 2 }, 70, 2 },
		{ { 0xae, 0, 0, 0, 0, 80, 0, 0, 0, 2 }, 80, 2 },
		{ { 0x8e, 0, 0, 0, 0, 0, 0, 0, 0, 90, 0, 0, 0, 1 }, 90, 1 },
	};
	struct scsi_fixture *f = *state;

	for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
		uint32_t bytes = writes[i].blocks * 512;
		uint64_t at = writes[i].lba * 512ull;

		memset(f->data, (int)(0x80 + i), bytes);
		run_cdb(f, writes[i].cdb, 16, SCSI_DATA_OUT, bytes);
		assert_good(f, bytes);
		assert_memory_equal(f->memory.bytes + at, f->data, bytes);
		assert_disk_pattern(f->memory.bytes + at - 1, at - 1, 1);
		assert_disk_pattern(f->memory.bytes + at + bytes, at + bytes, 1);
	}
}

static void addresses_end_at_the_last_sector(void **state)
{
	struct scsi_fixture *f = *state;

	run_16(f, 0x88, 0, DISK_SECTORS - 1, 1, SCSI_DATA_IN, 512);
	assert_good(f, 512);
	run_16(f, 0x88, 0, DISK_SECTORS, 0, SCSI_DATA_IN, 512);
	assert_good(f, 0);
	run_16(f, 0x88, 0, DISK_SECTORS, 1, SCSI_DATA_IN, 512);
	assert_sense(f, SCSI_SENSE_LBA_OUT_OF_RANGE);
	run_16(f, 0x88, 0, DISK_SECTORS - 1, 2, SCSI_DATA_IN, 1024);
	assert_sense(f, SCSI_SENSE_LBA_OUT_OF_RANGE);
	run_16(f, 0x8a, 0, UINT64_MAX, 2, SCSI_DATA_OUT, 1024);
	assert_sense(f, SCSI_SENSE_LBA_OUT_OF_RANGE);
	run_16(f, 0x8a, 0, 1ull << 55, 1, SCSI_DATA_OUT, 512); /* wraps when made bytes */
	assert_sense(f, SCSI_SENSE_LBA_OUT_OF_RANGE);
	run_16(f, 0x88, 0, 1, UINT32_MAX, SCSI_DATA_IN, DATA_BYTES);
	assert_sense(f, SCSI_SENSE_LBA_OUT_OF_RANGE);
	run_10(f, 0x28, 0, UINT32_MAX, 1, SCSI_DATA_IN, 512);
	assert_sense(f, SCSI_SENSE_LBA_OUT_OF_RANGE);
	assert_int_equal(f->memory.log_count, 1);
}

static void transfers_need_memory_of_the_right_size_and_direction(void **state)
{
	struct scsi_fixture *f = *state;

	run_10(f, 0x28, 0, 0, 2, SCSI_DATA_IN, 1023);
	assert_sense(f, SCSI_SENSE_INVALID_FIELD_IN_CDB);
	run_10(f, 0x28, 0, 0, 2, SCSI_DATA_OUT, 1024);
	assert_sense(f, SCSI_SENSE_INVALID_FIELD_IN_CDB);
	run_10(f, 0x2a, 0, 0, 2, SCSI_DATA_IN, 1024);
	assert_sense(f, SCSI_SENSE_INVALID_FIELD_IN_CDB);
	run_10(f, 0x28, 0x20, 0, 2, SCSI_DATA_IN, 1024); /* RDPROTECT */
	assert_bad_field(f, 1);
	assert_int_equal(f->memory.log_count, 0);
	/* More memory than data is fine, and what is behind stays untouched. */
	memset(f->data, 0x77, 4096);
	run_10(f, 0x28, 0, 3, 1, SCSI_DATA_IN, 4096);
	assert_good(f, 512);
	assert_disk_pattern(f->data, 3 * 512, 512);
	assert_int_equal(f->data[512], 0x77);
}

static void fua_makes_writes_durable_and_reads_flush_first(void **state)
{
	struct scsi_fixture *f = *state;

	run_10(f, 0x2a, 0x08, 0, 1, SCSI_DATA_OUT, 512);
	assert_good(f, 512);
	assert_int_equal(f->memory.log[0].flags, BLOCK_WRITE_FUA);
	run_10(f, 0x28, 0x08, 4, 2, SCSI_DATA_IN, 1024);
	assert_good(f, 1024);
	assert_int_equal(f->memory.log_count, 3);
	assert_int_equal(f->memory.log[1].op, BLOCK_FLUSH);
	assert_int_equal(f->memory.log[2].op, BLOCK_READ);
	assert_disk_pattern(f->data, 4 * 512, 1024);
	run_10(f, 0x2e, 0, 0, 1, SCSI_DATA_OUT, 512); /* write and verify */
	assert_int_equal(f->memory.log[3].flags, BLOCK_WRITE_FUA);

	scsi_make_disk(f, &(struct scsi_disk_config){ .write_through = true });
	run_10(f, 0x2a, 0, 0, 1, SCSI_DATA_OUT, 512);
	assert_int_equal(f->memory.log[4].flags, BLOCK_WRITE_FUA);
}

static void the_short_form_has_no_fua(void **state)
{
	struct scsi_fixture *f = *state;

	/* Where others have it there is address; no memory is that large: the write must fail. */
	f->memory.base.geometry.size_bytes = 0x90000ull * 512;
	scsi_make_disk(f, NULL);
	f->memory.fail_at = 1;
	f->memory.fail_with = -LIS_IO;
	run_cdb(f, CDB(0x0a, 0x08, 0, 1, 1, 0), SCSI_DATA_OUT, 512);
	assert_int_equal(f->memory.log[0].offset_bytes, 0x80001ull * 512);
	assert_int_equal(f->memory.log[0].flags, 0);
}

static void read_only_disks_refuse_every_kind_of_write(void **state)
{
	struct scsi_fixture *f = *state;

	f->memory.base.geometry.read_only = true;
	run_10(f, 0x2a, 0, 0, 1, SCSI_DATA_OUT, 512);
	assert_sense(f, SCSI_SENSE_WRITE_PROTECTED);
	run_10(f, 0x2e, 0, 0, 1, SCSI_DATA_OUT, 512);
	assert_sense(f, SCSI_SENSE_WRITE_PROTECTED);
	run_10(f, 0x41, 0, 0, 1, SCSI_DATA_OUT, 512);
	assert_sense(f, SCSI_SENSE_WRITE_PROTECTED);
	run_10(f, 0x42, 0, 0, 24, SCSI_DATA_OUT, 24);
	assert_sense(f, SCSI_SENSE_WRITE_PROTECTED);
	run_10(f, 0x28, 0, 0, 1, SCSI_DATA_IN, 512);
	assert_good(f, 512);
	assert_int_equal(f->memory.log_count, 1);
}

static void device_errors_become_sense(void **state)
{
	static const struct {
		int error;
		enum scsi_sense read, write;
	} errors[] = {
		{ -LIS_IO, SCSI_SENSE_READ_ERROR, SCSI_SENSE_WRITE_ERROR },
		{ -LIS_NOSPACE, SCSI_SENSE_SPACE_ALLOCATION_FAILED,
		  SCSI_SENSE_SPACE_ALLOCATION_FAILED },
		{ -LIS_READONLY, SCSI_SENSE_WRITE_PROTECTED, SCSI_SENSE_WRITE_PROTECTED },
		{ -LIS_INVALID, SCSI_SENSE_LBA_OUT_OF_RANGE, SCSI_SENSE_LBA_OUT_OF_RANGE },
		{ -LIS_CORRUPT, SCSI_SENSE_INTERNAL_FAILURE, SCSI_SENSE_INTERNAL_FAILURE },
		{ -LIS_GONE, SCSI_SENSE_BECOMING_READY, SCSI_SENSE_BECOMING_READY },
		{ -LIS_CANCELED, SCSI_SENSE_ABORTED, SCSI_SENSE_ABORTED },
	};
	struct scsi_fixture *f = *state;
	const size_t count = sizeof(errors) / sizeof(errors[0]);

	for (size_t i = 0; i < count; i++) {
		f->memory.fail_with = errors[i].error;
		f->memory.fail_at = 1;
		run_10(f, 0x28, 0, 0, 1, SCSI_DATA_IN, 512);
		assert_sense(f, errors[i].read);
		f->memory.fail_at = 1;
		run_10(f, 0x2a, 0, 0, 1, SCSI_DATA_OUT, 512);
		assert_sense(f, errors[i].write);
	}
	f->memory.fail_with = -LIS_NOMEM;
	f->memory.fail_at = 1;
	run_10(f, 0x28, 0, 0, 1, SCSI_DATA_IN, 512);
	assert_int_equal(f->request.status, SCSI_BUSY);
	assert_int_equal(f->request.sense_bytes, 0);
	assert_int_equal(atomic_load(&scsi_unit_counters(f->unit)->errors), 2 * count + 1);
	run_10(f, 0x28, 0, 0, 1, SCSI_DATA_IN, 512);
	assert_good(f, 512);
}

static void answers_may_come_late(void **state)
{
	struct scsi_fixture *f = *state;

	f->memory.hold = true;
	start(f, CDB(0x28, 0, 0, 0, 0, 7, 0, 0, 2, 0), SCSI_DATA_IN, 1024);
	assert_int_equal(f->done, 0);
	assert_int_equal(memory_block_release(&f->memory, 1), 1);
	assert_int_equal(f->done, 1);
	assert_good(f, 1024);
	assert_disk_pattern(f->data, 7 * 512, 1024);
	start(f, CDB(0x28, 0x08, 0, 0, 0, 7, 0, 0, 2, 0), SCSI_DATA_IN, 1024);
	memory_block_release(&f->memory, 1);
	assert_int_equal(f->done, 0);
	memory_block_release(&f->memory, 1);
	assert_int_equal(f->done, 1);
	assert_good(f, 1024);
}

static void counters_count_what_succeeded(void **state)
{
	struct scsi_fixture *f = *state;
	const struct scsi_counters *counters = scsi_unit_counters(f->unit);

	run_10(f, 0x28, 0, 0, 4, SCSI_DATA_IN, 2048);
	run_10(f, 0x28, 0, 0, 1, SCSI_DATA_IN, 2048);
	run_10(f, 0x2a, 0, 0, 3, SCSI_DATA_OUT, 1536);
	run_10(f, 0x35, 0, 0, 0, 0, 0);
	f->memory.fail_at = 1;
	f->memory.fail_with = -LIS_IO;
	run_10(f, 0x2a, 0, 0, 3, SCSI_DATA_OUT, 1536);
	assert_int_equal(atomic_load(&counters->reads), 2);
	assert_int_equal(atomic_load(&counters->read_bytes), 5 * 512);
	assert_int_equal(atomic_load(&counters->writes), 1);
	assert_int_equal(atomic_load(&counters->written_bytes), 3 * 512);
	assert_int_equal(atomic_load(&counters->flushes), 1);
	assert_int_equal(atomic_load(&counters->errors), 1);
}

/* ---- flush, stop, verify ---- */

static void synchronize_cache_flushes(void **state)
{
	struct scsi_fixture *f = *state;

	run_10(f, 0x35, 0, 0, 0, 0, 0);
	assert_good(f, 0);
	run_16(f, 0x91, 0, 10, 5, 0, 0);
	assert_good(f, 0);
	assert_int_equal(f->memory.log_count, 2);
	assert_int_equal(f->memory.log[0].op, BLOCK_FLUSH);
	assert_int_equal(f->memory.log[1].op, BLOCK_FLUSH);
	run_16(f, 0x91, 0, DISK_SECTORS, 1, 0, 0);
	assert_sense(f, SCSI_SENSE_LBA_OUT_OF_RANGE);
	f->memory.fail_at = 1;
	f->memory.fail_with = -LIS_IO;
	run_10(f, 0x35, 0, 0, 0, 0, 0);
	assert_sense(f, SCSI_SENSE_WRITE_ERROR);
}

static void stopping_flushes_and_nothing_ejects(void **state)
{
	struct scsi_fixture *f = *state;

	run_cdb(f, CDB(0x1b, 0, 0, 0, 0, 0), 0, 0);
	assert_good(f, 0);
	assert_int_equal(f->memory.log[0].op, BLOCK_FLUSH);
	run_cdb(f, CDB(0x1b, 0, 0, 0, 1, 0), 0, 0);
	assert_good(f, 0);
	run_cdb(f, CDB(0x1b, 0, 0, 0, 2, 0), 0, 0);
	assert_bad_field(f, 4);
	assert_int_equal(f->memory.log_count, 1);
}

static void verify_reads_the_medium(void **state)
{
	struct scsi_fixture *f = *state;

	run_16(f, 0x8f, 0, 0, 300, 0, 0); /* 150 KiB: three pieces */
	assert_good(f, 0);
	assert_int_equal(f->memory.log_count, 3);
	assert_int_equal(f->memory.log[2].offset_bytes, 131072);
	assert_int_equal(f->memory.log[2].length_bytes, 300 * 512 - 131072);
	f->memory.fail_at = 2;
	f->memory.fail_with = -LIS_IO;
	run_16(f, 0x8f, 0, 0, 300, 0, 0);
	assert_sense(f, SCSI_SENSE_READ_ERROR);
	assert_int_equal(f->memory.log_count, 5);
	run_10(f, 0x2f, 0x04, 0, 1, SCSI_DATA_OUT, 512); /* BYTCHK 2 means nothing */
	assert_bad_field(f, 1);
	run_10(f, 0x2f, 0, 0, 0, 0, 0);
	assert_good(f, 0);
	run_10(f, 0x2f, 0, DISK_SECTORS, 1, 0, 0);
	assert_sense(f, SCSI_SENSE_LBA_OUT_OF_RANGE);
	assert_int_equal(f->memory.log_count, 5);
}

static void verify_compares_with_what_it_is_given(void **state)
{
	struct scsi_fixture *f = *state;

	memcpy(f->data, f->memory.bytes + 512, 300 * 512);
	run_16(f, 0x8f, 0x02, 1, 300, SCSI_DATA_OUT, 300 * 512);
	assert_good(f, 300 * 512);
	f->data[299 * 512 + 511] ^= 1; /* in the last of three pieces */
	run_16(f, 0x8f, 0x02, 1, 300, SCSI_DATA_OUT, 300 * 512);
	assert_sense(f, SCSI_SENSE_MISCOMPARE);
	run_16(f, 0x8f, 0x02, 1, 299, SCSI_DATA_OUT, 300 * 512);
	assert_good(f, 299 * 512);
	run_10(f, 0x2f, 0x02, 1, 2, SCSI_DATA_OUT, 1023);
	assert_bad_field(f, 0);
	run_10(f, 0x2f, 0x02, 1, 2, SCSI_DATA_IN, 1024);
	assert_bad_field(f, 0);
	run_10(f, 0x2f, 0x02, 1, 0, 0, 0);
	assert_good(f, 0);
}

static void verify_compares_one_block_with_many(void **state)
{
	struct scsi_fixture *f = *state;

	memset(f->data, 7, 512);
	memset(f->memory.bytes, 7, 200 * 512);
	run_10(f, 0x2f, 0x06, 0, 200, SCSI_DATA_OUT, 512);
	assert_good(f, 512);
	f->memory.bytes[199 * 512]++;
	run_10(f, 0x2f, 0x06, 0, 200, SCSI_DATA_OUT, 512);
	assert_sense(f, SCSI_SENSE_MISCOMPARE);
}

static void write_and_verify_writes_and_compares(void **state)
{
	struct scsi_fixture *f = *state;

	memset(f->data, 9, 1024);
	run_10(f, 0x2e, 0x02, 4, 2, SCSI_DATA_OUT, 1024);
	assert_good(f, 1024);
	assert_int_equal(f->memory.log_count, 2);
	assert_int_equal(f->memory.log[0].op, BLOCK_WRITE);
	assert_int_equal(f->memory.log[0].flags, BLOCK_WRITE_FUA);
	assert_int_equal(f->memory.log[1].op, BLOCK_READ);
	assert_memory_equal(f->memory.bytes + 4 * 512, f->data, 1024);
	/* What the medium made of it is not what it was given. */
	f->memory.hold = true;
	start(f, CDB(0x2e, 0x02, 0, 0, 0, 4, 0, 0, 2, 0), SCSI_DATA_OUT, 1024);
	memory_block_release(&f->memory, 1);
	f->memory.bytes[5 * 512] ^= 0x80;
	memory_block_release(&f->memory, 1);
	assert_int_equal(f->done, 1);
	assert_sense(f, SCSI_SENSE_MISCOMPARE);
	run_10(f, 0x2e, 0x06, 4, 2, SCSI_DATA_OUT, 1024);
	assert_bad_field(f, 1);
}

static void a_disk_with_another_size_tells_so_once(void **state)
{
	struct scsi_fixture *f = *state;

	run_10(f, 0x28, 0, DISK_SECTORS - 1, 1, SCSI_DATA_IN, 512);
	assert_good(f, 512);
	f->memory.base.geometry.size_bytes = 1024 * 512;
	scsi_disk_resized(f->unit);
	run_10(f, 0x28, 0, 0, 1, SCSI_DATA_IN, 512);
	assert_sense(f, SCSI_SENSE_CAPACITY_CHANGED);
	run_cdb(f, CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), SCSI_DATA_IN, 8);
	assert_good(f, 8);
	assert_int_equal(get_be(f->data, 4), 1023);
	run_10(f, 0x28, 0, 1024, 1, SCSI_DATA_IN, 512);
	assert_sense(f, SCSI_SENSE_LBA_OUT_OF_RANGE);
}

static void canceled_commands_stop_between_steps(void **state)
{
	struct scsi_fixture *f = *state;

	f->memory.hold = true;
	start(f, CDB(0x8f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0), 0, 0); /* 1024 blocks */
	memory_block_release(&f->memory, 1);
	assert_int_equal(f->memory.held_count, 1);
	scsi_request_cancel(&f->request);
	assert_int_equal(f->done, 0); /* the step under way is waited for */
	memory_block_release(&f->memory, 1);
	assert_int_equal(f->done, 1);
	assert_sense(f, SCSI_SENSE_ABORTED);
	assert_int_equal(f->memory.held_count, 0);
}

/* ---- life ---- */

static void disks_need_sectors_the_standard_knows(void **state)
{
	struct scsi_fixture *f = *state;
	struct scsi_unit *disk = NULL;

	assert_int_equal(scsi_disk_create(&(struct scsi_disk_config){ 0 }, &disk), -LIS_INVALID);
	f->memory.base.geometry.logical_sector_bytes = 1024;
	assert_int_equal(scsi_disk_create(&(struct scsi_disk_config){ .device = &f->memory.base },
					  &disk), -LIS_INVALID);
	assert_null(disk);
	scsi_unit_destroy(NULL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, scsi_setup, scsi_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(reads_of_all_lengths_reach_the_right_sectors),
		T(writes_of_all_lengths_reach_the_right_sectors),
		T(addresses_end_at_the_last_sector),
		T(transfers_need_memory_of_the_right_size_and_direction),
		T(fua_makes_writes_durable_and_reads_flush_first),
		T(the_short_form_has_no_fua),
		T(read_only_disks_refuse_every_kind_of_write),
		T(device_errors_become_sense),
		T(answers_may_come_late),
		T(counters_count_what_succeeded),
		T(synchronize_cache_flushes),
		T(stopping_flushes_and_nothing_ejects),
		T(verify_reads_the_medium),
		T(verify_compares_with_what_it_is_given),
		T(verify_compares_one_block_with_many),
		T(write_and_verify_writes_and_compares),
		T(a_disk_with_another_size_tells_so_once),
		T(canceled_commands_stop_between_steps),
		T(disks_need_sectors_the_standard_knows),
	};

	return cmocka_run_group_tests_name("storage/scsi_disk", tests, NULL, NULL);
}
