/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The network end of a scripted guest: sends whatever messages a test wants, also wrong ones, and
 * looks closely at whatever comes. For tests and benchmarks, on top of the mini guest.
 *
 * What the host sends is taken by netvsp_guest_poll() and sorted: completions, answers and indications
 * of RNDIS, frames (pieces put together again), anything else. Each sub-allocation is known to be the
 * host's or the guest's; one that comes twice is a problem, as is anything else that breaks the protocol.
 */
#ifndef OPENLIS_TESTS_NETVSP_GUEST_H
#define OPENLIS_TESTS_NETVSP_GUEST_H

#include "network/netvsc_protocol.h"
#include "network/rndis.h"
#include "tests/loopback/mini_guest.h"

#define NETVSP_GUEST_CHANNELS 9u
#define NETVSP_GUEST_SLOTS 32u
/* Pages of one slot: the longest message in as many ranges as a host allows. */
#define NETVSP_GUEST_SLOT_PAGES 96u
#define NETVSP_GUEST_HELD_MAX 8192u
#define NETVSP_GUEST_CONTROL_MAX 4096u

/* Guest memory whose pages are no neighbours in the order the host has them. */
struct netvsp_guest_memory {
	struct gpa gpa;
	uint8_t *hva;
	uint32_t pages;
	uint64_t *pfns;
	uint32_t offset;               /* of the first byte in the first page */
	uint32_t bytes;
	uint32_t gpadl_id;
};

struct netvsp_guest_completion {
	struct netvsp_guest_completion *next;
	uint32_t channel, bytes;
	uint64_t id;
	struct nvsp_message message;
};

struct netvsp_guest_control {
	struct netvsp_guest_control *next;
	uint32_t bytes;
	uint32_t padding;
	uint8_t message[];
};

struct netvsp_guest_frame {
	struct netvsp_guest_frame *next;
	uint32_t channel, bytes, pieces, room;
	bool has_checksum, has_vlan, has_hash;
	uint32_t checksum, vlan, hash;
	uint8_t *data;                 /* behind this */
};

/* A packet of the host that was not given back. */
struct netvsp_guest_held {
	uint32_t channel;
	uint64_t id;
};

struct netvsp_guest {
	struct mini_guest mini;
	struct guid instance_id;
	struct mini_channel channels[NETVSP_GUEST_CHANNELS];
	bool open[NETVSP_GUEST_CHANNELS];
	uint32_t ring_pages;
	uint32_t version;
	uint32_t message_bytes;        /* of NVSP messages sent */
	uint32_t next_request;

	struct netvsp_guest_memory receive, send, data, control;
	uint32_t sub_bytes, sub_count, section_bytes;
	uint32_t mtu_bytes;

	bool keep;                     /* keep the host's packets */
	uint32_t keep_channels;        /* only those of these channels, a bit for each; 0: of all */
	struct netvsp_guest_held held[NETVSP_GUEST_HELD_MAX];
	uint32_t held_count;
	uint64_t *sub_holder;          /* transaction id + 1 of the packet it came in; 0: the host's */
	bool unsent;                   /* a completion waits for room */
	struct netvsp_guest_held unsent_completion;

	struct netvsp_guest_completion *completions;
	struct netvsp_guest_control *controls, *indications;
	struct netvsp_guest_frame *frames, *partial[NETVSP_GUEST_CHANNELS];
	uint32_t frame_count;
	uint64_t frames_total, packets_total;
	bool forget;                   /* count frames, and keep none */
	uint32_t table[NVSP_SEND_TABLE_COUNT], table_count;
	uint32_t indicated;            /* number that the last indication taken had with it; 0: none */

	const char *problem;           /* first thing the host did wrong; NULL: none */
};

/* ---- memory ---- */

int netvsp_guest_alloc(struct netvsp_guest *guest, uint32_t pages, struct netvsp_guest_memory *memory);
void netvsp_guest_free(struct netvsp_guest *guest, struct netvsp_guest_memory *memory);
void netvsp_guest_write(const struct netvsp_guest_memory *memory, uint32_t at, const void *from,
			uint32_t bytes);
void netvsp_guest_read(const struct netvsp_guest_memory *memory, uint32_t at, void *to,
		       uint32_t bytes);

/** netvsp_guest_share() - A GPADL of @bytes from @offset on. Returns 0, -LIS_REFUSED, ... */
int netvsp_guest_share(struct netvsp_guest *guest, struct netvsp_guest_memory *memory,
		       uint32_t offset, uint32_t bytes) LIS_MUST_USE;

/* ---- what comes ---- */

/** netvsp_guest_poll() - Take all there is. Returns how many packets; at a problem, it is noted. */
uint32_t netvsp_guest_poll(struct netvsp_guest *guest);

/** netvsp_guest_settle() - Pump and poll until nothing more happens. */
void netvsp_guest_settle(struct netvsp_guest *guest);

/** netvsp_guest_give_back() - Complete up to @count kept packets, oldest first. */
void netvsp_guest_give_back(struct netvsp_guest *guest, uint32_t count);

/** netvsp_guest_forget_held() - As if they never had come: the buffer is another. */
void netvsp_guest_forget_held(struct netvsp_guest *guest);

struct netvsp_guest_frame *netvsp_guest_take_frame(struct netvsp_guest *guest);
struct netvsp_guest_control *netvsp_guest_take_control(struct netvsp_guest *guest);

