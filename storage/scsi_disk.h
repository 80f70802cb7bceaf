/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* A SCSI direct-access disk (SPC-3, SBC-3) on a block device. */
#ifndef OPENLIS_STORAGE_SCSI_DISK_H
#define OPENLIS_STORAGE_SCSI_DISK_H

#include "storage/scsi_reservations.h"

struct scsi_disk_config {
	struct block_device *device; /* stays the caller's; must outlive the disk */
	const char *vendor;          /* up to 8 characters; NULL: "Msft", which Linux trusts */
	const char *product;         /* up to 16; NULL: "Virtual Disk" */
	const char *revision;        /* up to 4; NULL: "1.0" */
	uint32_t transfer_bytes_max; /* for the block limits page; 0: no limit */
	bool write_through;          /* no volatile cache: every write is durable at its end */
	struct io_workers *workers;  /* for what sleeps; NULL: it sleeps on the loop; must outlive the disk */
	struct scsi_reservations *reservations; /* of the medium; NULL: of this disk, kept nowhere; must outlive it */
	uint64_t initiator;          /* who uses it, by SAS address; 0: SCSI_INITIATOR_DEFAULT */
};

/**
 * scsi_disk_create() - Make a disk.
 * @config: copied
 * @out_unit: set on success only
 *
 * Context: any; allocates.
 * Return: 0, -LIS_NOMEM, -LIS_INVALID (no device, or sectors neither of 512 nor of 4096 bytes).
 */
int scsi_disk_create(const struct scsi_disk_config *config,
		     struct scsi_unit **out_unit) LIS_MUST_USE;

/**
 * scsi_disk_resized() - The block device has another size now: tell the guest.
 * @unit: a disk
 *
 * The device's geometry may change when nothing of the disk is in flight, and is read here.
 *
 * Context: any thread.
 */
void scsi_disk_resized(struct scsi_unit *unit);

#endif
