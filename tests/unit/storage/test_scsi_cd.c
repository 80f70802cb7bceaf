/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The CD drive: media that come and go, who may take them out, what is read from them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/scsi_cd.h"
#include "tests/unit/storage/scsi_fixture.h"

#define BLOCKS (DISK_SECTORS / 4) /* on the medium that the fixture's memory is */

static const struct guid drive_id = GUID(0x01234567, 0x89ab, 0x4cde, 0x8f01, 0x23456789abcd);
static unsigned ejections;

static void on_ejected(struct io_call *call)
{
	(void)call;
	ejections++;
}

static void make_drive(struct scsi_fixture *f, struct block_device *medium)
{
	static struct io_call ejected = { .fn = on_ejected };
	struct scsi_cd_config config = { .device = medium, .ejected = &ejected, .id = drive_id };

	ejections = 0;
	f->memory.base.geometry.read_only = true;
	scsi_unit_destroy(f->unit);
	assert_int_equal(scsi_cd_create(&config, &f->unit), 0);
}

static int setup_full(void **state)
{
	int err = scsi_setup(state);

	if (!err)
		make_drive(*state, &((struct scsi_fixture *)*state)->memory.base);
	return err;
}

static int setup_empty(void **state)
{
	int err = scsi_setup(state);

	if (!err)
		make_drive(*state, NULL);
	return err;
}

static void run_tur(struct scsi_fixture *f)
{
	run_cdb(f, CDB(0x00, 0, 0, 0, 0, 0), 0, 0);
}

/* Takes the event that the drive has to tell. */
static uint8_t media_event(struct scsi_fixture *f)
{
	run_cdb(f, CDB(0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0), SCSI_DATA_IN, 8);
	assert_good(f, 8);
	assert_int_equal(get_be(f->data, 2), 6);
	assert_int_equal(f->data[2], 4);
	assert_int_equal(f->data[3], 0x10);
	return f->data[4];
}

/* ---- media ---- */

static void an_empty_drive_says_so(void **state)
{
	static const uint8_t needing[] = { 0x00, 0x25, 0x28, 0xa8, 0x2b, 0x43, 0x51, 0xad };
	struct scsi_fixture *f = *state;

	for (size_t i = 0; i < sizeof(needing); i++) {
		run_cdb(f, CDB(needing[i]), SCSI_DATA_IN, 4096);
		assert_sense(f, SCSI_SENSE_MEDIUM_NOT_PRESENT);
	}
	run_cdb(f, CDB(0x12, 0, 0, 0, 96), SCSI_DATA_IN, 96);
	assert_good(f, 96);
	assert_int_equal(f->data[0], 5);
	assert_int_equal(f->data[1], 0x80);
	assert_memory_equal(f->data + 8, "Msft    Virtual DVD-ROM 1.0 ", 28);
	assert_int_equal(media_event(f), 0);
	assert_int_equal(f->data[5], 0);
	assert_int_equal(scsi_cd_eject(f->unit, true), -LIS_NOTFOUND);
	assert_null(scsi_cd_take(f->unit));
	assert_int_equal(ejections, 0);
}

