/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What every SCSI unit does: simple commands, what there is no unit for, conditions told once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/storage/scsi_fixture.h"

/* ---- simple commands ---- */

static void ready_lock_and_sense_always_succeed(void **state)
{
	struct scsi_fixture *f = *state;

	run_cdb(f, CDB(0x00, 0, 0, 0, 0, 0), 0, 0);
	assert_good(f, 0);
	run_cdb(f, CDB(0x1e, 0, 0, 0, 1, 0), 0, 0);
	assert_good(f, 0);
	run_cdb(f, CDB(0x03, 0, 0, 0, 252, 0), SCSI_DATA_IN, 252);
	assert_good(f, 18);
	assert_int_equal(f->data[0], 0x70);
	assert_int_equal(f->data[2], 0);
	run_cdb(f, CDB(0x03, 1, 0, 0, 252, 0), SCSI_DATA_IN, 252);
	assert_good(f, 8);
	assert_int_equal(f->data[0], 0x72);
}

static void unknown_operations_are_refused_by_name(void **state)
{
	static const uint8_t known[] = { 0x00, 0x03, 0x08, 0x0a, 0x12, 0x15, 0x1a, 0x1b, 0x1e, 0x25,
					 0x28, 0x2a, 0x2e, 0x2f, 0x35, 0x41, 0x42, 0x55, 0x5a, 0x88, 0x16, 0x17, 0x5e, 0x5f,
					 0x8a, 0x8e, 0x8f, 0x91, 0x93, 0x9e, 0xa0, 0xa8, 0xaa, 0xae,
					 0xaf };
	struct scsi_fixture *f = *state;

	for (unsigned operation = 0; operation < 256; operation++) {
		bool is_known = memchr(known, (int)operation, sizeof(known));

		run_cdb(f, CDB((uint8_t)operation), SCSI_DATA_IN | SCSI_DATA_OUT, DATA_BYTES);
		if (is_known)
			assert_false(f->request.status == SCSI_CHECK_CONDITION &&
				     f->request.sense[12] == 0x20);
		else
			assert_sense(f, SCSI_SENSE_INVALID_OPERATION);
	}
}

static void report_luns_lists_what_it_is_given(void **state)
{
	static const uint8_t luns[] = { 0, 3, 255 };
	struct scsi_fixture *f = *state;

	start(f, CDB(0x00), SCSI_DATA_IN, 4096);
	memcpy(f->request.cdb, CDB(0xa0, 0, 0, 0, 0, 0, 0, 0, 16, 0));
	scsi_report_luns(&f->request, luns, 3);
	assert_good(f, 32);
	assert_int_equal(get_be(f->data, 4), 24);
	assert_int_equal(f->data[9], 0);
	assert_int_equal(f->data[17], 3);
	assert_int_equal(f->data[25], 255);
	f->request.cdb[2] = 1;
	scsi_report_luns(&f->request, luns, 3);
	assert_good(f, 8);
	f->request.cdb[2] = 3;
	scsi_report_luns(&f->request, luns, 3);
	assert_bad_field(f, 2);
	f->request.cdb[2] = 0;
	f->request.cdb[8] = 0;
	f->request.cdb[9] = 15;
	scsi_report_luns(&f->request, luns, 3);
	assert_bad_field(f, 6);
	run_cdb(f, CDB(0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0), SCSI_DATA_IN, 256);
	assert_good(f, 16);
}

static void absent_units_say_so(void **state)
{
	struct scsi_fixture *f = *state;

	start(f, CDB(0x00), SCSI_DATA_IN, 4096);
	memcpy(f->request.cdb, CDB(0x12, 0, 0, 0, 36, 0));
	scsi_no_lun_execute(&f->request);
	assert_good(f, 36);
	assert_int_equal(f->data[0], 0x7f);
	memcpy(f->request.cdb, CDB(0x12, 1, 0x83, 0, 36, 0));
	scsi_no_lun_execute(&f->request);
	assert_sense(f, SCSI_SENSE_INVALID_FIELD_IN_CDB);
	memcpy(f->request.cdb, CDB(0x03, 0, 0, 0, 18, 0));
	scsi_no_lun_execute(&f->request);
	assert_good(f, 18);
	assert_int_equal(f->data[12], 0x25);
	memcpy(f->request.cdb, CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0));
	scsi_no_lun_execute(&f->request);
	assert_sense(f, SCSI_SENSE_LUN_NOT_SUPPORTED);
}

