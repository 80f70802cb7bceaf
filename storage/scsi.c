/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Commands of a SCSI disk that reach its block device, and the way from a CDB to a result.
 *
 * A request is owned by the loop it was submitted on; nothing here needs a lock. A command is one
 * block request, or a sequence of them one after the other: request->next() prepares the next one
 * or sets the result. A sequence is a loop, not a recursion, also where the block device answers at
 * once.
 */
#include "storage/scsi_internal.h"

#include <stdlib.h>
#include <string.h>

/* [policy] Patterns are written, and media verified, in pieces of this size. */
#define SCRATCH_BYTES 65536u

/* ---- results ---- */

void scsi_set_good(struct scsi_request *request, uint64_t transferred_bytes)
{
	request->status = SCSI_GOOD;
	request->sense_bytes = 0;
	request->transferred_bytes = transferred_bytes;
}

void scsi_set_sense(struct scsi_request *request, enum scsi_sense sense)
{
	request->status = SCSI_CHECK_CONDITION;
	request->transferred_bytes = 0;
	request->sense_bytes = SCSI_SENSE_BYTES;
	memset(request->sense, 0, sizeof(request->sense));
	request->sense[0] = 0x70; /* current, fixed format */
	request->sense[2] = (uint8_t)(sense >> 16);
	request->sense[7] = SCSI_SENSE_BYTES - 8;
	request->sense[12] = (uint8_t)(sense >> 8);
	request->sense[13] = (uint8_t)sense;
}

void scsi_set_invalid_field(struct scsi_request *request, uint32_t cdb_byte)
{
	scsi_set_sense(request, SCSI_SENSE_INVALID_FIELD_IN_CDB);
	request->sense[15] = 0xc0; /* SKSV, C/D: the field pointer counts bytes of the CDB */
	scsi_put_u16(request->sense + 16, (uint16_t)cdb_byte);
}

static void set_busy(struct scsi_request *request)
{
	request->status = SCSI_BUSY;
	request->sense_bytes = 0;
	request->transferred_bytes = 0;
}

static void set_block_result(struct scsi_request *request, int result, uint64_t transferred_bytes)
{
	bool reading = request->block.op == BLOCK_READ;

	if (!result) {
		scsi_set_good(request, transferred_bytes);
		return;
	}
	atomic_fetch_add_explicit(&request->disk->counters.errors, 1, memory_order_relaxed);
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
		set_busy(request);
		return;
	case -LIS_CORRUPT:
		scsi_set_sense(request, SCSI_SENSE_INTERNAL_FAILURE);
		return;
	case -LIS_GONE:
		scsi_set_sense(request, SCSI_SENSE_NOT_READY);
		return;
	case -LIS_CANCELED:
		scsi_set_sense(request, SCSI_SENSE_ABORTED);
		return;
	default:
		scsi_set_sense(request, reading ? SCSI_SENSE_READ_ERROR : SCSI_SENSE_WRITE_ERROR);
		return;
	}
}