static void a_drive_has_an_identity_with_and_without_a_medium(void **state)
{
	static const uint8_t pages[] = { 0x00, 0x80, 0x83 };
	struct scsi_fixture *f = *state;

	for (int with = 0; with < 2; with++) {
		run_cdb(f, CDB(0x12, 1, 0, 0, 255), SCSI_DATA_IN, 255);
		assert_good(f, 4 + sizeof(pages));
		assert_int_equal(f->data[0], 5);
		assert_memory_equal(f->data + 4, pages, sizeof(pages));
		run_cdb(f, CDB(0x12, 1, 0x80, 0, 255), SCSI_DATA_IN, 255);
		assert_good(f, 36);
		assert_memory_equal(f->data, "\x05\x80\x00\x20""0123456789ab4cde8f0123456789abcd", 36);
		run_cdb(f, CDB(0x12, 1, 0x83, 0, 255), SCSI_DATA_IN, 255);
		assert_good(f, 52);
		assert_memory_equal(f->data, "\x05\x83\x00\x30\x01\x01\x00\x18Msft    ", 16);
		assert_memory_equal(f->data + 16, drive_id.bytes, 16);
		assert_memory_equal(f->data + 32, "\x01\x03\x00\x10\x60\x02\x24\x80", 8);
		run_cdb(f, CDB(0x12, 1, 0xb0, 0, 255), SCSI_DATA_IN, 255);
		assert_sense(f, SCSI_SENSE_INVALID_FIELD_IN_CDB);
		run_cdb(f, CDB(0x12, 2, 0, 0, 255), SCSI_DATA_IN, 255);
		assert_sense(f, SCSI_SENSE_INVALID_FIELD_IN_CDB);
		if (!with)
			assert_int_equal(scsi_cd_insert(f->unit, &f->memory.base), 0);
		run_cdb(f, CDB(0x12, 1, 0x83, 0, 8), SCSI_DATA_IN, 8);
		assert_good(f, 8);
	}
	run_tur(f);
	assert_sense(f, SCSI_SENSE_MEDIUM_MAY_HAVE_CHANGED);
}

static void a_medium_put_in_is_told_of_and_read(void **state)
{
	struct scsi_fixture *f = *state;

	assert_int_equal(scsi_cd_insert(f->unit, &f->memory.base), 0);
	assert_int_equal(scsi_cd_insert(f->unit, &f->memory.base), -LIS_BUSY);
	assert_int_equal(media_event(f), 2); /* goes on before the condition is told */
	assert_int_equal(f->data[5], 2);
	assert_int_equal(media_event(f), 0);
	run_tur(f);
	assert_sense(f, SCSI_SENSE_MEDIUM_MAY_HAVE_CHANGED);
	run_tur(f);
	assert_good(f, 0);
	run_cdb(f, CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), SCSI_DATA_IN, 8);
	assert_int_equal(get_be(f->data, 4), BLOCKS - 1);
	assert_int_equal(get_be(f->data + 4, 4), 2048);
	run_10(f, 0x28, 0, 3, 2, SCSI_DATA_IN, 4096);
	assert_good(f, 4096);
	assert_disk_pattern(f->data, 3 * 2048, 4096);
	run_cdb(f, CDB(0xa8, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0), SCSI_DATA_IN, 2048);
	assert_disk_pattern(f->data, 9 * 2048, 2048);
	run_10(f, 0x28, 0, BLOCKS - 1, 2, SCSI_DATA_IN, 4096);
	assert_sense(f, SCSI_SENSE_LBA_OUT_OF_RANGE);
	run_10(f, 0x28, 0, 0, 2, SCSI_DATA_IN, 4095);
	assert_bad_field(f, 0);
	run_10(f, 0x2b, 0, BLOCKS - 1, 0, 0, 0);
	assert_good(f, 0);
	run_10(f, 0x2b, 0, BLOCKS, 0, 0, 0);
	assert_sense(f, SCSI_SENSE_LBA_OUT_OF_RANGE);
	f->memory.fail_at = 1;
	f->memory.fail_with = -LIS_IO;
	run_10(f, 0x28, 0, 0, 1, SCSI_DATA_IN, 2048);
	assert_sense(f, SCSI_SENSE_READ_ERROR);
}

static void nothing_is_written_to_a_medium(void **state)
{
	static const uint8_t writes[] = { 0x04, 0x0a, 0x2a, 0x2e, 0x41, 0x42, 0x55, 0x8a, 0xaa };
	struct scsi_fixture *f = *state;

	for (size_t i = 0; i < sizeof(writes); i++) {
		run_cdb(f, CDB(writes[i]), SCSI_DATA_OUT, 4096);
		assert_sense(f, SCSI_SENSE_INVALID_OPERATION);
	}
	assert_int_equal(f->memory.log_count, 0);
}

