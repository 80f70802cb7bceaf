/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Reservations: which commands they allow, and what is told of them (PERSISTENT RESERVE IN).
 *
 * Every command passes scsi_nexus_allows(); while nothing is reserved that is one look at a flag.
 * With a reservation it is a look at the state under a lock that is never held for long.
 */
#include "storage/scsi_reservations_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is allowed ---- */

/* What a command is to a nexus that does not hold the reservation. Source: [spc-4 5.13.1, sbc-3 4.17] */
enum command_class {
	COMMAND_FREE,  /* always allowed, or checks for itself */
	COMMAND_READS, /* not while access is exclusive */
	COMMAND_WRITES,
};

static enum command_class class_of(const uint8_t *cdb)
{
	switch (cdb[0]) {
	case SCSI_TEST_UNIT_READY:
	case SCSI_INQUIRY:
	case SCSI_READ_CAPACITY_10:
	case SCSI_PERSISTENT_RESERVE_IN:
	case SCSI_PERSISTENT_RESERVE_OUT:
	case SCSI_RESERVE_6:
	case SCSI_RELEASE_6:
		return COMMAND_FREE;
	case SCSI_SERVICE_ACTION_IN_16:
		return (cdb[1] & 0x1f) == SCSI_READ_CAPACITY_16 ? COMMAND_FREE : COMMAND_READS;
	case SCSI_START_STOP_UNIT: /* starting */
		return (cdb[4] & 0xf1) == 0x01 ? COMMAND_FREE : COMMAND_WRITES;
	case SCSI_PREVENT_ALLOW_REMOVAL: /* allowing */
		return cdb[4] & 0x03 ? COMMAND_WRITES : COMMAND_FREE;
	case SCSI_READ_6:
	case SCSI_READ_10:
	case SCSI_READ_12:
	case SCSI_READ_16:
	case SCSI_VERIFY_10:
	case SCSI_VERIFY_12:
	case SCSI_VERIFY_16:
		return COMMAND_READS;
	default:
		return COMMAND_WRITES;
	}
}

static bool is_write_exclusive(enum scsi_reservation_type type)
{
	return type == SCSI_WRITE_EXCLUSIVE || type == SCSI_WRITE_EXCLUSIVE_REGISTRANTS_ONLY ||
	       type == SCSI_WRITE_EXCLUSIVE_ALL_REGISTRANTS;
}

static bool persistent_allows(struct scsi_reservation_state *state, uint64_t initiator,
			      enum command_class class)
{
	if (!state->type || class == COMMAND_FREE || scsi_is_holder(state, initiator))
		return true;
	if (scsi_type_is_shared(state->type) && scsi_registrant_find(state, initiator))
		return true;
	return class == COMMAND_READS && is_write_exclusive(state->type);
}

/* Of another's RESERVE(6) there is no way around but these. Source: [spc-2 5.5.1] */
static bool passes_reserve(const uint8_t *cdb)
{
	return cdb[0] == SCSI_INQUIRY || cdb[0] == SCSI_RELEASE_6;
}

bool scsi_nexus_allows(struct scsi_nexus *nexus, struct scsi_request *request)
{
	struct scsi_reservations *reservations = nexus->reservations;
	bool allowed;

	if (!atomic_load_explicit(&reservations->any, memory_order_acquire))
		return true;
	pthread_mutex_lock(&reservations->lock);
	if (reservations->reserved_by && reservations->reserved_by != nexus)
		allowed = passes_reserve(request->cdb);
	else
		allowed = persistent_allows(&reservations->state, nexus->initiator,
					    class_of(request->cdb));
	pthread_mutex_unlock(&reservations->lock);
	if (!allowed)
		scsi_set_conflict(request);
	return allowed;
}

/* ---- RESERVE, RELEASE ---- */

