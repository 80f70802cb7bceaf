/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Host end of time synchronization: an order to set the clock when the guest's driver comes up,
 * after each resume and on request; samples in between. The guest's clock itself cannot be known
 * here: its answers do not say it. Everything here belongs to the bus loop.
 */
#ifndef OPENLIS_SERVICES_TIMESYNC_HOST_H
#define OPENLIS_SERVICES_TIMESYNC_HOST_H

#include "services/ic_host.h"
#include "services/timesync_protocol.h"

struct timesync_host;

struct timesync_config {
	/** @reference_time_100ns: the partition's reference counter, as the guest reads it now. */
	uint64_t (*reference_time_100ns)(void *clock);
	/** @utc_100ns: since 1970-01-01; NULL: CLOCK_REALTIME. */
	uint64_t (*utc_100ns)(void *clock);
	void *clock;
};

struct timesync_status {
	struct ic_host_status ic;
	bool paused;
	bool sync_pending;        /* an order to set the clock is yet to be sent or answered */
	uint64_t syncs;           /* orders that were answered */
	uint64_t samples;         /* samples that were answered */
	uint64_t refused;         /* answers with an error */
	uint64_t unanswered;      /* periods that passed without the answer they should have brought */
	uint64_t since_sync_ms;   /* since the driver in the guest took the last order; UINT64_MAX: never */
};

/**
 * timesync_host_create() - Offer the service.
 * @host: the bus
 * @loop: the bus loop, for the timer
 * @config: copied
 * @out_timesync: set on success only
 *
 * Context: bus loop, or before it runs.
 * Return: 0, -LIS_NOMEM, -LIS_FULL, -LIS_BUSY (see vmbus_host_offer()).
 */
int timesync_host_create(struct vmbus_host *host, struct io_loop *loop,
			 const struct timesync_config *config,
			 struct timesync_host **out_timesync) LIS_MUST_USE;

/**
 * timesync_host_destroy() - Rescind the service and free it.
 * @timesync: not to be used after; NULL is fine
 * @done: called on the bus loop when it is gone; may be NULL
 *
 * Context: bus loop.
 */
void timesync_host_destroy(struct timesync_host *timesync, struct io_call *done);

/**
 * timesync_host_sync() - Have the guest set its clock, now or when it can be asked.
 * @timesync: the service
 *
 * Context: bus loop.
 */
void timesync_host_sync(struct timesync_host *timesync);

/** timesync_host_pause() - The guest stops running: send nothing. Context: bus loop. */
void timesync_host_pause(struct timesync_host *timesync);

/** timesync_host_resume() - The guest runs again, and is late: sync. Context: bus loop. */
void timesync_host_resume(struct timesync_host *timesync);

/** timesync_host_status() - What is known. Context: bus loop. */
void timesync_host_status(const struct timesync_host *timesync, struct timesync_status *out_status);

#endif
