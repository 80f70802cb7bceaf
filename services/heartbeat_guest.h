/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Guest end of the heartbeat service: each number of the host is answered with the next one, and
 * with the state of the guest's applications where the port knows that.
 */
#ifndef OPENLIS_SERVICES_HEARTBEAT_GUEST_H
#define OPENLIS_SERVICES_HEARTBEAT_GUEST_H

#include "services/heartbeat_protocol.h"
#include "services/ic_guest.h"

struct heartbeat_guest {
	struct ic_guest ic;
	enum heartbeat_application application;
	uint64_t sequence; /* answered last */
	_Alignas(8) uint8_t buffer[IC_GUEST_BUFFER_BYTES];
};

/**
 * heartbeat_guest_init() - Begin with a channel that was just opened.
 * @heartbeat: set; in the port's storage
 * @to_host: the channel's rings; stay the caller's, and valid
 * @from_host: likewise
 *
 * Context: any.
 */
void heartbeat_guest_init(struct heartbeat_guest *heartbeat, struct vmbus_ring_writer *to_host,
			  struct vmbus_ring_reader *from_host);

/**
 * heartbeat_guest_set_application() - What to say of the applications from now on.
 * @application: HEARTBEAT_APPLICATION_UNKNOWN at first
 *
 * Context: caller serializes.
 */
void heartbeat_guest_set_application(struct heartbeat_guest *heartbeat,
				     enum heartbeat_application application);

/**
 * heartbeat_guest_receive() - The host signalled.
 *
 * Context: caller serializes.
 * Return: IC_GUEST_EVENT_* or 0.
 */
uint32_t heartbeat_guest_receive(struct heartbeat_guest *heartbeat) LIS_MUST_USE;

#endif
