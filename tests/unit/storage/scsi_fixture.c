/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/storage/scsi_fixture.h"

void scsi_on_done(struct scsi_request *request)
{
	struct scsi_fixture *f = (struct scsi_fixture *)((char *)request - offsetof(struct scsi_fixture, request));

	f->done++;
}

void scsi_make_disk(struct scsi_fixture *f, const struct scsi_disk_config *config)
{
	struct scsi_disk_config copy = config ? *config : (struct scsi_disk_config){ 0 };

	copy.device = &f->memory.base;
	scsi_unit_destroy(f->unit);
	assert_int_equal(scsi_disk_create(&copy, &f->unit), 0);
}

static int setup_sized(void **state, uint32_t sector_bytes)
{
	struct scsi_fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	memory_block_init(&f->memory, (uint64_t)DISK_SECTORS * sector_bytes, sector_bytes);
	f->data = malloc(DATA_BYTES);
	if (!f->data || !f->memory.bytes)
		return -1;
	scsi_make_disk(f, NULL);
	*state = f;
	return 0;
}

int scsi_setup(void **state)
{
	return setup_sized(state, 512);
}

int scsi_setup_4k(void **state)
{
	return setup_sized(state, 4096);
}

int scsi_teardown(void **state)
{
	struct scsi_fixture *f = *state;

	scsi_unit_destroy(f->unit);
	memory_block_fini(&f->memory);
	free(f->data);
	free(f);
	return 0;
}

/* ---- helpers ---- */

void put_be(uint8_t *at, uint64_t value, unsigned bytes)
{
	while (bytes--) {
		at[bytes] = (uint8_t)value;
		value >>= 8;
	}
}

uint64_t get_be(const uint8_t *at, unsigned bytes)
{
	uint64_t value = 0;

	while (bytes--)
		value = value << 8 | *at++;
	return value;
}

void start(struct scsi_fixture *f, const uint8_t *cdb, size_t cdb_bytes, uint32_t direction,
	   uint64_t data_bytes)
{
	struct scsi_request *request = &f->request;

	memset(request, 0xee, sizeof(*request));
	memset(request->cdb, 0, sizeof(request->cdb));
	memcpy(request->cdb, cdb, cdb_bytes);
	request->direction = direction;
	request->timeout_ms = 0;
	f->iov[0].iov_base = f->data;
	f->iov[0].iov_len = data_bytes;
	request->iov = f->iov;
	request->iov_count = data_bytes ? 1 : 0;
	request->data_bytes = data_bytes;
	request->done = scsi_on_done;
	f->done = 0;
	scsi_unit_submit(f->unit, f->loop, request);
}

void run_cdb(struct scsi_fixture *f, const uint8_t *cdb, size_t cdb_bytes, uint32_t direction,
	     uint64_t data_bytes)
{
	start(f, cdb, cdb_bytes, direction, data_bytes);
	assert_int_equal(f->done, 1);
}

/* READ(16)-shaped commands. */
void run_16(struct scsi_fixture *f, uint8_t operation, uint8_t flags, uint64_t lba,
	    uint32_t blocks, uint32_t direction, uint64_t data_bytes)
{
	uint8_t cdb[16] = { operation, flags };

	put_be(cdb + 2, lba, 8);
	put_be(cdb + 10, blocks, 4);
	run_cdb(f, cdb, sizeof(cdb), direction, data_bytes);
}

void run_10(struct scsi_fixture *f, uint8_t operation, uint8_t flags, uint32_t lba,
	    uint16_t blocks, uint32_t direction, uint64_t data_bytes)
{
	uint8_t cdb[10] = { operation, flags };

	put_be(cdb + 2, lba, 4);
	put_be(cdb + 7, blocks, 2);
	run_cdb(f, cdb, sizeof(cdb), direction, data_bytes);
}

void assert_good(const struct scsi_fixture *f, uint64_t transferred_bytes)
{
	assert_int_equal(f->request.status, SCSI_GOOD);
	assert_int_equal(f->request.sense_bytes, 0);
	assert_int_equal(f->request.transferred_bytes, transferred_bytes);
}

void assert_sense(const struct scsi_fixture *f, enum scsi_sense sense)
{
	assert_int_equal(f->request.status, SCSI_CHECK_CONDITION);
	assert_int_equal(f->request.sense_bytes, SCSI_SENSE_BYTES);
	assert_int_equal(f->request.transferred_bytes, 0);
	assert_int_equal(f->request.sense[0], 0x70);
	assert_int_equal(f->request.sense[7], 10);
	assert_int_equal(
		SCSI_SENSE(f->request.sense[2], f->request.sense[12], f->request.sense[13]), sense);
}

void assert_bad_field(const struct scsi_fixture *f, unsigned cdb_byte)
{
	assert_sense(f, SCSI_SENSE_INVALID_FIELD_IN_CDB);
	assert_int_equal(f->request.sense[15], 0xc0);
	assert_int_equal(get_be(f->request.sense + 16, 2), cdb_byte);
}

void assert_disk_pattern(const uint8_t *data, uint64_t offset_bytes, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes; i++)
		if (data[i] != memory_block_pattern(offset_bytes + i))
			fail_msg("byte %lu differs", (unsigned long)i);
}
