/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The guest end of the network: frames out of packets, what is said of them, segments put together by
 * the host, packets given back, and what becomes of all that is out of form.
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/loopback/netvsc_world.h"

static void fill(uint8_t *data, uint32_t bytes, uint32_t seed)
{
	for (uint32_t i = 0; i < bytes; i++)
		data[i] = (uint8_t)(i * 13 + seed);
}

/* Put frames into sub-allocations from 0 on, and send them under @id. */
static void host_sends_frames(struct world *w, uint32_t index, uint64_t id,
			      const struct host_message *messages, uint32_t count)
{
	struct vmbus_transfer_range ranges[SUB_COUNT];

	assert_in_range(count, 1, SUB_COUNT);
	for (uint32_t i = 0; i < count; i++)
		ranges[i] = host_put(w, i, messages[i].bytes, messages[i].length);
	assert_int_equal(host_transfer(w, index, id, ranges, count), 0);
}

/* One more packet was given back, with this status. */
static void assert_given_back(struct world *w, uint32_t index, uint64_t id, uint32_t status)
{
	uint32_t completed = w->completed;
	struct question question;

	assert_false(host_look(w, index, &question));
	assert_int_equal(w->completed, completed + 1);
	assert_int_equal(w->completed_id, id);
	assert_int_equal(w->completed_status, status);
}

static void begin(struct world *w)
{
	struct question question;

	world_become_ready(w);
	assert_false(host_look(w, 0, &question));
}

/* ---- frames ---- */

static void a_frame_comes_with_what_is_said_of_it(void **state)
{
	static const uint32_t infos[] = {
		RNDIS_INFO_CHECKSUM, RNDIS_RX_IP_SUCCEEDED | RNDIS_RX_TCP_SUCCEEDED,
		RNDIS_INFO_VLAN, 5u | RNDIS_VLAN_DEI | 0x123u << 4,
		RNDIS_INFO_HASH_VALUE, 0xdeadbeef,
		RNDIS_INFO_HASH_INFO, NDIS_HASH_TCP_IPV4,
		77, 1234, /* of no use to us */
	};
	struct world *w = *state;
	const struct netvsc_frame *frame;
	struct host_message message;
	uint32_t events = 0;
	uint8_t data[1514];

	begin(w);
	fill(data, sizeof(data), 5);
	message = host_frame(data, sizeof(data), infos, 5);
	host_sends_frames(w, 0, 42, &message, 1);
	frame = world_next(w, 0, &events);
	assert_non_null(frame);
	assert_int_equal(frame->bytes, 1514);
	assert_int_equal(frame->part_count, 1);
	assert_int_equal(frame->parts[0].bytes, 1514);
	assert_memory_equal(frame->parts[0].data, data, 1514);
	assert_int_equal(frame->checksum, infos[1]);
	assert_true(frame->has_vlan);
	assert_int_equal(frame->vlan_tci, 0xb123);
	assert_true(frame->has_hash);
	assert_int_equal(frame->hash, 0xdeadbeef);
	assert_int_equal(frame->hash_type, NDIS_HASH_TCP_IPV4);
	assert_null(world_next(w, 0, &events));
	assert_int_equal(events, 0);
	assert_given_back(w, 0, 42, NVSP_STATUS_SUCCESS);
	assert_int_equal(w->channels[0].receive_counters.frames, 1);
	assert_int_equal(w->channels[0].receive_counters.bytes, 1514);
	assert_int_equal(world_violations(w), 0);
	/* The next frame has none of it. */
	message = host_frame(data, 14, NULL, 0);
	host_sends_frames(w, 0, 43, &message, 1);
	frame = world_next(w, 0, NULL);
	assert_int_equal(frame->bytes, 14);
	assert_int_equal(frame->checksum, 0);
	assert_false(frame->has_vlan || frame->has_hash);
}

static void a_packet_of_many_frames_is_given_back_once_at_its_end(void **state)
{
	struct world *w = *state;
	struct host_message messages[20];
	uint8_t data[200];
	struct question question;

	begin(w);
	for (uint32_t i = 0; i < 20; i++) {
		fill(data, 100 + i, i);
		messages[i] = host_frame(data, 100 + i, NULL, 0);
	}
	host_sends_frames(w, 0, 7, messages, 20);
	for (uint32_t i = 0; i < 20; i++) {
		struct netvsc_frame frame;

		assert_true(netvsc_channel_next(&w->channels[0], &frame));
		fill(data, 100 + i, i);
		assert_int_equal(frame.bytes, 100 + i);
		assert_memory_equal(frame.parts[0].data, data, 100 + i);
		/* However often one settles in between, it is not given back too soon. */
		assert_int_equal(netvsc_channel_settle(&w->channels[0], 0) &
				 ~NETVSC_EVENT_SIGNAL, 0);
		assert_false(host_look(w, 0, &question));
		assert_int_equal(w->completed, w->channels[0].receive_counters.packets - 1);
		assert_false(netvsc_idle(&w->channels[0]));
	}
	assert_null(world_next(w, 0, NULL));
	assert_given_back(w, 0, 7, NVSP_STATUS_SUCCESS);
	assert_true(netvsc_idle(&w->channels[0]));
}

