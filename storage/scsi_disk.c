/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The SCSI disk: its commands that reach the block device, and its life.
 *
 * What changes while it is used, its size and the cache, is read once for a command, without a lock.
 */
#include "storage/scsi_disk_internal.h"

#include <stdlib.h>
#include <string.h>

static struct scsi_disk *disk_of(const struct scsi_request *request)
{
	return (struct scsi_disk *)request->unit;
}

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

/* WRITE AND VERIFY: durable is what we take the verification to mean. */
static void execute_write_verify(struct scsi_disk *disk, struct scsi_request *request)
{
	if (request->cdb[1] & 0x06) { /* BYTCHK: comparing is not offered */
		scsi_set_invalid_field(request, 1);
		scsi_finish(request);
		return;
	}
	execute_write(disk, request, true);
}

/* ---- VERIFY ---- */

static bool next_of_verify(struct scsi_request *request)
{
	if (scsi_next_piece(request, BLOCK_READ))
		return true;
	scsi_set_good(request, 0);
	return false;
}

static void execute_verify(struct scsi_disk *disk, struct scsi_request *request)
{
	struct scsi_extent extent = scsi_decode_extent(request->cdb);

	if (request->cdb[1] & 0x06) { /* BYTCHK */
		scsi_set_invalid_field(request, 1);
		scsi_finish(request);
		return;
	}
	if (!scsi_begin_transfer(request, BLOCK_READ) || !scsi_take_scratch(request)) {
		scsi_finish(request);
		return;
	}
	request->lba = extent.lba;
	request->blocks_left = extent.blocks;
	scsi_sequence_start(request, next_of_verify);
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

/* ---- UNMAP ---- */

#define UNMAP_HEADER_BYTES 8u
#define UNMAP_DESCRIPTOR_BYTES 16u

/* Each descriptor is read when its turn comes, once, and checked then. */
static bool next_of_unmap(struct scsi_request *request)
{
	uint8_t descriptor[UNMAP_DESCRIPTOR_BYTES];
	struct scsi_extent extent;

	while (request->item < request->item_count) {
		uint64_t offset_bytes = UNMAP_HEADER_BYTES +
					(uint64_t)request->item * UNMAP_DESCRIPTOR_BYTES;

		request->item++;
		if (!scsi_copy_out(request, offset_bytes, descriptor, sizeof(descriptor)))
			return false;
		extent = (struct scsi_extent){ scsi_get_u64(descriptor), scsi_get_u32(descriptor + 8) };
		if (!scsi_extent_exists(request->medium, &extent)) {
			scsi_set_sense(request, SCSI_SENSE_LBA_OUT_OF_RANGE);
			return false;
		}
		if (extent.blocks) {
			scsi_set_block(request, BLOCK_DISCARD, &extent);
			return true;
		}
	}
	scsi_set_good(request, UNMAP_HEADER_BYTES +
				       (uint64_t)request->item_count * UNMAP_DESCRIPTOR_BYTES);
	return false;
}

/* True: there are descriptors to work on; else the result is set. */
static bool begin_unmap(struct scsi_disk *disk, struct scsi_request *request)
{
	uint32_t list_bytes = scsi_get_u16(request->cdb + 7), descriptor_bytes;
	uint8_t header[UNMAP_HEADER_BYTES];

	if (!disk->medium.device->geometry.discard_granularity_bytes) {
		scsi_set_sense(request, SCSI_SENSE_INVALID_OPERATION);
		return false;
	}
	if (request->cdb[1] & 0x01) { /* ANCHOR */
		scsi_set_invalid_field(request, 1);
		return false;
	}
	if (disk->medium.device->geometry.read_only) {
		scsi_set_sense(request, SCSI_SENSE_WRITE_PROTECTED);
		return false;
	}
	if (!list_bytes) {
		scsi_set_good(request, 0);
		return false;
	}
	if (list_bytes < sizeof(header)) {
		scsi_set_sense(request, SCSI_SENSE_PARAMETER_LIST_LENGTH);
		return false;
	}
	if (!scsi_copy_out(request, 0, header, sizeof(header)))
		return false;
	descriptor_bytes = scsi_get_u16(header + 2);
	if (descriptor_bytes > list_bytes - sizeof(header)) {
		scsi_set_sense(request, SCSI_SENSE_PARAMETER_LIST_LENGTH);
		return false;
	}
	/* A last descriptor that is cut short is left out, as the standard has it. */
	request->item = 0;
	request->item_count = descriptor_bytes / UNMAP_DESCRIPTOR_BYTES;
	if (request->item_count > SCSI_UNMAP_DESCRIPTORS_MAX) {
		scsi_set_sense(request, SCSI_SENSE_INVALID_FIELD_IN_PARAMETERS);
		return false;
	}
	return true;
}

static void execute_unmap(struct scsi_disk *disk, struct scsi_request *request)
{
	if (begin_unmap(disk, request))
		scsi_sequence_start(request, next_of_unmap);
	else
		scsi_finish(request);
}

/* ---- WRITE SAME ---- */

static bool next_of_fill(struct scsi_request *request)
{
	if (scsi_next_piece(request, BLOCK_WRITE)) {
		if (!atomic_load_explicit(&disk_of(request)->write_cache, memory_order_relaxed))
			request->block.flags = BLOCK_WRITE_FUA;
		return true;
	}
	scsi_set_good(request, 1ull << request->medium->sector_shift);
	return false;
}

/* Zeroes without a cache to hold them: followed by a flush, as there is no FUA for them. */
static bool next_of_zeroes(struct scsi_request *request)
{
	const struct scsi_extent nothing = { 0, 0 };
	struct scsi_extent extent = scsi_decode_extent(request->cdb);
	const struct block_geometry *geometry = &request->medium->device->geometry;
	bool unmap = request->cdb[1] & 0x08 && geometry->discard_zeroes;

	switch (request->item++) {
	case 0:
		scsi_set_block(request, unmap ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES, &extent);
		return true;
	case 1:
		if (!atomic_load_explicit(&disk_of(request)->write_cache, memory_order_relaxed)) {
			scsi_set_block(request, BLOCK_FLUSH, &nothing);
			return true;
		}
		break;
	default:
		break;
	}
	scsi_set_good(request, request->cdb[1] & 0x01 ? 0 : 1ull << request->medium->sector_shift);
	return false;
}

/* Copies the one block of data to the start of the scratch memory; true if that set no result. */
static bool take_pattern(struct scsi_disk *disk, struct scsi_request *request)
{
	uint32_t sector_bytes = 1u << disk->medium.sector_shift;

	if (!scsi_take_scratch(request))
		return false;
	if (request->cdb[0] == SCSI_WRITE_SAME_16 && request->cdb[1] & 0x01) { /* NDOB: zeroes */
		memset(request->scratch, 0, sector_bytes);
		return true;
	}
	return scsi_copy_out(request, 0, request->scratch, sector_bytes);
}

static bool is_zero(const uint8_t *bytes, uint32_t count)
{
	return !bytes[0] && !memcmp(bytes, bytes + 1, count - 1);
}

/* True: the extent may be written; else the result is set. */
static bool begin_write_same(struct scsi_disk *disk, struct scsi_request *request)
{
	struct scsi_extent extent = scsi_decode_extent(request->cdb);
	bool ten = request->cdb[0] == SCSI_WRITE_SAME_10;

	/* WRPROTECT, ANCHOR, the obsolete PBDATA and LBDATA; only the long form knows NDOB. */
	if (request->cdb[1] & (ten ? 0xf7 : 0xf6)) {
		scsi_set_invalid_field(request, 1);
		return false;
	}
	if (!extent.blocks || extent.blocks > SCSI_WRITE_SAME_BYTES_MAX >> disk->medium.sector_shift) {
		scsi_set_invalid_field(request, ten ? 7 : 10);
		return false;
	}
	if (!scsi_extent_exists(&disk->medium, &extent)) {
		scsi_set_sense(request, SCSI_SENSE_LBA_OUT_OF_RANGE);
		return false;
	}
	if (disk->medium.device->geometry.read_only) {
		scsi_set_sense(request, SCSI_SENSE_WRITE_PROTECTED);
		return false;
	}
	request->lba = extent.lba;
	request->blocks_left = extent.blocks;
	return true;
}

static void execute_write_same(struct scsi_disk *disk, struct scsi_request *request)
{
	uint32_t sector_bytes = 1u << disk->medium.sector_shift;
	uint8_t *scratch;

	if (!begin_write_same(disk, request) || !take_pattern(disk, request)) {
		scsi_finish(request);
		return;
	}
	scratch = request->scratch;
	if (is_zero(scratch, sector_bytes)) {
		free(request->scratch);
		request->scratch = NULL;
		request->item = 0;
		scsi_sequence_start(request, next_of_zeroes);
		return;
	}
	for (uint32_t at = sector_bytes; at < SCSI_SCRATCH_BYTES; at += sector_bytes)
		memcpy(scratch + at, scratch, sector_bytes);
	scsi_sequence_start(request, next_of_fill);
}

/* ---- dispatch ---- */

static void execute_service_action(struct scsi_disk *disk, struct scsi_request *request)
{
	if ((request->cdb[1] & 0x1f) == 0x10)
		scsi_read_capacity_16(disk, request);
	else
		scsi_set_invalid_field(request, 1);
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
		execute_verify(disk, request);
		return;
	case SCSI_SYNCHRONIZE_CACHE_10:
	case SCSI_SYNCHRONIZE_CACHE_16:
		execute_synchronize(disk, request);
		return;
	case SCSI_UNMAP:
		execute_unmap(disk, request);
		return;
	case SCSI_WRITE_SAME_10:
	case SCSI_WRITE_SAME_16:
		execute_write_same(disk, request);
		return;
	case SCSI_MODE_SELECT_6:
	case SCSI_MODE_SELECT_10:
		execute_mode_select(disk, request);
		return;
	case SCSI_START_STOP_UNIT:
		execute_start_stop(request);
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

static void destroy(struct scsi_unit *unit)
{
	free(unit);
}

static const struct scsi_unit_ops disk_ops = {
	.execute = execute,
	.destroy = destroy,
};

int scsi_disk_create(const struct scsi_disk_config *config, struct scsi_unit **out_unit)
{
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
	disk->unit.ops = &disk_ops;
	scsi_medium_set(&disk->medium, config->device, sector_bytes == 512 ? 9 : 12);
	disk->transfer_bytes_max = config->transfer_bytes_max;
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