static void count_done(struct scsi_disk *disk, const struct block_request *block)
{
	struct scsi_disk_counters *counters = &disk->counters;
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

static void finish(struct scsi_request *request)
{
	free(request->scratch);
	request->scratch = NULL;
	request->done(request);
}

/* ---- memory of the request ---- */

void scsi_reply(struct scsi_request *request, const void *data, uint32_t data_bytes,
		uint32_t allocation_bytes)
{
	const uint8_t *from = data;
	uint64_t left = data_bytes < allocation_bytes ? data_bytes : allocation_bytes;

	if (left && request->data_bytes && !(request->direction & SCSI_DATA_IN)) {
		scsi_set_invalid_field(request, 0);
		return;
	}
	if (left > request->data_bytes)
		left = request->data_bytes;
	scsi_set_good(request, left);
	for (uint32_t i = 0; left && i < request->iov_count; i++) {
		size_t bytes = request->iov[i].iov_len < left ? request->iov[i].iov_len : left;

		memcpy(request->iov[i].iov_base, from, bytes);
		from += bytes;
		left -= bytes;
	}
}

bool scsi_copy_out(struct scsi_request *request, uint64_t offset_bytes, void *to, uint32_t bytes)
{
	uint8_t *at = to;

	if (!(request->direction & SCSI_DATA_OUT) || offset_bytes > request->data_bytes ||
	    bytes > request->data_bytes - offset_bytes) {
		scsi_set_invalid_field(request, 0);
		return false;
	}
	for (uint32_t i = 0; bytes && i < request->iov_count; i++) {
		size_t piece = request->iov[i].iov_len;

		if (offset_bytes >= piece) {
			offset_bytes -= piece;
			continue;
		}
		piece -= offset_bytes;
		if (piece > bytes)
			piece = bytes;
		memcpy(at, (const uint8_t *)request->iov[i].iov_base + offset_bytes, piece);
		offset_bytes = 0;
		at += piece;
		bytes -= (uint32_t)piece;
	}
	return true;
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

/* ---- one block request ---- */

static void single_done(struct block_request *block, int result)
{
	struct scsi_request *request =
		(struct scsi_request *)((char *)block - offsetof(struct scsi_request, block));
	uint64_t moved = block->op == BLOCK_READ || block->op == BLOCK_WRITE ? block->length_bytes
									     : 0;

	if (!result)
		count_done(request->disk, block);
	set_block_result(request, result, moved);
	finish(request);
}

static void submit_single(struct scsi_request *request)
{
	request->block.done = single_done;
	block_submit(request->disk->device, request->loop, &request->block);
}

/* ---- sequences of block requests ---- */

static void sequence_run(struct scsi_request *request);

static void sequence_done(struct block_request *block, int result)
{
	struct scsi_request *request =
		(struct scsi_request *)((char *)block - offsetof(struct scsi_request, block));

	if (!result)
		count_done(request->disk, block);
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
			set_block_result(request, request->step_result, 0);
			break;
		}
		if (atomic_load_explicit(&request->canceled, memory_order_relaxed)) {
			scsi_set_sense(request, SCSI_SENSE_ABORTED);
			break;
		}
		if (!request->next(request))
			break;
		request->step_done = false;
		request->block.done = sequence_done;
		block_submit(request->disk->device, request->loop, &request->block);
		if (!request->step_done) {
			request->stepping = false;
			return;
		}
	} while (true);
	request->stepping = false;
	finish(request);
}

static void sequence_start(struct scsi_request *request, bool (*next)(struct scsi_request *request))
{
	request->next = next;
	request->step_result = 0;
	sequence_run(request);
}

/* ---- addresses ---- */

/* The blocks a command names. */
struct extent {
	uint64_t lba;
	uint64_t blocks;
};

static struct extent decode_extent(const uint8_t *cdb)
{
	switch (cdb[0] >> 5) {
	case 0: /* 6 bytes; 0 means 256 */
		return (struct extent){ scsi_get_u32(cdb) & 0x1fffff, cdb[4] ? cdb[4] : 256 };
	case 4:
		return (struct extent){ scsi_get_u64(cdb + 2), scsi_get_u32(cdb + 10) };
	case 5:
		return (struct extent){ scsi_get_u32(cdb + 2), scsi_get_u32(cdb + 6) };
	default:
		return (struct extent){ scsi_get_u32(cdb + 2), scsi_get_u16(cdb + 7) };
	}
}

static bool extent_exists(const struct scsi_disk *disk, const struct extent *extent)
{
	return extent->lba <= disk->sector_count &&
	       extent->blocks <= disk->sector_count - extent->lba;
}

static void set_block(struct scsi_request *request, enum block_op op, const struct extent *extent)
{
	struct block_request *block = &request->block;
	uint32_t shift = request->disk->sector_shift;

	block->op = op;
	block->flags = 0;
	block->offset_bytes = extent->lba << shift;
	block->length_bytes = extent->blocks << shift;
	block->iov = NULL;
	block->iov_count = 0;
}

/* Gives the block request the request's own memory, after a look at its size and direction. */
static bool set_block_memory(struct scsi_request *request, uint32_t direction)
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

/*
 * What READ, WRITE and VERIFY have in common. True: there is something to do; else the result is
 * set.
 */
static bool begin_transfer(struct scsi_disk *disk, struct scsi_request *request, enum block_op op)
{
	struct extent extent = decode_extent(request->cdb);

	/* RDPROTECT, WRPROTECT: we have no protection information. */
	if (request->cdb[0] >> 5 && request->cdb[1] & 0xe0) {
		scsi_set_invalid_field(request, 1);
		return false;
	}
	if (!extent_exists(disk, &extent)) {
		scsi_set_sense(request, SCSI_SENSE_LBA_OUT_OF_RANGE);
		return false;
	}
	if (op == BLOCK_WRITE && disk->device->geometry.read_only) {
		scsi_set_sense(request, SCSI_SENSE_WRITE_PROTECTED);
		return false;
	}
	set_block(request, op, &extent);
	if (!extent.blocks) {
		scsi_set_good(request, 0);
		return false;
	}
	return true;
}