static void a_sub_channel_receives_as_well(void **state)
{
	struct world *w = *state;
	struct host_message message;
	uint8_t data[60] = { 1 };

	begin(w);
	assert_int_equal(world_open_channel(w, 2), 0);
	message = host_frame(data, 60, NULL, 0);
	host_sends_frames(w, 2, 9, &message, 1);
	assert_int_equal(world_next(w, 2, NULL)->bytes, 60);
	assert_null(world_next(w, 2, NULL));
	assert_given_back(w, 2, 9, NVSP_STATUS_SUCCESS);
}

static void information_may_be_anywhere_in_its_message(void **state)
{
	struct world *w = *state;
	uint8_t body[200] = { 0 };
	struct rndis_packet packet = {
		.data_offset = 36, .data_bytes = 20, .info_offset = 61, .info_bytes = 37,
	};
	struct rndis_packet_info first = { 21, 77, 12 }, second = { 16, RNDIS_INFO_VLAN, 12 };
	const struct netvsc_frame *frame;
	uint32_t vlan = 0x770;
	struct host_message message;

	begin(w);
	memcpy(body, &packet, sizeof(packet));
	memcpy(body + 61, &first, sizeof(first));
	memcpy(body + 82, &second, sizeof(second));
	memcpy(body + 94, &vlan, 4);
	message = host_message(RNDIS_PACKET, body, 98);
	host_say(w, 0, message.bytes, message.length);
	frame = world_next(w, 0, NULL);
	assert_non_null(frame);
	assert_int_equal(frame->bytes, 20);
	assert_int_equal(frame->vlan_tci, 0x77);
}

/* ---- segments put together ---- */

static uint32_t id_info(uint8_t flags)
{
	struct rndis_packet_id id = { 1, flags, 0 };
	uint32_t value;

	memcpy(&value, &id, sizeof(value));
	return value;
}

static struct host_message part(uint8_t flags, uint32_t bytes, uint32_t seed, bool with_checksum)
{
	uint32_t infos[] = { (uint32_t)RNDIS_INFO_PACKET_ID, id_info(flags), RNDIS_INFO_CHECKSUM,
			     RNDIS_RX_TCP_SUCCEEDED };
	uint8_t data[SUB_BYTES];

	fill(data, bytes, seed);
	return host_frame(data, bytes, infos, with_checksum ? 2 : 1);
}

#define SPLIT RNDIS_PACKET_ID_SPLIT
#define FIRST (RNDIS_PACKET_ID_SPLIT | RNDIS_PACKET_ID_FIRST)
#define LAST (RNDIS_PACKET_ID_SPLIT | RNDIS_PACKET_ID_LAST)

static void a_frame_in_parts_is_put_together(void **state)
{
	struct world *w = *state;
	struct host_message messages[6];
	const struct netvsc_frame *frame;
	uint8_t data[1500];

	begin(w);
	messages[0] = host_frame(data, 60, NULL, 0);
	messages[1] = part(FIRST, 1500, 1, true);
	messages[2] = part(SPLIT, 1499, 2, false);
	messages[3] = part(LAST, 1, 3, false);
	messages[4] = part(FIRST | LAST, 99, 4, false);
	messages[5] = host_frame(data, 61, NULL, 0);
	host_sends_frames(w, 0, 5, messages, 6);
	assert_int_equal(world_next(w, 0, NULL)->bytes, 60);
	frame = world_next(w, 0, NULL);
	assert_int_equal(frame->bytes, 3000);
	assert_int_equal(frame->part_count, 3);
	assert_int_equal(frame->checksum, RNDIS_RX_TCP_SUCCEEDED);
	for (uint32_t i = 0; i < 3; i++) {
		static const uint32_t bytes[] = { 1500, 1499, 1 };

		fill(data, bytes[i], 1 + i);
		assert_int_equal(frame->parts[i].bytes, bytes[i]);
		assert_memory_equal(frame->parts[i].data, data, bytes[i]);
	}
	frame = world_next(w, 0, NULL);
	assert_int_equal(frame->bytes, 99);
	assert_int_equal(frame->checksum, 0);
	assert_int_equal(world_next(w, 0, NULL)->bytes, 61);
	assert_null(world_next(w, 0, NULL));
	assert_given_back(w, 0, 5, NVSP_STATUS_SUCCESS);
	assert_int_equal(w->channels[0].receive_counters.coalesced, 1);
	assert_int_equal(world_violations(w), 0);
}