static void the_host_ejects(void **state)
{
	struct scsi_fixture *f = *state;

	assert_int_equal(scsi_cd_eject(f->unit, false), 0);
	assert_int_equal(ejections, 1);
	assert_null(scsi_cd_status(f->unit).device);
	assert_int_equal(scsi_cd_insert(f->unit, &f->memory.base), -LIS_BUSY); /* not taken yet */
	assert_ptr_equal(scsi_cd_take(f->unit), &f->memory.base);
	assert_null(scsi_cd_take(f->unit));
	run_tur(f);
	assert_sense(f, SCSI_SENSE_MEDIUM_NOT_PRESENT);
	assert_int_equal(media_event(f), 3);
	assert_int_equal(scsi_cd_insert(f->unit, &f->memory.base), 0);
	assert_ptr_equal(scsi_cd_status(f->unit).device, &f->memory.base);
}

static void the_guest_ejects(void **state)
{
	struct scsi_fixture *f = *state;

	run_cdb(f, CDB(0x1b, 0, 0, 0, 0, 0), 0, 0); /* it stops, that is all */
	assert_good(f, 0);
	run_cdb(f, CDB(0x1b, 0, 0, 0, 3, 0), 0, 0); /* closes the tray */
	assert_good(f, 0);
	assert_int_equal(ejections, 0);
	run_cdb(f, CDB(0x1b, 0, 0, 0, 2, 0), 0, 0);
	assert_good(f, 0);
	assert_int_equal(ejections, 1);
	assert_ptr_equal(scsi_cd_take(f->unit), &f->memory.base);
	run_cdb(f, CDB(0x1b, 0, 0, 0, 2, 0), 0, 0); /* there is none */
	assert_good(f, 0);
	assert_int_equal(ejections, 1);
}

static void a_guest_that_holds_its_medium_is_asked_first(void **state)
{
	struct scsi_fixture *f = *state;

	run_cdb(f, CDB(0x1e, 0, 0, 0, 1, 0), 0, 0);
	assert_good(f, 0);
	assert_true(scsi_cd_status(f->unit).held);
	run_cdb(f, CDB(0x1a, 0, 0x2a, 0, 255), SCSI_DATA_IN, 255);
	assert_int_equal(f->data[4 + 6] & 2, 2); /* locked */
	run_cdb(f, CDB(0x1b, 0, 0, 0, 2, 0), 0, 0);
	assert_sense(f, SCSI_SENSE_REMOVAL_PREVENTED);
	assert_int_equal(scsi_cd_eject(f->unit, false), -LIS_BUSY);
	assert_int_equal(media_event(f), 1);
	run_10(f, 0x28, 0, 0, 1, SCSI_DATA_IN, 2048);
	assert_good(f, 2048);
	run_cdb(f, CDB(0x1e, 0, 0, 0, 0, 0), 0, 0);
	run_cdb(f, CDB(0x1b, 0, 0, 0, 2, 0), 0, 0);
	assert_good(f, 0);
	assert_int_equal(ejections, 1);
	run_cdb(f, CDB(0x1e, 0, 0, 0, 2, 0), 0, 0); /* persistently */
	assert_bad_field(f, 4);
}

static void force_and_resets_end_a_hold(void **state)
{
	struct scsi_fixture *f = *state;

	run_cdb(f, CDB(0x1e, 0, 0, 0, 1, 0), 0, 0);
	scsi_unit_reset(f->unit);
	assert_false(scsi_cd_status(f->unit).held);
	run_tur(f);
	assert_sense(f, SCSI_SENSE_DEVICE_RESET);
	run_cdb(f, CDB(0x1e, 0, 0, 0, 1, 0), 0, 0);
	assert_int_equal(scsi_cd_eject(f->unit, true), 0);
	assert_int_equal(ejections, 1);
	assert_false(scsi_cd_status(f->unit).held); /* the next one is free */
}

