/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What a SCSI disk says of itself: INQUIRY, vital pages, capacity, mode pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/storage/scsi_fixture.h"

/* ---- what the disk says of itself ---- */

static void inquiry_describes_a_disk_that_linux_trusts(void **state)
{
	struct scsi_fixture *f = *state;

	run_cdb(f, CDB(0x12, 0, 0, 0, 255), SCSI_DATA_IN, 255);
	assert_good(f, 96);
	assert_int_equal(f->data[0], 0);      /* direct access, connected */
	assert_int_equal(f->data[1], 0);      /* not removable */
	assert_int_equal(f->data[2], 5);      /* SPC-3 */
	assert_int_equal(f->data[3] & 15, 2); /* format */
	assert_int_equal(f->data[4], 91);
	assert_int_equal(f->data[7] & 2, 2);  /* queueing */
	assert_memory_equal(f->data + 8, "Msft    Virtual Disk    1.0 ", 28);
}

static void inquiry_is_cut_to_allocation_and_memory(void **state)
{
	struct scsi_fixture *f = *state;

	memset(f->data, 0x77, 256);
	run_cdb(f, CDB(0x12, 0, 0, 0, 36), SCSI_DATA_IN, 255);
	assert_good(f, 36);
	assert_int_equal(f->data[36], 0x77);
	run_cdb(f, CDB(0x12, 0, 0, 0, 96), SCSI_DATA_IN, 5);
	assert_good(f, 5);
	run_cdb(f, CDB(0x12, 0, 0, 0, 0), SCSI_DATA_IN, 16);
	assert_good(f, 0);
	run_cdb(f, CDB(0x12, 0, 0, 0, 96), 0, 0);
	assert_good(f, 0);
}

static void inquiry_refuses_unknown_pages_and_bits(void **state)
{
	struct scsi_fixture *f = *state;

	run_cdb(f, CDB(0x12, 0, 0x80, 0, 96), SCSI_DATA_IN, 96);
	assert_bad_field(f, 2);
	run_cdb(f, CDB(0x12, 1, 0x84, 0, 96), SCSI_DATA_IN, 96);
	assert_bad_field(f, 2);
	run_cdb(f, CDB(0x12, 2, 0, 0, 96), SCSI_DATA_IN, 96);
	assert_bad_field(f, 1);
	run_cdb(f, CDB(0x12, 0, 0, 0, 96), SCSI_DATA_OUT, 96);
	assert_sense(f, SCSI_SENSE_INVALID_FIELD_IN_CDB);
}

static void inquiry_scatters_over_many_pieces(void **state)
{
	struct scsi_fixture *f = *state;
	const uint8_t cdb[6] = { 0x12, 0, 0, 0, 96 };
	uint8_t joined[96];

	run_cdb(f, cdb, sizeof(cdb), SCSI_DATA_IN, 96);
	memcpy(joined, f->data, 96);

	memset(f->data, 0, 256);
	memset(&f->request, 0, sizeof(f->request));
	memcpy(f->request.cdb, cdb, sizeof(cdb));
	for (int i = 0; i < 4; i++) {
		f->iov[i].iov_base = f->data + i * 50;
		f->iov[i].iov_len = i == 1 ? 0 : 37;
	}
	f->request.direction = SCSI_DATA_IN;
	f->request.iov = f->iov;
	f->request.iov_count = 4;
	f->request.data_bytes = 111;
	f->request.done = scsi_on_done;
	scsi_unit_submit(f->unit, NULL, &f->request);
	assert_good(f, 96);
	assert_memory_equal(f->data, joined, 37);
	assert_int_equal(f->data[50], 0);
	assert_memory_equal(f->data + 100, joined + 37, 37);
	assert_memory_equal(f->data + 150, joined + 74, 22);
	assert_int_equal(f->data[172], 0);
}

static void every_listed_vital_page_exists(void **state)
{
	static const uint8_t pages[] = { 0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2 };
	struct scsi_fixture *f = *state;

	run_cdb(f, CDB(0x12, 1, 0, 0, 255), SCSI_DATA_IN, 255);
	assert_good(f, 4 + sizeof(pages));
	assert_int_equal(get_be(f->data + 2, 2), sizeof(pages));
	assert_memory_equal(f->data + 4, pages, sizeof(pages));
	for (size_t i = 0; i < sizeof(pages); i++) {
		run_cdb(f, CDB(0x12, 1, pages[i], 0, 255), SCSI_DATA_IN, 255);
		assert_int_equal(f->request.status, SCSI_GOOD);
		assert_int_equal(f->data[0], 0);
		assert_int_equal(f->data[1], pages[i]);
		assert_int_equal(f->request.transferred_bytes, 4 + get_be(f->data + 2, 2));
	}
}