static void parts_out_of_order_are_dropped(void **state)
{
	/* Flags of each message; what comes through, by length: message i has 100 + i bytes. */
	static const struct {
		uint8_t flags[5];
		uint32_t count, violations, frames[3];
	} cases[] = {
		{ { SPLIT, 0 }, 2, 1, { 101 } },
		{ { LAST, 0 }, 2, 1, { 101 } },
		{ { FIRST }, 1, 1, { 0 } },
		{ { FIRST, SPLIT }, 2, 1, { 0 } },
		/* A new beginning is none: what follows would be another frame's. */
		{ { FIRST, FIRST, LAST, 0 }, 4, 2, { 103 } },
		{ { FIRST, 0, 0 }, 3, 1, { 102 } },
		{ { FIRST, LAST, LAST, FIRST, LAST }, 5, 1, { 201, 207 } },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world *w = *state;
		struct host_message messages[5];
		const struct netvsc_frame *frame;

		world_finish(w);
		world_begin(w);
		begin(w);
		for (uint32_t k = 0; k < cases[i].count; k++)
			messages[k] = part(cases[i].flags[k], 100 + k, k, false);
		host_sends_frames(w, 0, 3, messages, cases[i].count);
		for (uint32_t k = 0; k < 3 && cases[i].frames[k]; k++) {
			frame = world_next(w, 0, NULL);
			assert_non_null(frame);
			assert_int_equal(frame->bytes, cases[i].frames[k]);
		}
		assert_null(world_next(w, 0, NULL));
		assert_int_equal(world_violations(w), cases[i].violations);
		assert_given_back(w, 0, 3, NVSP_STATUS_FAILURE);
	}
}

static void a_frame_of_parts_has_its_limits(void **state)
{
	struct world *w = *state;
	struct vmbus_transfer_range ranges[NETVSC_PARTS_MAX + 1];
	struct host_message messages[3];
	const struct netvsc_frame *frame;

	begin(w);
	messages[0] = part(FIRST, 100, 1, false);
	messages[1] = part(SPLIT, 100, 2, false);
	messages[2] = part(LAST, 100, 3, false);
	for (uint32_t i = 0; i < NETVSC_PARTS_MAX; i++)
		ranges[i] = host_put(w, 1, messages[1].bytes, messages[1].length);
	ranges[0] = host_put(w, 0, messages[0].bytes, messages[0].length);
	ranges[NETVSC_PARTS_MAX - 1] = host_put(w, 2, messages[2].bytes, messages[2].length);
	assert_int_equal(host_transfer(w, 0, 1, ranges, NETVSC_PARTS_MAX), 0);
	frame = world_next(w, 0, NULL);
	assert_non_null(frame);
	assert_int_equal(frame->bytes, 100 * NETVSC_PARTS_MAX);
	assert_null(world_next(w, 0, NULL));
	/* One more. */
	ranges[NETVSC_PARTS_MAX] = ranges[NETVSC_PARTS_MAX - 1];
	ranges[NETVSC_PARTS_MAX - 1] = ranges[1];
	assert_int_equal(host_transfer(w, 0, 2, ranges, NETVSC_PARTS_MAX + 1), 0);
	assert_null(world_next(w, 0, NULL));
	assert_in_range(world_violations(w), 1, 3);
	/* And one that is too long. */
	messages[1] = part(SPLIT, 1900, 2, false);
	ranges[1] = host_put(w, 1, messages[1].bytes, messages[1].length);
	for (uint32_t i = 2; i < 40; i++)
		ranges[i] = ranges[1];
	assert_int_equal(host_transfer(w, 0, 3, ranges, 40), 0);
	assert_null(world_next(w, 0, NULL));
	messages[0] = part(FIRST, 5, 1, false);
	messages[1] = part(LAST, 8, 1, false);
	host_sends_frames(w, 0, 4, messages, 2);
	assert_null(world_next(w, 0, NULL));
	assert_int_equal(w->channels[0].receive_counters.frames, 1);
}

/* ---- out of form ---- */

/* A message with one thing wrong is dropped, and the frame behind it comes through. */
static void assert_dropped(struct world *w, const void *message, uint32_t bytes)
{
	uint64_t violations = world_violations(w);
	uint8_t data[60] = { 0 };
	struct host_message good = host_frame(data, 60, NULL, 0);
	struct vmbus_transfer_range ranges[] = {
		host_put(w, 0, message, bytes), host_put(w, 1, good.bytes, good.length),
	};

	assert_int_equal(host_transfer(w, 0, 99, ranges, 2), 0);
	assert_int_equal(world_next(w, 0, NULL)->bytes, 60);
	assert_null(world_next(w, 0, NULL));
	assert_int_equal(world_violations(w), violations + 1);
	assert_given_back(w, 0, 99, NVSP_STATUS_FAILURE);
}

