/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Between scsi_cd.c (media, reading) and scsi_cd_pages.c (what drive and medium say of themselves). */
#ifndef OPENLIS_STORAGE_SCSI_CD_INTERNAL_H
#define OPENLIS_STORAGE_SCSI_CD_INTERNAL_H

#include <pthread.h>

#include "storage/scsi_cd.h"
#include "storage/scsi_internal.h"

#define SCSI_CD_BLOCK_SHIFT 11u

/* Operation codes that only drives have. Source: [mmc-5 6] */
enum scsi_cd_operation {
	SCSI_CD_SEEK_10 = 0x2b,
	SCSI_CD_READ_TOC = 0x43,
	SCSI_CD_GET_CONFIGURATION = 0x46,
	SCSI_CD_GET_EVENT_STATUS = 0x4a,
	SCSI_CD_READ_DISC_INFORMATION = 0x51,
	SCSI_CD_READ_DVD_STRUCTURE = 0xad,
	SCSI_CD_SET_SPEED = 0xbb,
	SCSI_CD_MECHANISM_STATUS = 0xbd,
};

/* Of the media class. Source: [mmc-5 6.6.2.6] */
enum scsi_cd_event {
	SCSI_CD_NO_EVENT = 0,
	SCSI_CD_EJECT_REQUEST = 1,
	SCSI_CD_NEW_MEDIUM = 2,
	SCSI_CD_MEDIUM_REMOVAL = 3,
};

struct scsi_cd {
	struct scsi_unit unit;
	struct guid id;
	struct io_loop *loop;
	struct io_call *ejected;

	pthread_mutex_t lock;
	struct scsi_medium medium; /* fixed while @present or used; @device is NULL when it was taken */
	bool present;              /* commands may become users */
	bool held;                 /* PREVENT */
	uint32_t users;            /* commands that use the medium */
	enum scsi_cd_event event;  /* not told yet */
};

/* What a command about the drive has to know, seen at one moment. */
struct scsi_cd_view {
	bool present, held;
	uint32_t block_count; /* of the medium */
	bool dvd;             /* too large for a CD */
};

/* Each sets a result; the lower ones are for a drive with a medium. */
void scsi_cd_inquiry(struct scsi_request *request, const struct guid *id);
void scsi_cd_get_configuration(struct scsi_request *request, const struct scsi_cd_view *view);
void scsi_cd_event_status(struct scsi_request *request, const struct scsi_cd_view *view,
			  enum scsi_cd_event event);
void scsi_cd_mode_sense(struct scsi_request *request, const struct scsi_cd_view *view);
void scsi_cd_mechanism_status(struct scsi_request *request);

void scsi_cd_read_capacity(struct scsi_request *request, const struct scsi_cd_view *view);
void scsi_cd_read_toc(struct scsi_request *request, const struct scsi_cd_view *view);
void scsi_cd_read_disc_information(struct scsi_request *request);
void scsi_cd_read_dvd_structure(struct scsi_request *request, const struct scsi_cd_view *view);

/** scsi_cd_takes_event() - Does this GET EVENT STATUS NOTIFICATION ask for media events? */
bool scsi_cd_takes_event(const struct scsi_request *request);

#endif
