/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Both ends of the network, joined by the loopback partition: the guest end with the real VSP and a
 * network port in memory. All loops are turned by the test's own thread, and the guest's time is a
 * number. Everything here asserts.
 */
#ifndef OPENLIS_TESTS_NETVSC_PAIR_H
#define OPENLIS_TESTS_NETVSC_PAIR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "network/netvsc.h"
#include "network/netvsp.h"
#include "tests/loopback/memory_port.h"
#include "tests/loopback/mini_guest.h"
#include "tests/loopback/net_frames.h"

#define SECOND_NS 1000000000ull
#define PAIR_TIMEOUT_NS (10 * SECOND_NS)
#define PAIR_LANES 8u
#define PAIR_DATA_PAGES 64u
#define PAIR_FRAME_BYTES (PAIR_DATA_PAGES * HV_PAGE_BYTES)
#define PAIR_FILTER (NDIS_FILTER_DIRECTED | NDIS_FILTER_BROADCAST | NDIS_FILTER_ALL_MULTICAST)

/* What a test wants to be different; all zero: see pair_begin(). */
struct pair_config {
	uint32_t can_send, can_receive; /* of the port: NET_CAN_* */
	uint32_t mtu_max;               /* of the port; 0: 65521 */
	uint16_t channels_max;          /* of the card; 0: PAIR_LANES */
	uint32_t host_version;          /* newest the host takes; 0: all */
	uint32_t ring_pages;            /* 0: 17 */
	uint32_t queue_depth;           /* 0: 64 */
	uint32_t head_pages;            /* 0: 2 */
	uint32_t receive_pages;         /* 0: 1024 */
	uint32_t send_pages;            /* 0: 64 */
	struct netvsc_config guest;     /* version_max, mtu, coalesce, isolated; the rest is filled in */
};

/* A frame that the guest received. */
struct pair_frame {
	struct pair_frame *next;
	uint32_t lane;
	struct netvsc_frame info; /* parts are gone */
	uint8_t data[];
};

/* One channel of the driver, with the rings it works on. */
struct lane {
	struct mini_channel mini;
	struct netvsc_channel netvsc;
	uint8_t *heads;
	struct gpa heads_gpa;
	uint64_t *head_pfns;
	bool open;
};

struct pair {
	struct pair_config config;
	struct io_loop *loops[2];
	struct partition *partition;
	struct vmbus_host *host;
	struct memory_port port;
	struct netvsp *netvsp;
	struct mini_guest guest;
	struct io_call call;
	unsigned called;

	struct netvsc netvsc;
	struct lane lanes[PAIR_LANES];
	struct gpa control_gpa, receive_gpa, send_gpa, data_gpa;
	uint8_t *control, *data; /* @data: for a frame to send */
	struct netvsc_buffer receive, send;
	uint32_t events;         /* since the test looked last */
	uint64_t now_ns;
	uint32_t signals;
	unsigned allocations;
	struct pair_frame *received, **received_end;
	uint32_t received_count;
	struct netvsc_ended ended; /* all there ever were; requests: how many, in ended_requests */
	uint32_t ended_requests;
	bool hold;               /* the guest takes nothing from its rings */
};

extern const uint8_t pair_mac[NET_MAC_BYTES];

/** pair_begin() - A card is offered, the guest is connected, no more. */
struct pair *pair_begin(const struct pair_config *config);
void pair_end(struct pair *pair);

/* As cmocka wants them: *state is a struct pair that begins with a port that knows checksums. */
int pair_setup(void **state);
int pair_teardown(void **state);
/** pair_again() - Another pair in place of this one. */
struct pair *pair_again(void **state, const struct pair_config *config);

/** pair_open() - netvsc_init(), the primary channel, netvsc_start(). */
void pair_open(struct pair *pair);
/** pair_serve_buffers() - Share the buffers and hand them over. */
void pair_share(struct pair *pair);
/** pair_ready() - As far as frames flow, with @subs sub-channels, and RSS over all of them. */
void pair_ready(struct pair *pair, uint32_t subs);
/** pair_leave() - As a port does at its end, or before it begins anew. */
void pair_leave(struct pair *pair);

/** pair_open_lane() - A channel that the host offers. */
struct lane *pair_open_lane(struct pair *pair, uint32_t index);
void pair_close_lane(struct pair *pair, uint32_t index);

/** pair_turn_host() - Some turns of the host's loops. */
void pair_turn_host(struct pair *pair);
/** pair_turn_guest() - What a port does on an interrupt and after it. */
void pair_turn_guest(struct pair *pair);
/** pair_settle() - Until nothing more happens. The port must not have complained. */
void pair_settle(struct pair *pair);
/** pair_events() - All that happened up to now, and forget it. */
uint32_t pair_events(struct pair *pair);
/** pair_control() - The request that was begun is over. Return: its error. */
int pair_control(struct pair *pair, int begun);

/**
 * pair_describe() - pair->data as a frame of @bytes, beginning @offset bytes into its first page, in
 * pieces of up to @piece_bytes.
 */
struct netvsc_packet pair_describe(struct pair *pair, struct netvsc_piece *pieces, uint32_t offset,
				   uint32_t bytes, uint32_t piece_bytes);
/** pair_fill() - A frame that is no IP, any bytes to anybody; @seed: which. */
void pair_fill(uint8_t *data, uint32_t bytes, uint32_t seed);
/** pair_send() - Send and flush on a lane; the frame is over when this returns. */
void pair_send(struct pair *pair, uint32_t lane, const struct netvsc_packet *packet);
/** pair_took() - The oldest frame that came out of the port; freed by the caller. */
struct memory_frame *pair_took(struct pair *pair);

/** pair_received() - The oldest frame that the guest received; freed by the caller. NULL: none. */
struct pair_frame *pair_received(struct pair *pair);

#endif
