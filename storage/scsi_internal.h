/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What scsi.c (I/O) and scsi_pages.c (answers that fit in a page) share; for them only. */
#ifndef OPENLIS_STORAGE_SCSI_INTERNAL_H
#define OPENLIS_STORAGE_SCSI_INTERNAL_H

#include "storage/scsi.h"

struct scsi_disk {
	struct block_device *device;
	uint32_t sector_shift;
	uint64_t sector_count;
	uint32_t transfer_bytes_max;
	char vendor[8], product[16], revision[4]; /* padded with blanks, no NUL */
	_Atomic bool write_cache;                 /* volatile; WCE of the caching page */
	struct scsi_disk_counters counters;
};

/* [policy] Zeroes cost nothing, but a pattern has to be written: bounds what one command may do. */
#define SCSI_WRITE_SAME_BYTES_MAX (256u << 20)
/* [policy] As many as fit in one page with their header. */
#define SCSI_UNMAP_DESCRIPTORS_MAX 255u

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

/*
 * Handlers of scsi_pages.c. All but MODE SELECT set a result. scsi_mode_select() returns true if
 * the cache was switched off, so that the caller must flush before it is done.
 */
void scsi_inquiry(struct scsi_disk *disk, struct scsi_request *request);
void scsi_request_sense(struct scsi_request *request, enum scsi_sense sense);
void scsi_read_capacity_10(struct scsi_disk *disk, struct scsi_request *request);
void scsi_read_capacity_16(struct scsi_disk *disk, struct scsi_request *request);
void scsi_mode_sense(struct scsi_disk *disk, struct scsi_request *request);
bool scsi_mode_select(struct scsi_disk *disk, struct scsi_request *request);

#endif