static void a_message_out_of_form_is_dropped(void **state)
{
	static const struct rndis_packet_info good_info = { 16, RNDIS_INFO_VLAN, 12 };
	struct world *w = *state;
	struct {
		struct rndis_header header;
		struct rndis_packet packet;
		struct rndis_packet_info info;
		uint32_t value;
		uint8_t data[100];
	} message;

	_Static_assert(sizeof(message) == 160, "there is no padding");
	begin(w);
#define DROPPED(change) \
	do { \
		memset(&message, 0, sizeof(message)); \
		message.header = (struct rndis_header){ RNDIS_PACKET, sizeof(message) }; \
		message.packet.data_offset = 52; \
		message.packet.data_bytes = 100; \
		message.packet.info_offset = 36; \
		message.packet.info_bytes = 16; \
		message.info = good_info; \
		change; \
		assert_dropped(w, &message, sizeof(message)); \
	} while (0)
	DROPPED(message.header.bytes = 161);
	DROPPED(message.header.bytes = 7);
	DROPPED(message.header.bytes = UINT32_MAX);
	DROPPED(message.packet.data_bytes = 101);
	DROPPED(message.packet.data_bytes = 0);
	DROPPED(message.packet.data_bytes = 13);
	DROPPED(message.packet.data_bytes = UINT32_MAX);
	DROPPED(message.packet.data_offset = 153);
	DROPPED(message.packet.data_offset = UINT32_MAX);
	DROPPED(message.packet.data_offset = UINT32_MAX - 51);
	DROPPED(message.packet.info_offset = 35);
	DROPPED(message.packet.info_offset = 153);
	DROPPED(message.packet.info_offset = UINT32_MAX);
	DROPPED(message.packet.info_bytes = 117);
	DROPPED(message.packet.info_bytes = UINT32_MAX);
	DROPPED(message.packet.info_bytes = 11);
	DROPPED(message.info.bytes = 17);
	DROPPED(message.info.bytes = 11);
	DROPPED(message.info.bytes = 0);
	DROPPED(message.info.bytes = UINT32_MAX);
	DROPPED(message.info.bytes = 0; message.info.offset = 0);
	DROPPED(message.info.bytes = 11; message.info.offset = 0);
	DROPPED(message.info.offset = 17);
	DROPPED(message.info.offset = UINT32_MAX);
	/* What is behind the message looks well, too. */
	for (uint32_t at = 60; at < 400; at += 16)
		memcpy(w->receive.memory + at, &good_info, sizeof(good_info));
	DROPPED(for (uint32_t at = 0; at < 96; at += 16)
			memcpy(message.data + at, &good_info, sizeof(good_info));
		message.packet.info_bytes = 128);
#undef DROPPED
	assert_dropped(w, "\0\0\0\0\0\0", 7);
	assert_dropped(w, "", 0);
	/* All there is of a header, and of a packet but one byte. */
	message.header = (struct rndis_header){ RNDIS_PACKET, 43 };
	assert_dropped(w, &message, 43);
}

static void information_that_is_too_long_is_dropped(void **state)
{
	struct world *w = *state;
	uint8_t body[NETVSC_INFO_BYTES_MAX + 100] = { 0 };
	struct rndis_packet packet = {
		.data_offset = 36, .data_bytes = 20, .info_offset = 56,
		.info_bytes = NETVSC_INFO_BYTES_MAX + 1,
	};
	struct rndis_packet_info info = { NETVSC_INFO_BYTES_MAX + 1, 77, 12 };
	struct host_message message;

	begin(w);
	memcpy(body, &packet, sizeof(packet));
	memcpy(body + 56, &info, sizeof(info));
	message = host_message(RNDIS_PACKET, body, sizeof(body));
	assert_dropped(w, message.bytes, message.length);
	packet.info_bytes = info.bytes = NETVSC_INFO_BYTES_MAX;
	memcpy(body, &packet, sizeof(packet));
	memcpy(body + 56, &info, sizeof(info));
	message = host_message(RNDIS_PACKET, body, sizeof(body));
	host_say(w, 0, message.bytes, message.length);
	assert_int_equal(world_next(w, 0, NULL)->bytes, 20);
}

/* Information without room for its value is none. */
static void information_without_a_value_is_no_information(void **state)
{
	struct world *w = *state;
	uint8_t body[100] = { 0 };
	struct rndis_packet packet = {
		.data_offset = 36, .data_bytes = 20, .info_offset = 56, .info_bytes = 15,
	};
	struct rndis_packet_info info = { 15, RNDIS_INFO_VLAN, 12 };
	struct host_message message;

	begin(w);
	memcpy(body, &packet, sizeof(packet));
	memcpy(body + 56, &info, sizeof(info));
	message = host_message(RNDIS_PACKET, body, sizeof(body));
	host_say(w, 0, message.bytes, message.length);
	assert_false(world_next(w, 0, NULL)->has_vlan);
}