static void identity_comes_from_the_image(void **state)
{
	struct scsi_fixture *f = *state;
	const uint8_t *id = f->memory.base.geometry.unique_id.bytes;

	run_cdb(f, CDB(0x12, 1, 0x80, 0, 255), SCSI_DATA_IN, 255);
	assert_good(f, 36);
	assert_memory_equal(f->data + 4, "0123456789ab4cde8f0123456789abcd", 32);

	run_cdb(f, CDB(0x12, 1, 0x83, 0, 255), SCSI_DATA_IN, 255);
	assert_good(f, 52);
	assert_memory_equal(f->data + 4, "\x01\x01\x00\x18Msft    ", 12);
	assert_memory_equal(f->data + 16, id, 16);
	assert_memory_equal(f->data + 32, "\x01\x03\x00\x10\x60\x02\x24\x80", 8);
	assert_memory_equal(f->data + 40, id, 6);
	assert_memory_equal(f->data + 46, id + 10, 6);
}

static void limits_and_provisioning_follow_the_geometry(void **state)
{
	struct scsi_fixture *f = *state;

	run_cdb(f, CDB(0x12, 1, 0xb0, 0, 255), SCSI_DATA_IN, 255);
	assert_good(f, 64);
	assert_int_equal(f->data[4], 1); /* WSNZ */
	assert_int_equal(get_be(f->data + 6, 2), 8);
	assert_int_equal(get_be(f->data + 20, 4), UINT32_MAX);
	assert_int_equal(get_be(f->data + 24, 4), 255);
	assert_int_equal(get_be(f->data + 28, 4), 8); /* 4096-byte granules */
	assert_int_equal(get_be(f->data + 32, 4), 0x80000000u);
	assert_int_equal(get_be(f->data + 36, 8), (256u << 20) / 512);

	run_cdb(f, CDB(0x12, 1, 0xb2, 0, 255), SCSI_DATA_IN, 255);
	assert_good(f, 8);
	assert_int_equal(f->data[4], 0); /* no thresholds */
	assert_int_equal(f->data[5], 0xe4);
	assert_int_equal(f->data[6], 2);

	run_cdb(f, CDB(0x12, 1, 0xb1, 0, 255), SCSI_DATA_IN, 255);
	assert_good(f, 64);
	assert_int_equal(get_be(f->data + 4, 2), 1);

	f->memory.base.geometry.discard_granularity_bytes = 0;
	run_cdb(f, CDB(0x12, 1, 0xb0, 0, 255), SCSI_DATA_IN, 255);
	assert_int_equal(get_be(f->data + 20, 4), 0);
	assert_int_equal(get_be(f->data + 24, 4), 0);
	run_cdb(f, CDB(0x12, 1, 0xb2, 0, 255), SCSI_DATA_IN, 255);
	assert_int_equal(f->data[5], 0);
	run_cdb(f, CDB(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32), SCSI_DATA_IN, 32);
	assert_int_equal(f->data[14], 0);
}

static void capacity_tells_the_last_sector(void **state)
{
	struct scsi_fixture *f = *state;

	run_cdb(f, CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), SCSI_DATA_IN, 8);
	assert_good(f, 8);
	assert_int_equal(get_be(f->data, 4), DISK_SECTORS - 1);
	assert_int_equal(get_be(f->data + 4, 4), 512);

	run_cdb(f, CDB(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32), SCSI_DATA_IN, 32);
	assert_good(f, 32);
	assert_int_equal(get_be(f->data, 8), DISK_SECTORS - 1);
	assert_int_equal(get_be(f->data + 8, 4), 512);
	assert_int_equal(f->data[13], 3); /* eight logical sectors to a physical one */
	assert_int_equal(f->data[14], 0xc0);

	run_cdb(f, CDB(0x25, 0, 0, 0, 0, 1, 0, 0, 0, 0), SCSI_DATA_IN, 8);
	assert_bad_field(f, 2);
	run_cdb(f, CDB(0x9e, 0x13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32), SCSI_DATA_IN, 32);
	assert_bad_field(f, 1);
}

static void capacity_of_a_huge_disk_sends_the_guest_to_the_long_form(void **state)
{
	struct scsi_fixture *f = *state;

	f->memory.base.geometry.size_bytes = (1ull << 32) * 512 + 1024;
	scsi_make_disk(f, NULL);
	run_cdb(f, CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), SCSI_DATA_IN, 8);
	assert_int_equal(get_be(f->data, 4), UINT32_MAX);
	run_cdb(f, CDB(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32), SCSI_DATA_IN, 32);
	assert_int_equal(get_be(f->data, 8), (1ull << 32) + 1);
}