static bool has_fua(const uint8_t *cdb)
{
	return cdb[0] >> 5 && cdb[1] & 0x08;
}

/* ---- READ, WRITE ---- */

/* READ with FUA: what is read must be on the medium, so flush first. */
static bool next_of_fua_read(struct scsi_request *request)
{
	const struct extent nothing = { 0, 0 };
	struct extent extent = decode_extent(request->cdb);

	switch (request->item++) {
	case 0:
		set_block(request, BLOCK_FLUSH, &nothing);
		return true;
	case 1:
		set_block(request, BLOCK_READ, &extent);
		return set_block_memory(request, SCSI_DATA_IN);
	default:
		scsi_set_good(request, request->block.length_bytes);
		return false;
	}
}

static void execute_read(struct scsi_disk *disk, struct scsi_request *request)
{
	if (!begin_transfer(disk, request, BLOCK_READ)) {
		finish(request);
		return;
	}
	if (has_fua(request->cdb)) {
		sequence_start(request, next_of_fua_read);
		return;
	}
	if (!set_block_memory(request, SCSI_DATA_IN)) {
		finish(request);
		return;
	}
	submit_single(request);
}

static void execute_write(struct scsi_disk *disk, struct scsi_request *request, bool durable)
{
	if (!begin_transfer(disk, request, BLOCK_WRITE) ||
	    !set_block_memory(request, SCSI_DATA_OUT)) {
		finish(request);
		return;
	}
	if (durable || !atomic_load_explicit(&disk->write_cache, memory_order_relaxed))
		request->block.flags = BLOCK_WRITE_FUA;
	submit_single(request);
}

/* WRITE AND VERIFY: durable is what we take the verification to mean. */
static void execute_write_verify(struct scsi_disk *disk, struct scsi_request *request)
{
	if (request->cdb[1] & 0x06) { /* BYTCHK: comparing is not offered */
		scsi_set_invalid_field(request, 1);
		finish(request);
		return;
	}
	execute_write(disk, request, true);
}

/* ---- VERIFY ---- */

static bool take_scratch(struct scsi_request *request)
{
	request->scratch = aligned_alloc(4096, SCRATCH_BYTES);
	if (!request->scratch)
		set_busy(request);
	return request->scratch;
}

/* Sets up the next piece of [lba, lba + blocks_left) on the scratch memory; false at the end. */
static bool next_piece(struct scsi_request *request, enum block_op op)
{
	uint64_t piece = SCRATCH_BYTES >> request->disk->sector_shift;
	struct extent extent;

	if (!request->blocks_left)
		return false;
	if (piece > request->blocks_left)
		piece = request->blocks_left;
	extent = (struct extent){ request->lba, piece };
	set_block(request, op, &extent);
	request->scratch_iov.iov_base = request->scratch;
	request->scratch_iov.iov_len = request->block.length_bytes;
	request->block.iov = &request->scratch_iov;
	request->block.iov_count = 1;
	request->lba += piece;
	request->blocks_left -= piece;
	return true;
}

static bool next_of_verify(struct scsi_request *request)
{
	if (next_piece(request, BLOCK_READ))
		return true;
	scsi_set_good(request, 0);
	return false;
}

static void execute_verify(struct scsi_disk *disk, struct scsi_request *request)
{
	struct extent extent = decode_extent(request->cdb);

	if (request->cdb[1] & 0x06) { /* BYTCHK */
		scsi_set_invalid_field(request, 1);
		finish(request);
		return;
	}
	if (!begin_transfer(disk, request, BLOCK_READ) || !take_scratch(request)) {
		finish(request);
		return;
	}
	request->lba = extent.lba;
	request->blocks_left = extent.blocks;
	sequence_start(request, next_of_verify);
}

/* ---- SYNCHRONIZE CACHE and other flushes ---- */

static void submit_flush(struct scsi_request *request)
{
	const struct extent nothing = { 0, 0 };

	set_block(request, BLOCK_FLUSH, &nothing);
	submit_single(request);
}