static void a_medium_in_use_leaves_after_its_last_command(void **state)
{
	struct scsi_fixture *f = *state;

	f->memory.hold = true;
	start(f, CDB(0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0), SCSI_DATA_IN, 2048);
	assert_int_equal(scsi_cd_eject(f->unit, false), 0);
	assert_int_equal(ejections, 0);
	assert_null(scsi_cd_take(f->unit));
	memory_block_release(&f->memory, 1);
	assert_int_equal(f->done, 1);
	assert_good(f, 2048);
	assert_int_equal(ejections, 1);
	assert_ptr_equal(scsi_cd_take(f->unit), &f->memory.base);
}

static void what_is_no_medium_is_not_taken_in(void **state)
{
	struct scsi_fixture *f = *state;
	struct scsi_unit *unit;

	f->memory.base.geometry.logical_sector_bytes = 4096;
	assert_int_equal(scsi_cd_insert(f->unit, &f->memory.base), -LIS_INVALID);
	f->memory.base.geometry.logical_sector_bytes = 512;
	f->memory.base.geometry.size_bytes = 1536;
	assert_int_equal(scsi_cd_insert(f->unit, &f->memory.base), -LIS_INVALID);
	assert_int_equal(scsi_cd_create(&(struct scsi_cd_config){ .device = &f->memory.base }, &unit),
			 -LIS_INVALID);
	run_tur(f);
	assert_sense(f, SCSI_SENSE_MEDIUM_NOT_PRESENT);
}

/* ---- what drive and medium say of themselves ---- */

static void the_table_of_contents_has_one_data_track(void **state)
{
	struct scsi_fixture *f = *state;

	run_cdb(f, CDB(0x43, 0, 0, 0, 0, 0, 0, 0, 255, 0), SCSI_DATA_IN, 255);
	assert_good(f, 20);
	assert_memory_equal(f->data, "\x00\x12\x01\x01\x00\x14\x01\x00\x00\x00\x00\x00\x00\x14\xaa\x00", 16);
	assert_int_equal(get_be(f->data + 16, 4), BLOCKS);
	run_cdb(f, CDB(0x43, 2, 0, 0, 0, 0, 0xaa, 0, 255, 0), SCSI_DATA_IN, 255);
	assert_good(f, 12);
	assert_memory_equal(f->data + 4, "\x00\x14\xaa\x00\x00\x00\x08\x3e", 8); /* 512 + 150 of 75 */
	run_cdb(f, CDB(0x43, 0, 0, 0, 0, 0, 2, 0, 255, 0), SCSI_DATA_IN, 255);
	assert_bad_field(f, 6);
	run_cdb(f, CDB(0x43, 0, 1, 0, 0, 0, 0, 0, 255, 0), SCSI_DATA_IN, 255);
	assert_good(f, 12);
	assert_memory_equal(f->data, "\x00\x0a\x01\x01\x00\x14\x01\x00\x00\x00\x00\x00", 12);
	run_cdb(f, CDB(0x43, 0, 0, 0, 0, 0, 0, 0, 255, 0x40), SCSI_DATA_IN, 255); /* ATAPI's place */
	assert_good(f, 12);
	run_cdb(f, CDB(0x43, 2, 2, 0, 0, 0, 0, 0, 255, 0), SCSI_DATA_IN, 255);
	assert_good(f, 48);
	assert_memory_equal(f->data + 4, "\x01\x14\x00\xa0\x00\x00\x00\x00\x01\x00\x00", 11);
	assert_memory_equal(f->data + 26, "\x01\x14\x00\xa2\x00\x00\x00\x00\x00\x08\x3e", 11);
	assert_memory_equal(f->data + 37, "\x01\x14\x00\x01\x00\x00\x00\x00\x00\x02\x00", 11);
	run_cdb(f, CDB(0x43, 0, 5, 0, 0, 0, 0, 0, 255, 0), SCSI_DATA_IN, 255); /* CD-TEXT */
	assert_bad_field(f, 2);
}

/* Finds a feature in the answer to GET CONFIGURATION; NULL if it is not there. */
static const uint8_t *feature(const struct scsi_fixture *f, uint16_t code)
{
	for (uint64_t at = 8; at < 4 + get_be(f->data, 4); at += 4u + f->data[at + 3])
		if (get_be(f->data + at, 2) == code)
			return f->data + at;
	return NULL;
}

