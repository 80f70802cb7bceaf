/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The SCSI disk: its commands that reach the block device, and its life.
 *
 * What changes while it is used, its size and the cache, is read once for a command, without a lock.
 */
#include "storage/scsi_disk_internal.h"

#include <stdlib.h>
#include <string.h>

static bool has_fua(const uint8_t *cdb)
{
	return cdb[0] >> 5 && cdb[1] & 0x08;
}

/* ---- READ, WRITE ---- */

/* READ with FUA: what is read must be on the medium, so flush first. */
static bool next_of_fua_read(struct scsi_request *request)
{
	const struct scsi_extent nothing = { 0, 0 };
	struct scsi_extent extent = scsi_decode_extent(request->cdb);

	switch (request->item++) {
	case 0:
		scsi_set_block(request, BLOCK_FLUSH, &nothing);
		return true;
	case 1:
		scsi_set_block(request, BLOCK_READ, &extent);
		return scsi_set_block_memory(request, SCSI_DATA_IN);
	default:
		scsi_set_good(request, request->block.length_bytes);
		return false;
	}
}

static void execute_read(struct scsi_disk *disk, struct scsi_request *request)
{
	if (!scsi_begin_transfer(request, BLOCK_READ)) {
		scsi_finish(request);
		return;
	}
	if (has_fua(request->cdb)) {
		scsi_sequence_start(request, next_of_fua_read);
		return;
	}
	if (!scsi_set_block_memory(request, SCSI_DATA_IN)) {
		scsi_finish(request);
		return;
	}
	scsi_submit_single(request);
}

static void execute_write(struct scsi_disk *disk, struct scsi_request *request, bool durable)
{
	if (!scsi_begin_transfer(request, BLOCK_WRITE) ||
	    !scsi_set_block_memory(request, SCSI_DATA_OUT)) {
		scsi_finish(request);
		return;
	}
	if (durable || !atomic_load_explicit(&disk->write_cache, memory_order_relaxed))
		request->block.flags = BLOCK_WRITE_FUA;
	scsi_submit_single(request);
}

/* ---- VERIFY, WRITE AND VERIFY ---- */

/* BYTCHK: with what the medium is compared. */
enum bytchk {
	COMPARE_NOTHING = 0,
	COMPARE_ALL = 1,   /* the same number of blocks */
	COMPARE_BLOCK = 3, /* one block, with each of them */
};

static enum bytchk bytchk_of(const uint8_t *cdb)
{
	return (enum bytchk)(cdb[1] >> 1 & 3);
}

/* Is the piece that lies in the scratch memory what the guest has? Else the result is set. */
static bool piece_matches(struct scsi_request *request)
{
	uint32_t block_bytes = 1u << request->medium->sector_shift;
	uint64_t offset_bytes = request->block.offset_bytes -
				(scsi_decode_extent(request->cdb).lba << request->medium->sector_shift);
	enum bytchk bytchk = bytchk_of(request->cdb);
	bool matches = true;

	if (bytchk == COMPARE_ALL)
		matches = scsi_matches(request, offset_bytes, request->scratch, request->block.length_bytes);
	for (uint64_t at = 0; matches && bytchk == COMPARE_BLOCK && at < request->block.length_bytes;
	     at += block_bytes)
		matches = scsi_matches(request, 0, (uint8_t *)request->scratch + at, block_bytes);
	if (!matches)
		scsi_set_sense(request, SCSI_SENSE_MISCOMPARE);
	return matches;
}

/* @item: pieces read so far. */
static bool next_of_verify(struct scsi_request *request)
{
	if (request->item && !piece_matches(request))
		return false;
	request->item++;
	if (scsi_next_piece(request, BLOCK_READ))
		return true;
	scsi_set_good(request, (uint64_t)request->item_count << request->medium->sector_shift);
	return false;
}

static bool next_of_write_verify(struct scsi_request *request)
{
	struct scsi_extent extent = scsi_decode_extent(request->cdb);

	request->next = next_of_verify;
	scsi_set_block(request, BLOCK_WRITE, &extent);
	request->block.flags = BLOCK_WRITE_FUA;
	return scsi_set_block_memory(request, SCSI_DATA_OUT);
}

/* @blocks: of the guest's to compare with. False, with the result set, if there are not so many. */
static bool begin_verify(struct scsi_request *request, uint64_t blocks)
{
	struct scsi_extent extent = scsi_decode_extent(request->cdb);

	if (blocks && (!(request->direction & SCSI_DATA_OUT) ||
		       request->data_bytes >> request->medium->sector_shift < blocks)) {
		scsi_set_invalid_field(request, 0);
		return false;
	}
	request->lba = extent.lba;
	request->blocks_left = extent.blocks;
	request->item_count = (uint32_t)blocks;
	return scsi_take_scratch(request);
}