/* With the lock. */
static void update_any(struct scsi_reservations *reservations)
{
	atomic_store_explicit(&reservations->any,
			      reservations->state.type || reservations->reserved_by,
			      memory_order_release);
}

void scsi_nexus_reserve(struct scsi_nexus *nexus, struct scsi_request *request)
{
	struct scsi_reservations *reservations = nexus->reservations;
	bool reserve = request->cdb[0] == SCSI_RESERVE_6;

	if (request->cdb[1] & 0x1f || (reserve && (request->cdb[3] || request->cdb[4]))) {
		scsi_set_invalid_field(request, 1); /* third parties, extents */
		scsi_finish(request);
		return;
	}
	scsi_set_good(request, 0);
	pthread_mutex_lock(&reservations->lock);
	if (reservations->state.registrant_count) /* one way or the other: [spc-4 5.13.3] */
		scsi_set_conflict(request);
	else if (reserve)
		reservations->reserved_by = nexus;
	else if (reservations->reserved_by == nexus)
		reservations->reserved_by = NULL;
	update_any(reservations);
	pthread_mutex_unlock(&reservations->lock);
	scsi_finish(request);
}

void scsi_nexus_reset(struct scsi_nexus *nexus)
{
	struct scsi_reservations *reservations = nexus->reservations;

	pthread_mutex_lock(&reservations->lock);
	reservations->reserved_by = NULL;
	update_any(reservations);
	pthread_mutex_unlock(&reservations->lock);
}

/* ---- PERSISTENT RESERVE IN ---- */

#define SAS_TRANSPORT_ID_BYTES 24u
#define FULL_STATUS_BYTES (24u + SAS_TRANSPORT_ID_BYTES)
#define IN_BYTES_MAX (8u + SCSI_REGISTRANTS_MAX * FULL_STATUS_BYTES)

static uint32_t fill_keys(const struct scsi_reservation_state *state, uint8_t *data)
{
	for (uint32_t i = 0; i < state->registrant_count; i++)
		scsi_put_u64(data + 8 + 8 * i, state->registrants[i].key);
	return 8 + 8 * state->registrant_count;
}

static uint32_t fill_reservation(struct scsi_reservation_state *state, uint8_t *data)
{
	const struct scsi_registrant *holder = scsi_registrant_find(state, state->holder);

	if (!state->type)
		return 8;
	if (holder && !scsi_type_is_all_registrants(state->type))
		scsi_put_u64(data + 8, holder->key);
	data[21] = (uint8_t)state->type; /* scope 0: the logical unit */
	return 24;
}

static uint32_t fill_capabilities(const struct scsi_reservations *reservations, uint8_t *data)
{
	scsi_put_u16(data, 8);
	data[2] = 0x04;                            /* ATP_C: all target ports, of which there is one */
	data[2] |= reservations->path ? 0x01 : 0;  /* PTPL_C */
	data[3] = 0x80;                            /* TMV: what types there are follows */
	data[3] |= reservations->state.keep;       /* PTPL_A */
	scsi_put_u16(data + 4, 0xea01);            /* all six types */
	return 8;
}

static uint32_t fill_full_status(struct scsi_reservation_state *state, uint8_t *data)
{
	for (uint32_t i = 0; i < state->registrant_count; i++) {
		const struct scsi_registrant *registrant = &state->registrants[i];
		uint8_t *at = data + 8 + FULL_STATUS_BYTES * i;

		scsi_put_u64(at, registrant->key);
		at[12] = 0x02; /* ALL_TG_PT */
		if (scsi_is_holder(state, registrant->initiator)) {
			at[12] |= 0x01;
			at[13] = (uint8_t)state->type;
		}
		scsi_put_u32(at + 20, SAS_TRANSPORT_ID_BYTES);
		at[24] = 0x06; /* SAS */
		scsi_put_u64(at + 28, registrant->initiator);
	}
	return 8 + FULL_STATUS_BYTES * state->registrant_count;
}

