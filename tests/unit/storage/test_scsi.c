/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The SCSI disk on a block device in memory: every command, its limits, and the sense of what is
 * refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/scsi_disk.h"
#include "tests/unit/storage/memory_block.h"

#define DISK_SECTORS 2048u
#define DATA_BYTES (1u << 20)

struct fixture {
	struct memory_block memory;
	struct scsi_unit *disk;
	struct scsi_request request;
	struct iovec iov[8];
	uint8_t *data;
	unsigned done;
};

static void on_done(struct scsi_request *request)
{
	struct fixture *f = (struct fixture *)((char *)request - offsetof(struct fixture, request));

	f->done++;
}

static void make_disk(struct fixture *f, const struct scsi_disk_config *config)
{
	struct scsi_disk_config copy = config ? *config : (struct scsi_disk_config){ 0 };

	copy.device = &f->memory.base;
	scsi_unit_destroy(f->disk);
	assert_int_equal(scsi_disk_create(&copy, &f->disk), 0);
}

static int setup_sized(void **state, uint32_t sector_bytes)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	memory_block_init(&f->memory, (uint64_t)DISK_SECTORS * sector_bytes, sector_bytes);
	f->data = malloc(DATA_BYTES);
	if (!f->data || !f->memory.bytes)
		return -1;
	make_disk(f, NULL);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return setup_sized(state, 512);
}

static int setup_4k(void **state)
{
	return setup_sized(state, 4096);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	scsi_unit_destroy(f->disk);
	memory_block_fini(&f->memory);
	free(f->data);
	free(f);
	return 0;
}

/* ---- helpers ---- */

static void put_be(uint8_t *at, uint64_t value, unsigned bytes)
{
	while (bytes--) {
		at[bytes] = (uint8_t)value;
		value >>= 8;
	}
}

static uint64_t get_be(const uint8_t *at, unsigned bytes)
{
	uint64_t value = 0;

	while (bytes--)
		value = value << 8 | *at++;
	return value;
}

static void start(struct fixture *f, const uint8_t *cdb, size_t cdb_bytes, uint32_t direction,
		  uint64_t data_bytes)
{
	struct scsi_request *request = &f->request;

	memset(request, 0xee, sizeof(*request));
	memset(request->cdb, 0, sizeof(request->cdb));
	memcpy(request->cdb, cdb, cdb_bytes);
	request->direction = direction;
	f->iov[0].iov_base = f->data;
	f->iov[0].iov_len = data_bytes;
	request->iov = f->iov;
	request->iov_count = data_bytes ? 1 : 0;
	request->data_bytes = data_bytes;
	request->done = on_done;
	f->done = 0;
	scsi_unit_submit(f->disk, NULL, request);
}

#define CDB(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

static void run_cdb(struct fixture *f, const uint8_t *cdb, size_t cdb_bytes, uint32_t direction,
		    uint64_t data_bytes)
{
	start(f, cdb, cdb_bytes, direction, data_bytes);
	assert_int_equal(f->done, 1);
}

/* READ(16)-shaped commands. */
static void run_16(struct fixture *f, uint8_t operation, uint8_t flags, uint64_t lba,
		   uint32_t blocks, uint32_t direction, uint64_t data_bytes)
{
	uint8_t cdb[16] = { operation, flags };

	put_be(cdb + 2, lba, 8);
	put_be(cdb + 10, blocks, 4);
	run_cdb(f, cdb, sizeof(cdb), direction, data_bytes);
}

static void run_10(struct fixture *f, uint8_t operation, uint8_t flags, uint32_t lba,
		   uint16_t blocks, uint32_t direction, uint64_t data_bytes)
{
	uint8_t cdb[10] = { operation, flags };

	put_be(cdb + 2, lba, 4);
	put_be(cdb + 7, blocks, 2);
	run_cdb(f, cdb, sizeof(cdb), direction, data_bytes);
}

static void assert_good(const struct fixture *f, uint64_t transferred_bytes)
{
	assert_int_equal(f->request.status, SCSI_GOOD);
	assert_int_equal(f->request.sense_bytes, 0);
	assert_int_equal(f->request.transferred_bytes, transferred_bytes);
}

static void assert_sense(const struct fixture *f, enum scsi_sense sense)
{
	assert_int_equal(f->request.status, SCSI_CHECK_CONDITION);
	assert_int_equal(f->request.sense_bytes, SCSI_SENSE_BYTES);
	assert_int_equal(f->request.transferred_bytes, 0);
	assert_int_equal(f->request.sense[0], 0x70);
	assert_int_equal(f->request.sense[7], 10);
	assert_int_equal(
		SCSI_SENSE(f->request.sense[2], f->request.sense[12], f->request.sense[13]), sense);
}