/* ---- conditions that are told once ---- */

static void conditions_are_told_once_the_urgent_first(void **state)
{
	static const enum scsi_sense senses[] = { SCSI_SENSE_DEVICE_RESET,
						  SCSI_SENSE_MEDIUM_MAY_HAVE_CHANGED,
						  SCSI_SENSE_RESERVATIONS_PREEMPTED,
						  SCSI_SENSE_RESERVATIONS_RELEASED,
						  SCSI_SENSE_REGISTRATIONS_PREEMPTED,
						  SCSI_SENSE_CAPACITY_CHANGED, SCSI_SENSE_LUNS_CHANGED };
	const int count = sizeof(senses) / sizeof(senses[0]);
	struct scsi_fixture *f = *state;

	for (int i = count; i-- > 0;) /* twice is once */
		for (int twice = 0; twice < 2; twice++)
			scsi_unit_attend(f->unit, (enum scsi_attention)(1u << i));
	run_cdb(f, CDB(0x12, 0, 0, 0, 96), SCSI_DATA_IN, 96); /* INQUIRY is not held up */
	assert_good(f, 96);
	for (int i = 0; i < count; i++) {
		run_10(f, 0x28, 0, 0, 1, SCSI_DATA_IN, 512);
		assert_sense(f, senses[i]);
	}
	assert_int_equal(f->memory.log_count, 0);
	run_10(f, 0x28, 0, 0, 1, SCSI_DATA_IN, 512);
	assert_good(f, 512);
}

static void request_sense_has_conditions_as_its_data(void **state)
{
	struct scsi_fixture *f = *state;

	scsi_unit_attend(f->unit, SCSI_ATTENTION_CAPACITY);
	run_cdb(f, CDB(0x03, 0, 0, 0, 18, 0), SCSI_DATA_IN, 18);
	assert_good(f, 18);
	assert_memory_equal(f->data + 2, "\x06", 1);
	assert_memory_equal(f->data + 12, "\x2a\x09", 2);
	run_cdb(f, CDB(0x00), 0, 0);
	assert_good(f, 0);
}

static void report_luns_answers_that_luns_changed(void **state)
{
	struct scsi_fixture *f = *state;

	scsi_unit_attend(f->unit, SCSI_ATTENTION_LUNS);
	scsi_unit_attend(f->unit, SCSI_ATTENTION_CAPACITY);
	run_cdb(f, CDB(0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0), SCSI_DATA_IN, 256);
	assert_good(f, 16);
	run_cdb(f, CDB(0x00), 0, 0);
	assert_sense(f, SCSI_SENSE_CAPACITY_CHANGED);
	run_cdb(f, CDB(0x00), 0, 0);
	assert_good(f, 0);
}

static void a_reset_aborts_what_came_before_it(void **state)
{
	struct scsi_fixture *f = *state;

	f->memory.hold = true;
	start(f, CDB(0x8f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0), 0, 0);
	scsi_unit_reset(f->unit);
	assert_int_equal(f->done, 0);
	memory_block_release(&f->memory, 1);
	assert_int_equal(f->done, 1);
	assert_int_equal(f->request.status, SCSI_TASK_ABORTED);
	assert_int_equal(f->request.sense_bytes, 0);
	f->memory.hold = false;
	run_cdb(f, CDB(0x00), 0, 0);
	assert_sense(f, SCSI_SENSE_DEVICE_RESET);
	run_16(f, 0x8f, 0, 0, 1024, 0, 0); /* what comes after it is let alone */
	assert_good(f, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, scsi_setup, scsi_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ready_lock_and_sense_always_succeed),
		T(unknown_operations_are_refused_by_name),
		T(report_luns_lists_what_it_is_given),
		T(absent_units_say_so),
		T(conditions_are_told_once_the_urgent_first),
		T(request_sense_has_conditions_as_its_data),
		T(report_luns_answers_that_luns_changed),
		T(a_reset_aborts_what_came_before_it),
	};

	return cmocka_run_group_tests_name("storage/scsi_unit", tests, NULL, NULL);
}
