/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The storage end of a scripted guest: sends whatever packets a test wants, also wrong ones. For
 * tests and benchmarks, on top of the mini guest.
 */
#ifndef OPENLIS_TESTS_STORVSP_GUEST_H
#define OPENLIS_TESTS_STORVSP_GUEST_H

#include "storage/storvsc_protocol.h"
#include "tests/loopback/mini_guest.h"

/* A packet from the host. */
struct storvsp_reply {
	uint16_t type;
	uint64_t id;
	uint32_t bytes;
	struct storvsc_packet packet;
};

/** storvsp_guest_write() - One packet into the ring, signalled if wanted. Returns 0, -LIS_FULL. */
int storvsp_guest_write(struct mini_channel *channel,
			const struct vmbus_packet_out *packet) LIS_MUST_USE;

/** storvsp_guest_send() - An in-band question: the first @bytes of @packet. */
int storvsp_guest_send(struct mini_channel *channel, uint64_t id,
		       const struct storvsc_packet *packet, size_t bytes) LIS_MUST_USE;

/** storvsp_guest_receive() - Next packet of the host. Returns 0, -LIS_EMPTY, -LIS_CORRUPT. */
int storvsp_guest_receive(struct mini_channel *channel,
			  struct storvsp_reply *out_reply) LIS_MUST_USE;

/** storvsp_guest_wait() - As receive, pumping until there is something or -LIS_TIMEOUT. */
int storvsp_guest_wait(struct mini_channel *channel, struct storvsp_reply *out_reply) LIS_MUST_USE;

/** storvsp_guest_call() - Send an in-band question and wait for its answer. */
int storvsp_guest_call(struct mini_channel *channel, const struct storvsc_packet *packet,
		       size_t bytes, struct storvsp_reply *out_reply) LIS_MUST_USE;

/** storvsp_guest_init() - The set-up a driver does, for one version. Returns 0, -LIS_REFUSED. */
int storvsp_guest_init(struct mini_channel *channel, uint16_t version) LIS_MUST_USE;

#endif
