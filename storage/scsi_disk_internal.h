/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Between scsi_disk.c (commands with I/O) and scsi_disk_pages.c (answers that fit in a page). */
#ifndef OPENLIS_STORAGE_SCSI_DISK_INTERNAL_H
#define OPENLIS_STORAGE_SCSI_DISK_INTERNAL_H

#include "storage/scsi_disk.h"
#include "storage/scsi_internal.h"
#include "storage/scsi_reservations.h"

struct scsi_disk {
	struct scsi_unit unit;
	struct scsi_medium medium;
	struct scsi_nexus nexus;
	struct scsi_reservations *own_reservations; /* where it was given none */
	uint32_t transfer_bytes_max;
	struct io_workers *workers;
	char vendor[8], product[16], revision[4]; /* padded with blanks, no NUL */
	_Atomic bool write_cache;                 /* volatile; WCE of the caching page */
};

static inline struct scsi_disk *scsi_disk_of(const struct scsi_request *request)
{
	return (struct scsi_disk *)request->unit;
}

/* [policy] Zeroes cost nothing, but a pattern has to be written: bounds what one command may do. */
#define SCSI_WRITE_SAME_BYTES_MAX (256u << 20)
/* [policy] As many as fit in one page with their header. */
#define SCSI_UNMAP_DESCRIPTORS_MAX 255u

/*
 * All but MODE SELECT set a result. scsi_mode_select() returns true if the cache was switched off,
 * so that the caller must flush before it is done.
 */
void scsi_inquiry(struct scsi_disk *disk, struct scsi_request *request);
void scsi_read_capacity_10(struct scsi_disk *disk, struct scsi_request *request);
void scsi_read_capacity_16(struct scsi_disk *disk, struct scsi_request *request);
void scsi_mode_sense(struct scsi_disk *disk, struct scsi_request *request);
bool scsi_mode_select(struct scsi_disk *disk, struct scsi_request *request);

/* scsi_disk_provisioning.c; each to its end. */
void scsi_unmap(struct scsi_disk *disk, struct scsi_request *request);
void scsi_write_same(struct scsi_disk *disk, struct scsi_request *request);
void scsi_get_lba_status(struct scsi_disk *disk, struct scsi_request *request);

#endif
