/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * PERSISTENT RESERVE OUT: how reservations change.
 *
 * A change is worked out on a copy of the state. It takes the state's place when the file, if there
 * is to be one, says the same durably; after a failure nothing has changed. Those who lost something
 * by it are told then.
 *
 * Source: [spc-4 5.13, 6.16].
 */
#include "storage/scsi_reservations_internal.h"

#include <stdlib.h>
#include <string.h>

#define PARAMETER_BYTES 24u

/* A command at work, in its request's scratch memory. */
struct change {
	struct scsi_nexus *nexus;
	struct scsi_reservation_state state;
	uint8_t action, type;
	bool bad_scope;
	uint64_t key, action_key; /* of who asks; what for */
	bool keep;
	/* Whom to tell of what. */
	uint32_t notice_count;
	struct {
		uint64_t initiator;
		enum scsi_attention attention;
	} notices[2 * SCSI_REGISTRANTS_MAX];
};

_Static_assert(sizeof(struct change) <= SCSI_SCRATCH_BYTES, "a change fits in the scratch memory");

enum verdict { DONE, CONFLICT, BAD_PARAMETER, BAD_RELEASE, NO_ROOM };

static void notify(struct change *change, uint64_t initiator, enum scsi_attention attention)
{
	if (initiator == change->nexus->initiator)
		return;
	change->notices[change->notice_count].initiator = initiator;
	change->notices[change->notice_count++].attention = attention;
}

static void notify_registrants(struct change *change, enum scsi_attention attention)
{
	for (uint32_t i = 0; i < change->state.registrant_count; i++)
		notify(change, change->state.registrants[i].initiator, attention);
}

/* The reservation ends; those who shared it hear of it. */
static void release(struct change *change)
{
	struct scsi_reservation_state *state = &change->state;

	if (scsi_type_is_shared(state->type))
		notify_registrants(change, SCSI_ATTENTION_RESERVATIONS_RELEASED);
	state->type = SCSI_NOT_RESERVED;
	state->holder = 0;
}

/* A registration ends, and with it a reservation that nobody holds any more. */
static void unregister(struct change *change, struct scsi_registrant *registrant)
{
	struct scsi_reservation_state *state = &change->state;
	bool held = scsi_is_holder(state, registrant->initiator);

	*registrant = state->registrants[--state->registrant_count];
	if (held && (!scsi_type_is_all_registrants(state->type) || !state->registrant_count))
		release(change);
}

static enum verdict do_register(struct change *change)
{
	struct scsi_reservation_state *state = &change->state;
	uint64_t initiator = change->nexus->initiator;
	struct scsi_registrant *registrant = scsi_registrant_find(state, initiator);

	if (change->action == SCSI_REGISTER && change->key != (registrant ? registrant->key : 0))
		return CONFLICT;
	if (!registrant && !change->action_key)
		return DONE; /* nothing at all */
	if (!change->action_key) {
		unregister(change, registrant);
	} else if (registrant) {
		registrant->key = change->action_key;
	} else {
		if (state->registrant_count == SCSI_REGISTRANTS_MAX)
			return NO_ROOM;
		state->registrants[state->registrant_count++] =
			(struct scsi_registrant){ change->action_key, initiator };
	}
	state->keep = change->keep;
	state->generation++;
	return DONE;
}

static enum verdict do_reserve(struct change *change)
{
	struct scsi_reservation_state *state = &change->state;

	if (state->type)
		return scsi_is_holder(state, change->nexus->initiator) && state->type == change->type
			       ? DONE : CONFLICT;
	state->type = (enum scsi_reservation_type)change->type;
	state->holder = scsi_type_is_all_registrants(state->type) ? 0 : change->nexus->initiator;
	return DONE;
}

static enum verdict do_release(struct change *change)
{
	struct scsi_reservation_state *state = &change->state;

	if (!scsi_is_holder(state, change->nexus->initiator))
		return DONE;
	if (state->type != change->type)
		return BAD_RELEASE;
	release(change);
	return DONE;
}

static enum verdict do_clear(struct change *change)
{
	struct scsi_reservation_state *state = &change->state;

