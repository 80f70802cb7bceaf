/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The guest end of the network with a host that a test plays packet by packet, over a pair of rings for
 * each channel. Guest memory but for the buffers is one piece whose page numbers begin at WORLD_PFN.
 * Time is a number of the test's. Everything here asserts.
 */
#ifndef OPENLIS_TESTS_NETVSC_WORLD_H
#define OPENLIS_TESTS_NETVSC_WORLD_H

#include "network/netvsc.h"
#include "tests/unit/vmbus/ring_memory.h"

#define RING_BYTES 16384u
#define QUEUE_DEPTH 8u
#define HEAD_PAGES 1u
#define SECOND_NS 1000000000ull
#define TIMEOUT_NS (10 * SECOND_NS)
#define CHANNELS 4u

#define WORLD_PFN 0x12300u
#define RECEIVE_PAGES 16u
#define SUB_BYTES 2048u
#define SUB_COUNT (RECEIVE_PAGES * HV_PAGE_BYTES / SUB_BYTES)
#define SEND_PAGES 6u
#define SECTION_BYTES 6144u
#define SECTION_COUNT (SEND_PAGES * HV_PAGE_BYTES / SECTION_BYTES)
#define FRAME_PAGES 40u
#define RECEIVE_GPADL 0x77u
#define SEND_GPADL 0x78u

/* Two rings with both their ends. */
struct wire {
	struct ring_memory to_host_memory, to_guest_memory;
	struct vmbus_ring_writer to_host, to_guest;
	struct vmbus_ring_reader from_guest, from_host;
};

/* What the host says of its card. */
struct host_card {
	uint32_t version;               /* the newest it takes */
	struct nvsp_init_complete init;
	struct nvsp_receive_buffer_complete receive;
	struct nvsp_send_buffer_complete send;
	struct rndis_initialize_complete rndis;
	uint32_t mtu, speed_100, media;
	uint8_t mac[6];
	struct ndis_offload offload;
	struct ndis_rss_capabilities rss;
	uint8_t name[32];
	uint32_t name_bytes;
	uint32_t refuse_oid;            /* is answered with NOT_SUPPORTED */
	uint32_t bent_oid, bent_bytes;  /* is answered with so many bytes, zeroes behind its own */
};

struct world {
	struct wire wires[CHANNELS];
	struct netvsc_channel channels[CHANNELS];
	uint8_t *heads[CHANNELS];
	uint64_t head_pfns[CHANNELS][HEAD_PAGES];
	struct netvsc netvsc;
	struct netvsc_config config;
	struct netvsc_channel_config channel_config;
	struct netvsc_buffer receive, send;
	uint64_t now_ns;
	unsigned allocations, allocations_left; /* left: countdown to failure; UINT_MAX: never */
	uint8_t *memory, *control, *frames;     /* @memory: all of it */
	uint32_t memory_pages;
	struct host_card card;
	uint8_t data[80 << 10];                 /* of the last question: RNDIS, from wherever */
	bool hostile;                           /* what the host sends may find no room */
	uint32_t said;                          /* messages of host_say() */
	uint32_t completed;                     /* packets that the guest gave back */
	uint64_t completed_id;                  /* of the last one */
	uint32_t completed_status;
};

/* A packet of the guest. */
struct question {
	uint16_t type;
	bool wants_completion;
	uint64_t id;
	uint32_t bytes;
	struct nvsp_message message;
	uint32_t range_count;
	uint32_t data_bytes;                    /* in world.data */
};

/* A frame of the guest's as it stands in world.data. */
struct guest_message {
	struct rndis_header header;
	struct rndis_packet packet;
	const uint8_t *data;
	uint32_t infos[8][2];                   /* type, value */
	uint32_t info_count;
};

/* A message for the guest under construction. */
struct host_message {
	uint8_t bytes[SUB_BYTES];
	uint32_t length;
};

static const uint32_t nvsp_versions[] = {
#define LIST(version) version,
	NVSP_VERSIONS(LIST)
#undef LIST
};
#define NVSP_VERSION_COUNT (sizeof(nvsp_versions) / sizeof(nvsp_versions[0]))

void wire_reset(struct wire *wire);

/* The world without cmocka; memory stays from one to the next. */
void world_begin(struct world *w);
void world_finish(struct world *w);
/* For cmocka; *state is a struct world. */
int world_setup(void **state);
int world_teardown(void **state);

/* Up to netvsc_start(). */
void world_open_primary(struct world *w);
int world_open_channel(struct world *w, uint32_t index);
/* As far as READY. */
void world_become_ready(struct world *w);
/* What the guest makes of all that is there, but for SIGNAL and MORE; frames are dropped. */
uint32_t world_receive(struct world *w, uint32_t index);
/* The next frame; NULL: there is none. What settling says is added to *out_events, if not NULL. */
const struct netvsc_frame *world_next(struct world *w, uint32_t index, uint32_t *out_events);
uint64_t world_violations(const struct world *w);
/* Page number of something in the world's memory. */
uint64_t world_pfn(const struct world *w, const void *at);
/* A frame of @bytes in one piece, from world.frames + @offset on. */
struct netvsc_packet world_packet(const struct world *w, struct netvsc_piece *piece,
				  uint32_t offset, uint32_t bytes);
/* Fill part of world.frames; where it begins tells what with. */
void world_fill(struct world *w, uint32_t offset, uint32_t bytes);
/* Send on the primary channel, and expect it to be taken. Returns whether it is over already. */
bool world_send(struct world *w, const struct netvsc_packet *packet, struct netvsc_request *request);

/* The next packet of the guest that is no completion; false if there is none. Flushes its ring. */
bool host_look(struct world *w, uint32_t index, struct question *out_question);
/* It must be there. */
struct question host_take(struct world *w, uint32_t index);
/* One frame of those in a question, the last one taken; it begins at @at. */
struct guest_message host_message_at(const struct world *w, const struct question *question, uint32_t at);
/* Any packet to the guest. Returns 0, -LIS_FULL. */
int host_send(struct world *w, uint32_t index, uint16_t type, uint64_t id, const void *payload,
	      size_t bytes);
/* Answers. */
void host_answer(struct world *w, uint32_t index, uint64_t id, const struct nvsp_message *message);
void host_complete(struct world *w, uint32_t index, uint64_t id, uint32_t status);
/* Ranges of the receive buffer under @id. */
int host_transfer(struct world *w, uint32_t index, uint64_t id,
		  const struct vmbus_transfer_range *ranges, uint32_t count);
/* Write a message into sub-allocation @sub; its range. */
struct vmbus_transfer_range host_put(struct world *w, uint32_t sub, const void *message,
				     uint32_t bytes);
/* One message in one packet, in a sub-allocation of its own. */
void host_say(struct world *w, uint32_t index, const void *message, uint32_t bytes);
/* An RNDIS message: header, then @body. */
struct host_message host_message(uint32_t type, const void *body, uint32_t body_bytes);
/* A frame with information: pairs of type and value. */
struct host_message host_frame(const void *data, uint32_t bytes, const uint32_t *infos,
			       uint32_t info_count);

/* Answer a question of the set-up, the last one taken, as world.card has it. */
uint32_t host_serve(struct world *w, const struct question *question);
/* One step of the set-up; what was asked is in *out_question. */
uint32_t host_serve_step(struct world *w, struct question *out_question);
/* All steps, buffers too. Returns the last event. */
uint32_t host_serve_setup(struct world *w);
/* Answer one request of control in RNDIS, taken before. Returns what the guest makes of it. */
uint32_t host_answer_control(struct world *w, const struct question *question);

#endif