/* Without BYTCHK, durable is what we take the verification to mean. */
static void execute_write_verify(struct scsi_disk *disk, struct scsi_request *request)
{
	if (bytchk_of(request->cdb) == COMPARE_NOTHING) {
		execute_write(disk, request, true);
		return;
	}
	if (bytchk_of(request->cdb) != COMPARE_ALL) {
		scsi_set_invalid_field(request, 1);
		scsi_finish(request);
		return;
	}
	if (scsi_begin_transfer(request, BLOCK_WRITE) &&
	    begin_verify(request, scsi_decode_extent(request->cdb).blocks))
		scsi_sequence_start(request, next_of_write_verify);
	else
		scsi_finish(request);
}

static void execute_verify(struct scsi_request *request)
{
	enum bytchk bytchk = bytchk_of(request->cdb);
	uint64_t blocks = bytchk == COMPARE_ALL ? scsi_decode_extent(request->cdb).blocks : bytchk == COMPARE_BLOCK;

	if (bytchk == 2) {
		scsi_set_invalid_field(request, 1);
		scsi_finish(request);
		return;
	}
	if (scsi_begin_transfer(request, BLOCK_READ) && begin_verify(request, blocks))
		scsi_sequence_start(request, next_of_verify);
	else
		scsi_finish(request);
}

/* ---- SYNCHRONIZE CACHE and other flushes ---- */

static void submit_flush(struct scsi_request *request)
{
	const struct scsi_extent nothing = { 0, 0 };

	scsi_set_block(request, BLOCK_FLUSH, &nothing);
	scsi_submit_single(request);
}

/* Everything is flushed, whatever range was named, and IMMED does not make us lie. */
static void execute_synchronize(struct scsi_disk *disk, struct scsi_request *request)
{
	struct scsi_extent extent = scsi_decode_extent(request->cdb);

	if (!scsi_extent_exists(&disk->medium, &extent)) {
		scsi_set_sense(request, SCSI_SENSE_LBA_OUT_OF_RANGE);
		scsi_finish(request);
		return;
	}
	submit_flush(request);
}

/* Stopping flushes; there is no motor. LOEJ on a medium that cannot be removed is refused. */
static void execute_start_stop(struct scsi_request *request)
{
	if (request->cdb[4] & 0x02) {
		scsi_set_invalid_field(request, 4);
		scsi_finish(request);
		return;
	}
	if (!(request->cdb[4] & 0x01) && !(request->cdb[4] & 0xf0)) {
		submit_flush(request);
		return;
	}
	scsi_set_good(request, 0);
	scsi_finish(request);
}

static void execute_mode_select(struct scsi_disk *disk, struct scsi_request *request)
{
	if (scsi_mode_select(disk, request))
		submit_flush(request); /* the cache is off now: leave nothing in it */
	else
		scsi_finish(request);
}

/* ---- dispatch ---- */

static void execute_service_action(struct scsi_disk *disk, struct scsi_request *request)
{
	switch (request->cdb[1] & 0x1f) {
	case SCSI_READ_CAPACITY_16:
		scsi_read_capacity_16(disk, request);
		break;
	case SCSI_GET_LBA_STATUS:
		scsi_get_lba_status(disk, request);
		return;
	default:
		scsi_set_invalid_field(request, 1);
		break;
	}
	scsi_finish(request);
}

/* Commands that are answered at once. */
static void execute_simple(struct scsi_disk *disk, struct scsi_request *request)
{
	switch (request->cdb[0]) {
	case SCSI_TEST_UNIT_READY:
	case SCSI_PREVENT_ALLOW_REMOVAL:
		scsi_set_good(request, 0);
		break;
	case SCSI_INQUIRY:
		scsi_inquiry(disk, request);
		break;
	case SCSI_MODE_SENSE_6:
	case SCSI_MODE_SENSE_10:
		scsi_mode_sense(disk, request);
		break;
	case SCSI_READ_CAPACITY_10:
		scsi_read_capacity_10(disk, request);
		break;
	default:
		scsi_set_sense(request, SCSI_SENSE_INVALID_OPERATION);
		break;
	}
	scsi_finish(request);
}

