/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What tests of SCSI units share: a disk on a block device in memory, commands, what came of them. */
#ifndef OPENLIS_TESTS_SCSI_FIXTURE_H
#define OPENLIS_TESTS_SCSI_FIXTURE_H

#include "storage/scsi_disk.h"
#include "tests/unit/storage/memory_block.h"

#define DISK_SECTORS 2048u
#define DATA_BYTES (1u << 20)

struct scsi_fixture {
	struct memory_block memory;
	struct scsi_unit *unit; /* a disk, unless the test makes another one */
	struct io_loop *loop;
	struct scsi_request request;
	struct iovec iov[8];
	uint8_t *data;
	unsigned done;
};

#define CDB(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

void scsi_make_disk(struct scsi_fixture *f, const struct scsi_disk_config *config);
void scsi_on_done(struct scsi_request *request);
int scsi_setup(void **state);
int scsi_setup_4k(void **state);
int scsi_teardown(void **state);
void put_be(uint8_t *at, uint64_t value, unsigned bytes);
uint64_t get_be(const uint8_t *at, unsigned bytes);
void start(struct scsi_fixture *f, const uint8_t *cdb, size_t cdb_bytes, uint32_t direction,
	   uint64_t data_bytes);
void run_cdb(struct scsi_fixture *f, const uint8_t *cdb, size_t cdb_bytes, uint32_t direction,
	     uint64_t data_bytes);
void run_16(struct scsi_fixture *f, uint8_t operation, uint8_t flags, uint64_t lba,
	    uint32_t blocks, uint32_t direction, uint64_t data_bytes);
void run_10(struct scsi_fixture *f, uint8_t operation, uint8_t flags, uint32_t lba,
	    uint16_t blocks, uint32_t direction, uint64_t data_bytes);
void assert_good(const struct scsi_fixture *f, uint64_t transferred_bytes);
void assert_sense(const struct scsi_fixture *f, enum scsi_sense sense);
void assert_bad_field(const struct scsi_fixture *f, unsigned cdb_byte);
void assert_disk_pattern(const uint8_t *data, uint64_t offset_bytes, uint64_t bytes);

#endif
