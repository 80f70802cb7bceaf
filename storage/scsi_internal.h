/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What all kinds of SCSI units are made of; for them only. */
#ifndef OPENLIS_STORAGE_SCSI_INTERNAL_H
#define OPENLIS_STORAGE_SCSI_INTERNAL_H

#include "storage/scsi.h"

/* What the blocks of a unit lie on. @sector_count may change while it is used. */
struct scsi_medium {
	struct block_device *device;
	uint32_t sector_shift;
	_Atomic uint64_t sector_count;
};

/* The blocks a command names. */
struct scsi_extent {
	uint64_t lba;
	uint64_t blocks;
};

static inline uint16_t scsi_get_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t scsi_get_u32(const uint8_t *p)
{
	return (uint32_t)scsi_get_u16(p) << 16 | scsi_get_u16(p + 2);
}

static inline uint64_t scsi_get_u64(const uint8_t *p)
{
	return (uint64_t)scsi_get_u32(p) << 32 | scsi_get_u32(p + 4);
}

static inline void scsi_put_u16(uint8_t *p, uint16_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static inline void scsi_put_u32(uint8_t *p, uint32_t value)
{
	scsi_put_u16(p, (uint16_t)(value >> 16));
	scsi_put_u16(p + 2, (uint16_t)value);
}

static inline void scsi_put_u64(uint8_t *p, uint64_t value)
{
	scsi_put_u32(p, (uint32_t)(value >> 32));
	scsi_put_u32(p + 4, (uint32_t)value);
}

/** scsi_set_good() - The result is success, with @transferred_bytes moved. */
void scsi_set_good(struct scsi_request *request, uint64_t transferred_bytes);

/** scsi_set_sense() - The result is CHECK CONDITION with this sense. */
void scsi_set_sense(struct scsi_request *request, enum scsi_sense sense);

/** scsi_set_invalid_field() - The result is INVALID FIELD IN CDB, pointing to a byte of the CDB. */
void scsi_set_invalid_field(struct scsi_request *request, uint32_t cdb_byte);

/** scsi_reply() - The result is data: as much of it as the command and the memory have room for. */
void scsi_reply(struct scsi_request *request, const void *data, uint32_t data_bytes,
		uint32_t allocation_bytes);

/**
 * scsi_copy_out() - Read from the request's memory; false, with the result set, if it is not
 * there.
 */
bool scsi_copy_out(struct scsi_request *request, uint64_t offset_bytes, void *to, uint32_t bytes);

/** scsi_set_busy() - The result is BUSY: there is no memory now. */
void scsi_set_busy(struct scsi_request *request);

/** scsi_set_conflict() - The result is RESERVATION CONFLICT. */
void scsi_set_conflict(struct scsi_request *request);

/** scsi_aborted() - Was the request canceled, or its unit reset? If so that is its result. */
bool scsi_aborted(struct scsi_request *request);

/** scsi_finish() - Hand it back, with its result set. */
void scsi_finish(struct scsi_request *request);

/** scsi_set_text() - Text padded with blanks, no NUL. */
void scsi_set_text(char *field, size_t bytes, const char *text);

#define SCSI_INQUIRY_BYTES 96u

/** scsi_fill_inquiry() - Standard data; texts of 8, 16 and 4 characters. */
void scsi_fill_inquiry(uint8_t data[SCSI_INQUIRY_BYTES], uint8_t peripheral, const char *vendor,
		       const char *product, const char *revision);

/** scsi_fill_serial() - The body of vital page 80h, at most GUID_TEXT_BYTES. Return: its length. */
uint32_t scsi_fill_serial(const struct guid *id, uint8_t *body);

#define SCSI_IDENTIFIERS_BYTES 48u

/** scsi_fill_identifiers() - The body of vital page 83h, zeroed before; @vendor: 8 characters. Return: its length. */
uint32_t scsi_fill_identifiers(const struct guid *id, const char *vendor, uint8_t *body);

/** scsi_request_sense() - Answer REQUEST SENSE with @sense. */
void scsi_request_sense(struct scsi_request *request, enum scsi_sense sense);

/* Longest mode data of any unit, header and all. */
#define SCSI_MODE_BYTES_MAX 256u

/** scsi_mode_header_bytes() - Of mode data, by the command that asks or brings. */
static inline uint32_t scsi_mode_header_bytes(const uint8_t *cdb)
{
	return cdb[0] == SCSI_MODE_SENSE_10 || cdb[0] == SCSI_MODE_SELECT_10 ? 8 : 4;
}

/**
 * scsi_reply_mode() - Answer MODE SENSE: @data has room for the header, and block descriptors and
 * pages behind it.
 */
void scsi_reply_mode(struct scsi_request *request, uint8_t *data, uint8_t specific,
		     uint32_t descriptor_bytes, uint32_t page_bytes);

/* ---- scsi_io.c: a request with @medium set, and its block device ---- */

/* [policy] Patterns are written, and media verified, in pieces of this size. */
#define SCSI_SCRATCH_BYTES 65536u

static inline void scsi_medium_set(struct scsi_medium *medium, struct block_device *device,
				   uint32_t sector_shift)
{
	medium->device = device;
	medium->sector_shift = sector_shift;
	atomic_store_explicit(&medium->sector_count, device->geometry.size_bytes >> sector_shift,
			      memory_order_relaxed);
}

static inline uint64_t scsi_medium_sectors(const struct scsi_medium *medium)
{
	return atomic_load_explicit(&medium->sector_count, memory_order_relaxed);
}

/** scsi_decode_extent() - The blocks that a CDB of its length's usual shape names. */
struct scsi_extent scsi_decode_extent(const uint8_t *cdb);

bool scsi_extent_exists(const struct scsi_medium *medium, const struct scsi_extent *extent);

/** scsi_set_block() - Set up the request's block request, yet without memory. */
void scsi_set_block(struct scsi_request *request, enum block_op op,
		    const struct scsi_extent *extent);

/**
 * scsi_set_block_memory() - Give it the request's own memory, after a look at size and direction.
 * False, with the result set, if there is too little.
 */
bool scsi_set_block_memory(struct scsi_request *request, uint32_t direction);

/**
 * scsi_begin_transfer() - What READ, WRITE and VERIFY have in common. True: there is something to
 * do; else the result is set.
 */
bool scsi_begin_transfer(struct scsi_request *request, enum block_op op);

/** scsi_set_block_result() - The result is what the block device made of @block.op. */
void scsi_set_block_result(struct scsi_request *request, int result, uint64_t transferred_bytes);

/** scsi_submit_single() - The block request is all there is to do; its result is the request's. */
void scsi_submit_single(struct scsi_request *request);

/** scsi_sequence_start() - One block request after the other, as @next prepares them. */
void scsi_sequence_start(struct scsi_request *request, bool (*next)(struct scsi_request *request));

/** scsi_matches() - Is the request's memory from an offset on the same as @with? */
bool scsi_matches(const struct scsi_request *request, uint64_t offset_bytes, const void *with,
		  uint64_t bytes);

/** scsi_take_scratch() - SCSI_SCRATCH_BYTES until the end; false, with the result set, if not. */
bool scsi_take_scratch(struct scsi_request *request);

/**
 * scsi_next_piece() - Set up the next piece of [lba, lba + blocks_left) on the scratch memory;
 * false at the end.
 */
bool scsi_next_piece(struct scsi_request *request, enum block_op op);

#endif
