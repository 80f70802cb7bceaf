/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Between the files of the network's guest end: netvsc.c has the card's life and set-up,
 * netvsc_control.c requests of control and what the host says by itself, netvsc_flight.c packets to the
 * host and their end, netvsc_send.c frames in them, netvsc_receive.c what comes from the host. Nobody
 * else includes this.
 */
#ifndef OPENLIS_NETWORK_NETVSC_PRIVATE_H
#define OPENLIS_NETWORK_NETVSC_PRIVATE_H

#include <string.h>

#include "network/netvsc.h"

#define NETVSC_HEAD_NONE UINT16_MAX
#define NETVSC_HEADS_PER_PAGE (HV_PAGE_BYTES / NETVSC_HEAD_SLOT_BYTES)

enum netvsc_flight_kind {
	NETVSC_FLIGHT_FRAMES,
	NETVSC_FLIGHT_CONTROL, /* RNDIS, in the control page */
	NETVSC_FLIGHT_NVSP,
};

/* A packet that the host has not answered. */
struct netvsc_flight {
	struct netvsc_request *requests; /* that end with it, linked; NULL: all was copied */
	uint32_t section;               /* NVSP_SECTION_NONE: none */
	uint32_t frames, bytes;
	uint16_t head;                  /* NETVSC_HEAD_NONE: none */
	uint8_t kind;                   /* enum netvsc_flight_kind */
};

/* Memory that the host may write: read it once. */
static inline void netvsc_copy_in(void *to, const uint8_t *shared, size_t bytes)
{
	memcpy(to, shared, bytes);
	/* From here on the compiler knows nothing of where the copy came from. */
	__asm__ volatile("" : : "r"(to) : "memory");
}

/* ---- netvsc.c ---- */

/** netvsc_violation() - The host broke the protocol: count, and log thinned out. */
void netvsc_violation(const struct netvsc *netvsc, uint64_t *counter, const char *what);

/**
 * netvsc_setup_answer() - NVSP's answer to the message of the set-up under way; goes on.
 * @message: a private copy, @bytes of it; NULL: the answer made no sense
 * Return: NETVSC_EVENT_*
 */
uint32_t netvsc_setup_answer(struct netvsc *netvsc, const struct nvsp_message *message,
			     uint32_t bytes, uint64_t now_ns) LIS_MUST_USE;

/** netvsc_setup_control_over() - The request of the set-up is over. Return: NETVSC_EVENT_* */
uint32_t netvsc_setup_control_over(struct netvsc *netvsc, uint64_t now_ns) LIS_MUST_USE;

/* ---- netvsc_control.c ---- */

/**
 * netvsc_control_nvsp() - Send a message of NVSP that is answered, as the request of control.
 * Return: 0, -LIS_BUSY, -LIS_AGAIN, -LIS_CORRUPT.
 */
int netvsc_control_nvsp(struct netvsc *netvsc, const struct nvsp_message *message,
			uint64_t now_ns) LIS_MUST_USE;

/** netvsc_control_initialize() - RNDIS' first message. Return: as netvsc_control_nvsp(). */
int netvsc_control_initialize(struct netvsc *netvsc, uint64_t now_ns) LIS_MUST_USE;

/** netvsc_control_query() - netvsc_query() in any state. */
int netvsc_control_query(struct netvsc *netvsc, uint32_t oid, uint64_t now_ns) LIS_MUST_USE;

/** netvsc_control_offloads() - Switch on what is in netvsc->offloads, and off what is not. */
int netvsc_control_offloads(struct netvsc *netvsc, bool all, bool coalesce,
			    uint64_t now_ns) LIS_MUST_USE;

/** netvsc_control_returned() - The host has let go of the control page. Return: NETVSC_EVENT_* */
uint32_t netvsc_control_returned(struct netvsc *netvsc, uint32_t status,
				 uint64_t now_ns) LIS_MUST_USE;

/**
 * netvsc_control_answered() - An answer of NVSP's own came.
 * @id: of what it answers, which was one of NVSP's
 * @message: NULL: it made no sense
 * Return: NETVSC_EVENT_*
 */
uint32_t netvsc_control_answered(struct netvsc *netvsc, uint64_t id,
				 const struct nvsp_message *message, uint32_t bytes,
				 uint64_t now_ns) LIS_MUST_USE;

/** netvsc_control_message() - A message of RNDIS' is in netvsc->message. Return: NETVSC_EVENT_* */
uint32_t netvsc_control_message(struct netvsc *netvsc, uint64_t now_ns) LIS_MUST_USE;

/* ---- netvsc_flight.c ---- */

/**
 * netvsc_begin_packet() - Take a slot and room for a packet.
 * @flight: what it stands for; copied
 * @head_bytes: ranges
 * @out_body: set on success: write head and payload, then vmbus_ring_commit()
 * Return: 0, -LIS_FULL (@channel->room_bytes says how much was wanted), -LIS_INVALID, -LIS_CORRUPT.
 */
int netvsc_begin_packet(struct netvsc_channel *channel, const struct netvsc_flight *flight,
			uint16_t type, size_t head_bytes, void **out_body,
			uint64_t *out_id) LIS_MUST_USE;

/** netvsc_tell() - Send a message that is not answered. Return: 0, -LIS_FULL, -LIS_CORRUPT. */
int netvsc_tell(struct netvsc *netvsc, const struct nvsp_message *message) LIS_MUST_USE;

/** netvsc_publish() - Show the host all there is in the ring. Return: must it be signalled? */
bool netvsc_publish(struct netvsc_channel *channel) LIS_MUST_USE;

/** netvsc_send_broken() - The ring to the host is of no use: note it, once. */
void netvsc_send_broken(struct netvsc_channel *channel);

/** netvsc_no_room() - Note that somebody waits for room. Return: -LIS_AGAIN. */
int netvsc_no_room(struct netvsc_channel *channel);

/* Are all slots taken that are not for messages of control? */
static inline bool netvsc_table_full(const struct netvsc_channel *channel)
{
	return channel->requests.used_count >= channel->requests.slot_count - NETVSC_OWN_SLOTS;
}

/** netvsc_section_take() - Take a section of the send buffer. Return: it, or NVSP_SECTION_NONE. */
uint32_t netvsc_section_take(struct netvsc_channel *channel) LIS_MUST_USE;

static inline uint8_t *netvsc_section_memory(const struct netvsc *netvsc, uint32_t section)
{
	return netvsc->send_buffer.memory + (size_t)section * netvsc->section_bytes;
}

/** netvsc_head_take() - Take a slot of the port's pages. Return: it, or NETVSC_HEAD_NONE. */
uint16_t netvsc_head_take(struct netvsc_channel *channel) LIS_MUST_USE;

/** netvsc_give_head() - Give back the section or slot that a flight holds. */
void netvsc_give_head(struct netvsc_channel *channel, const struct netvsc_flight *flight);

/** netvsc_end_flight() - The host answered a packet. Return: NETVSC_EVENT_* */
uint32_t netvsc_end_flight(struct netvsc_channel *channel, uint64_t id, uint32_t status,
			   uint64_t now_ns) LIS_MUST_USE;

/** netvsc_end_all() - All that is in flight ends, and what was gathered is dropped. */
void netvsc_end_all(struct netvsc_channel *channel);

/* ---- netvsc_send.c ---- */

/** netvsc_look_for_room() - Is a send that was refused worth a new try? Return: NETVSC_EVENT_* */
uint32_t netvsc_look_for_room(struct netvsc_channel *channel) LIS_MUST_USE;

#endif
