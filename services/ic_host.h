/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The host end that all integration services share: it offers the channel, negotiates versions and
 * carries requests and their answers, one at a time. The services themselves (heartbeat_host.h and
 * so on) embed a struct ic_host and know only messages.
 *
 * Everything here belongs to the bus loop.
 */
#ifndef OPENLIS_SERVICES_IC_HOST_H
#define OPENLIS_SERVICES_IC_HOST_H

#include "services/ic_protocol.h"
#include "vmbus/host.h"

enum ic_host_state {
	IC_HOST_CLOSED,      /* no driver in the guest has opened the channel */
	IC_HOST_NEGOTIATING, /* opened; the guest has not answered yet */
	IC_HOST_READY,
	IC_HOST_REFUSED,     /* the guest knows none of the versions */
};

struct ic_host;

struct ic_host_ops {
	/** @ready: versions are agreed; ic_host_request() works from now on. */
	void (*ready)(struct ic_host *ic);
	/**
	 * @answer: the answer to the request in flight, which is over now: the next one may be sent.
	 * @message is a private copy, and as long as the guest said. Returns NULL, or what is
	 * wrong with it: the channel is broken then.
	 */
	const char *(*answer)(struct ic_host *ic, uint32_t status, const void *message,
			      size_t message_bytes);
	/** @closed: the channel is gone; what was in flight will not be answered. */
	void (*closed)(struct ic_host *ic);
};

/* Constant; not copied. */
struct ic_host_config {
	const char *name;
	struct guid interface_id;
	struct guid instance_id;
	enum ic_message_type type;
	const struct ic_version *versions; /* of the service, ascending */
	size_t version_count;              /* at most IC_HOST_VERSIONS_MAX */
	const struct ic_host_ops *ops;
};

#define IC_HOST_VERSIONS_MAX 8u

struct ic_host_counters {
	uint64_t requests;
	uint64_t answers;
	uint64_t strays;        /* answers to nothing in flight: dropped */
	uint64_t round_trip_ns; /* of the last request, 0: none answered yet */
};

struct ic_host {
	const struct ic_host_config *config;
	struct io_loop *loop;
	struct vmbus_device *device;
	struct vmbus_channel *channel;
	struct io_timer start;   /* negotiation starts one turn after open() */
	enum ic_host_state state;
	struct ic_version framework, version;
	bool in_flight;
	uint8_t transaction_id;  /* of the last request */
	uint64_t sent_ns;
	struct ic_host_counters counters;
	_Alignas(8) uint8_t buffer[IC_MESSAGE_BYTES_MAX + 64];
};

/* What status reports say about any service. */
struct ic_host_status {
	enum ic_host_state state;
	struct ic_version framework, version; /* once IC_HOST_READY */
	struct ic_host_counters counters;
};

/**
 * ic_host_init() - Offer a service to the guest.
 * @ic: caller's storage, stays in place until ic_host_fini() is through
 * @config: what the service is; must stay valid
 * @host: the bus
 * @loop: the bus loop
 *
 * Context: bus loop, or before it runs.
 * Return: 0, -LIS_NOMEM, -LIS_FULL, -LIS_BUSY (see vmbus_host_offer()).
 */
int ic_host_init(struct ic_host *ic, const struct ic_host_config *config, struct vmbus_host *host,
		 struct io_loop *loop) LIS_MUST_USE;

/**
 * ic_host_fini() - Take the service away from the guest.
 * @ic: may be offered, open or negotiating
 * @retired: called on the bus loop when nothing refers to @ic any more
 *
 * Context: bus loop.
 */
void ic_host_fini(struct ic_host *ic, struct io_call *retired);

/**
 * ic_host_request() - Send a request; the answer comes through ops->answer.
 * @ic: in IC_HOST_READY
 * @message: copied
 * @message_bytes: at most IC_MESSAGE_BYTES_MAX less the IC header
 *
 * Context: bus loop.
 * Return: 0, -LIS_GONE (not ready), -LIS_BUSY (one is in flight), -LIS_FULL (the guest does not
 * empty its ring: try later), -LIS_CORRUPT (it broke the ring; the channel is being closed).
 */
int ic_host_request(struct ic_host *ic, const void *message, size_t message_bytes) LIS_MUST_USE;

/**
 * ic_host_abandon() - Wait no longer for the answer in flight; if it comes it counts as a stray.
 *
 * Context: bus loop.
 */
void ic_host_abandon(struct ic_host *ic);

/** ic_host_status() - What is known. Context: bus loop. */
void ic_host_status(const struct ic_host *ic, struct ic_host_status *out_status);

/** ic_host_state_text() - "closed", "negotiating", "ready" or "refused". */
const char *ic_host_state_text(enum ic_host_state state);

/** ic_version_compare() - As memcmp, by major, then minor. */
int ic_version_compare(struct ic_version a, struct ic_version b);

#endif
