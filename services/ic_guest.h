/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The guest end that all integration services share: it agrees on versions, takes requests out of
 * the ring, one at a time, and writes their answers. The services themselves (heartbeat_guest.h and
 * so on) embed a struct ic_guest and know only messages.
 *
 * Portable and passive: no locks, no clock, no memory of its own, no I/O. The port calls the
 * service's receive function when the host signals, and does what the bits it returns say,
 * IC_GUEST_EVENT_*. The caller serializes on each service.
 *
 * The host is not trusted: a packet is copied out of the ring, its lengths are held against each
 * other and against the buffer, and what does not fit is counted and dropped without an answer.
 *
 * Sources: [linux 6.1 drivers/hv/channel_mgmt.c vmbus_prep_negotiate_resp],
 * [openvmm hyperv_ic/src].
 */
#ifndef OPENLIS_SERVICES_IC_GUEST_H
#define OPENLIS_SERVICES_IC_GUEST_H

#include "services/ic_protocol.h"
#include "vmbus/ring.h"

/* What a receive asks of the port. Bits from 0x100 on belong to the service. */
#define IC_GUEST_EVENT_SIGNAL 0x01u  /* signal the host */
#define IC_GUEST_EVENT_MORE 0x02u    /* there may be more: call again before waiting */
#define IC_GUEST_EVENT_READY 0x04u   /* versions are agreed on */
#define IC_GUEST_EVENT_REFUSED 0x08u /* the host has no version that we know */
#define IC_GUEST_EVENT_BROKEN 0x10u  /* the ring is of no use any more: close the channel */
#define IC_GUEST_EVENT_MESSAGE 0x20u /* a request for the service; never leaves it */

/* [policy] Room for a packet of the small services; a longer one breaks the ring. As in Linux. */
#define IC_GUEST_BUFFER_BYTES 4096u

/* Constant; not copied. */
struct ic_guest_config {
	const char *name;
	enum ic_message_type type;
	const struct ic_version *versions; /* of the service, the best first */
	uint32_t version_count;
};

struct ic_guest_counters {
	uint64_t requests;   /* for the service */
	uint64_t answers;    /* to all that was sound */
	uint64_t violations; /* packets that broke the protocol */
};

/* The request at hand: its message is @message_bytes long, at @message, 4-byte aligned. */
struct ic_guest {
	const struct ic_guest_config *config;
	struct vmbus_ring_writer *to_host;
	struct vmbus_ring_reader *from_host;
	uint8_t *buffer;
	uint32_t buffer_bytes;
	bool ready, broken;
	struct ic_version framework, version; /* once ready */
	struct ic_guest_counters counters;

	bool at_hand; /* taken, not answered */
	bool waiting; /* answered, but the ring was full */
	uint64_t packet_id;
	struct ic_header header;
	uint8_t *message;
	uint32_t message_bytes;
};

/**
 * ic_guest_init() - Begin with a channel that was just opened.
 * @ic: set
 * @config: what the service is; stays valid
 * @to_host: the channel's rings; stay the caller's, and valid
 * @from_host: likewise
 * @buffer: the caller's, 8-byte aligned
 * @buffer_bytes: its size
 *
 * Context: any.
 */
void ic_guest_init(struct ic_guest *ic, const struct ic_guest_config *config,
		   struct vmbus_ring_writer *to_host, struct vmbus_ring_reader *from_host,
		   void *buffer, uint32_t buffer_bytes);

/**
 * ic_guest_receive() - Take packets up to the first that is for the service.
 * @ic: initialized
 *
 * Answers version offers and what is not for the service by itself. After IC_GUEST_EVENT_MESSAGE
 * the service answers by ic_guest_answer(), now or later; no other packet is taken before.
 *
 * Context: caller serializes.
 * Return: IC_GUEST_EVENT_* or 0.
 */
uint32_t ic_guest_receive(struct ic_guest *ic) LIS_MUST_USE;

/**
 * ic_guest_answer() - Answer the request at hand with what is in @ic->message now.
 * @ic: with a request at hand
 * @status: IC_STATUS_*
 * @message_bytes: length of the answer, at most that of the request
 *
 * Where the ring is full the answer waits, and so does all that the host sends, until it has room.
 *
 * Context: caller serializes.
 * Return: IC_GUEST_EVENT_* or 0.
 */
uint32_t ic_guest_answer(struct ic_guest *ic, uint32_t status, uint32_t message_bytes) LIS_MUST_USE;

/** ic_guest_violation() - The host broke the service's own protocol: count, and log thinned out. */
void ic_guest_violation(struct ic_guest *ic, const char *what);

/** ic_guest_version_is() - Is the version agreed on at least @major.@minor? */
static inline bool ic_guest_version_is(const struct ic_guest *ic, uint16_t major, uint16_t minor)
{
	return ic->ready && (ic->version.major > major ||
			     (ic->version.major == major && ic->version.minor >= minor));
}

#endif