static void ranges_outside_of_the_receive_buffer_are_dropped(void **state)
{
	static const struct vmbus_transfer_range bad[] = {
		{ 100, RECEIVE_PAGES * HV_PAGE_BYTES }, { 100, RECEIVE_PAGES * HV_PAGE_BYTES - 99 },
		{ 100, UINT32_MAX }, { 100, UINT32_MAX - 50 }, { UINT32_MAX, 0 }, { UINT32_MAX, 100 },
		{ SUB_BYTES + 1, 0 }, { 0, RECEIVE_PAGES * HV_PAGE_BYTES + 1 },
	};
	struct world *w = *state;
	uint8_t data[60] = { 0 };
	struct host_message good = host_frame(data, 60, NULL, 0);

	begin(w);
	/* So that there would be something to see. */
	for (uint32_t i = 0; i < SUB_COUNT; i++)
		host_put(w, i, good.bytes, good.length);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct vmbus_transfer_range ranges[] = { bad[i], { good.length, SUB_BYTES } };

		assert_int_equal(host_transfer(w, 0, 8, ranges, 2), 0);
		assert_int_equal(world_next(w, 0, NULL)->bytes, 60);
		assert_null(world_next(w, 0, NULL));
		assert_int_equal(world_violations(w), i + 1);
		assert_given_back(w, 0, 8, NVSP_STATUS_FAILURE);
	}
}

static void packets_that_make_no_sense_are_dropped(void **state)
{
	struct world *w = *state;
	struct {
		struct vmbus_transfer_head head;
		struct vmbus_transfer_range range;
	} ranges = { { NVSP_RECEIVE_BUFFER_ID, 0, 1 }, { 100, 0 } };
	struct nvsp_message message = { .type = NVSP_SEND_RNDIS_PACKET };
	struct vmbus_piece piece = { &message, sizeof(message) };
	struct vmbus_packet_out packet = {
		.type = VMBUS_PACKET_TRANSFER_PAGES, .id = 6, .head = &ranges,
		.head_bytes = sizeof(ranges), .payload = &piece, .payload_count = 1,
	};

	begin(w);
	/* Another set; given back, since it has an id. */
	ranges.head.set_id = 0xcaff;
	assert_int_equal(vmbus_ring_write(&w->wires[0].to_guest, &packet), 0);
	vmbus_ring_writer_expose(&w->wires[0].to_guest);
	assert_int_equal(world_receive(w, 0), 0);
	assert_given_back(w, 0, 6, NVSP_STATUS_FAILURE);
	/* Another message. */
	ranges.head.set_id = NVSP_RECEIVE_BUFFER_ID;
	message.type = NVSP_SEND_RNDIS_PACKET_COMPLETE;
	assert_int_equal(vmbus_ring_write(&w->wires[0].to_guest, &packet), 0);
	vmbus_ring_writer_expose(&w->wires[0].to_guest);
	assert_int_equal(world_receive(w, 0), 0);
	assert_given_back(w, 0, 6, NVSP_STATUS_FAILURE);
	/* None at all. */
	message.type = NVSP_SEND_RNDIS_PACKET;
	piece.bytes = 0;
	assert_int_equal(vmbus_ring_write(&w->wires[0].to_guest, &packet), 0);
	vmbus_ring_writer_expose(&w->wires[0].to_guest);
	assert_int_equal(world_receive(w, 0), 0);
	assert_given_back(w, 0, 6, NVSP_STATUS_FAILURE);
	/* More ranges than there are: not even that. */
	piece.bytes = sizeof(message);
	ranges.head.range_count = 2;
	assert_int_equal(vmbus_ring_write(&w->wires[0].to_guest, &packet), 0);
	vmbus_ring_writer_expose(&w->wires[0].to_guest);
	assert_int_equal(world_receive(w, 0), 0);
	assert_int_equal(world_violations(w), 4);
	/* Packets that only guests send, unknown ones, and unknown messages. */
	host_send(w, 0, VMBUS_PACKET_GPA_DIRECT, 1, "\0\0\0\0\0\0\0", 8);
	host_send(w, 0, 3, 1, "", 0);
	host_send(w, 0, VMBUS_PACKET_IN_BAND, 1, "\0\0\0\0\0\0\0", 8);
	host_send(w, 0, VMBUS_PACKET_IN_BAND, 1, "", 0);
	assert_int_equal(world_receive(w, 0), 0);
	assert_int_equal(world_violations(w), 8);
	/* A packet without ranges is empty, no more. */
	ranges.head.range_count = 0;
	assert_int_equal(vmbus_ring_write(&w->wires[0].to_guest, &packet), 0);
	vmbus_ring_writer_expose(&w->wires[0].to_guest);
	assert_int_equal(world_receive(w, 0), 0);
	assert_given_back(w, 0, 6, NVSP_STATUS_SUCCESS);
	assert_int_equal(world_violations(w), 8);
}

