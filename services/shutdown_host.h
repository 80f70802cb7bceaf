/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Host end of the shutdown service: asks the guest to power off, restart or hibernate, and says
 * what it answered. That it then really does so is seen elsewhere (the machine stops or resets).
 * Everything here belongs to the bus loop.
 */
#ifndef OPENLIS_SERVICES_SHUTDOWN_HOST_H
#define OPENLIS_SERVICES_SHUTDOWN_HOST_H

#include "services/ic_host.h"
#include "services/shutdown_protocol.h"

struct shutdown_host;

enum shutdown_kind {
	SHUTDOWN_POWER_OFF,
	SHUTDOWN_REBOOT,           /* guests of 3.1 or newer */
	SHUTDOWN_HIBERNATE_GUEST,  /* guests of 3.2 or newer */
};

enum shutdown_result {
	SHUTDOWN_ACCEPTED,    /* the guest has begun */
	SHUTDOWN_REFUSED,     /* it will not: @status */
	SHUTDOWN_UNSUPPORTED, /* it says that it cannot */
	SHUTDOWN_TIMED_OUT,   /* no answer in time; it may still act on the request */
	SHUTDOWN_NO_ANSWER,   /* its driver went away before it answered */
};

/* One request, in the caller's storage; stays in place until @done was called. */
struct shutdown_request {
	enum shutdown_kind kind;
	bool force;             /* do not let applications object */
	uint32_t timeout_ms;    /* for the answer; 0: SHUTDOWN_ANSWER_MS */
	/** @done: once for each accepted shutdown_host_request(). @status: IC_STATUS_* of the guest. */
	void (*done)(struct shutdown_request *request, enum shutdown_result result, uint32_t status);
};

#define SHUTDOWN_ANSWER_MS 10000u /* [policy] */

struct shutdown_status {
	struct ic_host_status ic;
	bool pending;
	bool reboot_supported, hibernate_supported; /* by the agreed version */
};

/**
 * shutdown_host_create() - Offer the service.
 * @host: the bus
 * @loop: the bus loop, for the timer
 * @out_shutdown: set on success only
 *
 * Context: bus loop, or before it runs.
 * Return: 0, -LIS_NOMEM, -LIS_FULL, -LIS_BUSY (see vmbus_host_offer()).
 */
int shutdown_host_create(struct vmbus_host *host, struct io_loop *loop,
			 struct shutdown_host **out_shutdown) LIS_MUST_USE;

/**
 * shutdown_host_destroy() - Rescind the service and free it.
 * @shutdown: a request that is pending ends with SHUTDOWN_NO_ANSWER; NULL is fine
 * @done: called on the bus loop when it is gone; may be NULL
 *
 * Context: bus loop.
 */
void shutdown_host_destroy(struct shutdown_host *shutdown, struct io_call *done);

/**
 * shutdown_host_request() - Ask the guest.
 * @shutdown: the service
 * @request: what to ask; filled but for nothing private
 *
 * Context: bus loop. The request's done() is not called from inside.
 * Return: 0, -LIS_GONE (no driver in the guest, or not through with versions yet), -LIS_BUSY (one
 * is pending), -LIS_UNSUPPORTED (the agreed version has no such request), -LIS_FULL, -LIS_CORRUPT.
 */
int shutdown_host_request(struct shutdown_host *shutdown,
			  struct shutdown_request *request) LIS_MUST_USE;

/** shutdown_host_status() - What is known. Context: bus loop. */
void shutdown_host_status(const struct shutdown_host *shutdown, struct shutdown_status *out_status);

/** shutdown_result_text() - In words, for a person. */
const char *shutdown_result_text(enum shutdown_result result);

#endif
