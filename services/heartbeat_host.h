/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Host end of the heartbeat service: a number every two seconds, all the time, and a count of those
 * that were not answered within their two seconds. Everything here belongs to the bus loop.
 */
#ifndef OPENLIS_SERVICES_HEARTBEAT_HOST_H
#define OPENLIS_SERVICES_HEARTBEAT_HOST_H

#include "services/heartbeat_protocol.h"
#include "services/ic_host.h"

struct heartbeat_host;

enum heartbeat_state {
	HEARTBEAT_NO_CONTACT, /* no driver in the guest, or it is not through with the versions */
	HEARTBEAT_OK,
	HEARTBEAT_LOST,       /* at least one is overdue */
	HEARTBEAT_PAUSED,     /* the guest does not run, so none is sent */
};

struct heartbeat_status {
	struct ic_host_status ic;
	enum heartbeat_state state;
	uint64_t sent;
	uint64_t answered;
	uint64_t lost;       /* periods that passed without the answer they should have brought */
	uint64_t silent_ms;  /* HEARTBEAT_LOST: since the last sign of life */
	enum heartbeat_application application; /* as the guest said last; unknown is the rule on Linux */
};

/**
 * heartbeat_host_create() - Offer the service.
 * @host: the bus
 * @loop: the bus loop, for the timer
 * @out_heartbeat: set on success only
 *
 * Context: bus loop, or before it runs.
 * Return: 0, -LIS_NOMEM, -LIS_FULL, -LIS_BUSY (see vmbus_host_offer()).
 */
int heartbeat_host_create(struct vmbus_host *host, struct io_loop *loop,
			  struct heartbeat_host **out_heartbeat) LIS_MUST_USE;

/**
 * heartbeat_host_destroy() - Rescind the service and free it.
 * @heartbeat: not to be used after; NULL is fine
 * @done: called on the bus loop when it is gone; may be NULL
 *
 * Context: bus loop.
 */
void heartbeat_host_destroy(struct heartbeat_host *heartbeat, struct io_call *done);

/** heartbeat_host_pause() - The guest stops running: silence is no loss. Context: bus loop. */
void heartbeat_host_pause(struct heartbeat_host *heartbeat);

/** heartbeat_host_resume() - The guest runs again. Context: bus loop. */
void heartbeat_host_resume(struct heartbeat_host *heartbeat);

/** heartbeat_host_status() - What is known. Context: bus loop. */
void heartbeat_host_status(const struct heartbeat_host *heartbeat,
			   struct heartbeat_status *out_status);

#endif