static void a_function_of_the_host_s_own_is_ignored(void **state)
{
	struct world *w = *state;
	struct nvsp_message message = { .type = NVSP_SEND_VF_ASSOCIATION, .vf_association = { 1, 7 } };

	begin(w);
	host_send(w, 0, VMBUS_PACKET_IN_BAND, 0, &message, sizeof(message));
	assert_int_equal(world_receive(w, 0), 0);
	assert_int_equal(world_violations(w), 0);
}

static void frames_before_there_is_a_buffer_are_dropped(void **state)
{
	struct world *w = *state;
	uint8_t data[60] = { 0 };
	struct host_message message = host_frame(data, 60, NULL, 0);

	world_open_primary(w);
	host_sends_frames(w, 0, 7, &message, 1);
	assert_int_equal(world_receive(w, 0), 0);
	assert_int_equal(world_violations(w), 1);
}

static void a_message_of_control_on_a_sub_channel_is_dropped(void **state)
{
	struct world *w = *state;
	struct rndis_indicate_status status = { .status = RNDIS_STATUS_MEDIA_DISCONNECT };
	struct host_message message =
		host_message(RNDIS_INDICATE_STATUS, &status, sizeof(status));

	begin(w);
	assert_int_equal(world_open_channel(w, 1), 0);
	host_say(w, 1, message.bytes, message.length);
	assert_int_equal(world_receive(w, 1), 0);
	assert_true(w->netvsc.link_up);
	assert_int_equal(world_violations(w), 1);
	assert_given_back(w, 1, 1, NVSP_STATUS_FAILURE);
}

static void a_message_of_control_among_frames_stops_nothing(void **state)
{
	struct world *w = *state;
	struct rndis_indicate_status status = { .status = RNDIS_STATUS_MEDIA_DISCONNECT };
	uint8_t data[60] = { 0 };
	struct host_message messages[] = {
		host_frame(data, 60, NULL, 0),
		host_message(RNDIS_INDICATE_STATUS, &status, sizeof(status)),
		host_frame(data, 50, NULL, 0),
		host_message(RNDIS_INDICATE_STATUS, &status, sizeof(status)),
	};
	struct netvsc_frame frame;

	begin(w);
	host_sends_frames(w, 0, 4, messages, 4);
	assert_true(netvsc_channel_next(&w->channels[0], &frame));
	assert_int_equal(frame.bytes, 60);
	/* Nothing more until it is settled. */
	assert_false(netvsc_channel_next(&w->channels[0], &frame));
	assert_false(netvsc_channel_next(&w->channels[0], &frame));
	assert_true(w->netvsc.link_up);
	assert_int_equal(netvsc_channel_settle(&w->channels[0], 0) & ~NETVSC_EVENT_SIGNAL,
			 NETVSC_EVENT_LINK | NETVSC_EVENT_MORE);
	assert_false(w->netvsc.link_up);
	assert_true(netvsc_channel_next(&w->channels[0], &frame));
	assert_int_equal(frame.bytes, 50);
	assert_int_equal(world_receive(w, 0), NETVSC_EVENT_LINK);
	assert_given_back(w, 0, 4, NVSP_STATUS_SUCCESS);
}

/* ---- giving back ---- */

static void many_packets_are_settled_in_batches(void **state)
{
	struct world *w = *state;
	uint8_t data[60] = { 0 };
	struct host_message message = host_frame(data, 60, NULL, 0);
	struct netvsc_frame frame;
	struct question question;
	uint32_t frames = 0;

	begin(w);
	w->completed = 0;
	for (uint32_t i = 0; i < NETVSC_NOTES_MAX + 10; i++)
		host_sends_frames(w, 0, 100 + i, &message, 1);
	while (netvsc_channel_next(&w->channels[0], &frame))
		frames++;
	assert_int_equal(frames, NETVSC_NOTES_MAX);
	assert_true(netvsc_channel_settle(&w->channels[0], 0) & NETVSC_EVENT_MORE);
	assert_false(host_look(w, 0, &question));
	assert_int_equal(w->completed, NETVSC_NOTES_MAX);
	while (netvsc_channel_next(&w->channels[0], &frame))
		frames++;
	assert_int_equal(frames, NETVSC_NOTES_MAX + 10);
	assert_false(netvsc_channel_settle(&w->channels[0], 0) & NETVSC_EVENT_MORE);
	assert_false(host_look(w, 0, &question));
	assert_int_equal(w->completed, frames);
	assert_int_equal(w->completed_id, 100 + frames - 1);
}

