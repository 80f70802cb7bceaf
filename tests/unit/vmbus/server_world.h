/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A world around one server: devices that answer when told to, a guest that sends what it is told
 * to, and a judge: every call the server makes is checked against what the server's header
 * promises.
 */
#ifndef OPENLIS_TESTS_SERVER_WORLD_H
#define OPENLIS_TESTS_SERVER_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vmbus/server.h"

#define WORLD_VPS 4u
#define WORLD_CHANNELS 12u
#ifndef WORLD_SENT_MAX /* the fuzzers want small worlds */
#define WORLD_SENT_MAX 4096u
#endif
#define WORLD_PAGES 0x10000u /* guest memory: page numbers below this */

enum device_state { DEVICE_IDLE, DEVICE_OPENING, DEVICE_OPEN, DEVICE_CLOSING };

struct world_channel {
	struct vmbus_server_channel server; /* first */
	enum device_state device;
	bool offered, rescinding, modifying;
	uint32_t target_vp;
	struct vmbus_server_open open;
	struct vmbus_server_range ring;
	uint32_t opens, closes, releases;
};

struct sent {
	uint32_t vp, type;
	size_t bytes;
	uint64_t payload[VMBUS_MESSAGE_BYTES_MAX / 8];
};

struct world {
	struct vmbus_server server;
	struct world_channel channels[WORLD_CHANNELS];
	struct sent sent[WORLD_SENT_MAX];
	size_t sent_count, read_count;
	uint32_t allocated;
	int allocs_until_failure;   /* -1: never */
	bool post_fails;
	int connect_error;          /* of the next ops->connected */
	int open_error;             /* of the next ops->open_channel */
	bool connected;
	struct vmbus_server_connection connection;
	uint32_t resets_done;
	bool busy;                  /* an op that calls back would be seen */
};

void world_init(struct world *world, const struct vmbus_server_config *config);
/* The server must be empty-handed after this. */
void world_fini(struct world *world);
/* Offer channel @at as a device of its own, or as sub-channel @index of channel @of. */
int world_offer(struct world *world, uint32_t at);
int world_offer_sub(struct world *world, uint32_t at, uint32_t of, uint16_t index);
void world_rescind(struct world *world, uint32_t at);
/* One answer that is due; false where none is. */
bool world_answer(struct world *world, struct world_channel *channel);
void world_answer_all(struct world *world);
void world_check(struct world *world);

/* The guest. */
void guest_posts(struct world *world, const void *message, size_t bytes);
void guest_posts_on(struct world *world, uint32_t connection_id, const void *message, size_t bytes);
/* The next message the guest was sent, or NULL; @type 0: any, else it must be that. */
const void *guest_reads(struct world *world, uint32_t type, size_t bytes);
void guest_reads_nothing(struct world *world);
void guest_contacts(struct world *world, uint32_t version, uint32_t vp);
void guest_connects(struct world *world, uint32_t version); /* and reads all offers */
void guest_sends_channel(struct world *world, uint32_t type, uint32_t channel_id);
/* @pages pages from @pfn on, one range. */
void guest_makes_gpadl(struct world *world, uint32_t channel_id, uint32_t gpadl_id, uint64_t pfn,
		       uint32_t pages);
void guest_tears_down(struct world *world, uint32_t channel_id, uint32_t gpadl_id);
void guest_opens(struct world *world, uint32_t channel_id, uint32_t gpadl_id, uint32_t offset);
uint32_t guest_reads_status(struct world *world); /* of an open result */
/* Two devices, channels 1 and 2, offered to a guest of @version. */
void world_offered_and_connected(struct world *world, uint32_t version);
uint32_t guest_reads_created(struct world *world, uint32_t gpadl_id);
void guest_reads_torndown(struct world *world, uint32_t gpadl_id);
/* GPADL and open, answered. */
void guest_has_open(struct world *world, uint32_t at, uint32_t gpadl_id);

#endif