static void assert_bad_field(const struct fixture *f, unsigned cdb_byte)
{
	assert_sense(f, SCSI_SENSE_INVALID_FIELD_IN_CDB);
	assert_int_equal(f->request.sense[15], 0xc0);
	assert_int_equal(get_be(f->request.sense + 16, 2), cdb_byte);
}

static void assert_disk_pattern(const uint8_t *data, uint64_t offset_bytes, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes; i++)
		if (data[i] != memory_block_pattern(offset_bytes + i))
			fail_msg("byte %lu differs", (unsigned long)i);
}

/* ---- what the disk says of itself ---- */

static void inquiry_describes_a_disk_that_linux_trusts(void **state)
{
	struct fixture *f = *state;

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
	struct fixture *f = *state;

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
	struct fixture *f = *state;

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
	struct fixture *f = *state;
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
	f->request.done = on_done;
	scsi_unit_submit(f->disk, NULL, &f->request);
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
	struct fixture *f = *state;

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
	struct fixture *f = *state;
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
	struct fixture *f = *state;

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
	struct fixture *f = *state;

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
	run_cdb(f, CDB(0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32), SCSI_DATA_IN, 32);
	assert_bad_field(f, 1);
}

static void capacity_of_a_huge_disk_sends_the_guest_to_the_long_form(void **state)
{
	struct fixture *f = *state;

	f->memory.base.geometry.size_bytes = (1ull << 32) * 512 + 1024;
	make_disk(f, NULL);
	run_cdb(f, CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), SCSI_DATA_IN, 8);
	assert_int_equal(get_be(f->data, 4), UINT32_MAX);
	run_cdb(f, CDB(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32), SCSI_DATA_IN, 32);
	assert_int_equal(get_be(f->data, 8), (1ull << 32) + 1);
	/* At least as large that (blocks >> exponent) fits in 32 bits. */
	run_cdb(f, CDB(0x12, 1, 0xb2, 0, 255), SCSI_DATA_IN, 255);
	assert_int_equal(f->data[4], 1);
}