static void without_room_packets_are_given_back_later(void **state)
{
	struct world *w = *state;
	uint8_t data[60] = { 0 };
	struct host_message message = host_frame(data, 60, NULL, 0);
	struct netvsc_frame frame;
	struct question question;
	uint32_t sent = 0, frames = 0, bytes;
	uint64_t id = 0;

	begin(w);
	/* The host reads nothing until the guest's ring is full of completions. */
	for (; sent < 2 * RING_BYTES / 32; sent++) {
		struct vmbus_transfer_range range =
			host_put(w, 0, message.bytes, message.length);

		if (host_transfer(w, 0, 1000 + sent, &range, 1) == 0) {
			while (netvsc_channel_next(&w->channels[0], &frame))
				frames++;
			(void)!netvsc_channel_settle(&w->channels[0], 0);
		}
		if (w->channels[0].completion_count == NETVSC_NOTES_MAX)
			break;
	}
	assert_int_equal(w->channels[0].completion_count, NETVSC_NOTES_MAX);
	assert_int_not_equal(w->wires[0].to_host_memory.control->pending_send_bytes, 0);
	/* It takes nothing more, and does not spin about it. */
	host_sends_frames(w, 0, 7777, &message, 1);
	assert_false(netvsc_channel_next(&w->channels[0], &frame));
	assert_false(netvsc_channel_settle(&w->channels[0], 0) & NETVSC_EVENT_MORE);
	assert_false(netvsc_channel_unmask(&w->channels[0]));
	/* The host reads: it is told to signal, and all come, each once and in order. */
	while (vmbus_ring_read(&w->wires[0].from_guest, w->data, sizeof(w->data), &bytes) == 0) {
		uint64_t now;

		memcpy(&now, w->data + 8, 8);
		assert_true(now > id);
		id = now;
	}
	assert_true(vmbus_ring_reader_publish(&w->wires[0].from_guest));
	assert_true(netvsc_channel_settle(&w->channels[0], 0) & NETVSC_EVENT_MORE);
	assert_int_equal(world_next(w, 0, NULL)->bytes, 60);
	assert_null(world_next(w, 0, NULL));
	w->completed = 0;
	assert_false(host_look(w, 0, &question));
	assert_int_equal(w->completed, NETVSC_NOTES_MAX + 1);
	assert_int_equal(w->completed_id, 7777);
}

/* A frame comes, and is given back. */
static uint32_t one_frame(struct world *w, uint64_t id)
{
	uint8_t data[60] = { 0 };
	struct host_message message = host_frame(data, 60, NULL, 0);
	struct netvsc_frame frame;

	host_sends_frames(w, 0, id, &message, 1);
	assert_true(netvsc_channel_next(&w->channels[0], &frame));
	assert_false(netvsc_channel_next(&w->channels[0], &frame));
	return netvsc_channel_settle(&w->channels[0], 0);
}

static void what_is_given_back_waits_for_company(void **state)
{
	const uint32_t late = NETVSC_EVENT_LATE, signal = NETVSC_EVENT_SIGNAL;
	uint8_t data[60] = { 0 };
	struct host_message message = host_frame(data, 60, NULL, 0);
	struct world *w = *state;
	struct netvsc_frame frame;
	struct question question;

	begin(w);
	assert_false(host_look(w, 0, &question));
	assert_int_equal(one_frame(w, 1) & (late | signal), signal);
	w->channels[0].late_max = 3;
	w->netvsc.sub_count = 8 * NETVSC_CHANNELS_MAX * 4;
	assert_false(host_look(w, 0, &question));
	w->completed = 0;
	for (uint64_t i = 2; i <= 4; i++)
		assert_int_equal(one_frame(w, i) & (late | signal), late);
	/* One more, and the host, which slept, is woken for all of them. */
	assert_int_equal(one_frame(w, 5) & (late | signal), signal);
	assert_false(host_look(w, 0, &question));
	assert_int_equal(w->completed, 4);
	/* So it is by the flush that is due, by which they begin anew. */
	assert_int_equal(one_frame(w, 6) & (late | signal), late);
	assert_true(netvsc_channel_flush(&w->channels[0]));
	assert_false(netvsc_channel_flush(&w->channels[0]));
	for (uint64_t i = 7; i <= 9; i++)
		assert_int_equal(one_frame(w, i) & (late | signal), late);
	/* A host that is awake sees them without. */
	assert_false(host_look(w, 0, &question));
	assert_int_equal(w->completed, 8);
	assert_int_equal(one_frame(w, 10) & (late | signal), late);
	assert_true(vmbus_ring_reader_ready(&w->wires[0].from_guest));
	/* With a request of control in the ring nothing waits. */
	assert_int_equal(netvsc_set_filter(&w->netvsc, NDIS_FILTER_DIRECTED, 0), 0);
	assert_int_equal(one_frame(w, 11) & (late | signal), signal);
	/* It is ranges that count. */
	while (host_look(w, 0, &question))
		;
	host_sends_frames(w, 0, 12, (struct host_message[]){ message, message, message, message }, 4);
	while (netvsc_channel_next(&w->channels[0], &frame))
		;
	assert_int_equal(netvsc_channel_settle(&w->channels[0], 0) & (late | signal), signal);
	/* Nor does it where the host has few to give. */
	while (host_look(w, 0, &question))
		;
	w->netvsc.sub_count = 8 * NETVSC_CHANNELS_MAX - 1;
	assert_int_equal(one_frame(w, 13) & (late | signal), signal);
}

