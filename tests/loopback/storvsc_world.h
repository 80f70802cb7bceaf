/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The guest end of storage with a host that a test plays packet by packet, over a pair of rings.
 * Time is a number of the test's. Everything here asserts.
 */
#ifndef OPENLIS_TESTS_STORVSC_WORLD_H
#define OPENLIS_TESTS_STORVSC_WORLD_H

#include "storage/storvsc.h"
#include "tests/unit/vmbus/ring_memory.h"

#define RING_BYTES 16384u
#define QUEUE_DEPTH 8u
#define SECOND_NS 1000000000ull
#define TIMEOUT_NS (10 * SECOND_NS)
#define GRACE_NS (3 * SECOND_NS)
#define HOST_TRANSFER_BYTES (256u << 10)

/* Two rings with both their ends. */
struct wire {
	struct ring_memory to_host_memory, to_guest_memory;
	struct vmbus_ring_writer to_host, to_guest;
	struct vmbus_ring_reader from_guest, from_host;
};

struct world {
	struct wire wire;
	struct storvsc storvsc;
	struct storvsc_channel channel;
	struct storvsc_config config;
	struct storvsc_channel_config channel_config;
	uint64_t now_ns;
	unsigned allocations, allocations_left; /* left: countdown to failure; UINT_MAX: never */
	/* the host's answers to properties */
	struct storvsc_channel_properties properties;
};

/* A packet of the guest. */
struct question {
	uint16_t type;
	uint64_t id;
	uint32_t bytes;
	struct storvsc_packet packet;
	uint32_t range_count, range_bytes, range_offset, pfn_count;
	uint64_t pfns[300];
};

static const uint16_t storvsc_versions[] = {
#define LIST(version) version,
	STORVSC_VERSIONS(LIST)
#undef LIST
};
#define STORVSC_VERSION_COUNT (sizeof(storvsc_versions) / sizeof(storvsc_versions[0]))

extern const uint64_t world_pfns[300];

/* Both ends of both rings begin anew. */
void wire_reset(struct wire *wire);
/* The next packet of the guest; false if there is none. */
bool wire_take(struct wire *wire, struct question *out);

/* For cmocka; *state is a struct world. */
int world_setup(void **state);
int world_teardown(void **state);
/* Up to storvsc_start(). */
void world_open_primary(struct world *w);
/* As far as READY, at the newest version, without sub-channels. */
void world_become_ready(struct world *w);
/* Close, with nothing in flight, and fini. */
void world_end(struct world *w);
/* What the guest makes of all that is there, but for STORVSC_EVENT_SIGNAL. */
uint32_t world_receive(struct world *w);
/* The only request that has ended. */
struct storvsc_request *world_ended_one(struct world *w);

/* The next packet of the guest, which must be there; flushes the guest's ring. */
struct question host_take(struct world *w);
/* Any packet to the guest. Returns 0, -LIS_FULL. */
int host_send(struct world *w, uint16_t type, uint64_t id, const void *payload, size_t bytes);
/* An answer, and world_receive(). */
uint32_t host_answer(struct world *w, uint64_t id, const struct storvsc_packet *packet,
		     size_t bytes);
uint32_t host_answer_status(struct world *w, const struct question *question, uint32_t status);
/* The answer to a command that went well; and giving it. */
struct storvsc_packet host_good_answer(const struct question *question);
uint32_t host_answer_good(struct world *w, const struct question *question);
/* One step of the set-up by a host that knows @version only; all steps. */
uint32_t host_serve_step(struct world *w, uint16_t version, struct question *out_question);
uint32_t host_serve_setup(struct world *w, uint16_t version);

/* Commands; what the driver is to set is garbage. */
struct storvsc_request command_without_data(void);
struct storvsc_request command_with_data(uint32_t offset, uint32_t bytes);

#endif