	notify_registrants(change, SCSI_ATTENTION_RESERVATIONS_PREEMPTED);
	state->registrant_count = 0;
	state->type = SCSI_NOT_RESERVED;
	state->holder = 0;
	state->generation++;
	return DONE;
}

/* Ends registrations with @key (0: all), but for the asking one's if @spare. Returns how many. */
static uint32_t remove_registrants(struct change *change, uint64_t key, bool spare)
{
	struct scsi_reservation_state *state = &change->state;
	uint32_t removed = 0;

	for (uint32_t i = 0; i < state->registrant_count;) {
		struct scsi_registrant *registrant = &state->registrants[i];

		if ((key && registrant->key != key) ||
		    (spare && registrant->initiator == change->nexus->initiator)) {
			i++;
			continue;
		}
		notify(change, registrant->initiator, SCSI_ATTENTION_REGISTRATIONS_PREEMPTED);
		*registrant = state->registrants[--state->registrant_count];
		removed++;
	}
	return removed;
}

/* The reservation passes to who asks, with the type he wants. */
static void take_over(struct change *change, uint64_t key)
{
	struct scsi_reservation_state *state = &change->state;
	enum scsi_reservation_type old = state->type;

	remove_registrants(change, key, true);
	if (old != change->type && scsi_type_is_shared(old))
		notify_registrants(change, SCSI_ATTENTION_RESERVATIONS_RELEASED);
	state->type = (enum scsi_reservation_type)change->type;
	state->holder = scsi_type_is_all_registrants(state->type) ? 0 : change->nexus->initiator;
}

static enum verdict do_preempt(struct change *change)
{
	struct scsi_reservation_state *state = &change->state;
	bool all = scsi_type_is_all_registrants(state->type);
	const struct scsi_registrant *holder = scsi_registrant_find(state, state->holder);

	if (!change->action_key && !all)
		return BAD_PARAMETER;
	if (state->type && (all ? !change->action_key : holder->key == change->action_key)) {
		take_over(change, change->action_key);
	} else {
		if (!remove_registrants(change, change->action_key, false))
			return CONFLICT;
		if (!state->registrant_count) { /* all shared it, and are gone */
			state->type = SCSI_NOT_RESERVED;
			state->holder = 0;
		}
	}
	state->generation++;
	return DONE;
}

static enum verdict execute(struct change *change)
{
	const struct scsi_registrant *registrant =
		scsi_registrant_find(&change->state, change->nexus->initiator);

	if (change->action == SCSI_REGISTER || change->action == SCSI_REGISTER_AND_IGNORE)
		return do_register(change);
	if (!registrant || registrant->key != change->key)
		return CONFLICT;
	switch (change->action) {
	case SCSI_RESERVE:
		return do_reserve(change);
	case SCSI_RELEASE:
		return do_release(change);
	case SCSI_CLEAR:
		return do_clear(change);
	default:
		return do_preempt(change);
	}
}

/* With the change committed, under @order. */
static void tell(struct scsi_reservations *reservations, const struct change *change)
{
	pthread_mutex_lock(&reservations->lock);
	for (uint32_t i = 0; i < change->notice_count; i++) {
		for (struct scsi_nexus *nexus = reservations->nexuses; nexus; nexus = nexus->next) {
			if (nexus->initiator != change->notices[i].initiator)
				continue;
			if (change->action == SCSI_PREEMPT_AND_ABORT &&
			    change->notices[i].attention == SCSI_ATTENTION_REGISTRATIONS_PREEMPTED)
				scsi_unit_abort(nexus->unit);
			scsi_unit_attend(nexus->unit, change->notices[i].attention);
		}
	}
	pthread_mutex_unlock(&reservations->lock);
}

static void set_verdict(struct scsi_request *request, enum verdict verdict)
{
	switch (verdict) {
	case DONE:
		scsi_set_good(request, PARAMETER_BYTES);
		return;
	case CONFLICT:
		scsi_set_conflict(request);
		return;
	case BAD_PARAMETER:
		scsi_set_sense(request, SCSI_SENSE_INVALID_FIELD_IN_PARAMETERS);
		return;
	case BAD_RELEASE:
		scsi_set_sense(request, SCSI_SENSE_INVALID_RELEASE);
		return;
	case NO_ROOM:
		scsi_set_sense(request, SCSI_SENSE_NO_REGISTRATION_RESOURCES);
		return;
	}
}