static void the_configuration_follows_the_medium(void **state)
{
	struct scsi_fixture *f = *state;

	run_cdb(f, CDB(0x46, 0, 0, 0, 0, 0, 0, 1, 0, 0), SCSI_DATA_IN, 256);
	assert_int_equal(f->request.transferred_bytes, 4 + get_be(f->data, 4));
	assert_int_equal(get_be(f->data + 6, 2), 8); /* CD-ROM */
	assert_memory_equal(feature(f, 0), "\x00\x00\x03\x08\x00\x10\x00\x00\x00\x08\x01\x00", 12);
	assert_int_equal(feature(f, 0x10)[2] & 1, 1);
	assert_int_equal(feature(f, 0x1e)[2] & 1, 1);
	assert_int_equal(feature(f, 0x1f)[2] & 1, 0);
	run_cdb(f, CDB(0x46, 1, 0, 0, 0, 0, 0, 1, 0, 0), SCSI_DATA_IN, 256); /* current ones */
	assert_null(feature(f, 0x1f));
	assert_non_null(feature(f, 0x1e));
	run_cdb(f, CDB(0x46, 2, 0, 3, 0, 0, 0, 1, 0, 0), SCSI_DATA_IN, 256); /* one */
	assert_good(f, 8 + 8);
	assert_non_null(feature(f, 3));
	run_cdb(f, CDB(0x46, 2, 0x12, 0x34, 0, 0, 0, 1, 0, 0), SCSI_DATA_IN, 256);
	assert_good(f, 8);
	run_cdb(f, CDB(0x46, 3, 0, 0, 0, 0, 0, 1, 0, 0), SCSI_DATA_IN, 256);
	assert_bad_field(f, 1);
	run_cdb(f, CDB(0x46, 0, 0, 0, 0, 0, 0, 0, 8, 0), SCSI_DATA_IN, 256); /* the cut form Linux begins with */
	assert_good(f, 8);

	assert_int_equal(scsi_cd_eject(f->unit, false), 0);
	run_cdb(f, CDB(0x46, 0, 0, 0, 0, 0, 0, 1, 0, 0), SCSI_DATA_IN, 256);
	assert_int_equal(get_be(f->data + 6, 2), 0);
	assert_int_equal(feature(f, 0x10)[2] & 1, 0);
	assert_int_equal(feature(f, 3)[2] & 3, 3);

	assert_ptr_equal(scsi_cd_take(f->unit), &f->memory.base);
	f->memory.base.geometry.size_bytes = 2ull << 30;
	assert_int_equal(scsi_cd_insert(f->unit, &f->memory.base), 0);
	run_cdb(f, CDB(0x46, 0, 0, 0, 0, 0, 0, 1, 0, 0), SCSI_DATA_IN, 256);
	assert_int_equal(get_be(f->data + 6, 2), 0x10); /* DVD-ROM */
}

static void events_are_for_those_who_can_take_them(void **state)
{
	struct scsi_fixture *f = *state;

	assert_int_equal(scsi_cd_insert(f->unit, &f->memory.base), 0);
	run_cdb(f, CDB(0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8, 0), SCSI_DATA_IN, 8); /* later, please */
	assert_bad_field(f, 1);
	run_cdb(f, CDB(0x4a, 1, 0, 0, 0x10, 0, 0, 0, 4, 0), SCSI_DATA_IN, 8); /* no room for it */
	assert_good(f, 4);
	run_cdb(f, CDB(0x4a, 1, 0, 0, 0x02, 0, 0, 0, 8, 0), SCSI_DATA_IN, 8); /* of another class */
	assert_good(f, 4);
	assert_int_equal(f->data[2], 0x80);
	assert_int_equal(f->data[3], 0x10);
	assert_int_equal(media_event(f), 2);
}

