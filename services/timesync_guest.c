// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Guest end of time synchronization. All reckoning is in 100 ns, in 64 bits, without division:
 * times are checked to be at most TIMESYNC_GUEST_UTC_MAX_100NS first, so that no sum or difference
 * overflows.
 *
 * Source: [linux 6.1 drivers/hv/hv_util.c timesync_onchannelcallback, adj_guesttime]
 */
#include <string.h>

#include "services/timesync_guest.h"

/*
 * [policy] How far a reading of the counter may lie in the future. The message may have come
 * between the port's reading of its clocks and ours of the ring.
 */
#define FUTURE_100NS 10000000ull

static const struct ic_version versions[] = { { 4, 0 }, { 3, 0 }, { 1, 0 } };

static const struct ic_guest_config ic_config = {
	.name = "timesync",
	.type = IC_TIMESYNC,
	.versions = versions,
	.version_count = sizeof(versions) / sizeof(versions[0]),
};

void timesync_guest_init(struct timesync_guest *timesync,
			 const struct timesync_guest_config *config,
			 struct vmbus_ring_writer *to_host, struct vmbus_ring_reader *from_host)
{
	ic_guest_init(&timesync->ic, &ic_config, to_host, from_host, timesync->buffer,
		      sizeof(timesync->buffer));
	timesync->config = *config;
	timesync->known = false;
	memset(&timesync->told, 0, sizeof(timesync->told));
}

/* One message, whatever its version, checked for length only. */
struct message {
	uint64_t parent_100ns;    /* since 1601 */
	uint64_t reference_100ns; /* when the parent's clock was read */
	uint8_t flags, leap_indicator, stratum;
};

static bool read_message(struct ic_guest *ic, const struct timesync_guest_now *now,
			 struct message *out_message)
{
	if (ic_guest_version_is(ic, 4, 0)) {
		struct timesync_message_4 wire;

		if (ic->message_bytes < sizeof(wire))
			return false;
		memcpy(&wire, ic->message, sizeof(wire));
		*out_message = (struct message){
			.parent_100ns = wire.parent_time_100ns,
			.reference_100ns = wire.vm_reference_time_100ns,
			.flags = wire.flags, .leap_indicator = wire.leap_indicator,
			.stratum = wire.stratum,
		};
	} else {
		struct timesync_message wire = { 0 };

		if (ic->message_bytes < TIMESYNC_MESSAGE_BYTES)
			return false;
		memcpy(&wire, ic->message, TIMESYNC_MESSAGE_BYTES);
		/* Older hosts do not say when they read their clock; it was a moment ago. */
		*out_message = (struct message){
			.parent_100ns = wire.parent_time_100ns,
			.reference_100ns = now->reference_100ns,
			.flags = wire.flags,
		};
	}
	return true;
}

/* A clock reckoned on from one reading of the counter to another; false where that cannot be. */
static bool reckon(uint64_t utc_100ns, uint64_t from_100ns, uint64_t to_100ns,
		   uint64_t *out_utc_100ns)
{
	uint64_t ahead_100ns = from_100ns - to_100ns;

	if (utc_100ns > TIMESYNC_GUEST_UTC_MAX_100NS)
		return false;
	if (from_100ns > to_100ns) {
		if (ahead_100ns > FUTURE_100NS || ahead_100ns > utc_100ns)
			return false;
		*out_utc_100ns = utc_100ns - ahead_100ns;
		return true;
	}
	if (to_100ns - from_100ns > TIMESYNC_GUEST_UTC_MAX_100NS - utc_100ns)
		return false;
	*out_utc_100ns = utc_100ns + (to_100ns - from_100ns);
	return true;
}

/* Is a sample as good as an order? */
static bool follows(const struct timesync_guest_config *config, int64_t offset_100ns)
{
	if (config->follow_samples)
		return true;
	if (!config->follow_behind_100ns || offset_100ns < 0)
		return false;
	return (uint64_t)offset_100ns >= config->follow_behind_100ns;
}

