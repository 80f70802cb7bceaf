/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Who may use a medium: persistent reservations (SPC-4 5.13) and RESERVE/RELEASE (SPC-2), by the
 * nexus a command comes through. A nexus is one unit: what one guest sees of the medium. Several
 * units of one medium share the reservations.
 */
#ifndef OPENLIS_STORAGE_SCSI_RESERVATIONS_H
#define OPENLIS_STORAGE_SCSI_RESERVATIONS_H

#include "storage/scsi.h"

struct scsi_reservations;

/* Of the name of the file in which an image's reservations are kept, behind the image's own. */
#define SCSI_RESERVATIONS_SUFFIX ".reservations"
#define SCSI_RESERVATIONS_ERROR_BYTES 512

/* A way to the medium, in its unit's struct. */
struct scsi_nexus {
	struct scsi_reservations *reservations;
	struct scsi_unit *unit;
	uint64_t initiator; /* SAS address */
	struct scsi_nexus *next;
};

/* The address of a guest that has no other. Source: [policy] NAA 5, Microsoft's company id. */
#define SCSI_INITIATOR_DEFAULT UINT64_C(0x5002248000000001)

/**
 * scsi_reservations_create() - Make the reservations of a medium, or find them as they were kept.
 * @path: of the file to keep them in when a guest wants that (APTPL); NULL: guests that want it are
 *	refused
 * @out_reservations: set on success only
 * @error: SCSI_RESERVATIONS_ERROR_BYTES; on failure one line that names the file and the reason
 *
 * Context: may sleep.
 * Return: 0, -LIS_NOMEM, -LIS_FORMAT (the file is no such file), -LIS_IO, -LIS_DENIED.
 */
int scsi_reservations_create(const char *path, struct scsi_reservations **out_reservations,
			     char *error) LIS_MUST_USE;

/** scsi_reservations_destroy() - With no nexus left. NULL is fine. What is kept stays kept. */
void scsi_reservations_destroy(struct scsi_reservations *reservations);

/** scsi_nexus_join() - Make @nexus one of the ways to the medium. Any thread. */
void scsi_nexus_join(struct scsi_nexus *nexus, struct scsi_reservations *reservations,
		     struct scsi_unit *unit, uint64_t initiator);

/** scsi_nexus_leave() - Undo it. Registrations stay. */
void scsi_nexus_leave(struct scsi_nexus *nexus);

/** scsi_nexus_reset() - RESERVE ends with a reset of the unit. Any thread. */
void scsi_nexus_reset(struct scsi_nexus *nexus);

/**
 * scsi_nexus_allows() - May this command be executed?
 * @request: with its CDB
 *
 * Return: false with the result set, RESERVATION CONFLICT.
 */
bool scsi_nexus_allows(struct scsi_nexus *nexus, struct scsi_request *request);

/** scsi_nexus_persistent_in() - Execute PERSISTENT RESERVE IN to its end. */
void scsi_nexus_persistent_in(struct scsi_nexus *nexus, struct scsi_request *request);

/**
 * scsi_nexus_persistent_out() - Execute PERSISTENT RESERVE OUT to its end.
 * @workers: to write files on; NULL: here
 */
void scsi_nexus_persistent_out(struct scsi_nexus *nexus, struct scsi_request *request,
			       struct io_workers *workers);

/** scsi_nexus_reserve() - Execute RESERVE or RELEASE of 6 bytes to its end. */
void scsi_nexus_reserve(struct scsi_nexus *nexus, struct scsi_request *request);

#endif