static void mode_pages_tell_of_a_reader_with_a_tray(void **state)
{
	struct scsi_fixture *f = *state;

	run_cdb(f, CDB(0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128, 0), SCSI_DATA_IN, 128);
	assert_good(f, 8 + 22);
	assert_int_equal(get_be(f->data, 2), 28);
	assert_int_equal(f->data[8], 0x2a);
	assert_int_equal(f->data[8 + 3], 0);    /* writes nothing */
	assert_int_equal(f->data[8 + 6], 0x29); /* tray */
	run_cdb(f, CDB(0x1a, 0, 0x3f, 0, 255), SCSI_DATA_IN, 255);
	assert_good(f, 4 + 12 + 22);
	run_cdb(f, CDB(0x1a, 0, 0x6a, 0, 255), SCSI_DATA_IN, 255); /* changeable: nothing */
	assert_good(f, 4 + 22);
	assert_int_equal(f->data[4 + 6], 0);
	run_cdb(f, CDB(0x1a, 0, 0x08, 0, 255), SCSI_DATA_IN, 255);
	assert_bad_field(f, 2);
	run_cdb(f, CDB(0x1a, 0, 0xea, 0, 255), SCSI_DATA_IN, 255);
	assert_sense(f, SCSI_SENSE_SAVING_NOT_SUPPORTED);
}

static void discs_and_structures_describe_a_finished_medium(void **state)
{
	struct scsi_fixture *f = *state;

	run_cdb(f, CDB(0x51, 0, 0, 0, 0, 0, 0, 0, 34, 0), SCSI_DATA_IN, 34);
	assert_good(f, 34);
	assert_int_equal(get_be(f->data, 2), 32);
	assert_int_equal(f->data[2], 0x0e);
	run_cdb(f, CDB(0x51, 1, 0, 0, 0, 0, 0, 0, 34, 0), SCSI_DATA_IN, 34);
	assert_bad_field(f, 1);
	run_cdb(f, CDB(0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0), SCSI_DATA_IN, 8);
	assert_good(f, 8);
	run_cdb(f, CDB(0xad, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0), SCSI_DATA_IN, 4096);
	assert_sense(f, SCSI_SENSE_INCOMPATIBLE_MEDIUM); /* it is a CD */

	f->memory.base.geometry.size_bytes = 4ull << 30;
	make_drive(f, &f->memory.base);
	run_cdb(f, CDB(0xad, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0), SCSI_DATA_IN, 4096);
	assert_good(f, 2052);
	assert_int_equal(get_be(f->data, 2), 2050);
	assert_int_equal(get_be(f->data + 8, 4), 0x30000);
	assert_int_equal(get_be(f->data + 12, 4), 0x30000 + (4u << 19) - 1);
	run_cdb(f, CDB(0xad, 0, 0, 0, 0, 0, 0, 0xff, 16, 0, 0, 0), SCSI_DATA_IN, 4096);
	assert_good(f, 16);
	run_cdb(f, CDB(0xad, 0, 0, 0, 0, 0, 0, 0x30, 16, 0, 0, 0), SCSI_DATA_IN, 4096);
	assert_bad_field(f, 7);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup_full, scsi_teardown)
#define T_EMPTY(name) cmocka_unit_test_setup_teardown(name, setup_empty, scsi_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T_EMPTY(an_empty_drive_says_so),
		T_EMPTY(a_drive_has_an_identity_with_and_without_a_medium),
		T_EMPTY(a_medium_put_in_is_told_of_and_read),
		T(nothing_is_written_to_a_medium),
		T(the_host_ejects),
		T(the_guest_ejects),
		T(a_guest_that_holds_its_medium_is_asked_first),
		T(force_and_resets_end_a_hold),
		T(a_medium_in_use_leaves_after_its_last_command),
		T_EMPTY(what_is_no_medium_is_not_taken_in),
		T(the_table_of_contents_has_one_data_track),
		T(the_configuration_follows_the_medium),
		T_EMPTY(events_are_for_those_who_can_take_them),
		T(mode_pages_tell_of_a_reader_with_a_tray),
		T(discs_and_structures_describe_a_finished_medium),
	};

	return cmocka_run_group_tests_name("storage/scsi_cd", tests, NULL, NULL);
}
