// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The guest end of the network: packets on their way to the host, what they hold, and their end.
 *
 * Invariant. A slot of the table is taken from the moment a packet is in the ring until its answer, or
 * the channel's end; so are the section, the head and the requests in its flight.
 *
 * Sections are the whole card's, taken and given back atomically; all else is the channel's own.
 */
#include "network/netvsc_private.h"

void netvsc_send_broken(struct netvsc_channel *channel)
{
	if (!channel->send_broken)
		netvsc_violation(channel->netvsc, &channel->send_counters.violations,
				 "the ring to it is broken");
	channel->send_broken = true;
}

/* ---- packets of VMBus ---- */

int netvsc_begin_packet(struct netvsc_channel *channel, const struct netvsc_flight *flight,
			uint16_t type, size_t head_bytes, void **out_body, uint64_t *out_id)
{
	uint32_t payload_bytes = channel->netvsc->nvsp_bytes;
	uint64_t id = vmbus_requests_add(&channel->requests, channel);
	int error;

	if (unlikely(!id)) {
		channel->room_bytes = 0;
		return -LIS_FULL;
	}
	error = vmbus_ring_reserve(channel->to_host, type, VMBUS_PACKET_FLAG_COMPLETION, id,
				   head_bytes, payload_bytes, out_body);
	if (unlikely(error)) {
		vmbus_requests_remove(&channel->requests, id);
		if (error == -LIS_CORRUPT)
			netvsc_send_broken(channel);
		channel->room_bytes = (uint32_t)vmbus_packet_ring_bytes(head_bytes, payload_bytes);
		return error;
	}
	channel->flights[(uint32_t)id - 1] = *flight;
	*out_id = id;
	return 0;
}

int netvsc_tell(struct netvsc *netvsc, const struct nvsp_message *message)
{
	const struct vmbus_piece piece = { message, netvsc->nvsp_bytes };
	const struct vmbus_packet_out packet = vmbus_packet_in_band(0, false, &piece, 1);
	int error = vmbus_ring_write(netvsc->channels[0]->to_host, &packet);

	if (error == -LIS_CORRUPT)
		netvsc_send_broken(netvsc->channels[0]);
	return error;
}

int netvsc_no_room(struct netvsc_channel *channel)
{
	channel->room_wanted = true;
	channel->send_counters.full++;
	return -LIS_AGAIN;
}

/* ---- sections and heads ---- */

static uint32_t section_take_in(uint64_t *word)
{
	uint64_t taken = os_read_once(*word);

	while (~taken) {
		uint32_t bit = (uint32_t)__builtin_ctzll(~taken);
		uint64_t before = __atomic_fetch_or(word, 1ull << bit, __ATOMIC_ACQUIRE);

		if (!(before & 1ull << bit))
			return bit;
		taken = before;
	}
	return NVSP_SECTION_NONE;
}

/* Each channel begins to look where it found one last, so that they do not meet often. */
uint32_t netvsc_section_take(struct netvsc_channel *channel)
{
	const struct netvsc *netvsc = channel->netvsc;

	for (uint32_t i = 0; i < netvsc->section_words; i++) {
		uint32_t word = (channel->section_hint + i) % netvsc->section_words;
		uint32_t bit = section_take_in(&netvsc->section_bits[word]);

		if (bit != NVSP_SECTION_NONE) {
			channel->section_hint = word;
			return 64 * word + bit;
		}
	}
	return NVSP_SECTION_NONE;
}

static void section_give(struct netvsc *netvsc, uint32_t section)
{
	if (section == NVSP_SECTION_NONE)
		return;
	/* Pairs with the acquire above: the host is done with it. */
	__atomic_fetch_and(&netvsc->section_bits[section / 64], ~(1ull << section % 64),
			   __ATOMIC_RELEASE);
}

uint16_t netvsc_head_take(struct netvsc_channel *channel)
{
	uint16_t head = channel->head_free;

	if (head != NETVSC_HEAD_NONE)
		channel->head_free = channel->head_next[head];
	return head;
}

static void head_give(struct netvsc_channel *channel, uint16_t head)
{
	if (head == NETVSC_HEAD_NONE)
		return;
	channel->head_next[head] = channel->head_free;
	channel->head_free = head;
}

void netvsc_give_head(struct netvsc_channel *channel, const struct netvsc_flight *flight)
{
	head_give(channel, flight->head);
	section_give(channel->netvsc, flight->section);
}

/* ---- the end of a packet ---- */

static void requests_over(struct netvsc_channel *channel, struct netvsc_request *requests)
{
	*channel->ended_end = requests;
	while (*channel->ended_end)
		channel->ended_end = &(*channel->ended_end)->next;
}

static void frames_over(struct netvsc_channel *channel, const struct netvsc_flight *flight,
			bool good)
{
	struct netvsc_ended *ended = &channel->ended;

	netvsc_give_head(channel, flight);
	ended->frames += flight->frames;
	ended->bytes += flight->bytes;
	if (!good) {
		ended->failed += flight->frames;
		channel->send_counters.failed += flight->frames;
	}
	requests_over(channel, flight->requests);
}

uint32_t netvsc_end_flight(struct netvsc_channel *channel, uint64_t id, uint32_t status,
			   uint64_t now_ns)
{
	struct netvsc_flight flight;

	if (unlikely(!vmbus_requests_remove(&channel->requests, id))) {
		netvsc_violation(channel->netvsc, &channel->send_counters.violations,
				 "an answer to nothing");
		return 0;
	}
	flight = channel->flights[(uint32_t)id - 1];
	if (likely(flight.kind == NETVSC_FLIGHT_FRAMES)) {
		frames_over(channel, &flight, status == NVSP_STATUS_SUCCESS);
		return NETVSC_EVENT_ENDED;
	}
	if (flight.kind == NETVSC_FLIGHT_CONTROL)
		return netvsc_control_returned(channel->netvsc, status, now_ns);
	netvsc_violation(channel->netvsc, &channel->send_counters.violations,
			 "an answer that is none");
	return netvsc_control_answered(channel->netvsc, id, NULL, 0, now_ns);
}

struct netvsc_ended netvsc_take_ended(struct netvsc_channel *channel)
{
	struct netvsc_ended ended = channel->ended;

	channel->ended = (struct netvsc_ended){ 0 };
	channel->ended_end = &channel->ended.requests;
	return ended;
}

uint32_t netvsc_in_flight(const struct netvsc_channel *channel)
{
	return channel->open ? channel->requests.used_count : 0;
}

void netvsc_end_all(struct netvsc_channel *channel)
{
	uint32_t cursor = 0;
	uint64_t id;

	if (channel->batch.section != NVSP_SECTION_NONE)
		requests_over(channel, channel->batch.requests);
	section_give(channel->netvsc, channel->batch.section);
	channel->batch.section = NVSP_SECTION_NONE;
	while ((id = vmbus_requests_next(&channel->requests, &cursor))) {
		vmbus_requests_remove(&channel->requests, id);
		if (channel->flights[cursor - 1].kind == NETVSC_FLIGHT_FRAMES)
			frames_over(channel, &channel->flights[cursor - 1], false);
	}
}