static void sectors_of_4096_bytes_are_told_and_used(void **state)
{
	struct scsi_fixture *f = *state;

	run_cdb(f, CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), SCSI_DATA_IN, 8);
	assert_int_equal(get_be(f->data, 4), DISK_SECTORS - 1);
	assert_int_equal(get_be(f->data + 4, 4), 4096);
	run_cdb(f, CDB(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32), SCSI_DATA_IN, 32);
	assert_int_equal(f->data[13], 0);
	run_10(f, 0x28, 0, DISK_SECTORS - 2, 2, SCSI_DATA_IN, 8192);
	assert_good(f, 8192);
	assert_disk_pattern(f->data, (DISK_SECTORS - 2) * 4096ull, 8192);
	run_10(f, 0x28, 0, DISK_SECTORS - 1, 2, SCSI_DATA_IN, 8192);
	assert_sense(f, SCSI_SENSE_LBA_OUT_OF_RANGE);
}

static void mode_sense_shows_the_cache_and_write_protection(void **state)
{
	struct scsi_fixture *f = *state;

	run_cdb(f, CDB(0x1a, 0x08, 0x08, 0, 255), SCSI_DATA_IN, 255);
	assert_good(f, 24);
	assert_int_equal(f->data[0], 23);
	assert_int_equal(f->data[2], 0x10); /* FUA is obeyed, no write protection */
	assert_int_equal(f->data[3], 0);
	assert_int_equal(f->data[4], 0x08);
	assert_int_equal(f->data[5], 0x12);
	assert_int_equal(f->data[6], 0x04); /* WCE */

	run_cdb(f, CDB(0x5a, 0, 0x3f, 0, 0, 0, 0, 1, 0, 0), SCSI_DATA_IN, 256);
	assert_good(f, 8 + 8 + 12 + 20 + 12 + 12);
	assert_int_equal(get_be(f->data, 2), f->request.transferred_bytes - 2);
	assert_int_equal(get_be(f->data + 6, 2), 8);
	assert_int_equal(get_be(f->data + 8, 4), DISK_SECTORS);
	assert_int_equal(get_be(f->data + 12, 4), 512);

	run_cdb(f, CDB(0x5a, 0x10, 0x0a, 0, 0, 0, 0, 1, 0, 0), SCSI_DATA_IN, 256);
	assert_good(f, 8 + 16 + 12);
	assert_int_equal(f->data[4], 1);
	assert_int_equal(get_be(f->data + 8, 8), DISK_SECTORS);

	/* The cut form Linux begins with. */
	run_cdb(f, CDB(0x1a, 0x08, 0x3f, 0, 4), SCSI_DATA_IN, 4);
	assert_good(f, 4);

	f->memory.base.geometry.read_only = true;
	run_cdb(f, CDB(0x1a, 0, 0x3f, 0, 4), SCSI_DATA_IN, 4);
	assert_int_equal(f->data[2], 0x90);
}

static void mode_sense_knows_page_control_and_refuses_the_rest(void **state)
{
	struct scsi_fixture *f = *state;

	run_cdb(f, CDB(0x1a, 0x08, 0x48, 0, 255), SCSI_DATA_IN, 255); /* changeable */
	assert_good(f, 24);
	assert_int_equal(f->data[6], 0x04);
	run_cdb(f, CDB(0x1a, 0x08, 0x4a, 0, 255), SCSI_DATA_IN, 255);
	assert_good(f, 16);
	assert_int_equal(f->data[7], 0);
	run_cdb(f, CDB(0x1a, 0x08, 0xc8, 0, 255), SCSI_DATA_IN, 255); /* saved */
	assert_sense(f, SCSI_SENSE_SAVING_NOT_SUPPORTED);
	run_cdb(f, CDB(0x1a, 0x08, 0x05, 0, 255), SCSI_DATA_IN, 255);
	assert_bad_field(f, 2);
	run_cdb(f, CDB(0x1a, 0x08, 0x08, 1, 255), SCSI_DATA_IN, 255);
	assert_bad_field(f, 2);
	run_cdb(f, CDB(0x1a, 0x08, 0x3f, 0xff, 255), SCSI_DATA_IN, 255);
	assert_int_equal(f->request.status, SCSI_GOOD);
}

/* ---- MODE SELECT ---- */

static void select_cache(struct scsi_fixture *f, bool on)
{
	memset(f->data, 0, 24);
	f->data[4] = 0x08;
	f->data[5] = 0x12;
	f->data[6] = on ? 0x04 : 0;
	start(f, CDB(0x15, 0x10, 0, 0, 24), SCSI_DATA_OUT, 24);
}

