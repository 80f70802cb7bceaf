/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A storage controller with one disk in memory, and a scripted guest. All loops are turned by the
 * test's own thread, so every order of events is the test's choice.
 */
#ifndef OPENLIS_TESTS_STORVSP_WORLD_H
#define OPENLIS_TESTS_STORVSP_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/scsi_disk.h"
#include "storage/storvsp.h"
#include "tests/loopback/storvsp_guest.h"
#include "tests/unit/storage/memory_block.h"

#define DISK_BYTES (4u << 20)
#define RING_PAGES 9u
#define DATA_PAGES 300u
#define QUEUE_DEPTH 8u

struct world {
	struct io_loop *loops[2]; /* the bus, primary and even channels; odd channels */
	struct partition *partition;
	struct vmbus_host *host;
	struct storvsp *storvsp;
	struct memory_block memory;
	struct scsi_unit *disk;
	struct mini_guest guest;
	struct mini_channel channel, sub;
	struct gpa data_gpa;
	uint8_t *data;
	struct io_call call;
	unsigned called;
};

extern const struct storvsp_address world_address; /* of the disk */

#define CDB(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

struct range {
	uint32_t bytes, offset;
	uint32_t first_page; /* of the data pages */
};

/** world_settle() - Long enough for everything that can happen by itself. */
void world_settle(struct world *world);

/** world_wait_called() - Until world.call was called, once. */
void world_wait_called(struct world *world);

/** world_create_storvsp() - Offer a controller with the disk at world_address, at first or again. */
void world_create_storvsp(struct world *world, uint16_t version_max);

/** world_setup() - As cmocka wants it: the guest is connected and knows the offers. */
int world_setup(void **state);
int world_setup_old(void **state);
int world_teardown(void **state);

/** world_open_channel() - Channel @index of the controller. */
void world_open_channel(struct world *world, uint16_t index, struct mini_channel *channel);

/** world_open_ready() - The primary channel, and the set-up a driver does. */
void world_open_ready(struct world *world, uint16_t version);

/** world_srb() - A command; its data, if any, is sent along by world_send_data(). */
struct storvsc_packet world_srb(const uint8_t *cdb, size_t cdb_bytes, uint8_t data_in,
				uint32_t bytes);

/** world_send_data() - A question whose data lies in @ranges of the data pages. */
int world_send_data(struct world *world, struct mini_channel *channel, uint64_t id,
		    const struct storvsc_packet *packet, const struct range *ranges,
		    size_t range_count);

/** world_send_transfer() - READ(10) or WRITE(10) of whole sectors at the start of a data page. */
int world_send_transfer(struct world *world, struct mini_channel *channel, uint64_t id,
			uint8_t operation, uint32_t lba, uint16_t blocks, uint32_t page);

/** world_wait_reply() - The answer to @id, which must be the next. */
struct storvsp_reply world_wait_reply(struct mini_channel *channel, uint64_t id);

void world_assert_no_reply(struct world *world, struct mini_channel *channel);
void world_assert_srb(const struct storvsp_reply *reply, uint8_t srb_status, uint8_t scsi_status,
		      uint32_t bytes);

/**
 * world_assert_no_lun() - ILLEGAL REQUEST, LOGICAL UNIT NOT SUPPORTED: Linux would go by the sense of an earlier
 * answer if there were none.
 */
void world_assert_no_lun(const struct storvsp_reply *reply);

/** world_call_srb() - A command on the primary channel with @bytes of data in, and its answer. */
struct storvsp_reply world_call_srb(struct world *world, uint8_t lun, const uint8_t *cdb,
				    size_t cdb_bytes, uint32_t bytes);

/** world_call_operation() - An operation without data; returns its status. */
uint32_t world_call_operation(struct world *world, struct mini_channel *channel, uint32_t operation,
			      uint16_t argument);

/** world_assert_disk_pattern() - @data is what memory_block has at first. */
void world_assert_disk_pattern(const uint8_t *data, uint64_t offset_bytes, uint64_t bytes);

#endif
