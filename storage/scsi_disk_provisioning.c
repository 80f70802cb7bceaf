/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The SCSI disk's blocks that are not there: giving them back (UNMAP), filling many with the same
 * (WRITE SAME), and asking which they are (GET LBA STATUS).
 *
 * Layouts: [sbc-3 5.5, 5.33, 5.48].
 */
#include "storage/scsi_disk_internal.h"

#include <stdlib.h>
#include <string.h>

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

void scsi_unmap(struct scsi_disk *disk, struct scsi_request *request)
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
		if (!atomic_load_explicit(&scsi_disk_of(request)->write_cache, memory_order_relaxed))
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
		if (!atomic_load_explicit(&scsi_disk_of(request)->write_cache, memory_order_relaxed)) {
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

void scsi_write_same(struct scsi_disk *disk, struct scsi_request *request)
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

/* ---- GET LBA STATUS ---- */

#define LBA_STATUS_HEADER_BYTES 8u
#define LBA_STATUS_DESCRIPTOR_BYTES 16u
/* [policy] Extents looked up by one command. */
#define LBA_STATUS_EXTENTS_MAX 1024u

/* Makes the last descriptor longer, or begins one. Returns how many there are. */
static uint32_t add_lba_status(uint8_t *data, uint32_t count, uint64_t lba, uint64_t blocks, bool mapped)
{
	uint8_t *next = data + LBA_STATUS_HEADER_BYTES + count * LBA_STATUS_DESCRIPTOR_BYTES;
	uint8_t *last = count ? next - LBA_STATUS_DESCRIPTOR_BYTES : NULL;
	uint8_t status = !mapped; /* 0: mapped, 1: deallocated */

	if (last && last[12] == status && scsi_get_u32(last + 8) + blocks <= UINT32_MAX) {
		scsi_put_u32(last + 8, (uint32_t)(scsi_get_u32(last + 8) + blocks));
		return count;
	}
	memset(next, 0, LBA_STATUS_DESCRIPTOR_BYTES);
	scsi_put_u64(next, lba);
	scsi_put_u32(next + 8, (uint32_t)blocks);
	next[12] = status;
	return count + 1;
}

/* As many descriptors from @lba on as there is room for; on a thread that may sleep. */
static void look_up_lba_status(struct io_work *work)
{
	struct scsi_request *request =
		(struct scsi_request *)((char *)work - offsetof(struct scsi_request, work));
	uint64_t end = scsi_medium_sectors(request->medium), lba = request->lba;
	uint32_t shift = request->medium->sector_shift, count = 0;

	for (uint32_t i = 0; i < LBA_STATUS_EXTENTS_MAX && lba < end; i++) {
		struct block_extent extent;
		uint64_t blocks;

		request->step_result = block_map(request->medium->device, lba << shift, &extent);
		if (request->step_result)
			return;
		blocks = extent.length_bytes >> shift;
		if (blocks > end - lba)
			blocks = end - lba;
		if (blocks > UINT32_MAX)
			blocks = UINT32_MAX;
		count = add_lba_status(request->scratch, count, lba, blocks, extent.data);
		if (count > request->item_count) {
			count--;
			break;
		}
		lba += blocks;
	}
	request->item = count;
}

static void lba_status_is_known(struct io_work *work)
{
	struct scsi_request *request =
		(struct scsi_request *)((char *)work - offsetof(struct scsi_request, work));
	uint32_t bytes = request->item * LBA_STATUS_DESCRIPTOR_BYTES;
	uint8_t *data = request->scratch;

	request->block.op = BLOCK_READ; /* what an error is one of */
	if (scsi_aborted(request)) {
		scsi_finish(request);
		return;
	}
	if (request->step_result) {
		scsi_set_block_result(request, request->step_result, 0);
		scsi_finish(request);
		return;
	}
	memset(data, 0, LBA_STATUS_HEADER_BYTES);
	scsi_put_u32(data, LBA_STATUS_HEADER_BYTES - 4 + bytes);
	scsi_reply(request, data, LBA_STATUS_HEADER_BYTES + bytes, scsi_get_u32(request->cdb + 10));
	scsi_finish(request);
}

void scsi_get_lba_status(struct scsi_disk *disk, struct scsi_request *request)
{
	uint32_t allocation_bytes = scsi_get_u32(request->cdb + 10);
	/* One more than is told is made room for: see look_up_lba_status(). */
	const uint32_t most = (SCSI_SCRATCH_BYTES - LBA_STATUS_HEADER_BYTES) /
			      LBA_STATUS_DESCRIPTOR_BYTES - 1;

	request->lba = scsi_get_u64(request->cdb + 2);
	if (request->lba >= scsi_medium_sectors(request->medium)) {
		scsi_set_sense(request, SCSI_SENSE_LBA_OUT_OF_RANGE);
		scsi_finish(request);
		return;
	}
	if (allocation_bytes < LBA_STATUS_HEADER_BYTES + LBA_STATUS_DESCRIPTOR_BYTES) {
		scsi_set_invalid_field(request, 10);
		scsi_finish(request);
		return;
	}
	if (!scsi_take_scratch(request)) {
		scsi_finish(request);
		return;
	}
	request->item_count = (allocation_bytes - LBA_STATUS_HEADER_BYTES) / LBA_STATUS_DESCRIPTOR_BYTES;
	if (request->item_count > most)
		request->item_count = most;
	request->work.run = look_up_lba_status;
	request->work.done = lba_status_is_known;
	io_work_start(disk->workers, request->loop, &request->work);
}
