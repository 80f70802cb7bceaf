/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Commands of a SCSI unit that reach a block device: from the blocks a CDB names to the requests
 * for them, and from their results to status and sense.
 *
 * A request is owned by the loop it was submitted on; nothing here needs a lock. A command is one
 * block request, or a sequence of them one after the other: request->next() prepares the next one
 * or sets the result. A sequence is a loop, not a recursion, also where the block device answers at
 * once.
 */
#include "storage/scsi_internal.h"

#include <stdlib.h>

/* ---- results ---- */

void scsi_set_block_result(struct scsi_request *request, int result, uint64_t transferred_bytes)
{
	bool reading = request->block.op == BLOCK_READ;

	if (!result) {
		scsi_set_good(request, transferred_bytes);
		return;
	}
	atomic_fetch_add_explicit(&request->unit->counters.errors, 1, memory_order_relaxed);
	switch (result) {
	case -LIS_NOSPACE:
		scsi_set_sense(request, SCSI_SENSE_SPACE_ALLOCATION_FAILED);
		return;
	case -LIS_READONLY:
		scsi_set_sense(request, SCSI_SENSE_WRITE_PROTECTED);
		return;
	case -LIS_INVALID:
		scsi_set_sense(request, SCSI_SENSE_LBA_OUT_OF_RANGE);
		return;
	case -LIS_NOMEM:
		scsi_set_busy(request);
		return;
	case -LIS_CORRUPT:
		scsi_set_sense(request, SCSI_SENSE_INTERNAL_FAILURE);
		return;
	case -LIS_GONE:
		scsi_set_sense(request, SCSI_SENSE_BECOMING_READY);
		return;
	case -LIS_CANCELED:
		scsi_set_sense(request, SCSI_SENSE_ABORTED);
		return;
	default:
		scsi_set_sense(request, reading ? SCSI_SENSE_READ_ERROR : SCSI_SENSE_WRITE_ERROR);
		return;
	}
}

static void count_done(struct scsi_unit *unit, const struct block_request *block)
{
	struct scsi_counters *counters = &unit->counters;
	_Atomic uint64_t *times, *bytes = NULL;

	switch (block->op) {
	case BLOCK_READ:
		times = &counters->reads;
		bytes = &counters->read_bytes;
		break;
	case BLOCK_WRITE:
		times = &counters->writes;
		bytes = &counters->written_bytes;
		break;
	case BLOCK_FLUSH:
		times = &counters->flushes;
		break;
	default:
		times = &counters->discards;
		bytes = &counters->discarded_bytes;
		break;
	}
	atomic_fetch_add_explicit(times, 1, memory_order_relaxed);
	if (bytes)
		atomic_fetch_add_explicit(bytes, block->length_bytes, memory_order_relaxed);
}

/* ---- one block request ---- */

static void single_done(struct block_request *block, int result)
{
	struct scsi_request *request =
		(struct scsi_request *)((char *)block - offsetof(struct scsi_request, block));
	uint64_t moved = block->op == BLOCK_READ || block->op == BLOCK_WRITE ? block->length_bytes
									     : 0;

	if (!result)
		count_done(request->unit, block);
	scsi_set_block_result(request, result, moved);
	scsi_finish(request);
}

void scsi_submit_single(struct scsi_request *request)
{
	request->block.done = single_done;
	block_submit(request->medium->device, request->loop, &request->block);
}

/* ---- sequences of block requests ---- */

static void sequence_run(struct scsi_request *request);

static void sequence_done(struct block_request *block, int result)
{
	struct scsi_request *request =
		(struct scsi_request *)((char *)block - offsetof(struct scsi_request, block));

	if (!result)
		count_done(request->unit, block);
	request->step_result = result;
	request->step_done = true;
	if (!request->stepping)
		sequence_run(request);
}

static void sequence_run(struct scsi_request *request)
{
	request->stepping = true;
	do {
		if (request->step_result) {
			scsi_set_block_result(request, request->step_result, 0);
			break;
		}
		if (scsi_aborted(request))
			break;
		if (!request->next(request))
			break;
		request->step_done = false;
		request->block.done = sequence_done;
		block_submit(request->medium->device, request->loop, &request->block);
		if (!request->step_done) {
			request->stepping = false;
			return;
		}
	} while (true);
	request->stepping = false;
	scsi_finish(request);
}