static void execute(struct scsi_unit *unit, struct scsi_request *request)
{
	struct scsi_disk *disk = (struct scsi_disk *)unit;

	request->medium = &disk->medium;
	if (!scsi_nexus_allows(&disk->nexus, request)) {
		scsi_finish(request);
		return;
	}
	switch (request->cdb[0]) {
	case SCSI_READ_6:
	case SCSI_READ_10:
	case SCSI_READ_12:
	case SCSI_READ_16:
		execute_read(disk, request);
		return;
	case SCSI_WRITE_6:
	case SCSI_WRITE_10:
	case SCSI_WRITE_12:
	case SCSI_WRITE_16:
		execute_write(disk, request, has_fua(request->cdb));
		return;
	case SCSI_WRITE_AND_VERIFY_10:
	case SCSI_WRITE_AND_VERIFY_12:
	case SCSI_WRITE_AND_VERIFY_16:
		execute_write_verify(disk, request);
		return;
	case SCSI_VERIFY_10:
	case SCSI_VERIFY_12:
	case SCSI_VERIFY_16:
		execute_verify(request);
		return;
	case SCSI_SYNCHRONIZE_CACHE_10:
	case SCSI_SYNCHRONIZE_CACHE_16:
		execute_synchronize(disk, request);
		return;
	case SCSI_UNMAP:
		scsi_unmap(disk, request);
		return;
	case SCSI_WRITE_SAME_10:
	case SCSI_WRITE_SAME_16:
		scsi_write_same(disk, request);
		return;
	case SCSI_MODE_SELECT_6:
	case SCSI_MODE_SELECT_10:
		execute_mode_select(disk, request);
		return;
	case SCSI_START_STOP_UNIT:
		execute_start_stop(request);
		return;
	case SCSI_PERSISTENT_RESERVE_IN:
		scsi_nexus_persistent_in(&disk->nexus, request);
		return;
	case SCSI_PERSISTENT_RESERVE_OUT:
		scsi_nexus_persistent_out(&disk->nexus, request, disk->workers);
		return;
	case SCSI_RESERVE_6:
	case SCSI_RELEASE_6:
		scsi_nexus_reserve(&disk->nexus, request);
		return;
	case SCSI_SERVICE_ACTION_IN_16:
		execute_service_action(disk, request);
		return;
	default:
		execute_simple(disk, request);
		return;
	}
}

/* ---- life ---- */

static void reset(struct scsi_unit *unit)
{
	scsi_nexus_reset(&((struct scsi_disk *)unit)->nexus);
}

static void destroy(struct scsi_unit *unit)
{
	struct scsi_disk *disk = (struct scsi_disk *)unit;

	scsi_nexus_leave(&disk->nexus);
	scsi_reservations_destroy(disk->own_reservations);
	free(disk);
}

static const struct scsi_unit_ops disk_ops = {
	.execute = execute,
	.reset = reset,
	.destroy = destroy,
};

int scsi_disk_create(const struct scsi_disk_config *config, struct scsi_unit **out_unit)
{
	struct scsi_reservations *reservations = config->reservations;
	char error[SCSI_RESERVATIONS_ERROR_BYTES];
	struct scsi_disk *disk;
	uint32_t sector_bytes;

	if (!config->device)
		return -LIS_INVALID;
	sector_bytes = config->device->geometry.logical_sector_bytes;
	if (sector_bytes != 512 && sector_bytes != 4096)
		return -LIS_INVALID;
	disk = calloc(1, sizeof(*disk));
	if (!disk)
		return -LIS_NOMEM;
	if (!reservations && scsi_reservations_create(NULL, &disk->own_reservations, error)) {
		free(disk);
		return -LIS_NOMEM;
	}
	scsi_nexus_join(&disk->nexus, reservations ? reservations : disk->own_reservations, &disk->unit,
			config->initiator ? config->initiator : SCSI_INITIATOR_DEFAULT);
	disk->unit.ops = &disk_ops;
	scsi_medium_set(&disk->medium, config->device, sector_bytes == 512 ? 9 : 12);
	disk->transfer_bytes_max = config->transfer_bytes_max;
	disk->workers = config->workers;
	atomic_store(&disk->write_cache, !config->write_through);
	scsi_set_text(disk->vendor, sizeof(disk->vendor), config->vendor ? config->vendor : "Msft");
	scsi_set_text(disk->product, sizeof(disk->product),
		      config->product ? config->product : "Virtual Disk");
	scsi_set_text(disk->revision, sizeof(disk->revision),
		      config->revision ? config->revision : "1.0");
	*out_unit = &disk->unit;
	return 0;
}

void scsi_disk_resized(struct scsi_unit *unit)
{
	struct scsi_disk *disk = (struct scsi_disk *)unit;

	scsi_medium_set(&disk->medium, disk->medium.device, disk->medium.sector_shift);
	scsi_unit_attend(unit, SCSI_ATTENTION_CAPACITY);
}