static void sectors_of_4096_bytes_are_told_and_used(void **state)
{
	struct fixture *f = *state;

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
	struct fixture *f = *state;

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
	struct fixture *f = *state;

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

static void select_cache(struct fixture *f, bool on)
{
	memset(f->data, 0, 24);
	f->data[4] = 0x08;
	f->data[5] = 0x12;
	f->data[6] = on ? 0x04 : 0;
	start(f, CDB(0x15, 0x10, 0, 0, 24), SCSI_DATA_OUT, 24);
}

static void mode_select_switches_the_cache_and_flushes_it(void **state)
{
	struct fixture *f = *state;

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
	struct fixture *f = *state;

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

/* ---- simple commands ---- */

static void ready_lock_and_sense_always_succeed(void **state)
{
	struct fixture *f = *state;

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
					 0x28, 0x2a, 0x2e, 0x2f, 0x35, 0x41, 0x42, 0x55, 0x5a, 0x88,
					 0x8a, 0x8e, 0x8f, 0x91, 0x93, 0x9e, 0xa0, 0xa8, 0xaa, 0xae,
					 0xaf };
	struct fixture *f = *state;

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
	struct fixture *f = *state;

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
	struct fixture *f = *state;

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

/* ---- READ and WRITE ---- */

static void reads_of_all_lengths_reach_the_right_sectors(void **state)
{
	struct fixture *f = *state;

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
	struct fixture *f = *state;

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
	struct fixture *f = *state;

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
	struct fixture *f = *state;

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
	struct fixture *f = *state;

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

	make_disk(f, &(struct scsi_disk_config){ .write_through = true });
	run_10(f, 0x2a, 0, 0, 1, SCSI_DATA_OUT, 512);
	assert_int_equal(f->memory.log[4].flags, BLOCK_WRITE_FUA);
}

static void the_short_form_has_no_fua(void **state)
{
	struct fixture *f = *state;

	/* Where others have it there is address; no memory is that large: the write must fail. */
	f->memory.base.geometry.size_bytes = 0x90000ull * 512;
	make_disk(f, NULL);
	f->memory.fail_at = 1;
	f->memory.fail_with = -LIS_IO;
	run_cdb(f, CDB(0x0a, 0x08, 0, 1, 1, 0), SCSI_DATA_OUT, 512);
	assert_int_equal(f->memory.log[0].offset_bytes, 0x80001ull * 512);
	assert_int_equal(f->memory.log[0].flags, 0);
}

static void read_only_disks_refuse_every_kind_of_write(void **state)
{
	struct fixture *f = *state;

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
		{ -LIS_GONE, SCSI_SENSE_NOT_READY, SCSI_SENSE_NOT_READY },
		{ -LIS_CANCELED, SCSI_SENSE_ABORTED, SCSI_SENSE_ABORTED },
	};
	struct fixture *f = *state;
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
	assert_int_equal(atomic_load(&scsi_unit_counters(f->disk)->errors), 2 * count + 1);
	run_10(f, 0x28, 0, 0, 1, SCSI_DATA_IN, 512);
	assert_good(f, 512);
}

static void answers_may_come_late(void **state)
{
	struct fixture *f = *state;

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
	struct fixture *f = *state;
	const struct scsi_counters *counters = scsi_unit_counters(f->disk);

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
	struct fixture *f = *state;

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
	struct fixture *f = *state;

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
	struct fixture *f = *state;

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
	run_10(f, 0x2f, 0x02, 0, 1, SCSI_DATA_OUT, 512); /* BYTCHK */
	assert_bad_field(f, 1);
	run_10(f, 0x2f, 0, 0, 0, 0, 0);
	assert_good(f, 0);
	run_10(f, 0x2f, 0, DISK_SECTORS, 1, 0, 0);
	assert_sense(f, SCSI_SENSE_LBA_OUT_OF_RANGE);
	assert_int_equal(f->memory.log_count, 5);
}

static void canceled_commands_stop_between_steps(void **state)
{
	struct fixture *f = *state;

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

/* ---- UNMAP ---- */

static void put_unmap(struct fixture *f, unsigned index, uint64_t lba, uint32_t blocks)
{
	uint8_t *at = f->data + 8 + 16 * index;

	memset(at, 0, 16);
	put_be(at, lba, 8);
	put_be(at + 8, blocks, 4);
}

static void run_unmap(struct fixture *f, unsigned count)
{
	memset(f->data, 0, 8);
	put_be(f->data, 8 + 16 * count - 2, 2);
	put_be(f->data + 2, 16 * count, 2);
	run_10(f, 0x42, 0, 0, (uint16_t)(8 + 16 * count), SCSI_DATA_OUT, 8 + 16 * count);
}

static void unmap_discards_each_range(void **state)
{
	struct fixture *f = *state;

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
	assert_int_equal(atomic_load(&scsi_unit_counters(f->disk)->discarded_bytes), 24 * 512);
}

static void unmap_of_many_ranges_is_no_recursion(void **state)
{
	struct fixture *f = *state;

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
	struct fixture *f = *state;

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
	struct fixture *f = *state;

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
	struct fixture *f = *state;

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
	struct fixture *f = *state;

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
	struct fixture *f = *state;

	make_disk(f, &(struct scsi_disk_config){ .write_through = true });
	memset(f->data, 0, 512);
	run_16(f, 0x93, 0, 16, 8, SCSI_DATA_OUT, 512);
	assert_good(f, 512);
	assert_int_equal(f->memory.log_count, 2);
	assert_int_equal(f->memory.log[1].op, BLOCK_FLUSH);
}

/* ---- life ---- */

static void disks_need_sectors_the_standard_knows(void **state)
{
	struct fixture *f = *state;
	struct scsi_unit *disk = NULL;

	assert_int_equal(scsi_disk_create(&(struct scsi_disk_config){ 0 }, &disk), -LIS_INVALID);
	f->memory.base.geometry.logical_sector_bytes = 1024;
	assert_int_equal(scsi_disk_create(&(struct scsi_disk_config){ .device = &f->memory.base },
					  &disk), -LIS_INVALID);
	assert_null(disk);
	scsi_unit_destroy(NULL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
		cmocka_unit_test_setup_teardown(sectors_of_4096_bytes_are_told_and_used, setup_4k,
						teardown),
		T(mode_sense_shows_the_cache_and_write_protection),
		T(mode_sense_knows_page_control_and_refuses_the_rest),
		T(mode_select_switches_the_cache_and_flushes_it),
		T(mode_select_refuses_every_malformed_list),
		T(ready_lock_and_sense_always_succeed),
		T(unknown_operations_are_refused_by_name),
		T(report_luns_lists_what_it_is_given),
		T(absent_units_say_so),
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
		T(canceled_commands_stop_between_steps),
		T(unmap_discards_each_range),
		T(unmap_of_many_ranges_is_no_recursion),
		T(unmap_refuses_bad_lists),
		T(write_same_of_zeroes_writes_no_zeroes),
		T(write_same_repeats_any_pattern),
		T(write_same_refuses_what_it_cannot_bound),
		T(zeroes_are_flushed_where_there_is_no_cache),
		T(disks_need_sectors_the_standard_knows),
	};

	return cmocka_run_group_tests_name("storage/scsi", tests, NULL, NULL);
}