/* Everything is flushed, whatever range was named, and IMMED does not make us lie. */
static void execute_synchronize(struct scsi_disk *disk, struct scsi_request *request)
{
	struct extent extent = decode_extent(request->cdb);

	if (!extent_exists(disk, &extent)) {
		scsi_set_sense(request, SCSI_SENSE_LBA_OUT_OF_RANGE);
		finish(request);
		return;
	}
	submit_flush(request);
}

/* Stopping flushes; there is no motor. LOEJ on a medium that cannot be removed is refused. */
static void execute_start_stop(struct scsi_request *request)
{
	if (request->cdb[4] & 0x02) {
		scsi_set_invalid_field(request, 4);
		finish(request);
		return;
	}
	if (!(request->cdb[4] & 0x01) && !(request->cdb[4] & 0xf0)) {
		submit_flush(request);
		return;
	}
	scsi_set_good(request, 0);
	finish(request);
}

static void execute_mode_select(struct scsi_disk *disk, struct scsi_request *request)
{
	if (scsi_mode_select(disk, request))
		submit_flush(request); /* the cache is off now: leave nothing in it */
	else
		finish(request);
}

/* ---- UNMAP ---- */

#define UNMAP_HEADER_BYTES 8u
#define UNMAP_DESCRIPTOR_BYTES 16u