/* What to do about an offset. @guest_100ns may be anything the port's clock says. */
static void decide(struct timesync_guest *timesync, uint64_t guest_100ns, bool ordered)
{
	const struct timesync_guest_config *config = &timesync->config;
	uint64_t step_100ns = config->step_100ns ? config->step_100ns : TIMESYNC_GUEST_STEP_100NS;
	struct timesync_guest_time *told = &timesync->told;
	uint64_t distance_100ns;

	if (guest_100ns > TIMESYNC_GUEST_UTC_MAX_100NS)
		guest_100ns = TIMESYNC_GUEST_UTC_MAX_100NS;
	told->ordered = ordered;
	told->offset_100ns = (int64_t)(told->utc_100ns - guest_100ns);
	distance_100ns = told->utc_100ns > guest_100ns ? told->utc_100ns - guest_100ns :
							 guest_100ns - told->utc_100ns;
	if (!ordered && !follows(config, told->offset_100ns))
		told->action = TIMESYNC_GUEST_LEAVE;
	else if (distance_100ns > step_100ns)
		told->action = TIMESYNC_GUEST_STEP;
	else
		told->action = TIMESYNC_GUEST_SLEW;
}

/* Returns TIMESYNC_GUEST_EVENT_TIME or 0; *out_status is the answer. */
static uint32_t take_time(struct timesync_guest *timesync, const struct timesync_guest_now *now,
			  uint32_t *out_status)
{
	struct ic_guest *ic = &timesync->ic;
	struct message message;
	uint64_t utc_100ns;

	*out_status = IC_STATUS_FAIL;
	if (!read_message(ic, now, &message)) {
		ic_guest_violation(ic, "a time that is too short");
		return 0;
	}
	if (message.parent_100ns < TIMESYNC_UNIX_EPOCH_100NS ||
	    !reckon(message.parent_100ns - TIMESYNC_UNIX_EPOCH_100NS, message.reference_100ns,
		    now->reference_100ns, &utc_100ns)) {
		ic_guest_violation(ic, "a time that cannot be");
		return 0;
	}
	*out_status = IC_STATUS_OK;
	if (!(message.flags & (TIMESYNC_SYNC | TIMESYNC_SAMPLE)))
		return 0;
	timesync->known = true;
	timesync->known_utc_100ns = message.parent_100ns - TIMESYNC_UNIX_EPOCH_100NS;
	timesync->known_reference_100ns = message.reference_100ns;
	timesync->told.utc_100ns = utc_100ns;
	timesync->told.leap_indicator = message.leap_indicator;
	timesync->told.stratum = message.stratum;
	decide(timesync, now->utc_100ns, message.flags & TIMESYNC_SYNC);
	return TIMESYNC_GUEST_EVENT_TIME;
}

uint32_t timesync_guest_receive(struct timesync_guest *timesync,
				const struct timesync_guest_now *now)
{
	uint32_t events = ic_guest_receive(&timesync->ic);
	uint32_t status;

	if (events & IC_GUEST_EVENT_MESSAGE) {
		events |= take_time(timesync, now, &status);
		events |= ic_guest_answer(&timesync->ic, status, timesync->ic.message_bytes);
	}
	return events & ~IC_GUEST_EVENT_MESSAGE;
}

int timesync_guest_host_time(const struct timesync_guest *timesync, uint64_t reference_100ns,
			     uint64_t *out_utc_100ns)
{
	if (!timesync->known)
		return -LIS_AGAIN;
	if (reference_100ns > timesync->known_reference_100ns &&
	    reference_100ns - timesync->known_reference_100ns > TIMESYNC_GUEST_STALE_100NS)
		return -LIS_TIMEOUT;
	if (!reckon(timesync->known_utc_100ns, timesync->known_reference_100ns, reference_100ns,
		    out_utc_100ns))
		return -LIS_TIMEOUT;
	return 0;
}