static void mode_select_switches_the_cache_and_flushes_it(void **state)
{
	struct scsi_fixture *f = *state;

	run_10(f, 0x2a, 0, 0, 1, SCSI_DATA_OUT, 512);
	assert_int_equal(f->memory.log[0].flags, 0);
	select_cache(f, false);
	assert_good(f, 0);
	assert_int_equal(f->memory.log_count, 2);
	assert_int_equal(f->memory.log[1].op, BLOCK_FLUSH);
	run_10(f, 0x2a, 0, 0, 1, SCSI_DATA_OUT, 512);
	assert_int_equal(f->memory.log[2].flags, BLOCK_WRITE_FUA);
	run_cdb(f, CDB(0x1a, 0x08, 0x08, 0, 255), SCSI_DATA_IN, 255);
	assert_int_equal(f->data[6], 0);
	select_cache(f, true);
	assert_good(f, 24);
	run_10(f, 0x2a, 0, 0, 1, SCSI_DATA_OUT, 512);
	assert_int_equal(f->memory.log[3].flags, 0);
}

static void mode_select_refuses_every_malformed_list(void **state)
{
	struct scsi_fixture *f = *state;

	run_cdb(f, CDB(0x15, 0x00, 0, 0, 24), SCSI_DATA_OUT, 24);
	assert_bad_field(f, 1);
	run_cdb(f, CDB(0x15, 0x11, 0, 0, 24), SCSI_DATA_OUT, 24);
	assert_bad_field(f, 1);
	run_cdb(f, CDB(0x15, 0x10, 0, 0, 0), 0, 0);
	assert_good(f, 0);
	run_cdb(f, CDB(0x15, 0x10, 0, 0, 3), SCSI_DATA_OUT, 3);
	assert_sense(f, SCSI_SENSE_PARAMETER_LIST_LENGTH);
	run_cdb(f, CDB(0x55, 0x10, 0, 0, 0, 0, 0, 1, 1, 0), SCSI_DATA_OUT, 257);
	assert_sense(f, SCSI_SENSE_PARAMETER_LIST_LENGTH);
	run_cdb(f, CDB(0x15, 0x10, 0, 0, 24), SCSI_DATA_OUT, 23); /* less memory than list */
	assert_sense(f, SCSI_SENSE_INVALID_FIELD_IN_CDB);

	for (unsigned bytes = 5; bytes < 24; bytes++) { /* a page cut short anywhere */
		memset(f->data, 0, 24);
		f->data[4] = 0x08;
		f->data[5] = 0x12;
		run_cdb(f, CDB(0x15, 0x10, 0, 0, (uint8_t)bytes), SCSI_DATA_OUT, bytes);
		assert_sense(f, SCSI_SENSE_INVALID_FIELD_IN_PARAMETERS);
	}
	memset(f->data, 0, 24);
	f->data[3] = 21; /* block descriptors beyond the end */
	run_cdb(f, CDB(0x15, 0x10, 0, 0, 24), SCSI_DATA_OUT, 24);
	assert_sense(f, SCSI_SENSE_PARAMETER_LIST_LENGTH);
	memset(f->data, 0, 24);
	f->data[4] = 0x08;
	f->data[5] = 0x12;
	f->data[7] = 1; /* a bit that cannot change */
	run_cdb(f, CDB(0x15, 0x10, 0, 0, 24), SCSI_DATA_OUT, 24);
	assert_sense(f, SCSI_SENSE_INVALID_FIELD_IN_PARAMETERS);
	assert_int_equal(f->memory.log_count, 0);
	run_cdb(f, CDB(0x1a, 0x08, 0x08, 0, 255), SCSI_DATA_IN, 255);
	assert_int_equal(f->data[6], 0x04); /* nothing changed by all this */
}

#define T(name) cmocka_unit_test_setup_teardown(name, scsi_setup, scsi_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(inquiry_describes_a_disk_that_linux_trusts),
		T(inquiry_is_cut_to_allocation_and_memory),
		T(inquiry_refuses_unknown_pages_and_bits),
		T(inquiry_scatters_over_many_pieces),
		T(every_listed_vital_page_exists),
		T(identity_comes_from_the_image),
		T(limits_and_provisioning_follow_the_geometry),
		T(capacity_tells_the_last_sector),
		T(capacity_of_a_huge_disk_sends_the_guest_to_the_long_form),
		cmocka_unit_test_setup_teardown(sectors_of_4096_bytes_are_told_and_used, scsi_setup_4k,
						scsi_teardown),
		T(mode_sense_shows_the_cache_and_write_protection),
		T(mode_sense_knows_page_control_and_refuses_the_rest),
		T(mode_select_switches_the_cache_and_flushes_it),
		T(mode_select_refuses_every_malformed_list),
	};

	return cmocka_run_group_tests_name("storage/scsi_pages", tests, NULL, NULL);
}