/* Returns the length of the answer; 0 if there is no such service action. */
static uint32_t fill_in(struct scsi_reservations *reservations, uint8_t action, uint8_t *data)
{
	struct scsi_reservation_state *state = &reservations->state;
	uint32_t bytes;

	switch (action) {
	case SCSI_READ_KEYS:
		bytes = fill_keys(state, data);
		break;
	case SCSI_READ_RESERVATION:
		bytes = fill_reservation(state, data);
		break;
	case SCSI_REPORT_CAPABILITIES:
		return fill_capabilities(reservations, data);
	case SCSI_READ_FULL_STATUS:
		bytes = fill_full_status(state, data);
		break;
	default:
		return 0;
	}
	scsi_put_u32(data, state->generation);
	scsi_put_u32(data + 4, bytes - 8);
	return bytes;
}

void scsi_nexus_persistent_in(struct scsi_nexus *nexus, struct scsi_request *request)
{
	struct scsi_reservations *reservations = nexus->reservations;
	uint8_t data[IN_BYTES_MAX] = { 0 };
	uint32_t bytes;

	pthread_mutex_lock(&reservations->lock);
	bytes = fill_in(reservations, request->cdb[1] & 0x1f, data);
	pthread_mutex_unlock(&reservations->lock);
	if (bytes)
		scsi_reply(request, data, bytes, scsi_get_u16(request->cdb + 7));
	else
		scsi_set_invalid_field(request, 1);
	scsi_finish(request);
}

/* ---- life ---- */

void scsi_reservations_commit(struct scsi_reservations *reservations,
			      const struct scsi_reservation_state *state)
{
	pthread_mutex_lock(&reservations->lock);
	reservations->state = *state;
	update_any(reservations);
	pthread_mutex_unlock(&reservations->lock);
}

void scsi_nexus_join(struct scsi_nexus *nexus, struct scsi_reservations *reservations,
		     struct scsi_unit *unit, uint64_t initiator)
{
	nexus->reservations = reservations;
	nexus->unit = unit;
	nexus->initiator = initiator;
	pthread_mutex_lock(&reservations->lock);
	nexus->next = reservations->nexuses;
	reservations->nexuses = nexus;
	pthread_mutex_unlock(&reservations->lock);
}

void scsi_nexus_leave(struct scsi_nexus *nexus)
{
	struct scsi_reservations *reservations = nexus->reservations;
	struct scsi_nexus **at;

	pthread_mutex_lock(&reservations->lock);
	for (at = &reservations->nexuses; *at != nexus; at = &(*at)->next)
		;
	*at = nexus->next;
	if (reservations->reserved_by == nexus)
		reservations->reserved_by = NULL;
	update_any(reservations);
	pthread_mutex_unlock(&reservations->lock);
}

int scsi_reservations_create(const char *path, struct scsi_reservations **out_reservations,
			     char *error)
{
	struct scsi_reservations *reservations = calloc(1, sizeof(*reservations));
	int err;

	if (reservations && path)
		reservations->path = strdup(path);
	if (!reservations || (path && !reservations->path)) {
		free(reservations);
		snprintf(error, SCSI_RESERVATIONS_ERROR_BYTES, "%s: out of memory", path ? path : "reservations");
		return -LIS_NOMEM;
	}
	err = path ? scsi_reservations_load(path, &reservations->state, error) : 0;
	if (err) {
		free(reservations->path);
		free(reservations);
		return err;
	}
	pthread_mutex_init(&reservations->order, NULL);
	pthread_mutex_init(&reservations->lock, NULL);
	update_any(reservations);
	*out_reservations = reservations;
	return 0;
}

void scsi_reservations_destroy(struct scsi_reservations *reservations)
{
	if (!reservations)
		return;
	pthread_mutex_destroy(&reservations->order);
	pthread_mutex_destroy(&reservations->lock);
	free(reservations->path);
	free(reservations);
}