/** netvsp_guest_take_indication() - The oldest RNDIS_STATUS_*; 0: there is none. */
uint32_t netvsp_guest_take_indication(struct netvsp_guest *guest);

void netvsp_guest_drop(struct netvsp_guest *guest);

/* ---- NVSP ---- */

/** netvsp_guest_put() - Any packet into the ring. Returns 0, -LIS_FULL. */
int netvsp_guest_put(struct netvsp_guest *guest, uint32_t channel,
		     const struct vmbus_packet_out *packet) LIS_MUST_USE;

/** netvsp_guest_send_nvsp() - A message without ranges. */
int netvsp_guest_send_nvsp(struct netvsp_guest *guest, uint32_t channel, uint64_t id,
			   const struct nvsp_message *message, bool completion) LIS_MUST_USE;

/** netvsp_guest_complete() - A completion of any packet, also of none. */
int netvsp_guest_complete(struct netvsp_guest *guest, uint32_t channel, uint64_t id) LIS_MUST_USE;

/** netvsp_guest_wait() - For the completion of @id. Returns 0, -LIS_TIMEOUT. */
int netvsp_guest_wait(struct netvsp_guest *guest, uint32_t channel, uint64_t id,
		      struct netvsp_guest_completion *out_completion) LIS_MUST_USE;

/** netvsp_guest_call() - A message of the primary channel and its answer. */
int netvsp_guest_call(struct netvsp_guest *guest, const struct nvsp_message *message,
		      struct netvsp_guest_completion *out_completion) LIS_MUST_USE;

/* ---- set-up, as drivers do it; each returns 0, -LIS_REFUSED, -LIS_TIMEOUT, ... ---- */

int netvsp_guest_open(struct netvsp_guest *guest, uint32_t index) LIS_MUST_USE;
void netvsp_guest_close(struct netvsp_guest *guest, uint32_t index);
int netvsp_guest_version(struct netvsp_guest *guest, uint32_t version) LIS_MUST_USE;
int netvsp_guest_config(struct netvsp_guest *guest, uint32_t mtu_bytes,
			uint32_t capabilities) LIS_MUST_USE;
int netvsp_guest_give_receive(struct netvsp_guest *guest, uint32_t gpadl_id) LIS_MUST_USE;
int netvsp_guest_give_send(struct netvsp_guest *guest, uint32_t gpadl_id) LIS_MUST_USE;
int netvsp_guest_revoke(struct netvsp_guest *guest, bool receive) LIS_MUST_USE;
int netvsp_guest_sub_channels(struct netvsp_guest *guest, uint32_t count) LIS_MUST_USE;

/* ---- RNDIS ---- */

/** netvsp_guest_send_control() - Any message of control; in one slot of memory. */
int netvsp_guest_send_control(struct netvsp_guest *guest, uint64_t id, const void *message,
			      uint32_t bytes) LIS_MUST_USE;

/**
 * netvsp_guest_rndis() - A message of control and its answer, which is freed by the caller.
 * Returns 0, -LIS_REFUSED (the host took it for no message), -LIS_TIMEOUT.
 */
int netvsp_guest_rndis(struct netvsp_guest *guest, const void *message, uint32_t bytes,
		       struct netvsp_guest_control **out_answer) LIS_MUST_USE;
int netvsp_guest_initialize(struct netvsp_guest *guest) LIS_MUST_USE;
/** Returns RNDIS' status, or UINT32_MAX; *bytes: room, then what came. */
uint32_t netvsp_guest_query(struct netvsp_guest *guest, uint32_t oid, void *info, uint32_t *bytes);
uint32_t netvsp_guest_set(struct netvsp_guest *guest, uint32_t oid, const void *info,
			  uint32_t bytes);

/* A frame to be sent, and what is said beside it. */
struct netvsp_guest_out {
	const uint8_t *data;
	uint32_t bytes;
	bool has_checksum, has_lso, has_vlan, has_hash;
	uint32_t checksum, lso, vlan;
	uint32_t gap;                  /* between the information and the data */
};

/** netvsp_guest_message() - Make an RNDIS message, padded to 8 bytes. Returns its length. */
uint32_t netvsp_guest_message(const struct netvsp_guest_out *out, uint8_t *to);

/* Where messages lie on their way. */
struct netvsp_guest_way {
	uint32_t section;              /* or NVSP_SECTION_NONE */
	uint32_t section_bytes;        /* of them there; the rest in ranges */
	uint32_t ranges;               /* how many */
	uint32_t seed;                 /* of where the ranges begin and end; 0: pages, whole */
	bool worst;                    /* each range begins with a page's last byte */
};

/** netvsp_guest_send() - Put messages on their way; slot @id % NETVSP_GUEST_SLOTS holds ranges. */
int netvsp_guest_send(struct netvsp_guest *guest, uint32_t channel, uint64_t id,
		      const uint8_t *messages, uint32_t bytes,
		      const struct netvsp_guest_way *way) LIS_MUST_USE;

/** netvsp_guest_send_frame() - One frame, in a section where it fits in, and wait for its status. */
uint32_t netvsp_guest_send_frame(struct netvsp_guest *guest, uint32_t channel,
				 const struct netvsp_guest_out *out);

#endif
