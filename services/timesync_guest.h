/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Guest end of time synchronization: the host's clock, told as an order to set the guest's or as a
 * sample. The port gives its own clocks with each call and gets back how far they are off, and what
 * to do about it: nothing, slew, or step.
 *
 * Times are UTC in 100 ns since 1970-01-01, and never beyond what 64-bit nanoseconds can hold.
 */
#ifndef OPENLIS_SERVICES_TIMESYNC_GUEST_H
#define OPENLIS_SERVICES_TIMESYNC_GUEST_H

#include "services/ic_guest.h"
#include "services/timesync_protocol.h"

/* The host told its time: see timesync_guest.told. */
#define TIMESYNC_GUEST_EVENT_TIME 0x100u

/* Beyond this, a 64-bit signed number of nanoseconds overflows: 2262-04-11. */
#define TIMESYNC_GUEST_UTC_MAX_100NS 92233720368547758ull

/* [policy] Up to here the clock is slewed; NTP daemons step from 0.1 to 1 s on. */
#define TIMESYNC_GUEST_STEP_100NS 5000000ull

/* [linux 6.1 drivers/hv/hv_util.c HOST_TIMESYNC_DELAY_THRESH] 600 s */
#define TIMESYNC_GUEST_STALE_100NS 6000000000ull

enum timesync_guest_action {
	TIMESYNC_GUEST_LEAVE, /* a sample, and it is not to be followed */
	TIMESYNC_GUEST_SLEW,  /* by @offset_100ns */
	TIMESYNC_GUEST_STEP,
};

/* The guest's clocks, read together. */
struct timesync_guest_now {
	uint64_t utc_100ns;
	uint64_t reference_100ns; /* the partition's reference counter */
};

struct timesync_guest_time {
	enum timesync_guest_action action;
	bool ordered;          /* the host asked to set the clock; else it is a sample */
	int64_t offset_100ns;  /* what to add to the guest's clock */
	uint64_t utc_100ns;    /* the host's clock, at @now of the call */
	uint8_t leap_indicator, stratum; /* as in NTP; 0 below version 4.0 */
};

/* The port may change it between calls. */
struct timesync_guest_config {
	uint64_t step_100ns; /* up to here the clock is slewed; 0: TIMESYNC_GUEST_STEP_100NS */
	bool follow_samples; /* else only orders change the clock; samples feed the PTP clock */
	/*
	 * Not 0: a sample is followed where the guest is this far behind, or further. Some hosts
	 * forget to order it after a resume.
	 */
	uint64_t follow_behind_100ns;
};

struct timesync_guest {
	struct ic_guest ic;
	struct timesync_guest_config config;
	struct timesync_guest_time told;
	/* What the host's clock was at a reading of the counter; for timesync_guest_host_time(). */
	bool known;
	uint64_t known_utc_100ns, known_reference_100ns;
	_Alignas(8) uint8_t buffer[IC_GUEST_BUFFER_BYTES];
};

/**
 * timesync_guest_init() - Begin with a channel that was just opened.
 * @timesync: set; in the port's storage
 * @config: copied
 * @to_host: the channel's rings; stay the caller's, and valid
 * @from_host: likewise
 *
 * Context: any.
 */
void timesync_guest_init(struct timesync_guest *timesync,
			 const struct timesync_guest_config *config,
			 struct vmbus_ring_writer *to_host, struct vmbus_ring_reader *from_host);

/**
 * timesync_guest_receive() - The host signalled.
 * @timesync: initialized
 * @now: the guest's clocks, read just before
 *
 * Takes one message at most for each call, so that none hides another: call again on
 * IC_GUEST_EVENT_MORE.
 *
 * Context: caller serializes.
 * Return: IC_GUEST_EVENT_*, TIMESYNC_GUEST_EVENT_* or 0.
 */
uint32_t timesync_guest_receive(struct timesync_guest *timesync,
				const struct timesync_guest_now *now) LIS_MUST_USE;

/**
 * timesync_guest_host_time() - The host's clock now, reckoned on from what it told last.
 * @timesync: initialized
 * @reference_100ns: the partition's reference counter
 * @out_utc_100ns: set on success only
 *
 * Context: caller serializes.
 * Return: 0, -LIS_AGAIN (it told nothing yet), -LIS_TIMEOUT (too long ago:
 * TIMESYNC_GUEST_STALE_100NS).
 */
int timesync_guest_host_time(const struct timesync_guest *timesync, uint64_t reference_100ns,
			     uint64_t *out_utc_100ns) LIS_MUST_USE;

#endif