void scsi_sequence_start(struct scsi_request *request, bool (*next)(struct scsi_request *request))
{
	request->next = next;
	request->step_result = 0;
	sequence_run(request);
}

/* ---- addresses ---- */

struct scsi_extent scsi_decode_extent(const uint8_t *cdb)
{
	switch (cdb[0] >> 5) {
	case 0: /* 6 bytes; 0 means 256 */
		return (struct scsi_extent){ scsi_get_u32(cdb) & 0x1fffff, cdb[4] ? cdb[4] : 256 };
	case 4:
		return (struct scsi_extent){ scsi_get_u64(cdb + 2), scsi_get_u32(cdb + 10) };
	case 5:
		return (struct scsi_extent){ scsi_get_u32(cdb + 2), scsi_get_u32(cdb + 6) };
	default:
		return (struct scsi_extent){ scsi_get_u32(cdb + 2), scsi_get_u16(cdb + 7) };
	}
}

bool scsi_extent_exists(const struct scsi_medium *medium, const struct scsi_extent *extent)
{
	uint64_t count = scsi_medium_sectors(medium);

	return extent->lba <= count && extent->blocks <= count - extent->lba;
}

void scsi_set_block(struct scsi_request *request, enum block_op op, const struct scsi_extent *extent)
{
	struct block_request *block = &request->block;
	uint32_t shift = request->medium->sector_shift;

	block->op = op;
	block->flags = 0;
	block->offset_bytes = extent->lba << shift;
	block->length_bytes = extent->blocks << shift;
	block->iov = NULL;
	block->iov_count = 0;
}

/* Cuts the iovecs to @bytes, of which there are enough; returns how many are left. */
static uint32_t trim_iov(struct iovec *iov, uint32_t count, uint64_t bytes)
{
	for (uint32_t i = 0; i < count; i++) {
		if (iov[i].iov_len >= bytes) {
			iov[i].iov_len = bytes;
			return i + 1;
		}
		bytes -= iov[i].iov_len;
	}
	return count;
}

bool scsi_set_block_memory(struct scsi_request *request, uint32_t direction)
{
	struct block_request *block = &request->block;

	if (!(request->direction & direction) || request->data_bytes < block->length_bytes) {
		scsi_set_invalid_field(request, 0);
		return false;
	}
	if (request->data_bytes > block->length_bytes)
		request->iov_count = trim_iov(request->iov, request->iov_count,
					      block->length_bytes);
	block->iov = request->iov;
	block->iov_count = request->iov_count;
	return true;
}

bool scsi_begin_transfer(struct scsi_request *request, enum block_op op)
{
	struct scsi_extent extent = scsi_decode_extent(request->cdb);

	/* RDPROTECT, WRPROTECT: we have no protection information. */
	if (request->cdb[0] >> 5 && request->cdb[1] & 0xe0) {
		scsi_set_invalid_field(request, 1);
		return false;
	}
	if (!scsi_extent_exists(request->medium, &extent)) {
		scsi_set_sense(request, SCSI_SENSE_LBA_OUT_OF_RANGE);
		return false;
	}
	if (op == BLOCK_WRITE && request->medium->device->geometry.read_only) {
		scsi_set_sense(request, SCSI_SENSE_WRITE_PROTECTED);
		return false;
	}
	scsi_set_block(request, op, &extent);
	if (!extent.blocks) {
		scsi_set_good(request, 0);
		return false;
	}
	return true;
}

/* ---- scratch ---- */

bool scsi_take_scratch(struct scsi_request *request)
{
	request->scratch = aligned_alloc(4096, SCSI_SCRATCH_BYTES);
	if (!request->scratch)
		scsi_set_busy(request);
	return request->scratch;
}

bool scsi_next_piece(struct scsi_request *request, enum block_op op)
{
	uint64_t piece = SCSI_SCRATCH_BYTES >> request->medium->sector_shift;
	struct scsi_extent extent;

	if (!request->blocks_left)
		return false;
	if (piece > request->blocks_left)
		piece = request->blocks_left;
	extent = (struct scsi_extent){ request->lba, piece };
	scsi_set_block(request, op, &extent);
	request->scratch_iov.iov_base = request->scratch;
	request->scratch_iov.iov_len = request->block.length_bytes;
	request->block.iov = &request->scratch_iov;
	request->block.iov_count = 1;
	request->lba += piece;
	request->blocks_left -= piece;
	return true;
}
