/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Between scsi_reservations.c (who may what, what is told), scsi_reservations_out.c (how they change)
 * and scsi_reservations_file.c (how they are kept).
 */
#ifndef OPENLIS_STORAGE_SCSI_RESERVATIONS_INTERNAL_H
#define OPENLIS_STORAGE_SCSI_RESERVATIONS_INTERNAL_H

#include <pthread.h>

#include "storage/scsi_internal.h"
#include "storage/scsi_reservations.h"

#define SCSI_REGISTRANTS_MAX 64u /* [policy] */

/* Source: [spc-4 6.15.3.4] */
enum scsi_reservation_type {
	SCSI_NOT_RESERVED = 0,
	SCSI_WRITE_EXCLUSIVE = 1,
	SCSI_EXCLUSIVE_ACCESS = 3,
	SCSI_WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 5,
	SCSI_EXCLUSIVE_ACCESS_REGISTRANTS_ONLY = 6,
	SCSI_WRITE_EXCLUSIVE_ALL_REGISTRANTS = 7,
	SCSI_EXCLUSIVE_ACCESS_ALL_REGISTRANTS = 8,
};

struct scsi_registrant {
	uint64_t key, initiator;
};

/* All there is to keep. Changed as a whole: a copy is made, changed, kept, and put in its place. */
struct scsi_reservation_state {
	uint32_t generation; /* not kept */
	uint32_t registrant_count;
	struct scsi_registrant registrants[SCSI_REGISTRANTS_MAX];
	enum scsi_reservation_type type;
	uint64_t holder; /* initiator; 0 where all registrants are */
	bool keep;       /* APTPL */
};

struct scsi_reservations {
	char *path;                         /* NULL: cannot be kept */
	pthread_mutex_t order;              /* one change at a time; first, if both */
	pthread_mutex_t lock;               /* all below; never held while anything sleeps */
	struct scsi_reservation_state state; /* changed under both: either is enough to read */
	struct scsi_nexus *nexuses;
	struct scsi_nexus *reserved_by;     /* RESERVE(6) */
	_Atomic bool any;                   /* a reservation of either kind */
};

static inline bool scsi_type_is_known(uint8_t type)
{
	return type <= 8 && (0x1eau >> type & 1);
}

static inline bool scsi_type_is_all_registrants(enum scsi_reservation_type type)
{
	return type >= SCSI_WRITE_EXCLUSIVE_ALL_REGISTRANTS;
}

/* Do those who have registered share it, though one holds it? */
static inline bool scsi_type_is_shared(enum scsi_reservation_type type)
{
	return type >= SCSI_WRITE_EXCLUSIVE_REGISTRANTS_ONLY;
}

static inline struct scsi_registrant *scsi_registrant_find(struct scsi_reservation_state *state,
							   uint64_t initiator)
{
	for (uint32_t i = 0; i < state->registrant_count; i++)
		if (state->registrants[i].initiator == initiator)
			return &state->registrants[i];
	return NULL;
}

static inline bool scsi_is_holder(struct scsi_reservation_state *state, uint64_t initiator)
{
	if (scsi_type_is_all_registrants(state->type))
		return scsi_registrant_find(state, initiator);
	return state->type && state->holder == initiator;
}

/** scsi_reservations_commit() - Put a changed state in place. Under @order. */
void scsi_reservations_commit(struct scsi_reservations *reservations,
			      const struct scsi_reservation_state *state);

/**
 * scsi_reservations_load() - Read what was kept at @path. Return: 0, also where there is no file;
 * as scsi_reservations_create(), with @error set.
 */
int scsi_reservations_load(const char *path, struct scsi_reservation_state *out_state,
			   char *error) LIS_MUST_USE;

/**
 * scsi_reservations_keep() - Make the file say what @state does, durably, or nothing of it: where it
 * is not to be kept there is no file afterwards. Return: 0 or an error.
 */
int scsi_reservations_keep(const char *path, const struct scsi_reservation_state *state) LIS_MUST_USE;

#endif