/* Each descriptor is read when its turn comes, once, and checked then. */
static bool next_of_unmap(struct scsi_request *request)
{
	uint8_t descriptor[UNMAP_DESCRIPTOR_BYTES];
	struct extent extent;

	while (request->item < request->item_count) {
		uint64_t offset_bytes = UNMAP_HEADER_BYTES +
					(uint64_t)request->item * UNMAP_DESCRIPTOR_BYTES;

		request->item++;
		if (!scsi_copy_out(request, offset_bytes, descriptor, sizeof(descriptor)))
			return false;
		extent = (struct extent){ scsi_get_u64(descriptor), scsi_get_u32(descriptor + 8) };
		if (!extent_exists(request->disk, &extent)) {
			scsi_set_sense(request, SCSI_SENSE_LBA_OUT_OF_RANGE);
			return false;
		}
		if (extent.blocks) {
			set_block(request, BLOCK_DISCARD, &extent);
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

	if (!disk->device->geometry.discard_granularity_bytes) {
		scsi_set_sense(request, SCSI_SENSE_INVALID_OPERATION);
		return false;
	}
	if (request->cdb[1] & 0x01) { /* ANCHOR */
		scsi_set_invalid_field(request, 1);
		return false;
	}
	if (disk->device->geometry.read_only) {
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
		sequence_start(request, next_of_unmap);
	else
		finish(request);
}

/* ---- WRITE SAME ---- */

static bool next_of_fill(struct scsi_request *request)
{
	if (next_piece(request, BLOCK_WRITE)) {
		if (!atomic_load_explicit(&request->disk->write_cache, memory_order_relaxed))
			request->block.flags = BLOCK_WRITE_FUA;
		return true;
	}
	scsi_set_good(request, 1ull << request->disk->sector_shift);
	return false;
}

/* Zeroes without a cache to hold them: followed by a flush, as there is no FUA for them. */
static bool next_of_zeroes(struct scsi_request *request)
{
	const struct extent nothing = { 0, 0 };
	struct extent extent = decode_extent(request->cdb);
	const struct block_geometry *geometry = &request->disk->device->geometry;
	bool unmap = request->cdb[1] & 0x08 && geometry->discard_zeroes;

	switch (request->item++) {
	case 0:
		set_block(request, unmap ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES, &extent);
		return true;
	case 1:
		if (!atomic_load_explicit(&request->disk->write_cache, memory_order_relaxed)) {
			set_block(request, BLOCK_FLUSH, &nothing);
			return true;
		}
		break;
	default:
		break;
	}
	scsi_set_good(request, request->cdb[1] & 0x01 ? 0 : 1ull << request->disk->sector_shift);
	return false;
}

/* Copies the one block of data to the start of the scratch memory; true if that set no result. */
static bool take_pattern(struct scsi_disk *disk, struct scsi_request *request)
{
	uint32_t sector_bytes = 1u << disk->sector_shift;

	if (!take_scratch(request))
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
	struct extent extent = decode_extent(request->cdb);
	bool ten = request->cdb[0] == SCSI_WRITE_SAME_10;

	/* WRPROTECT, ANCHOR, the obsolete PBDATA and LBDATA; only the long form knows NDOB. */
	if (request->cdb[1] & (ten ? 0xf7 : 0xf6)) {
		scsi_set_invalid_field(request, 1);
		return false;
	}
	if (!extent.blocks || extent.blocks > SCSI_WRITE_SAME_BYTES_MAX >> disk->sector_shift) {
		scsi_set_invalid_field(request, ten ? 7 : 10);
		return false;
	}
	if (!extent_exists(disk, &extent)) {
		scsi_set_sense(request, SCSI_SENSE_LBA_OUT_OF_RANGE);
		return false;
	}
	if (disk->device->geometry.read_only) {
		scsi_set_sense(request, SCSI_SENSE_WRITE_PROTECTED);
		return false;
	}
	request->lba = extent.lba;
	request->blocks_left = extent.blocks;
	return true;
}

static void execute_write_same(struct scsi_disk *disk, struct scsi_request *request)
{
	uint32_t sector_bytes = 1u << disk->sector_shift;
	uint8_t *scratch;

	if (!begin_write_same(disk, request) || !take_pattern(disk, request)) {
		finish(request);
		return;
	}
	scratch = request->scratch;
	if (is_zero(scratch, sector_bytes)) {
		free(request->scratch);
		request->scratch = NULL;
		request->item = 0;
		sequence_start(request, next_of_zeroes);
		return;
	}
	for (uint32_t at = sector_bytes; at < SCRATCH_BYTES; at += sector_bytes)
		memcpy(scratch + at, scratch, sector_bytes);
	sequence_start(request, next_of_fill);
}

/* ---- dispatch ---- */

static void execute_service_action(struct scsi_disk *disk, struct scsi_request *request)
{
	if ((request->cdb[1] & 0x1f) == 0x10)
		scsi_read_capacity_16(disk, request);
	else
		scsi_set_invalid_field(request, 1);
	finish(request);
}

/* Commands that are answered at once. */
static void execute_simple(struct scsi_disk *disk, struct scsi_request *request)
{
	static const uint8_t lun_zero[1] = { 0 };

	switch (request->cdb[0]) {
	case SCSI_TEST_UNIT_READY:
	case SCSI_PREVENT_ALLOW_REMOVAL:
		scsi_set_good(request, 0);
		break;
	case SCSI_REQUEST_SENSE: /* sense went out with the command it belongs to */
		scsi_request_sense(request, SCSI_SENSE_NONE);
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
	case SCSI_REPORT_LUNS: /* a transport with several to a target answers itself */
		scsi_report_luns(request, lun_zero, 1);
		break;
	default:
		scsi_set_sense(request, SCSI_SENSE_INVALID_OPERATION);
		break;
	}
	finish(request);
}

void scsi_disk_submit(struct scsi_disk *disk, struct io_loop *loop, struct scsi_request *request)
{
	request->disk = disk;
	request->loop = loop;
	request->scratch = NULL;
	request->stepping = false;
	request->item = 0;
	request->item_count = 0;
	atomic_store_explicit(&request->canceled, false, memory_order_relaxed);

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

void scsi_request_cancel(struct scsi_request *request)
{
	atomic_store_explicit(&request->canceled, true, memory_order_relaxed);
}

/* ---- life ---- */

static void set_text(char *field, size_t bytes, const char *text)
{
	size_t length = strnlen(text, bytes);

	memset(field, ' ', bytes);
	memcpy(field, text, length);
}

int scsi_disk_create(const struct scsi_disk_config *config, struct scsi_disk **out_disk)
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
	disk->device = config->device;
	disk->sector_shift = sector_bytes == 512 ? 9 : 12;
	disk->sector_count = config->device->geometry.size_bytes >> disk->sector_shift;
	disk->transfer_bytes_max = config->transfer_bytes_max;
	atomic_store(&disk->write_cache, !config->write_through);
	set_text(disk->vendor, sizeof(disk->vendor), config->vendor ? config->vendor : "Msft");
	set_text(disk->product, sizeof(disk->product),
		 config->product ? config->product : "Virtual Disk");
	set_text(disk->revision, sizeof(disk->revision),
		 config->revision ? config->revision : "1.0");
	*out_disk = disk;
	return 0;
}

void scsi_disk_destroy(struct scsi_disk *disk)
{
	free(disk);
}

struct block_device *scsi_disk_block(const struct scsi_disk *disk)
{
	return disk->device;
}

const struct scsi_disk_counters *scsi_disk_counters(const struct scsi_disk *disk)
{
	return &disk->counters;
}
