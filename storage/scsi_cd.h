/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A CD/DVD drive (MMC-5) that reads data media: blocks of 2048 bytes on a block device, usually an
 * ISO image. Media come and go by the host's wish and by the guest's.
 *
 * Whoever ejects, the medium leaves the drive for good, as it does on Hyper-V.
 */
#ifndef OPENLIS_STORAGE_SCSI_CD_H
#define OPENLIS_STORAGE_SCSI_CD_H

#include "storage/scsi.h"

struct scsi_cd_config {
	struct block_device *device; /* the medium, as scsi_cd_insert() has it; NULL: none */
	struct guid id;              /* the drive's, whatever its medium: vital pages 80h and 83h */
	struct io_loop *loop;        /* whose @ejected is; NULL: at once, where time is simulated */
	struct io_call *ejected;     /* a medium has left and waits for scsi_cd_take() */
};

/**
 * scsi_cd_create() - Make a drive.
 * @config: copied; @ejected must outlive the drive
 * @out_unit: set on success only
 *
 * A medium that is in it when it is destroyed, or waits to be taken, stays open.
 *
 * Context: any; allocates.
 * Return: 0, -LIS_NOMEM, -LIS_INVALID (a medium that scsi_cd_insert() would refuse).
 */
int scsi_cd_create(const struct scsi_cd_config *config, struct scsi_unit **out_unit) LIS_MUST_USE;

/**
 * scsi_cd_insert() - Put a medium in and tell the guest.
 * @unit: a CD drive
 * @device: what is on it; the drive's until it is taken
 *
 * Context: any thread.
 * Return: 0, -LIS_BUSY (there is one, or the last one was not taken yet), -LIS_INVALID (it is empty,
 * or has sectors larger than a block).
 */
int scsi_cd_insert(struct scsi_unit *unit, struct block_device *device) LIS_MUST_USE;

/**
 * scsi_cd_eject() - Take the medium out; @ejected follows when no command uses it any more.
 * @unit: a CD drive
 * @force: also where the guest holds it
 *
 * Without @force a guest that holds the medium is asked to let go of it; if it does, @ejected
 * follows.
 *
 * Context: any thread.
 * Return: 0, -LIS_NOTFOUND (there is none), -LIS_BUSY (the guest holds it, and was asked).
 */
int scsi_cd_eject(struct scsi_unit *unit, bool force) LIS_MUST_USE;

/** scsi_cd_take() - The medium that left, once; NULL: none, or a command uses it yet. Any thread. */
struct block_device *scsi_cd_take(struct scsi_unit *unit);

struct scsi_cd_status {
	struct block_device *device; /* NULL: there is no medium */
	bool held;                   /* the guest does not allow that it be removed */
};

/** scsi_cd_status() - Any thread. */
struct scsi_cd_status scsi_cd_status(struct scsi_unit *unit);

#endif
