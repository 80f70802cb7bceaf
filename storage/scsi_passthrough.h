/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A SCSI device of the host, given to a guest whole: commands go to it by SG_IO, with the guest's own
 * memory; status, sense and residual come back as the device has them. A reset by the guest is one of the
 * device, which has the host's kernel end what is under way, if it lets us: that takes CAP_SYS_ADMIN and
 * CAP_SYS_RAWIO, and an adapter whose driver can do it.
 *
 * Refused with INVALID COMMAND OPERATION CODE is what reaches beyond the device or would change it for
 * the host: WRITE BUFFER (firmware), EXTENDED COPY and its kin (other devices), MAINTENANCE OUT and
 * SECURITY PROTOCOL OUT (identity, ports, passwords), ATA PASS-THROUGH, and whatever is the vendor's
 * own; of a device opened read-only, also every command that is not known to only read.
 */
#ifndef OPENLIS_STORAGE_SCSI_PASSTHROUGH_H
#define OPENLIS_STORAGE_SCSI_PASSTHROUGH_H

#include "storage/scsi.h"

#define SCSI_PASSTHROUGH_ERROR_BYTES 512

/**
 * scsi_passthrough_open() - Take a device of the host.
 * @path: /dev/sgN, /dev/sdX or /dev/srN
 * @read_only: see above
 * @out_unit: set on success only
 * @error: SCSI_PASSTHROUGH_ERROR_BYTES; on failure one line that names the path and the reason
 *
 * Nobody else may have opened the device for himself; above all it is not mounted.
 *
 * Context: may sleep.
 * Return: 0, -LIS_NOTFOUND, -LIS_DENIED, -LIS_BUSY, -LIS_UNSUPPORTED (no such device), -LIS_NOMEM,
 * -LIS_IO.
 */
int scsi_passthrough_open(const char *path, bool read_only, struct scsi_unit **out_unit,
			  char *error) LIS_MUST_USE;

struct sg_io_hdr;

struct scsi_passthrough_config {
	uint8_t device_type;         /* peripheral device type of INQUIRY */
	bool read_only;
	uint32_t block_bytes;        /* of a disk; 0: not known */
	uint32_t transfer_bytes_max; /* of one command; 0: no limit */
	/* SG_IO. May sleep; any thread, many at a time. Return: 0, or a negative errno. */
	int (*sg_io)(void *owner, struct sg_io_hdr *io);
	/*
	 * SG_SCSI_RESET of the device and of nothing else. May sleep; any thread, one at a time. Return: 0, or a
	 * negative errno.
	 */
	int (*reset)(void *owner);
	void (*close)(void *owner);  /* with nothing under way */
	void *owner;
	const char *path;            /* for the log; the owner's */
	uint32_t thread_max;         /* commands at a time; 0: on the loop, for simulations */
};

/** scsi_passthrough_create() - What is behind scsi_passthrough_open(). Return: 0, -LIS_NOMEM. */
int scsi_passthrough_create(const struct scsi_passthrough_config *config,
			    struct scsi_unit **out_unit) LIS_MUST_USE;

/** scsi_passthrough_permits() - Is a command let through? */
bool scsi_passthrough_permits(const uint8_t *cdb, uint8_t device_type, bool read_only);

#endif