static void the_host_is_signalled_when_it_waits_for_room(void **state)
{
	struct world *w = *state;
	uint8_t data[60] = { 0 };
	struct host_message message = host_frame(data, 60, NULL, 0);
	struct vmbus_transfer_range range;
	struct netvsc_frame frame;
	bool signal = false;
	int err = 0;

	begin(w);
	range = host_put(w, 0, message.bytes, message.length);
	for (uint32_t i = 0; !err; i++)
		err = host_transfer(w, 0, 1 + i, &range, 1);
	assert_int_equal(err, -LIS_FULL);
	for (int i = 0; i < 100 && !signal; i++) {
		while (netvsc_channel_next(&w->channels[0], &frame))
			;
		signal = netvsc_channel_settle(&w->channels[0], 0) & NETVSC_EVENT_SIGNAL;
	}
	assert_true(signal);
}

static void a_broken_ring_is_told_once_and_taken_no_more(void **state)
{
	struct world *w = *state;
	struct netvsc_frame frame;

	begin(w);
	w->wires[0].to_guest_memory.control->in = 4;
	assert_int_equal(world_receive(w, 0), NETVSC_EVENT_BROKEN);
	assert_int_equal(world_violations(w), 1);
	assert_false(netvsc_channel_next(&w->channels[0], &frame));
	assert_false(netvsc_channel_unmask(&w->channels[0]));
	assert_int_equal(world_violations(w), 1);
}

static void a_packet_that_is_too_long_breaks_the_ring(void **state)
{
	struct world *w = *state;
	static uint8_t payload[NETVSC_RECEIVE_BYTES];

	begin(w);
	assert_int_equal(host_send(w, 0, VMBUS_PACKET_IN_BAND, 0, payload, sizeof(payload)), 0);
	assert_int_equal(world_receive(w, 0), NETVSC_EVENT_BROKEN);
}

static void closing_in_the_middle_of_a_packet_is_fine(void **state)
{
	struct world *w = *state;
	uint8_t data[60] = { 0 };
	struct host_message messages[] = {
		part(FIRST, 60, 1, false), part(LAST, 60, 1, false), host_frame(data, 60, NULL, 0),
	};
	struct netvsc_frame frame;

	begin(w);
	host_sends_frames(w, 0, 1, messages, 3);
	assert_true(netvsc_channel_next(&w->channels[0], &frame));
	assert_null(netvsc_channel_close(&w->channels[0]));
	assert_false(netvsc_channel_next(&w->channels[0], &frame));
	assert_int_equal(netvsc_channel_settle(&w->channels[0], 0), 0);
	assert_true(netvsc_idle(&w->channels[0]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
		TEST(a_frame_comes_with_what_is_said_of_it),
		TEST(a_packet_of_many_frames_is_given_back_once_at_its_end),
		TEST(a_sub_channel_receives_as_well),
		TEST(information_may_be_anywhere_in_its_message),
		TEST(a_frame_in_parts_is_put_together),
		TEST(parts_out_of_order_are_dropped),
		TEST(a_frame_of_parts_has_its_limits),
		TEST(a_message_out_of_form_is_dropped),
		TEST(information_that_is_too_long_is_dropped),
		TEST(information_without_a_value_is_no_information),
		TEST(ranges_outside_of_the_receive_buffer_are_dropped),
		TEST(packets_that_make_no_sense_are_dropped),
		TEST(a_function_of_the_host_s_own_is_ignored),
		TEST(frames_before_there_is_a_buffer_are_dropped),
		TEST(a_message_of_control_on_a_sub_channel_is_dropped),
		TEST(a_message_of_control_among_frames_stops_nothing),
		TEST(many_packets_are_settled_in_batches),
		TEST(without_room_packets_are_given_back_later),
		TEST(what_is_given_back_waits_for_company),
		TEST(the_host_is_signalled_when_it_waits_for_room),
		TEST(a_broken_ring_is_told_once_and_taken_no_more),
		TEST(a_packet_that_is_too_long_breaks_the_ring),
		TEST(closing_in_the_middle_of_a_packet_is_fine),
#undef TEST
	};

	return cmocka_run_group_tests_name("loopback/netvsc_receive", tests, NULL, NULL);
}
