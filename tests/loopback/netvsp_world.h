/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A network card, a port in memory and a scripted guest. Both loops, the bus's and the card's, are
 * turned by the test's own thread, so every order of events is the test's choice.
 */
#ifndef OPENLIS_TESTS_NETVSP_WORLD_H
#define OPENLIS_TESTS_NETVSP_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "network/netvsp.h"
#include "tests/loopback/memory_port.h"
#include "tests/loopback/net_frames.h"
#include "tests/loopback/netvsp_guest.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* What a test wants to be different; all zero: see world_setup(). */
struct world_config {
	uint32_t can_send, can_receive; /* of the port */
	uint32_t mtu_max;               /* 0: 65521 */
	uint32_t card_mtu_max;          /* 0: the port's */
	uint16_t channels_max;
	uint32_t version_max;
	uint32_t ring_pages;            /* 0: 17 */
	uint32_t receive_pages;         /* 0: 1024 */
	uint32_t send_pages;            /* 0: 64 */
	uint32_t mtu_bytes;             /* with Ethernet header; 0: what the card says by itself */
	uint32_t capabilities;          /* NVSP_CAPABILITY_* */
	uint32_t version;               /* 0: the newest */
	bool guest_shares_cpu;
	bool simulated;                 /* the loops' time is world->now_ns */
};

struct world {
	struct world_config config;
	struct io_loop *bus_loop, *loop;
	uint64_t now_ns;
	struct partition *partition;
	struct vmbus_host *host;
	struct memory_port port;
	struct netvsp *netvsp;
	struct netvsp_guest guest;
	struct io_call call;
	_Atomic unsigned called;
};

extern const uint8_t world_mac[6];
extern const uint8_t world_key[NDIS_RSS_KEY_BYTES];

/** world_setup() - As cmocka wants it: a card is offered, the guest is connected, no more. */
int world_setup(void **state);
int world_teardown(void **state);

/** world_begin() - The same with what a test wants. */
void world_begin(void **state, const struct world_config *config);

/** world_again() - Another world in place of this one. */
struct world *world_again(void **state, const struct world_config *config);

/** world_open() - Primary channel, version, configuration. */
void world_open(struct world *world);

/** world_ready() - All that a driver does until frames flow, with @filter. */
void world_ready(struct world *world, uint32_t filter);

/** world_share() - Receive and send buffers. */
void world_share(struct world *world);

/** world_channels() - Have @count sub-channels, and open them. */
void world_channels(struct world *world, uint32_t count);

void world_set_filter(struct world *world, uint32_t filter);

/**
 * world_set_rss() - Spread flows over @count channels from @first on, by a hash of @types with world_key.
 * Returns RNDIS' status.
 */
uint32_t world_set_rss(struct world *world, uint32_t types, uint16_t flags, uint32_t first,
		       uint32_t count);
/** world_channel_of() - Where a hash goes then. */
uint32_t world_channel_of(uint32_t hash, uint32_t first, uint32_t count);

/** world_create_card() - Offer it, at first or again. */
void world_create_card(struct world *world);

/** world_destroy_card() - Rescind and free it; the guest is told nothing but by the bus. */
void world_destroy_card(struct world *world);

/** world_settle() - Until nothing more happens; nobody may have broken a promise. */
void world_settle(struct world *world);

/** world_check() - Nobody has broken a promise. */
void world_check(struct world *world);

/** world_carries() - One small frame goes each way. */
void world_carries(struct world *world);

/** world_is_alive() - The card still answers. */
void world_is_alive(struct world *world);

/** world_is_broken() - The channel was closed by the host, and the guest can begin again. */
void world_is_broken(struct world *world);

/** world_receives() - One frame to the guest, and it as it came there; freed by the caller. */
struct netvsp_guest_frame *world_receives(struct world *world, const uint8_t *data, uint32_t bytes,
					  const struct net_offload *offload);

/** world_random() - The next of some numbers, which are the same each time. */
uint32_t world_random(uint32_t *seed);

/** world_queue_numbered() - A frame for the guest that has its number in it. */
void world_queue_numbered(struct world *world, uint32_t number, uint32_t bytes);

/** world_take_numbered() - Those that came: *next and so on, in order, none from @end on. */
void world_take_numbered(struct world *world, uint32_t *next, uint32_t end);

/** world_runs() - Have the host run as long as it likes, without the guest's taking anything. */
void world_runs(struct world *world);

#define FILTER_ALL 0x2fu

#endif