static bool is_to_be_kept(const struct scsi_reservations *reservations, const struct change *change)
{
	return reservations->path && (reservations->state.keep || change->state.keep);
}

static struct scsi_request *request_of(struct io_work *work)
{
	return (struct scsi_request *)((char *)work - offsetof(struct scsi_request, work));
}

/* May sleep. */
static void change_run(struct io_work *work)
{
	struct scsi_request *request = request_of(work);
	struct change *change = request->scratch;
	struct scsi_reservations *reservations = change->nexus->reservations;
	enum verdict verdict;

	pthread_mutex_lock(&reservations->order);
	change->state = reservations->state;
	verdict = execute(change);
	if (verdict == DONE && is_to_be_kept(reservations, change) &&
	    scsi_reservations_keep(reservations->path, &change->state))
		verdict = NO_ROOM;
	if (verdict == DONE) {
		scsi_reservations_commit(reservations, &change->state);
		tell(reservations, change);
	}
	pthread_mutex_unlock(&reservations->order);
	set_verdict(request, verdict);
}

static void change_done(struct io_work *work)
{
	scsi_finish(request_of(work));
}

/* True: @change is what the command asks for; else the result is set. */
static bool parse(struct scsi_nexus *nexus, struct scsi_request *request, struct change *change)
{
	const uint8_t *cdb = request->cdb;
	uint8_t list[PARAMETER_BYTES];

	memset(change, 0, offsetof(struct change, notices));
	change->nexus = nexus;
	change->action = cdb[1] & 0x1f;
	change->type = cdb[2] & 0x0f;
	if (change->action > SCSI_REGISTER_AND_IGNORE) { /* REGISTER AND MOVE: there is one port */
		scsi_set_invalid_field(request, 1);
		return false;
	}
	if (scsi_get_u32(cdb + 5) != PARAMETER_BYTES) {
		scsi_set_sense(request, SCSI_SENSE_PARAMETER_LIST_LENGTH);
		return false;
	}
	if ((change->action == SCSI_RESERVE || change->action == SCSI_RELEASE ||
	     change->action == SCSI_PREEMPT || change->action == SCSI_PREEMPT_AND_ABORT) &&
	    (cdb[2] >> 4 || !scsi_type_is_known(change->type))) { /* a unit's scope is all there is */
		scsi_set_invalid_field(request, 2);
		return false;
	}
	if (!scsi_copy_out(request, 0, list, sizeof(list)))
		return false;
	change->key = scsi_get_u64(list);
	change->action_key = scsi_get_u64(list + 8);
	change->keep = list[20] & 0x01;
	/* SPEC_I_PT: for initiators that cannot speak for themselves. ALL_TG_PT: there is one. */
	if (list[20] & 0x08 || (change->keep && !nexus->reservations->path)) {
		scsi_set_sense(request, SCSI_SENSE_INVALID_FIELD_IN_PARAMETERS);
		return false;
	}
	return true;
}

static bool is_reserved(struct scsi_reservations *reservations)
{
	bool reserved;

	pthread_mutex_lock(&reservations->lock);
	reserved = reservations->reserved_by;
	pthread_mutex_unlock(&reservations->lock);
	return reserved;
}

void scsi_nexus_persistent_out(struct scsi_nexus *nexus, struct scsi_request *request,
			       struct io_workers *workers)
{
	if (is_reserved(nexus->reservations)) { /* by RESERVE: one way or the other */
		scsi_set_conflict(request);
		scsi_finish(request);
		return;
	}
	if (!scsi_take_scratch(request) || !parse(nexus, request, request->scratch)) {
		scsi_finish(request);
		return;
	}
	request->work.run = change_run;
	request->work.done = change_done;
	io_work_start(nexus->reservations->path ? workers : NULL, request->loop, &request->work);
}
