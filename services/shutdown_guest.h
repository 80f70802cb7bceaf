/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Guest end of the shutdown service: the host asks, the guest says whether it will, and then the
 * port does it. The answer is in the ring when the port hears of the request, so that it may begin
 * at once.
 */
#ifndef OPENLIS_SERVICES_SHUTDOWN_GUEST_H
#define OPENLIS_SERVICES_SHUTDOWN_GUEST_H

#include "services/ic_guest.h"
#include "services/shutdown_protocol.h"

/* The port shall do what shutdown_guest.request says; signal the host first. */
#define SHUTDOWN_GUEST_EVENT_REQUEST 0x100u

enum shutdown_guest_kind {
	SHUTDOWN_GUEST_POWER_OFF,
	SHUTDOWN_GUEST_REBOOT,
	SHUTDOWN_GUEST_HIBERNATE,
};

struct shutdown_guest_request {
	enum shutdown_guest_kind kind;
	bool force;               /* applications are not to be asked */
	uint32_t reason;          /* SHUTDOWN_REASON_* */
	uint32_t timeout_seconds; /* as the host said; what it means is the port's business */
};

struct shutdown_guest {
	struct ic_guest ic;
	bool can_hibernate;
	bool under_way; /* @request was taken and is not over */
	struct shutdown_guest_request request;
	_Alignas(8) uint8_t buffer[IC_GUEST_BUFFER_BYTES];
};

/**
 * shutdown_guest_init() - Begin with a channel that was just opened.
 * @shutdown: set; in the port's storage
 * @to_host: the channel's rings; stay the caller's, and valid
 * @from_host: likewise
 * @can_hibernate: the port can; else such requests are refused
 *
 * Context: any.
 */
void shutdown_guest_init(struct shutdown_guest *shutdown, struct vmbus_ring_writer *to_host,
			 struct vmbus_ring_reader *from_host, bool can_hibernate);

/**
 * shutdown_guest_receive() - The host signalled.
 *
 * A request while another one is under way is not given to the port: the same kind is answered with
 * success, since it is being done, another kind is refused.
 *
 * Context: caller serializes.
 * Return: IC_GUEST_EVENT_*, SHUTDOWN_GUEST_EVENT_* or 0.
 */
uint32_t shutdown_guest_receive(struct shutdown_guest *shutdown) LIS_MUST_USE;

/**
 * shutdown_guest_over() - What was asked for is over and the guest lives: it failed, or the guest
 * is back from hibernation. Takes new requests.
 *
 * Context: caller serializes.
 */
void shutdown_guest_over(struct shutdown_guest *shutdown);

#endif
