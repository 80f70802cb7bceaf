/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Between the two halves of the guest end of storage: storvsc.c has the controller, its set-up and
 * its life; storvsc_channel.c has what is done with one channel. Nobody else includes this.
 */
#ifndef OPENLIS_STORAGE_STORVSC_PRIVATE_H
#define OPENLIS_STORAGE_STORVSC_PRIVATE_H

#include <string.h>

#include "storage/storvsc.h"

/* Slots for own_step and own_reset, so that these find one when commands have taken all theirs. */
#define STORVSC_OWN_SLOTS 2u

/**
 * storvsc_send() - Write the packet of a request, under an id of its own.
 * @packet: complete but for its flags; config.packet_bytes of it travel
 * Return: 0, -LIS_FULL (ring or table), -LIS_INVALID, -LIS_CORRUPT.
 */
int storvsc_send(struct storvsc_channel *channel, struct storvsc_request *request,
		 struct storvsc_packet *packet) LIS_MUST_USE;

/** storvsc_violation() - The host broke the protocol on a channel: count, and log thinned out. */
void storvsc_violation(struct storvsc_channel *channel, const char *what);

/**
 * storvsc_setup_answer() - The answer to the step under way; sends the next one.
 * @packet: a private copy, at least STORVSC_HEADER_BYTES of it; NULL: the answer made no sense
 * @bytes: how much of @packet there is
 * Return: STORVSC_EVENT_*
 */
uint32_t storvsc_setup_answer(struct storvsc *storvsc, const struct storvsc_packet *packet,
			      uint32_t bytes) LIS_MUST_USE;

/** storvsc_setup_late() - The step under way was not answered in time. Return: STORVSC_EVENT_* */
uint32_t storvsc_setup_late(struct storvsc *storvsc) LIS_MUST_USE;

#endif
